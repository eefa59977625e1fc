//! Per-packet cost of limits.

use std::net::Ipv4Addr;

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
use foobar_tests::packets;

use crate::{
    driver::Driver,
    figures::{Figure, Spread},
    plan::Plan,
    report::{Report, Row},
};

/// Packets in a sample.
const RUNS: u32 = 1 << 16;
/// The rule that all packets meet, without the end of its last line.
const RULES: &str = "schema = 1\n[policy]\nin = \"drop\"\nreplies = \"rules\"\n[[rule]]\nid = \"dns\"\naction = \"accept\"\n\
                     protocol = \"udp\"\ndestination_port = 53\n";

/// A limit, how many sources meet it in turns, and what becomes of their packets.
struct Case {
    name: &'static str,
    limit: &'static str,
    sources: u32,
    outcome: (Verdict, Reason),
}

const WITHIN: (Verdict, Reason) = (Verdict::Accept, Reason::Rule);
/// More than a run sends.
const BY_SOURCE: &str = "limit = { rate = \"10000000/s\", burst = 100000000, per = \"source\" }";

const CASES: [Case; 6] = [
    Case { name: "no limit", limit: "", sources: 1, outcome: WITHIN },
    Case {
        name: "within one per rule",
        limit: "limit = { rate = \"10000000/s\", burst = 100000000 }",
        sources: 1,
        outcome: WITHIN,
    },
    Case { name: "within one per source, 1 source", limit: BY_SOURCE, sources: 1, outcome: WITHIN },
    Case { name: "within one per source, 1,000 sources", limit: BY_SOURCE, sources: 1_000, outcome: WITHIN },
    Case {
        name: "within one per source, 30,000 sources",
        limit: BY_SOURCE,
        sources: 30_000,
        outcome: WITHIN,
    },
    Case {
        name: "over one per source, 1,000 sources",
        limit: "limit = { rate = \"1/d\", burst = 1, per = \"source\" }",
        sources: 1_000,
        outcome: (Verdict::Drop, Reason::Limit),
    },
];

/// Measures a datagram that a rule is about, in each case.
pub(crate) fn run(driver: &mut Driver, report: &mut Report, plan: &Plan) -> Result<()> {
    CASES.iter().try_for_each(|case| measure(driver, report, plan, case))
}

fn measure(driver: &mut Driver, report: &mut Report, plan: &Plan, case: &Case) -> Result<()> {
    let Case { name, limit, sources, outcome } = case;
    report.say(&format!("limits: {name}"));
    let ruleset = Bundle::of_text("rules", &format!("{RULES}{limit}\n")).parse().context("read the rules")?;
    let slots = Slots::for_once(&ruleset, &["eth0".to_owned()])?;
    let runs = LoadedRuleset::for_timed_runs(&compile(&ruleset, &slots)?, "eth0")?;
    driver.aim(runs.ingress_fd()?)?;
    let frames: Vec<Vec<u8>> = (0..*sources).map(datagram).collect();
    driver.feed(&frames)?;
    // Every source has a bucket, and has sent what a burst of one lets through.
    frames.iter().try_for_each(|frame| runs.goes_in(frame))?;
    let before = counted(&runs, *outcome)?;
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
    let found = counted(&runs, *outcome)? - before;
    ensure!(found == sent, "{name}: {found} packets had this outcome of {sent}");
    report.add(
        Row::new("limits", *name)
            .with("over parse", Figure::Nanoseconds(Spread::of(over_parse)))
            .with("parse only", Figure::Nanoseconds(Spread::of(parse))),
    );
    Ok(())
}

fn datagram(number: u32) -> Vec<u8> {
    let source = Ipv4Addr::from(0x0a00_0000 + number).to_string();
    packets::udp((&source, 40_000), ("192.0.2.1", 53), 32).frame()
}

fn counted(runs: &TimedRuns, (verdict, reason): (Verdict, Reason)) -> Result<u64> {
    let counters = runs.counters()?;
    let key = ("eth0".to_owned(), Direction::In, verdict, reason);
    Ok(counters.verdicts.get(&key).map_or(0, |counter| counter.packets))
}
