//! Ten thousand rules are swapped under a flood, and each packet is judged wholly by the old or wholly by the new.
//!
//! The ordinary run is short; with `FOOBAR_LONG=1` it is 200 swaps.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env,
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    daemon::Foobar,
    figures::say,
    frames::{Family, udp},
    network::{CLIENT, Network, SERVER},
    sender::Flood,
    tap::{Tap, is_udp_to, settle},
    wait,
};

/// Where the flood goes.
const PORT: u16 = 9;
/// Packets per second.
const RATE: u64 = 20_000;
/// Rules that no packet of the flood meets.
const OTHERS: u32 = 9_997;

/// Two rulesets in which every rule has another place, address and port. The flood meets [`Which::decisive`] of the
/// one in force; in any mixture of tables it would meet `mixture` or no rule at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    One,
    Two,
}

impl Which {
    const BOTH: [Self; 2] = [Self::One, Self::Two];

    /// The rule that drops the flood. One asks for its sources, the other for the port that it comes from.
    const fn decisive(self) -> (&'static str, &'static str) {
        match self {
            Self::One => ("one", "source = [\"192.0.2.0/24\", \"2001:db8::/64\"]"),
            Self::Two => ("two", "destination = [\"192.0.2.0/24\", \"2001:db8::/64\"]"),
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::One => Self::Two,
            Self::Two => Self::One,
        }
    }

    fn text(self) -> String {
        let mut text = String::from("schema = 1\n[policy]\nin = \"drop\"\n");
        let mut rule = |id: &str, conditions: &str| {
            writeln!(text, "[[rule]]\nid = \"{id}\"\naction = \"drop\"\n{conditions}").unwrap();
        };
        let (id, condition) = self.decisive();
        let decisive = format!("{condition}\nprotocol = \"udp\"\ndestination_port = {PORT}");
        for number in 0..OTHERS {
            let (place, octet) = match self {
                Self::One => (number, 10),
                Self::Two => (OTHERS - number, 172),
            };
            if number == OTHERS / 2 {
                rule(id, &decisive);
            }
            let address = format!("{octet}.{}.{}.0/24", 16 + (place >> 8), place & 255);
            let port = 1_024 + place % 50_000;
            rule(
                &format!("r{place}"),
                &format!("source = \"{address}\"\nprotocol = \"udp\"\ndestination_port = {port}"),
            );
        }
        // There, so that its counter is shown; the flood never comes from there.
        let (id, _) = self.other().decisive();
        rule(id, "source = \"203.0.113.0/24\"");
        rule("mixture", &format!("protocol = \"udp\"\ndestination_port = {PORT}"));
        text
    }
}

#[test]
fn each_packet_is_judged_by_the_old_or_by_the_new_rules() -> Result<()> {
    let swaps = if env::var_os("FOOBAR_LONG").is_some_and(|value| value == "1") { 200 } else { 6 };
    let network = Network::new()?;
    let texts = Which::BOTH.map(Which::text);
    let mut foobar = Foobar::new(&network.server, &[SERVER], &texts[0])?;
    foobar.start()?;
    let tap = Tap::start(&network.server, SERVER, |frame| is_udp_to(frame, PORT))?;
    let mut frames = Vec::new();
    for family in Family::BOTH {
        frames.push(udp(family, PORT, b"must not get through")?);
    }
    let flood = Flood::start(&network.client, CLIENT, frames, RATE)?;
    let mut times = Vec::new();
    // What the first swaps leave behind is theirs; from then on nothing may grow.
    let mut early = None;
    for number in 1..=swaps {
        let start = Instant::now();
        foobar.apply(&texts[number % 2])?;
        times.push(start.elapsed());
        if number == swaps / 2 {
            early = Some(open_files(foobar.pid()?)?);
        }
    }
    let sent = flood.stop()?;
    settle();
    let got_through = tap.stop()?;
    let metrics = foobar.scrape()?;
    let counted = |id| metrics.rule(id);
    say(&format!(
        "{swaps} swaps in {:?} to {:?}, {sent} packets, {} by one, {} by two, {got_through} got through",
        times.iter().min().unwrap_or(&Duration::ZERO),
        times.iter().max().unwrap_or(&Duration::ZERO),
        counted("one"),
        counted("two"),
    ));
    ensure!(sent > 1_000, "a flood of only {sent} packets");
    assert_eq!(got_through, 0, "packets that got through, of {sent}");
    assert_eq!(counted("mixture"), 0, "packets that met a mixture of both rulesets");
    assert_eq!(counted("one") + counted("two"), sent, "packets that met the rule that is meant for them");
    assert_eq!(metrics.packets(&[("iface", SERVER), ("action", "drop")]), sent, "packets dropped");
    assert!(counted("one") > 0 && counted("two") > 0, "each ruleset judged some");
    // The daemon closes what the last command and the scrape came by when it gets to it.
    let early = early.context("no swap")?;
    wait::until("no more files are open, which hold maps and programs", Duration::from_secs(5), || {
        Ok(open_files(foobar.pid()?)? <= early)
    })
}

/// How many files a process has open.
fn open_files(process: u32) -> Result<usize> {
    let folder = Path::new("/proc").join(process.to_string()).join("fd");
    Ok(fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?.count())
}
