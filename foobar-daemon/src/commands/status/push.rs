//! Which services get the metrics, and what they have not got.

use std::{io::Write, time::SystemTime};

use anyhow::Result;

use super::age;
use crate::push::stats::{PushFacts, TargetFacts};

pub(super) fn write(out: &mut dyn Write, facts: &PushFacts, now: SystemTime) -> Result<()> {
    let PushFacts { path, read_unix_ms, error, targets } = facts;
    writeln!(out, "pushed   as {path} says")?;
    if let Some(error) = error {
        writeln!(out, "  NOT READ {} ago, what it said before stays in force:", age(*read_unix_ms, now))?;
        writeln!(out, "    {error}")?;
    }
    for target in targets {
        write_target(out, target, now)?;
    }
    Ok(())
}

fn write_target(out: &mut dyn Write, target: &TargetFacts, now: SystemTime) -> Result<()> {
    let TargetFacts {
        name,
        kind,
        endpoint,
        interval_seconds,
        points,
        lost,
        failures,
        spool_bytes,
        spool_bytes_max,
        spool_points,
        lag_seconds,
        last_success_unix_ms,
        problem,
    } = target;
    writeln!(out, "  {name}  {endpoint} ({kind}), every {interval_seconds} s")?;
    let last = match last_success_unix_ms {
        Some(unix_ms) => format!("last {} ago", age(*unix_ms, now)),
        None => "none yet".to_owned(),
    };
    writeln!(out, "    {points} points sent, {last}")?;
    if *spool_points > 0 {
        writeln!(
            out,
            "    {spool_points} points wait, the oldest since {lag_seconds:.0} s: {} of {} KiB",
            spool_bytes / 1024,
            spool_bytes_max / 1024
        )?;
    }
    let counted = |counts: Vec<(&str, u64)>| {
        let words: Vec<String> =
            counts.into_iter().map(|(label, count)| format!("{label} {count}")).collect();
        words.join(", ")
    };
    if !lost.is_empty() {
        let lost = lost.iter().map(|(loss, points)| (loss.label(), *points)).collect();
        writeln!(out, "    points LOST: {}", counted(lost))?;
    }
    if !failures.is_empty() {
        let failures = failures.iter().map(|(failure, requests)| (failure.label(), *requests)).collect();
        writeln!(out, "    requests that failed: {}", counted(failures))?;
    }
    if let Some(problem) = problem {
        writeln!(out, "    PROBLEM: {problem}")?;
    }
    Ok(())
}
