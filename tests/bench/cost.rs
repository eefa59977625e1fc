//! What a loaded ruleset costs per packet, beside the bare program and the parser in the same run.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use foobar_bench_programs::Target;
use foobar_common::verdict::Verdict;
use foobar_daemon::{dataplane::timed_runs::TimedRuns, rules::model::Ruleset};
use foobar_tests::headers::{Headers, judged};

use crate::{
    driver::Driver,
    figures::{Figure, Spread},
    report::Row,
};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Interleaved samples.
    pub(crate) samples: u32,
    /// Runs in each of them.
    pub(crate) runs: u32,
    /// Packets whose verdict is compared with the plain reading.
    pub(crate) checked: usize,
}

/// Feeds these packets, makes sure that each gets the verdict and rule that the plain reading says, and adds what
/// they cost.
pub(crate) fn measure(
    driver: &mut Driver,
    runs: &TimedRuns,
    ruleset: &Ruleset,
    packets: &[Headers],
    effort: Effort,
    row: Row,
) -> Result<Row> {
    let frames: Vec<Vec<u8>> = packets.iter().map(Headers::frame).collect();
    driver.aim(runs.ingress_fd()?)?;
    driver.feed(&frames)?;
    check(driver, runs, ruleset, &frames, effort.checked)?;
    let (mut bare, mut parse) = (Vec::new(), Vec::new());
    let (mut over_bare, mut over_parse) = (Vec::new(), Vec::new());
    // The first one fills the caches and is not counted.
    for sample in 0..=effort.samples {
        let alone = driver.time_bare(effort.runs)?;
        let baseline = driver.time(Target::Bare, effort.runs)?;
        let parsed = driver.time(Target::ParseOnly, effort.runs)?;
        let judged = driver.time(Target::Subject, effort.runs)?;
        if sample > 0 {
            bare.push(alone);
            parse.push(parsed - baseline);
            over_bare.push(judged - baseline);
            over_parse.push(judged - parsed);
        }
    }
    let (bare, over_bare) = (Spread::of(bare), Spread::of(over_bare));
    Ok(row
        .with("packets", Figure::Count(packets.len() as u64))
        .with("foobar", Figure::Nanoseconds(over_bare))
        .with("over parse", Figure::Nanoseconds(Spread::of(over_parse)))
        .with("parse only", Figure::Nanoseconds(Spread::of(parse)))
        .with("bare XDP_DROP", Figure::Nanoseconds(bare))
        .with("foobar/bare", Figure::Ratio(over_bare.median / bare.median.max(1.0))))
}

/// Those of the packets that take longest: so many, of as many as are given.
pub(crate) fn slowest(
    driver: &mut Driver,
    runs: &TimedRuns,
    packets: &[Headers],
    count: usize,
) -> Result<Vec<Headers>> {
    let frames: Vec<Vec<u8>> = packets.iter().map(Headers::frame).collect();
    driver.aim(runs.ingress_fd()?)?;
    driver.feed(&frames)?;
    let mut candidates: Vec<(f64, usize)> = Vec::new();
    for number in 0..packets.len() {
        candidates.push((driver.time_one(u32::try_from(number)?, 300)?, number));
    }
    // A disturbance makes a packet look slow, never fast: a second look with more runs tells.
    for (rounds, kept) in [(2, count * 8), (3, count)] {
        candidates.sort_by(|one, other| other.0.total_cmp(&one.0));
        candidates.truncate(kept);
        for (time, number) in &mut candidates {
            for _ in 0..rounds {
                *time = time.min(driver.time_one(u32::try_from(*number)?, 2_000)?);
            }
        }
    }
    Ok(candidates.into_iter().map(|(_, number)| packets[number]).collect())
}

/// Compares verdicts and counters with the plain reading: a wrong verdict is never timed.
fn check(
    driver: &mut Driver,
    runs: &TimedRuns,
    ruleset: &Ruleset,
    frames: &[Vec<u8>],
    checked: usize,
) -> Result<()> {
    let before = runs.counters()?;
    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    for (number, frame) in frames.iter().enumerate().step_by(frames.len().div_ceil(checked.max(1))) {
        let evaluation = judged(ruleset, frame);
        // enum xdp_action, include/uapi/linux/bpf.h
        let wanted = match evaluation.verdict {
            Verdict::Drop | Verdict::Reject => 1,
            Verdict::Accept => 2,
            Verdict::Answer => 3,
        };
        let action = driver.action(u32::try_from(number)?)?;
        ensure!(
            action == wanted,
            "packet {number} got the XDP code {action} where the rules say {evaluation:?}: {frame:02x?}"
        );
        if let Some(rule) = evaluation.rule {
            *expected.entry(rule).or_default() += 1;
        }
    }
    let after = runs.counters()?;
    for (rule, counter) in &after.rules {
        let earlier = before.rules.get(rule).context("a rule that was not there before")?.packets;
        let wanted = expected.get(rule.as_str()).copied().unwrap_or(0);
        let found = counter.packets - earlier;
        ensure!(found == wanted, "rule {rule} took {found} packets where the rules say {wanted}");
    }
    Ok(())
}
