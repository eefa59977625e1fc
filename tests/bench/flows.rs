//! Per-packet cost of what belongs to known connections.

use anyhow::{Result, ensure};
use foobar_common::{
    flow::Direction,
    verdict::{Reason, Verdict},
};
use foobar_daemon::dataplane::timed_runs::TimedRuns;
use foobar_tests::{
    packets::{self, flag},
    rulesets::INTERFACE,
};

use crate::{
    driver::Driver,
    plan::Plan,
    report::{Report, Row},
    samples::{Samples, aim},
};

const TRACKED: &str = "schema = 1\n[policy]\nin = \"drop\"\n";
/// The same packets, accepted by a rule.
const UNTRACKED: &str = "schema = 1\n[policy]\nin = \"drop\"\nreplies = \"rules\"\n[[rule]]\nid = \"all\"\naction = \"accept\"\n\
    tcp_flags = { set = [\"ack\"] }\n";

/// Measures packets of different numbers of connections, with and without tracking.
pub(crate) fn run(driver: &mut Driver, report: &mut Report, plan: &Plan) -> Result<()> {
    const ACCEPTED: Verdict = Verdict::Accept;
    const DROPPED: Verdict = Verdict::Drop;
    for case in [
        Case { what: "tracked", rules: TRACKED, is_open: true, outcome: (ACCEPTED, Reason::Replies) },
        Case {
            what: "tracked, not open",
            rules: TRACKED,
            is_open: false,
            outcome: (DROPPED, Reason::Policy),
        },
        Case {
            what: "by a rule on flags",
            rules: UNTRACKED,
            is_open: true,
            outcome: (ACCEPTED, Reason::Rule),
        },
    ] {
        for count in [1, 256, 65_536] {
            measure(driver, report, plan, &case, count)?;
        }
    }
    Ok(())
}

/// Packets that are measured.
struct Case {
    what: &'static str,
    rules: &'static str,
    /// Whether their connections have been opened.
    is_open: bool,
    /// What becomes of them.
    outcome: (Verdict, Reason),
}

fn measure(
    driver: &mut Driver,
    report: &mut Report,
    plan: &Plan,
    &Case { what, rules, is_open, outcome }: &Case,
    count: u32,
) -> Result<()> {
    let name = format!("an ACK of {count} connections, {what}");
    report.say(&format!("flows: {name}"));
    let runs = aim(driver, rules)?;
    let frames: Vec<Vec<u8>> =
        (0..count).map(|number| frame(&runs, number, is_open)).collect::<Result<_>>()?;
    driver.feed(&frames)?;
    let before = judged(&runs, outcome)?;
    let samples = Samples::take(driver, plan.effort.samples)?;
    let found = judged(&runs, outcome)? - before;
    ensure!(found == samples.sent, "{name}: {found} packets met {outcome:?} of {}", samples.sent);
    report.add(samples.show(Row::new("flows", name)));
    Ok(())
}

/// The frame that is measured, of the peer in a connection from the server, which is opened or not.
fn frame(runs: &TimedRuns, number: u32, is_open: bool) -> Result<Vec<u8>> {
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
    if is_open {
        runs.goes_out(&segment(true, flag::SYN, 1, 0))?;
        runs.goes_in(&segment(false, flag::SYN | flag::ACK, 8, 2))?;
        runs.goes_out(&segment(true, flag::ACK, 2, 9))?;
    }
    Ok(segment(false, flag::ACK, 9, 2))
}

/// How many packets were judged so.
fn judged(runs: &TimedRuns, (verdict, reason): (Verdict, Reason)) -> Result<u64> {
    let counters = runs.counters()?;
    let key = (INTERFACE.to_owned(), Direction::In, verdict, reason);
    Ok(counters.verdicts.get(&key).map_or(0, |counter| counter.packets))
}
