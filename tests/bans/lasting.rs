//! What bans outlive, and that they end without anybody's help.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    net::UdpSocket,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::network::{CLIENT_V4, SERVER_V4};
use serde_json::Value;

use crate::Site;

#[test]
fn a_ban_ends_in_time_though_the_daemon_is_dead() -> Result<()> {
    const LASTS: Duration = Duration::from_secs(3);
    let mut site = Site::new()?;
    let inside = site.network.server.enter(|| Ok(UdpSocket::bind((SERVER_V4, 9))?))?;
    let outside = site.network.client.enter(|| Ok(UdpSocket::bind((CLIENT_V4, 0))?))?;
    inside.set_read_timeout(Some(Duration::from_millis(20)))?;
    let arrives = || -> Result<bool> {
        outside.send_to(b"x", (SERVER_V4, 9))?;
        match inside.recv(&mut [0; 16]) {
            Ok(_) => Ok(true),
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => Ok(false),
            Err(error) => Err(error.into()),
        }
    };
    ensure!(arrives()?, "nothing is banned");
    let asked = Instant::now();
    site.says(&["ban", &CLIENT_V4.to_string(), "--for", "3s"], 0)?;
    let banned = Instant::now();
    site.foobar.kill()?;
    while !arrives()? {
        ensure!(asked.elapsed() < LASTS + Duration::from_secs(2), "the ban does not end");
    }
    ensure!(asked.elapsed() >= LASTS, "it ended after {:?}", asked.elapsed());
    ensure!(banned.elapsed() < LASTS + Duration::from_secs(1), "it ended after {:?}", banned.elapsed());
    Ok(())
}

#[test]
fn bans_outlive_the_daemon_and_the_machine() -> Result<()> {
    let mut site = Site::new()?;
    site.says(&["ban", "203.0.113.7", "2001:db8:bad::/48", "--for", "1h", "--reason", "loud"], 0)?;
    site.says(&["ban", "198.18.0.0/15", "--for", "forever"], 0)?;
    site.says(&["ban", "203.0.113.8", "203.0.113.9"], 0)?;
    site.says(&["unban", "203.0.113.8"], 0)?;
    let expected = [
        ("203.0.113.7", true),
        ("2001:db8:bad::1", true),
        ("198.18.0.1", true),
        ("203.0.113.8", false),
        ("203.0.113.9", true),
    ];
    let before = site.bans()?;
    let made =
        |site: &Site| -> Result<u64> { Ok(site.foobar.scrape()?.count("foobar_bans_made_total", &[])) };
    let mut stopped = 0;
    for what in
        ["killed", "ended", "without the maps of bans", "restarted machine", "rules applied", "rules swapped"]
    {
        let pins = site.foobar.pins().path().to_owned();
        match what {
            "killed" => site.foobar.kill()?,
            "rules applied" => drop(
                site.foobar
                    .apply(&format!("{}[[rule]]\nid = \"more\"\naction = \"accept\"\n", crate::RULES))?,
            ),
            "rules swapped" => drop(site.foobar.succeed(&["rules", "rollback"])?),
            _ => drop(site.foobar.terminate()?),
        }
        match what {
            // As an older version of foobar would leave it.
            "without the maps of bans" => {
                for name in ["BANS", "BAN_LENGTHS"] {
                    fs::remove_file(pins.join("maps").join(name))?;
                }
            }
            "restarted machine" => fs::remove_dir_all(&pins)?,
            _ => {}
        }
        if !what.starts_with("rules") {
            site.foobar.start()?;
        }
        site.assert_banned(what, &expected)?;
        // What they have stopped, the kernel's maps alone know.
        let is_forgotten = ["without the maps of bans", "restarted machine"].contains(&what);
        stopped = if is_forgotten { 5 } else { stopped + 5 };
        assert_eq!(
            site.stopped(["203.0.113.7", "2001:db8:bad::/48", "203.0.113.9"])?,
            [stopped; 3],
            "{what}"
        );
        let after = site.bans()?;
        let without_left = |bans: &[Value]| -> Vec<Value> {
            let mut bans = bans.to_vec();
            for ban in bans.iter_mut().filter_map(Value::as_object_mut) {
                ban.remove("left_ms");
                ban.remove("until_unix_ms");
                ban.remove("packets");
            }
            bans
        };
        assert_eq!(without_left(&after), without_left(&before), "{what}");
        assert_eq!(made(&site)?, 5, "{what}");
    }
    Ok(())
}

#[test]
fn a_ban_ends_while_nothing_runs() -> Result<()> {
    let mut site = Site::new()?;
    site.says(&["ban", "203.0.113.7", "--for", "2s"], 0)?;
    site.says(&["ban", "203.0.113.8", "--for", "1h"], 0)?;
    site.foobar.kill()?;
    let pins = site.foobar.pins().path().to_owned();
    fs::remove_dir_all(&pins)?;
    thread::sleep(Duration::from_secs(2));
    site.foobar.start()?;
    assert_eq!(site.addresses()?, ["203.0.113.8"]);
    site.assert_banned("later", &[("203.0.113.7", false), ("203.0.113.8", true)])?;
    assert_eq!(site.foobar.scrape()?.count("foobar_bans_expired_total", &[]), 1);
    Ok(())
}

#[test]
fn a_torn_line_is_ignored_and_noise_is_kept_aside() -> Result<()> {
    let mut site = Site::new()?;
    site.says(&["ban", "203.0.113.7"], 0)?;
    let journal = site.foobar.state_path().join("bans.journal");
    let line =
        fs::read_to_string(&journal)?.lines().last().context("an empty journal")?.replace("113.7", "113.8");
    let append = |text: &str| -> Result<()> {
        Ok(File::options().append(true).open(&journal)?.write_all(text.as_bytes())?)
    };

    site.foobar.kill()?;
    append(&line[..line.len() / 2])?;
    site.foobar.start()?;
    assert_eq!(site.addresses()?, ["203.0.113.7"]);
    ensure!(!site.foobar.log()?.contains("ERROR"), "{}", site.foobar.log()?);

    site.foobar.kill()?;
    append(&format!("noise\n{line}\n"))?;
    site.foobar.start()?;
    assert_eq!(site.addresses()?, ["203.0.113.7", "203.0.113.8"]);
    let log = site.foobar.log()?;
    ensure!(
        log.contains("read the journal of bans: 1 lines cannot be understood: line 3: it is no record"),
        "{log}"
    );
    let aside = fs::read_dir(site.foobar.state_path())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| name.starts_with("bans.unreadable-"));
    let aside = site.foobar.state_path().join(aside.context("it is not kept")?);
    ensure!(fs::read_to_string(aside)?.contains("\nnoise\n"));

    // Nothing but noise: what the kernel has is kept, and what it has not cannot be known.
    site.foobar.kill()?;
    fs::write(&journal, "noise\n")?;
    site.foobar.start()?;
    assert_eq!(site.addresses()?, ["203.0.113.7", "203.0.113.8"]);
    site.assert_banned("kept", &[("203.0.113.7", true), ("203.0.113.8", true)])?;
    site.says(&["ban", "203.0.113.9"], 0)?;
    site.foobar.kill()?;
    site.foobar.start()?;
    assert_eq!(site.addresses()?.len(), 3);
    Ok(())
}

#[test]
fn a_ban_that_was_lifted_in_the_journal_alone_is_lifted() -> Result<()> {
    let mut site = Site::new()?;
    site.says(&["ban", "203.0.113.7", "203.0.113.8"], 0)?;
    let journal = site.foobar.state_path().join("bans.journal");
    let before = fs::read_to_string(&journal)?;
    site.says(&["unban", "203.0.113.7"], 0)?;
    let after = fs::read_to_string(&journal)?;
    site.foobar.kill()?;
    // As if the daemon had been killed between journal and kernel: first with the kernel behind, then ahead.
    fs::write(&journal, &before)?;
    site.foobar.start()?;
    site.assert_banned("made", &[("203.0.113.7", true), ("203.0.113.8", true)])?;
    site.foobar.kill()?;
    fs::write(&journal, &after)?;
    site.foobar.start()?;
    site.assert_banned("lifted", &[("203.0.113.7", false), ("203.0.113.8", true)])?;
    Ok(())
}
