//! What samples cost the packets that are drawn, and those that are not.

use std::time::Duration;

use anyhow::{Result, ensure};
use foobar_common::flow::Direction;
use foobar_daemon::{
    dataplane::{load::LoadedRuleset, test_runs::TestRuns},
    rules::{bundle::Bundle, compile::compile},
    slots::Slots,
};
use foobar_tests::{
    figures::say,
    frames::{self, Family},
};

/// Fewer than the ring has room for.
const RUNS: u32 = 3_000;

fn load(drops: &str, log: &str, other: &str) -> Result<TestRuns> {
    let rules = format!(
        "schema = 1\n[policy]\nin = \"drop\"\nreplies = \"rules\"\n{drops}\n\
         [[rule]]\nid = \"seven\"\naction = \"accept\"\nprotocol = \"udp\"\ndestination_port = 7\n{log}\n\
         [[rule]]\nid = \"nine\"\naction = \"accept\"\nprotocol = \"udp\"\ndestination_port = 9\n{other}\n"
    );
    let ruleset = Bundle::of_text("rules.toml", &rules).parse()?;
    let slots = Slots::for_once(&ruleset, &["eth0".to_owned()])?;
    LoadedRuleset::for_test_runs(&compile(&ruleset, &slots)?, "eth0")
}

/// With `FOOBAR_LONG=1` the figures are those of many runs; they are printed, and hold nobody up on a busy machine.
#[test]
fn packets_that_are_not_drawn_pay_next_to_nothing() -> Result<()> {
    let rounds = if std::env::var_os("FOOBAR_LONG").is_some() { 400 } else { 20 };
    let each = "log = \"1/1\"";
    // What the case is called, the rules, whether somebody watches, and whether the ring is emptied.
    let mut cases = Vec::new();
    for (name, (drops, log, other), watches, empties) in [
        ("nothing logged", ("", "", ""), true, true),
        ("another rule is logged", ("", "", each), true, true),
        ("drops are logged, and the packet is accepted", ("log_drops = \"1/1\"", "", ""), true, true),
        ("1/1000", ("", "log = \"1/1000\"", ""), true, true),
        ("1/1, nobody watches", ("", each, ""), false, true),
        ("1/1, the ring is full", ("", each, ""), true, false),
        ("1/1", ("", each, ""), true, true),
    ] {
        let mut runs = load(drops, log, other)?;
        runs.watch(watches)?;
        cases.push((name, runs, empties, Duration::MAX));
    }
    let frame = frames::udp(Family::V4, 7, &[0x5a; 600])?;
    // Side by side, and of each the least: others only ever make it longer.
    for _ in 0..rounds {
        for (_, runs, empties, least) in &mut cases {
            let took = runs.time(&frame, Direction::In, RUNS)?;
            *least = took.min(*least);
            if *empties {
                runs.take_events();
            }
        }
    }
    let nothing = cases[0].3;
    for (name, runs, empties, least) in &cases {
        let counters = runs.event_counters()?;
        say(&format!(
            "{name}: {} ns, {} ns more",
            least.as_nanos(),
            least.as_nanos().saturating_sub(nothing.as_nanos())
        ));
        ensure!(counters.lost == 0 || !empties, "{name}: {counters:?}");
    }
    Ok(())
}
