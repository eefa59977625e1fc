//! Bans: whom they stop and whom not, when they end, and what outlives what.

mod by_rules;
mod counted;
mod fail2ban;
mod lasting;
mod spared;

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    command::{stderr, stdout},
    daemon::Foobar,
    network::{CLIENT, CLIENT_V4, CLIENT_V6, Network, SERVER, SERVER_V4, SERVER_V6},
    packets::udp,
    sender::PacketSocket,
    wait,
};
use serde_json::{Value, json};

/// Some that must not be banned, and a rule that accepts what bans stop.
const RULES: &str = r#"
schema = 1
[failsafe]
peers = ["198.51.100.10"]
never_ban = ["192.0.2.128/25", "2001:db8::ff:0/112"]
[[rule]]
id = "udp"
action = "accept"
protocol = "udp"
"#;

/// A filter with [`RULES`], and who sends to it.
struct Site {
    foobar: Foobar,
    sender: PacketSocket,
    network: Network,
}

impl Site {
    fn new() -> Result<Self> {
        Self::with(RULES)
    }

    fn with(rules: &str) -> Result<Self> {
        let network = Network::new()?;
        network.introduce()?;
        let mut foobar = Foobar::new(&network.server, &[SERVER], rules)?;
        foobar.start()?;
        let sender = PacketSocket::new(&network.client, CLIENT)?;
        Ok(Self { foobar, sender, network })
    }

    /// How many of five packets from this address are dropped by a ban, and by anything.
    fn dropped(&self, source: &str) -> Result<[u64; 2]> {
        let counted = |labels: &[(&str, &str)]| -> Result<u64> {
            Ok(self.foobar.scrape()?.count("foobar_firewall_packets_total", labels))
        };
        let banned = [("action", "drop"), ("reason", "ban"), ("direction", "in")];
        let (dropped, all) = ([("action", "drop")], [("direction", "in")]);
        let before = [counted(&banned)?, counted(&dropped)?, counted(&all)?];
        self.sender.send_times(&from(source), 5)?;
        wait::until("the packets are counted", Duration::from_secs(5), || {
            Ok(counted(&all)? >= before[2] + 5)
        })?;
        Ok([counted(&banned)? - before[0], counted(&dropped)? - before[1]])
    }

    /// Each of these is banned, or not.
    fn assert_banned(&self, what: &str, expected: &[(&str, bool)]) -> Result<()> {
        for (source, is_banned) in expected {
            let dropped = if *is_banned { [5, 5] } else { [0, 0] };
            assert_eq!(self.dropped(source)?, dropped, "{what}: {source}");
        }
        Ok(())
    }

    /// What a command says on stdout and stderr, which must end with this code.
    fn says(&self, arguments: &[&str], code: i32) -> Result<[String; 2]> {
        self.says_to(arguments, "", code)
    }

    /// The same of a command that reads this.
    fn says_to(&self, arguments: &[&str], input: &str, code: i32) -> Result<[String; 2]> {
        let output = self.foobar.command_with_input(arguments, input.as_bytes())?;
        let said = [stdout(&output), stderr(&output)];
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said:?}");
        Ok(said)
    }

    fn bans(&self) -> Result<Vec<Value>> {
        serde_json::from_str(&self.foobar.succeed(&["bans", "--json"])?).context("read bans --json")
    }

    /// The addresses that are banned.
    fn addresses(&self) -> Result<Vec<String>> {
        Ok(self.bans()?.iter().map(|ban| ban["address"].as_str().unwrap_or_default().to_owned()).collect())
    }
}

/// A datagram to the server.
fn from(source: &str) -> Vec<u8> {
    let server = if source.contains(':') { "2001:db8::1" } else { "192.0.2.1" };
    udp((source, 40_000), (server, 9), 8).frame()
}

#[test]
fn a_connection_stops_with_a_ban_and_goes_on_without() -> Result<()> {
    let site = Site::new()?;
    let ends: [(IpAddr, IpAddr); 2] =
        [(SERVER_V4.into(), CLIENT_V4.into()), (SERVER_V6.into(), CLIENT_V6.into())];
    for (server, client) in ends {
        let listener = site.network.server.enter(|| Ok(TcpListener::bind((server, 7))?))?;
        let mut outside =
            site.network.client.enter(|| Ok(TcpStream::connect(SocketAddr::new(server, 7))?))?;
        let (mut inside, _) = listener.accept()?;
        inside.set_read_timeout(Some(Duration::from_millis(600)))?;
        let mut arrives = || -> Result<bool> {
            outside.write_all(b"x")?;
            match inside.read(&mut [0; 16]) {
                Ok(count) => Ok(count > 0),
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                    Ok(false)
                }
                Err(error) => Err(error.into()),
            }
        };
        ensure!(arrives()?, "nothing is banned");
        let [out, _] = site.says(&["ban", &client.to_string(), "--for", "10m", "--reason", "too loud"], 0)?;
        ensure!(out.starts_with("1 banned until 20") && out.ends_with("; 1 ban in force\n"), "{out}");
        ensure!(!arrives()?, "{client} is banned");
        let shown = site.foobar.succeed(&["bans"])?;
        ensure!(shown.contains(&client.to_string()) && shown.contains(": too loud"), "{shown}");
        site.says(&["unban", &client.to_string()], 0)?;
        // What was lost is sent again within a second or two.
        wait::until("the connection goes on", Duration::from_secs(10), arrives)?;
    }
    Ok(())
}

#[test]
fn addresses_and_prefixes_of_both_families_are_banned_by_themselves() -> Result<()> {
    let site = Site::new()?;
    site.says(&["ban", "203.0.113.7", "198.18.0.0/15", "2001:db8:bad::/48", "2001:db8::7"], 0)?;
    let expected = [
        ("203.0.113.7", true),
        ("203.0.113.8", false),
        ("198.18.0.0", true),
        ("198.19.255.255", true),
        ("198.20.0.0", false),
        ("2001:db8:bad:ffff::1", true),
        ("2001:db8:bae::1", false),
        ("2001:db8::7", true),
        ("2001:db8::8", false),
        // The bytes of an address of the other family.
        ("cb00:7107::", false),
        ("::ffff:203.0.113.7", false),
    ];
    site.assert_banned("banned", &expected)?;

    // A prefix and an address inside of it are two bans: one stays when the other goes.
    site.says(&["ban", "198.18.1.1", "198.18.0.0/16"], 0)?;
    let [out, err] = site.says(&["unban", "198.18.0.0/15", "198.18.1.1", "192.0.2.77"], 3)?;
    assert_eq!(out, "2 lifted; 4 bans in force\n");
    assert_eq!(
        err,
        "foobar: note: 192.0.2.77 was not banned\nfoobar: note: 198.18.1.1 is still inside 198.18.0.0/16, which is \
         banned\n"
    );
    site.assert_banned("lifted", &[("198.18.1.1", true), ("198.19.0.0", false)])?;
    assert_eq!(site.says(&["unban", "--all"], 0)?[0], "4 lifted; 0 bans in force\n");
    site.assert_banned("none", &[("198.18.1.1", false), ("203.0.113.7", false), ("2001:db8::7", false)])?;
    assert_eq!(site.foobar.succeed(&["bans"])?, "nothing is banned\n");
    Ok(())
}

#[test]
fn banning_again_never_makes_a_ban_shorter() -> Result<()> {
    let site = Site::new()?;
    let left = || -> Result<u64> { site.bans()?[0]["left_ms"].as_u64().context("a ban without end") };
    site.says(&["ban", "203.0.113.7", "--for", "1h"], 0)?;
    let [out, _] = site.says(&["ban", "203.0.113.7", "--for", "10m"], 0)?;
    assert_eq!(out, "1 banned for as long already; 1 ban in force\n");
    ensure!(left()? > 3_500_000, "{}", left()?);
    let [out, _] = site.says(&["ban", "203.0.113.7", "--for", "2h", "--reason", "again"], 0)?;
    ensure!(out.starts_with("1 extended until 20"), "{out}");
    ensure!(left()? > 7_100_000, "{}", left()?);
    assert_eq!(site.bans()?[0]["reason"], json!("again"));
    site.says(&["ban", "203.0.113.7", "--for", "forever"], 0)?;
    assert_eq!(site.bans()?[0]["until_unix_ms"], Value::Null);
    Ok(())
}

#[test]
fn a_list_is_banned_whole_or_not_at_all() -> Result<()> {
    let site = Site::new()?;
    let list = "# a list\n203.0.113.7\n2001:db8:bad::/48 2d ; longer\n\n203.0.113.0/24\n203.0.113.7 30m\n";
    let [out, _] = site.says_to(&["ban", "-", "--for", "10m"], list, 0)?;
    assert_eq!(out, "3 banned; 3 bans in force\n");
    let left = |address: &str| -> Result<u64> {
        let bans = site.bans()?;
        let ban = bans.iter().find(|ban| ban["address"] == address).context("not banned")?;
        ban["left_ms"].as_u64().context("a ban without end")
    };
    ensure!((1_700_000..=1_800_000).contains(&left("203.0.113.7")?), "the longer of both");
    ensure!(left("2001:db8:bad::/48")? > 2 * 86_000_000);

    let bad = "192.0.2.7\nexample.org\n192.0.2.130\n198.51.100.1/24\n0.0.0.0/0\n192.0.2.8 soon\n";
    let [out, err] = site.says_to(&["ban", "-"], bad, 2)?;
    assert_eq!(out, "");
    for said in [
        "stdin:2: \"example.org\" is no address",
        "stdin:4: \"198.51.100.1/24\" has bits set behind the prefix",
        "stdin:5: 0.0.0.0/0 is everybody",
        "stdin:6: \"soon\" is no time of a ban",
        "192.0.2.130 must not be banned: it is inside 192.0.2.128/25, which failsafe.never_ban names",
        "nothing is banned, as 5 of 6 cannot be (--partial bans the others)",
    ] {
        ensure!(err.contains(said), "{said} is missing in {err}");
    }
    assert_eq!(site.addresses()?.len(), 3);
    let [out, err] = site.says_to(&["ban", "-", "--partial"], bad, 3)?;
    ensure!(out.starts_with("1 banned, 5 refused until "), "{out}");
    ensure!(err.lines().filter(|line| line.starts_with("foobar: note: ")).count() == 5, "{err}");
    ensure!(site.addresses()?.contains(&"192.0.2.7".to_owned()));

    let [_, err] = site.says_to(&["unban", "-"], "203.0.113.7\nnoise\n", 2)?;
    ensure!(err.contains("stdin:2: \"noise\" is no address"), "{err}");
    let [out, _] = site.says_to(&["unban", "-"], list, 0)?;
    assert_eq!(out, "3 lifted; 1 ban in force\n");
    for (arguments, said) in [
        (vec!["ban", "192.0.2.9", "--for", "soon"], "is no time of a ban"),
        (vec!["ban", "192.0.2.9", "--reason", "a\nb"], "control characters"),
        (vec!["ban"], "required"),
        (vec!["unban"], "required"),
        (vec!["unban", "--all", "192.0.2.9"], "cannot be used with"),
    ] {
        let [_, err] = site.says(&arguments, 2)?;
        ensure!(err.contains(said), "{arguments:?}: {err}");
    }
    Ok(())
}

#[test]
fn who_is_banned_is_counted_and_shown() -> Result<()> {
    let site = Site::new()?;
    let counted = |name: &str, labels: &[(&str, &str)]| -> Result<u64> {
        Ok(site.foobar.scrape()?.count(name, labels))
    };
    assert_eq!(counted("foobar_bans", &[])?, 0);
    site.says(&["ban", "203.0.113.7", "203.0.113.8", "203.0.113.0/24", "--for", "1s"], 0)?;
    site.says(&["ban", "2001:db8::7", "2001:db8:bad::/48", "198.51.100.1"], 0)?;
    site.says(&["unban", "198.51.100.1"], 0)?;
    site.says(&["ban", "198.51.100.10"], 2)?;
    for (labels, count) in [([("ip", "6"), ("kind", "address")], 1), ([("ip", "6"), ("kind", "prefix")], 1)] {
        assert_eq!(counted("foobar_bans", &labels)?, count, "{labels:?}");
    }
    wait::until("what is over is forgotten", Duration::from_secs(5), || {
        Ok(counted("foobar_bans_expired_total", &[])? == 3
            && counted("foobar_map_entries", &[("map", "BANS")])? == 2)
    })?;
    for (name, count) in [
        ("foobar_bans", 2),
        ("foobar_bans_made_total", 6),
        ("foobar_bans_lifted_total", 1),
        ("foobar_bans_refused_total", 1),
    ] {
        assert_eq!(counted(name, &[])?, count, "{name}");
    }
    let bans = site.foobar.status()?["bans"].clone();
    assert_eq!((&bans["addresses"], &bans["prefixes"]), (&json!([0, 1]), &json!([0, 1])));
    let status = site.foobar.succeed(&["status"])?;
    ensure!(status.contains("\nbans     1 addresses and 1 prefixes"), "{status}");
    site.dropped("2001:db8::7")?;
    let shown = site.foobar.succeed(&["rules", "show", "--counters"])?;
    ensure!(
        shown.contains("\nbans            never_ban 192.0.2.128/25,2001:db8::ff:0/112\n  ban, in "),
        "{shown}"
    );
    Ok(())
}

#[test]
fn without_a_daemon_commands_say_what_to_do() -> Result<()> {
    let mut site = Site::new()?;
    site.foobar.terminate()?;
    for arguments in [vec!["ban", "203.0.113.7"], vec!["unban", "203.0.113.7"], vec!["bans"]] {
        let [_, err] = site.says(&arguments, 1)?;
        ensure!(err.contains("is foobar running? start it with"), "{arguments:?}: {err}");
    }
    Ok(())
}

#[test]
fn an_ssh_session_does_not_ban_itself() -> Result<()> {
    let site = Site::new()?;
    let ban = |arguments: &[&str]| -> Result<(Option<i32>, String)> {
        let mut command = site.foobar.prepared(&[&["ban", "192.0.2.0/26"], arguments].concat())?;
        let output = command.env("SSH_CONNECTION", "192.0.2.2 40000 192.0.2.1 22").output()?;
        Ok((output.status.code(), stderr(&output)))
    };
    let (code, said) = ban(&[])?;
    ensure!(code == Some(2) && said.contains("this SSH session comes from 192.0.2.2"), "{code:?} {said}");
    assert_eq!(site.addresses()?.len(), 0);
    assert_eq!(ban(&["--force"])?.0, Some(0));
    Ok(())
}

/// Fifty thousand of them end in the same second, and nobody has to wait for that.
#[test]
fn many_that_end_at_once_hold_nobody_up() -> Result<()> {
    let site = Site::new()?;
    let addresses = (0..50_000).map(|number| Ipv4Addr::from(0x0a00_0000 + number).to_string());
    let list = addresses.collect::<Vec<_>>().join("\n");
    site.says_to(&["ban", "-", "--for", "15s"], &list, 0)?;
    site.assert_banned("many", &[("10.0.0.0", true), ("10.0.195.79", true), ("10.0.195.80", false)])?;
    let counted =
        || -> Result<u64> { Ok(site.foobar.scrape()?.count("foobar_map_entries", &[("map", "BANS")])) };
    let mut longest = Duration::ZERO;
    wait::until("all of them are removed", Duration::from_secs(45), || {
        let asked = Instant::now();
        let left = counted()?;
        longest = longest.max(asked.elapsed());
        Ok(left == 0)
    })?;
    ensure!(longest < Duration::from_secs(2), "a scrape took {longest:?}");
    site.assert_banned("over", &[("10.0.0.0", false)])
}
