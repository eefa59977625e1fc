//! Bans that limits of rules make.

use std::{
    fs,
    io::ErrorKind,
    net::UdpSocket,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use foobar_tests::{
    network::{CLIENT_V4, SERVER_V4},
    packets::udp,
    wait,
};
use serde_json::json;

use crate::{RULES, Site};

/// Port of the rule whose limit bans for long.
const FLOODED: u16 = 7;
/// How many packets are within the limit.
const BURST: u64 = 3;

/// [`RULES`] behind those whose limits ban.
fn rules() -> String {
    let rule = |id: &str, port: u16, time: &str| {
        format!(
            "[[rule]]\nid = \"{id}\"\naction = \"accept\"\nprotocol = \"udp\"\ndestination_port = {port}\n\
             limit = {{ rate = \"1/h\", burst = {BURST}, per = \"source\" }}\nover = {{ ban = \"{time}\" }}\n"
        )
    };
    RULES.replace("[[rule]]", &format!("{}{}[[rule]]", rule("flood", FLOODED, "10m"), rule("brief", 8, "3s")))
}

impl Site {
    /// Sends so many packets to the port of the first limit, and gives how many were within it, over it, and banned.
    fn flood(&self, source: &str, times: u64) -> Result<[u64; 3]> {
        let counted = || -> Result<[u64; 3]> {
            let metrics = self.foobar.scrape()?;
            let dropped = |reason: &str| {
                let labels = [("action", "drop"), ("reason", reason), ("direction", "in")];
                metrics.count("foobar_firewall_packets_total", &labels)
            };
            Ok([metrics.rule("flood"), dropped("limit"), dropped("ban")])
        };
        let before = counted()?;
        let server = if source.contains(':') { "2001:db8::1" } else { "192.0.2.1" };
        self.sender.send_times(&udp((source, 40_000), (server, FLOODED), 8).frame(), times)?;
        let mut after = before;
        wait::until("the packets are counted", Duration::from_secs(5), || {
            after = counted()?;
            Ok(after.iter().sum::<u64>() >= before.iter().sum::<u64>() + times)
        })?;
        Ok([0, 1, 2].map(|place| after[place] - before[place]))
    }

    /// Address and maker of each ban.
    fn makers(&self) -> Result<Vec<[String; 3]>> {
        let text = |ban: &serde_json::Value, key: &str| ban[key].as_str().unwrap_or_default().to_owned();
        Ok(self.bans()?.iter().map(|ban| ["address", "origin", "by"].map(|key| text(ban, key))).collect())
    }
}

#[test]
fn who_goes_over_the_limit_is_banned_at_once() -> Result<()> {
    let mut site = Site::with(&rules())?;
    assert_eq!(site.flood("203.0.113.7", 20)?, [BURST, 1, 16], "within, over and banned");
    assert_eq!(site.flood("203.0.113.8", 2)?, [2, 0, 0], "another source");
    assert_eq!(site.flood("192.0.2.200", 20)?, [20, 0, 0], "who must not be banned");
    site.sender.send_times(&udp(("198.51.100.10", 40_000), ("192.0.2.1", FLOODED), 8).frame(), 20)?;
    site.assert_banned("a failsafe peer", &[("198.51.100.10", false)])?;
    assert_eq!(site.flood("2001:db8:1::5", 20)?, [BURST, 1, 16], "of IPv6");
    let expected = [
        ("203.0.113.7", true),
        ("203.0.113.8", false),
        ("2001:db8:1::6", true),
        ("2001:db8:2::6", false),
        ("192.0.2.200", false),
    ];
    site.assert_banned("banned by a rule", &expected)?;
    let made = |address: &str| [address, "kernel", "flood"].map(str::to_owned);
    assert_eq!(site.makers()?, [made("203.0.113.7"), made("2001:db8:1::/64")]);
    let shown = site.foobar.succeed(&["bans"])?;
    ensure!(shown.contains("by the limit of rule flood"), "{shown}");
    let counted = |site: &Site, name: &str| -> Result<u64> { Ok(site.foobar.scrape()?.count(name, &[])) };
    let made_of = |site: &Site| -> Result<[u64; 3]> {
        Ok([
            counted(site, "foobar_bans")?,
            counted(site, "foobar_bans_made_total")?,
            counted(site, "foobar_bans_made_by_rules_total")?,
        ])
    };
    assert_eq!(made_of(&site)?, [2, 2, 2]);
    ensure!(site.foobar.log()?.contains("the limit of rule flood banned "), "the log does not tell");
    let status = site.foobar.succeed(&["status"])?;
    ensure!(status.contains("2 were made (2 by rules)"), "{status}");

    // What was banned a moment before the daemon is killed is known to the next one; and the journal alone is enough.
    assert_eq!(site.flood("203.0.113.9", 5)?, [BURST, 1, 1]);
    site.foobar.kill()?;
    for what in ["killed", "without the kernel's maps"] {
        if what != "killed" {
            site.foobar.terminate()?;
            fs::remove_dir_all(site.foobar.pins().path())?;
        }
        site.foobar.start()?;
        site.assert_banned(what, &expected)?;
        site.assert_banned(what, &[("203.0.113.9", true)])?;
        let all = [made("203.0.113.7"), made("203.0.113.9"), made("2001:db8:1::/64")];
        assert_eq!(site.makers()?, all, "{what}");
        assert_eq!(made_of(&site)?, [3, 3, 3], "{what}");
    }

    // It can be lifted, also in the very second in which it was made, and comes back with the next flood.
    site.says(&["unban", "203.0.113.7", "2001:db8:1::/64"], 0)?;
    site.assert_banned("lifted", &[("203.0.113.7", false), ("2001:db8:1::6", false)])?;
    site.flood("203.0.113.20", 5)?;
    let [out, _] = site.says(&["unban", "203.0.113.20"], 0)?;
    assert_eq!(out, "1 lifted; 1 ban in force\n");
    site.assert_banned("lifted at once", &[("203.0.113.20", false)])?;
    let [within, over, banned] = site.flood("203.0.113.20", 5)?;
    assert_eq!((within, over, banned), (0, 1, 4), "again");

    // A longer ban is not cut short by the rule; and bans outlive the rule that made them.
    site.says(&["ban", "203.0.113.20", "--for", "2h"], 0)?;
    site.flood("203.0.113.20", 5)?;
    site.flood("2001:db8:7::1", 5)?;
    site.foobar.apply(RULES)?;
    let outlived =
        [("203.0.113.20", true), ("203.0.113.9", true), ("2001:db8:7::2", true), ("2001:db8:8::2", false)];
    site.assert_banned("without the rule", &outlived)?;
    let bans = site.bans()?;
    let left = |address: &str| bans.iter().find(|ban| ban["address"] == address).map(|ban| &ban["left_ms"]);
    ensure!(left("203.0.113.20").and_then(serde_json::Value::as_u64) > Some(7_000_000), "{bans:?}");
    assert_eq!(
        bans.iter().find(|ban| ban["address"] == "2001:db8:7::/64").map(|ban| &ban["by"]),
        Some(&json!("flood"))
    );
    Ok(())
}

/// Real packets through sockets.
#[test]
fn a_ban_by_a_rule_ends_in_time() -> Result<()> {
    const LASTS: Duration = Duration::from_secs(3);
    let site = Site::with(&rules())?;
    let [brief, other] = [8, 9].map(|port| {
        site.network.server.enter(|| {
            let socket = UdpSocket::bind((SERVER_V4, port))?;
            socket.set_read_timeout(Some(Duration::from_millis(20)))?;
            Ok(socket)
        })
    });
    let (brief, other) = (brief?, other?);
    let outside = site.network.client.enter(|| Ok(UdpSocket::bind((CLIENT_V4, 0))?))?;
    let arrives = |socket: &UdpSocket, port: u16| -> Result<bool> {
        outside.send_to(b"x", (SERVER_V4, port))?;
        match socket.recv(&mut [0; 16]) {
            Ok(_) => Ok(true),
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => Ok(false),
            Err(error) => Err(error.into()),
        }
    };
    for _ in 0..BURST {
        ensure!(arrives(&brief, 8)?, "within the limit");
    }
    ensure!(arrives(&other, 9)?, "nobody is banned");
    let before = Instant::now();
    ensure!(!arrives(&brief, 8)?, "over the limit");
    let after = Instant::now();
    ensure!(!arrives(&other, 9)?, "banned from everything");
    while !arrives(&other, 9)? {
        ensure!(before.elapsed() < LASTS + Duration::from_secs(2), "the ban does not end");
    }
    ensure!(before.elapsed() >= LASTS, "it ended after {:?}", before.elapsed());
    ensure!(after.elapsed() < LASTS + Duration::from_secs(1), "it ended after {:?}", after.elapsed());
    wait::until("it is forgotten", Duration::from_secs(5), || {
        let metrics = site.foobar.scrape()?;
        let map = metrics.count("foobar_map_entries", &[("map", "BANS")]);
        Ok([metrics.count("foobar_bans_expired_total", &[]), metrics.count("foobar_bans", &[]), map]
            == [1, 0, 0])
    })?;
    // Whoever goes on is banned again.
    ensure!(!arrives(&brief, 8)? && !arrives(&other, 9)?, "over the limit again");
    assert_eq!(site.makers()?, [[CLIENT_V4.to_string().as_str(), "kernel", "brief"].map(str::to_owned)]);
    assert_eq!(site.foobar.scrape()?.count("foobar_bans_made_by_rules_total", &[]), 2);
    Ok(())
}
