//! Bans of every length, made, ended and lifted.

use anyhow::{Context as _, Result, ensure};
use foobar_common::{flow::Direction, verdict::Reason};
use foobar_daemon::{
    dataplane::{
        bans::{Lengths, now_ns},
        load::LoadedRuleset,
        test_runs::TestRuns,
    },
    slots::Slots,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{frames, machine::FILTERED, report::Report, rulesets::Ruleset};

const SECTION: &str = "bans";
/// Whom the ruleset spares is asked of the table of addresses, which nothing else uses here.
const RULES: Ruleset = Ruleset {
    name: SECTION,
    text: "schema = 1\n[failsafe]\nnever_ban = [\"2001:db8:40::/64\"]\n",
    many: 0,
    judged: &[],
    judged_out: &[],
};

/// A ban, the frame that is sent then, and what becomes of it.
const STEPS: [(&str, &str, Until, &str, &str); 7] = [
    ("an address", "198.51.100.1/32", Until::Never, "udp to 9999", "drop ban"),
    ("an address that is free again", "198.51.100.1/32", Until::Before, "udp to 9999", "accept policy"),
    ("a prefix", "198.51.100.0/24", Until::Later, "udp to 9999", "drop ban"),
    ("a later fragment", "198.51.100.0/24", Until::Later, "later fragment", "drop ban"),
    ("the longest prefix of ipv6", "2001:db8:1::/127", Until::Later, "ping of ipv6", "drop ban"),
    ("a prefix of ipv6 that is over", "2001:db8:1::/127", Until::Before, "ping of ipv6", "accept policy"),
    ("who is spared", "2001:db8:40::/48", Until::Never, "tcp of ipv6 from an office", "accept policy"),
];

#[derive(Clone, Copy)]
enum Until {
    Before,
    Later,
    Never,
}

/// Has frames meet bans, among others of every length that there is.
pub(crate) fn run(report: &mut Report) {
    let loaded = load();
    report.check(
        SECTION,
        "load",
        &loaded.as_ref().map(|_| String::new()).map_err(|error| anyhow::anyhow!("{error:#}")),
    );
    let Ok(mut runs) = loaded else { return };
    for (name, prefix, until, frame, expected) in STEPS {
        let seen = step(&mut runs, prefix, until, frame).and_then(|seen| {
            ensure!(seen == expected, "{seen}, and not {expected}");
            Ok(seen)
        });
        report.check(SECTION, name, &seen);
    }
    report.check(SECTION, "what is stopped is counted", &count(&mut runs));
}

/// What bans count of many packets, before and after they are made longer.
fn count(runs: &mut TestRuns) -> Result<String> {
    const TIMES: u32 = 1_000;
    let (address, prefix) = ("198.51.100.1/32".parse()?, "198.51.100.0/24".parse()?);
    let frame = frames::by_name("udp to 9999").context("there is no such frame")?;
    let mut all = 0;
    for ban in [&prefix, &address] {
        runs.bans().set(ban, None)?;
        for longer in [None, Some(now_ns()? + 3_600_000_000_000)] {
            runs.bans().set(ban, longer)?;
            runs.time(&frame, Direction::In, TIMES)?;
            all += u64::from(TIMES);
        }
    }
    let counted = [packets(runs, &prefix)?, packets(runs, &address)?];
    // That of the address is found first.
    ensure!(counted == [all / 2; 2], "{counted:?} of {all}");
    runs.bans().lift(&prefix)?;
    runs.bans().lift(&address)?;
    Ok(String::new())
}

/// What a ban has stopped.
fn packets(runs: &mut TestRuns, prefix: &IpNet) -> Result<u64> {
    let bans = runs.bans().list()?;
    let ban = bans.iter().find(|ban| ban.prefix == *prefix);
    Ok(ban.with_context(|| format!("the ban of {prefix} is not there"))?.packets)
}

fn load() -> Result<TestRuns> {
    let compiled = RULES.compile(&mut Slots::default())?;
    let mut runs = LoadedRuleset::for_test_runs(&compiled, FILTERED)?;
    // Of other addresses: nothing is found of them, but all are looked up.
    let v4 =
        (1..=32).map(|length| Ok(IpNet::from(Ipv4Net::new([15, 255, 255, 255].into(), length)?.trunc())));
    let v6 = (1..=128).map(|length| Ok(IpNet::from(Ipv6Net::new([0xff; 16].into(), length)?.trunc())));
    let others = v4.chain(v6).collect::<Result<Vec<IpNet>>>()?;
    for prefix in &others {
        runs.bans().set(prefix, None)?;
    }
    runs.bans().set_lengths(Lengths::of(others))?;
    Ok(runs)
}

fn step(runs: &mut TestRuns, prefix: &str, until: Until, frame: &str) -> Result<String> {
    let prefix = prefix.parse().context("a prefix")?;
    let now = now_ns()?;
    let until_ns = match until {
        Until::Before => Some(now),
        Until::Later => Some(now + 3_600_000_000_000),
        Until::Never => None,
    };
    runs.bans().set(&prefix, until_ns)?;
    let frame = frames::by_name(frame).with_context(|| format!("there is no frame '{frame}'"))?;
    let judged = runs.judge(&frame, Direction::In)?;
    let counted = packets(runs, &prefix)?;
    let stopped = u64::from(judged.reason == Reason::Ban);
    ensure!(counted == stopped, "the ban of {prefix} has counted {counted}, and not {stopped}");
    runs.bans().lift(&prefix)?;
    Ok(format!("{} {}", judged.verdict.label(), judged.reason.label()))
}
