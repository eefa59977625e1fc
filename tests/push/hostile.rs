//! Spools and targets that are not what they should be.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::symlink,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, ensure};

use crate::{Pushing, stand_in::StandIn, sumo, sumo_at};

const LINES: &str = "series = [\"foobar_up\"]";

#[test]
fn a_spool_full_of_noise_is_told_and_does_not_keep_the_daemon_from_starting() -> Result<()> {
    let mut pushing = Pushing::prepare("")?;
    let stand_in = StandIn::start(&pushing.network.server, 8001)?;
    pushing.write(&sumo(&stand_in, LINES))?;
    let spool = pushing.foobar.state_path().join("push/sumo");
    fs::create_dir_all(&spool)?;
    let path = |number: u64| spool.join(format!("{number:020}.record"));
    fs::write(path(1), "noise")?;
    // One that says of itself what a record does: three points, gathered just now.
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let head = [
        b"foobarP1".as_slice(),
        &[0; 32],
        &now.to_le_bytes(),
        &3_u64.to_le_bytes(),
        &[1, 0, 0, 0, 0, 0, 0, 0],
    ];
    fs::write(path(2), head.concat())?;
    symlink("/etc/hostname", path(3))?;
    fs::File::create(path(4))?.set_len(1 << 40)?;
    // The last number that there is.
    fs::write(path(u64::MAX), head.concat())?;
    pushing.foobar.start()?;
    stand_in.wait_for(2)?;
    let target = pushing.wait_until_empty("sumo")?;
    assert_eq!(target["lost"]["broken"], 7, "{target}");
    for request in stand_in.requests() {
        ensure!(String::from_utf8(request.unzipped()?)?.starts_with("foobar_up{"));
    }
    Ok(())
}

#[test]
fn a_target_that_answers_without_end_or_nothing_at_all_holds_nothing_up() -> Result<()> {
    let mut pushing = Pushing::prepare("")?;
    let listen = |port: u16| pushing.network.server.enter(|| Ok(TcpListener::bind(("127.0.0.1", port))?));
    let (endless, noise) = (listen(8001)?, listen(8002)?);
    thread::spawn(move || {
        while let Ok((mut stream, _)) = endless.accept() {
            thread::spawn(move || {
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n"));
                while stream.write_all(&[b'x'; 4096]).is_ok() {}
            });
        }
    });
    thread::spawn(move || {
        while let Ok((mut stream, _)) = noise.accept() {
            drop(stream.read(&mut [0; 1024]));
            drop(stream.write_all(b"\x00\x01 no HTTP \r\n\r\n"));
        }
    });
    let good = StandIn::start(&pushing.network.server, 8003)?;
    let named = |name: &str, port: u16| {
        sumo_at(&format!("http://127.0.0.1:{port}/"), LINES)
            .replace("\"sumo\"\nkind", &format!("\"{name}\"\nkind"))
    };
    pushing.write(&format!("{}{}{}", named("endless", 8001), named("noise", 8002), named("good", 8003)))?;
    pushing.foobar.start()?;
    // The status has said that it was taken.
    pushing.wait_for("endless", "it was taken", |target| target["points"].as_u64() >= Some(2))?;
    pushing.wait_for("noise", "it failed", |target| target["failures"]["answer"].as_u64() >= Some(2))?;
    let before = good.requests().len();
    good.wait_for(before + 2)?;
    thread::sleep(Duration::from_millis(100));
    ensure!(pushing.foobar.is_running()?);
    Ok(())
}
