//! Frames through the program by `BPF_PROG_TEST_RUN`.

use anyhow::{Context as _, Result, ensure};
use foobar_common::flow::Direction;
use foobar_daemon::{
    dataplane::{
        load::LoadedRuleset,
        programs::ProgramFacts,
        test_runs::{Judgement, TestRuns},
    },
    slots::Slots,
};

use crate::{frames, machine::FILTERED, report::Report, rulesets::Ruleset};

/// Loads a ruleset and sends it the frames that it says something of.
pub(crate) fn run(report: &mut Report, ruleset: &Ruleset) {
    let Ruleset { name: section, text: _, many: _, judged, judged_out } = ruleset;
    let loaded = ruleset
        .compile(&mut Slots::default())
        .and_then(|compiled| LoadedRuleset::for_test_runs(&compiled, FILTERED));
    let mut runs = match loaded {
        Ok(runs) => runs,
        Err(error) => {
            report.check(section, "load", &Err(error));
            return;
        }
    };
    report.check(section, "load", &Ok(String::new()));
    let most =
        |facts: Vec<ProgramFacts>| facts.iter().filter_map(|program| program.verified_instructions).max();
    Report::instructions(section, runs.facts().ok().and_then(most));
    for (direction, judged) in [(Direction::In, judged), (Direction::Out, judged_out)] {
        for (frame, expected) in *judged {
            let seen = judge(&mut runs, frame, direction).and_then(|seen| {
                ensure!(seen == *expected, "{seen}, and not {expected}");
                Ok(seen)
            });
            let name = match direction {
                Direction::In => (*frame).to_owned(),
                Direction::Out => format!("out: {frame}"),
            };
            report.check(section, &name, &seen);
        }
    }
    report.check(section, "every frame is counted once", &counted(&runs, judged.len() + judged_out.len()));
}

/// Verdict and reason, or the rule if that is the reason.
fn judge(runs: &mut TestRuns, frame: &str, direction: Direction) -> Result<String> {
    let frame = frames::by_name(frame).with_context(|| format!("there is no frame '{frame}'"))?;
    let Judgement { verdict, reason, rule } = runs.judge(&frame, direction)?;
    Ok(format!("{} {}", verdict.label(), rule.as_deref().unwrap_or(reason.label())))
}

fn counted(runs: &TestRuns, frames: usize) -> Result<String> {
    let counters = runs.counters()?;
    let verdicts: u64 = counters.verdicts.values().map(|counter| counter.packets).sum();
    let ports: u64 = counters.ports.values().map(|counter| counter.packets).sum();
    ensure!(
        verdicts == frames as u64 && ports == verdicts,
        "{frames} frames: {verdicts} in the counters of verdicts, {ports} in those of ports"
    );
    Ok(format!("{frames} frames"))
}
