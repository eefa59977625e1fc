//! Per-packet cost of limits.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use foobar_common::{
    flow::Direction,
    verdict::{Reason, Verdict},
};
use foobar_daemon::dataplane::timed_runs::TimedRuns;
use foobar_tests::{packets, rulesets::INTERFACE};

use crate::{
    driver::Driver,
    plan::Plan,
    report::{Report, Row},
    samples::{Samples, aim},
};

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
    let runs = aim(driver, &format!("{RULES}{limit}\n"))?;
    let frames: Vec<Vec<u8>> = (0..*sources).map(datagram).collect();
    driver.feed(&frames)?;
    // Every source has a bucket, and has sent what a burst of one lets through.
    frames.iter().try_for_each(|frame| runs.goes_in(frame))?;
    let before = counted(&runs, *outcome)?;
    let samples = Samples::take(driver, plan.effort.samples)?;
    let found = counted(&runs, *outcome)? - before;
    ensure!(found == samples.sent, "{name}: {found} packets had this outcome of {}", samples.sent);
    report.add(samples.show(Row::new("limits", *name)));
    Ok(())
}

fn datagram(number: u32) -> Vec<u8> {
    let source = Ipv4Addr::from(0x0a00_0000 + number).to_string();
    packets::udp((&source, 40_000), ("192.0.2.1", 53), 32).frame()
}

fn counted(runs: &TimedRuns, (verdict, reason): (Verdict, Reason)) -> Result<u64> {
    let counters = runs.counters()?;
    let key = (INTERFACE.to_owned(), Direction::In, verdict, reason);
    Ok(counters.verdicts.get(&key).map_or(0, |counter| counter.packets))
}
