//! Connections through a proxy, whose clients are banned or go over a limit.

use anyhow::{Context as _, Result, ensure};
use foobar_common::flow::Direction;
use foobar_daemon::{
    dataplane::{
        bans::{Lengths, now_ns},
        load::LoadedRuleset,
        test_runs::TestRuns,
    },
    slots::Slots,
};
use foobar_tests::{frames::Family, segments::Connection};
use ipnet::IpNet;

use crate::{machine::FILTERED, report::Report, rulesets};

/// Ports of the services, and what is spoken there.
const SERVICES: [(&str, u16); 4] = [("http1", 8080), ("h2c", 8081), ("tls", 8443), ("mysql", 3306)];
const LINES: [&str; 2] =
    ["PROXY TCP4 203.0.113.7 192.0.2.1 50000 443\r\n", "PROXY TCP6 2001:db8:7::7 2001:db8::1 50000 443\r\n"];
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\xc0\0\x02\x01\xc3\x50\x01\xbb";
const BANNED: [&str; 2] = ["203.0.113.0/24", "2001:db8:7::7/128"];

/// Loads rules with services behind proxies, and has clients meet bans and a limit.
pub(crate) fn run(report: &mut Report) {
    let ruleset = &rulesets::CLIENTS;
    let loaded = ruleset
        .compile(&mut Slots::default())
        .and_then(|compiled| LoadedRuleset::for_test_runs(&compiled, FILTERED));
    let mut runs = match loaded {
        Ok(runs) => runs,
        Err(error) => {
            report.check(ruleset.name, "load", &Err(error));
            return;
        }
    };
    report.check(ruleset.name, "load", &Ok(String::new()));
    for (number, (protocol, port)) in (0..).zip(SERVICES) {
        let seen = banned_and_free(&mut runs, port, 1_000 * number);
        report.check(ruleset.name, &format!("{protocol}: bans by both headers"), &seen);
        let seen = over_the_limit(&mut runs, port, 1_000 * number + 500);
        report.check(ruleset.name, &format!("{protocol}: over the limit"), &seen);
    }
}

/// A connection whose handshake has been seen.
fn connect(runs: &mut TestRuns, port: u16, number: u16) -> Result<Connection> {
    let connection = Connection { client_port: 20_000 + number, family: Family::V4, ..Connection::to(port) };
    runs.judge(&connection.syn_ack(), Direction::Out)?;
    Ok(connection)
}

/// What becomes of these bytes of a client, and why.
fn send(runs: &mut TestRuns, connection: &Connection, offset: usize, bytes: &[u8]) -> Result<String> {
    let judged = runs.judge(&connection.asked(offset, bytes), Direction::In)?;
    Ok(format!("{} {}", judged.verdict.label(), judged.reason.label()))
}

fn expect(seen: &str, expected: &str, what: &str) -> Result<()> {
    ensure!(seen == expected, "{what}: {seen}, and not {expected}");
    Ok(())
}

fn banned_and_free(runs: &mut TestRuns, port: u16, number: u16) -> Result<String> {
    let prefixes = BANNED.map(|prefix| prefix.parse::<IpNet>().expect("a prefix"));
    runs.bans().set_lengths(Lengths::of(prefixes))?;
    for (header, number) in [LINES[0].as_bytes(), LINES[1].as_bytes(), BINARY].into_iter().zip(number..) {
        let connection = connect(runs, port, number)?;
        expect(&send(runs, &connection, 0, header)?, "accept rule", "nobody is banned")?;
        for prefix in &prefixes {
            runs.bans().set(prefix, None)?;
        }
        expect(&send(runs, &connection, header.len(), b"G")?, "reject ban", "an open connection")?;
        let other = connect(runs, port, number + 100)?;
        expect(&send(runs, &other, 0, header)?, "reject ban", "a new connection")?;
        let is_answered = runs.answer(&other.asked(0, header), Direction::In)?.is_some();
        ensure!(is_answered, "no RST");
        let now = now_ns()?;
        for prefix in &prefixes {
            runs.bans().set(prefix, Some(now))?;
        }
    }
    Ok(String::new())
}

/// A client that no other step has: after twenty packets it is banned, and whoever sends in its name is not.
fn over_the_limit(runs: &mut TestRuns, port: u16, number: u16) -> Result<String> {
    let client = format!("198.18.{}.9", number / 500);
    let header = format!("PROXY TCP4 {client} 192.0.2.1 50000 443\r\n").into_bytes();
    runs.bans()
        .set_lengths(Lengths::of([client.parse::<std::net::IpAddr>().context("an address")?.into()]))?;
    let connection = connect(runs, port, number)?;
    for (offset, expected) in (0..).zip(["accept rule"; 20].into_iter().chain(["reject limit", "reject ban"]))
    {
        let seen = if offset == 0 {
            send(runs, &connection, 0, &header)?
        } else {
            send(runs, &connection, header.len() + offset - 1, b"G")?
        };
        expect(&seen, expected, &format!("packet {offset}"))?;
    }
    let bans = runs.bans().list()?;
    let now = now_ns()?;
    let banned: Vec<String> = bans
        .iter()
        .filter(|ban| ban.by_rule.is_some() && ban.until_ns > Some(now))
        .map(|ban| ban.prefix.to_string())
        .collect();
    ensure!(banned.contains(&format!("{client}/32")), "{banned:?}");
    let proxy = Family::V4.client().to_string();
    ensure!(!banned.iter().any(|prefix| prefix.starts_with(&proxy)), "{banned:?}");
    Ok(String::new())
}
