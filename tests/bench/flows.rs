//! Per-packet cost of what belongs to known connections.

use anyhow::{Context as _, Result, ensure};
use foobar_bench_programs::Target;
use foobar_common::{
    flow::Direction,
    verdict::{Reason, Verdict},
};
use foobar_daemon::{
    dataplane::{load::LoadedRuleset, timed_runs::TimedRuns},
    rules::{bundle::Bundle, compile::compile},
    slots::Slots,
};
use foobar_tests::packets::{self, flag};

use crate::{
    driver::Driver,
    figures::{Figure, Spread},
    plan::Plan,
    report::{Report, Row},
};

/// Packets in a sample.
const RUNS: u32 = 1 << 16;
const TRACKED: &str = "schema = 1\n[policy]\nin = \"drop\"\n";
/// The same packets, accepted by a rule.
const UNTRACKED: &str = "schema = 1\n[policy]\nin = \"drop\"\nreplies = \"rules\"\n[[rule]]\nid = \"all\"\naction = \"accept\"\n\
    tcp_flags = { set = [\"ack\"] }\n";

/// Measures packets of different numbers of connections, with and without tracking.
pub(crate) fn run(driver: &mut Driver, report: &mut Report, plan: &Plan) -> Result<()> {
    for (what, rules, reason) in
        [("tracked", TRACKED, Reason::Replies), ("by a rule on flags", UNTRACKED, Reason::Rule)]
    {
        for count in [1, 256, 65_536] {
            measure(driver, report, plan, (what, rules, reason), count)?;
        }
    }
    Ok(())
}

fn measure(
    driver: &mut Driver,
    report: &mut Report,
    plan: &Plan,
    (what, rules, reason): (&str, &str, Reason),
    count: u32,
) -> Result<()> {
    let name = format!("an ACK of {count} connections, {what}");
    report.say(&format!("flows: {name}"));
    let ruleset = Bundle::of_text("rules", rules).parse().context("read the rules")?;
    let slots = Slots::for_once(&ruleset, &["eth0".to_owned()])?;
    let runs = LoadedRuleset::for_timed_runs(&compile(&ruleset, &slots)?, "eth0")?;
    driver.aim(runs.ingress_fd()?)?;
    let frames: Vec<Vec<u8>> = (0..count).map(|number| open(&runs, number)).collect::<Result<_>>()?;
    driver.feed(&frames)?;
    let before = accepted(&runs, reason)?;
    let (mut over_parse, mut parse) = (Vec::new(), Vec::new());
    for sample in 0..=plan.effort.samples {
        let baseline = driver.time(Target::Bare, RUNS)?;
        let parsed = driver.time(Target::ParseOnly, RUNS)?;
        let read = driver.time(Target::Subject, RUNS)?;
        // The first one fills the caches and is not counted.
        if sample > 0 {
            over_parse.push(read - parsed);
            parse.push(parsed - baseline);
        }
    }
    let sent = u64::from(RUNS) * u64::from(plan.effort.samples + 1);
    let found = accepted(&runs, reason)? - before;
    ensure!(found == sent, "{name}: {found} packets were accepted of {sent}");
    report.add(
        Row::new("flows", name)
            .with("over parse", Figure::Nanoseconds(Spread::of(over_parse)))
            .with("parse only", Figure::Nanoseconds(Spread::of(parse))),
    );
    Ok(())
}

/// Opens a connection from the server, and gives the frame of its peer that is measured.
fn open(runs: &TimedRuns, number: u32) -> Result<Vec<u8>> {
    let peer = std::net::Ipv4Addr::from(0xc633_0000 + number).to_string();
    let segment = |from_server: bool, flags: u8, sequence: u32, accepted: u32| {
        let (ours, theirs) = (("192.0.2.1", 40_000), (peer.as_str(), 443));
        let (source, destination) = if from_server { (ours, theirs) } else { (theirs, ours) };
        let mut packet = packets::tcp(source, destination, flags);
        for (at, byte) in (4..).zip([sequence.to_be_bytes(), accepted.to_be_bytes()].concat()) {
            packet = packet.set(at, byte);
        }
        packet.frame()
    };
    runs.goes_out(&segment(true, flag::SYN, 1, 0))?;
    runs.goes_in(&segment(false, flag::SYN | flag::ACK, 8, 2))?;
    runs.goes_out(&segment(true, flag::ACK, 2, 9))?;
    Ok(segment(false, flag::ACK, 9, 2))
}

fn accepted(runs: &TimedRuns, reason: Reason) -> Result<u64> {
    let counters = runs.counters()?;
    let key = ("eth0".to_owned(), Direction::In, Verdict::Accept, reason);
    Ok(counters.verdicts.get(&key).map_or(0, |counter| counter.packets))
}
