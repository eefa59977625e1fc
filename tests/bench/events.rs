//! What samples cost the packets that are drawn, and those that are not.

use anyhow::{Context as _, Result, ensure};
use foobar_common::flow::Direction;
use foobar_daemon::{
    dataplane::{load::LoadedRuleset, test_runs::TestRuns},
    rules::{bundle::Bundle, compile::compile},
    slots::Slots,
};
use foobar_tests::frames::{self, Family};

use crate::{
    figures::{Figure, Spread},
    plan::Plan,
    report::{Report, Row},
};

/// Packets in a sample: fewer than the ring has room for.
const RUNS: u32 = 3_000;
const EACH: &str = "log = \"1/1\"";

/// Rules, and who looks at what they draw.
struct Case {
    name: &'static str,
    /// What the policy draws, the rule that the packet meets, and another one.
    draws: [&'static str; 3],
    is_watched: bool,
    is_emptied: bool,
}

const CASES: [Case; 7] = [
    Case { name: "nothing logged", draws: ["", "", ""], is_watched: true, is_emptied: true },
    Case { name: "another rule is logged", draws: ["", "", EACH], is_watched: true, is_emptied: true },
    Case {
        name: "drops are logged, and the packet is accepted",
        draws: ["log_drops = \"1/1\"", "", ""],
        is_watched: true,
        is_emptied: true,
    },
    Case { name: "1/1000", draws: ["", "log = \"1/1000\"", ""], is_watched: true, is_emptied: true },
    Case { name: "1/1, nobody watches", draws: ["", EACH, ""], is_watched: false, is_emptied: true },
    Case { name: "1/1, the ring is full", draws: ["", EACH, ""], is_watched: true, is_emptied: false },
    Case { name: "1/1", draws: ["", EACH, ""], is_watched: true, is_emptied: true },
];

/// Measures a datagram of 600 bytes that a rule accepts, in each case beside the first.
pub(crate) fn run(report: &mut Report, plan: &Plan) -> Result<()> {
    let frame = frames::udp(Family::V4, 7, &[0x5a; 600])?;
    let mut cases =
        CASES.iter().map(|case| Ok((case, load(case)?, Vec::new()))).collect::<Result<Vec<_>>>()?;
    for sample in 0..=plan.effort.samples {
        for (case, runs, times) in &mut cases {
            let took = runs.time(&frame, Direction::In, RUNS)?;
            if case.is_emptied {
                runs.take_events();
            }
            // The first one fills the caches and is not counted.
            if sample > 0 {
                times.push(took.as_secs_f64() * 1e9);
            }
        }
    }
    let nothing = cases.first().context("a case")?.2.clone();
    for (case, runs, times) in &cases {
        let counters = runs.event_counters()?;
        ensure!(counters.lost == 0 || !case.is_emptied, "{}: {counters:?}", case.name);
        let more = times.iter().zip(&nothing).map(|(time, nothing)| time - nothing).collect();
        report.add(
            Row::new("events", case.name)
                .with("each", Figure::Nanoseconds(Spread::of(times.clone())))
                .with("over nothing logged", Figure::Nanoseconds(Spread::of(more))),
        );
    }
    Ok(())
}

fn load(case: &Case) -> Result<TestRuns> {
    let Case { name, draws: [drops, of_rule, of_other], is_watched, is_emptied: _ } = case;
    let rules = format!(
        "schema = 1\n[policy]\nin = \"drop\"\nreplies = \"rules\"\n{drops}\n\
         [[rule]]\nid = \"seven\"\naction = \"accept\"\nprotocol = \"udp\"\ndestination_port = 7\n{of_rule}\n\
         [[rule]]\nid = \"nine\"\naction = \"accept\"\nprotocol = \"udp\"\ndestination_port = 9\n{of_other}\n"
    );
    let ruleset =
        Bundle::of_text("rules", &rules).parse().with_context(|| format!("read the rules of {name}"))?;
    let slots = Slots::for_once(&ruleset, &["eth0".to_owned()])?;
    let mut runs = LoadedRuleset::for_test_runs(&compile(&ruleset, &slots)?, "eth0")?;
    runs.watch(*is_watched)?;
    Ok(runs)
}
