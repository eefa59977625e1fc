//! Frames through the program by `BPF_PROG_TEST_RUN`.

use anyhow::{Context as _, Result, ensure};
use foobar_daemon::{
    dataplane::{
        load::LoadedRuleset,
        test_runs::{Judgement, TestRuns},
    },
    slots::Slots,
};

use crate::{frames, machine::FILTERED, report::Report, rulesets::Ruleset};

/// Loads a ruleset and sends it the frames that it says something of.
pub(crate) fn run(report: &mut Report, ruleset: &Ruleset) {
    let Ruleset { name: section, text: _, many: _, judged } = ruleset;
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
    Report::instructions(section, runs.facts().ok().and_then(|facts| facts.verified_instructions));
    for (frame, expected) in *judged {
        let seen = judge(&mut runs, frame).and_then(|seen| {
            ensure!(seen == *expected, "{seen}, and not {expected}");
            Ok(seen)
        });
        report.check(section, frame, &seen);
    }
    report.check(section, "every frame is counted once", &counted(&runs, judged.len()));
}

/// Verdict and reason, or the rule if that is the reason.
fn judge(runs: &mut TestRuns, frame: &str) -> Result<String> {
    let frame = frames::by_name(frame).with_context(|| format!("there is no frame '{frame}'"))?;
    let Judgement { verdict, reason, rule } = runs.judge(&frame)?;
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
