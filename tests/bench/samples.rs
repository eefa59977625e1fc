//! Samples of a program whose packets take turns, beside one that parses them and one that does nothing.

use anyhow::{Context as _, Result};
use foobar_bench_programs::Target;
use foobar_daemon::{
    dataplane::{load::LoadedRuleset, timed_runs::TimedRuns},
    rules::bundle::Bundle,
};
use foobar_tests::rulesets::INTERFACE;

use crate::{
    driver::Driver,
    figures::{Figure, Spread},
    report::Row,
    rules::compiled,
};

/// Packets in a sample.
pub(crate) const RUNS: u32 = 1 << 16;

/// What packets took, in nanoseconds, sample by sample.
pub(crate) struct Samples {
    over_parse: Vec<f64>,
    parse: Vec<f64>,
    /// How many packets the program has seen.
    pub(crate) sent: u64,
}

impl Samples {
    /// Takes so many of what the driver aims at, with the frames that it was fed, after one that fills the caches and is not
    /// counted.
    pub(crate) fn take(driver: &mut Driver, count: u32) -> Result<Self> {
        let mut samples = Self { over_parse: Vec::new(), parse: Vec::new(), sent: 0 };
        for number in 0..=count {
            let baseline = driver.time(Target::Bare, RUNS)?;
            let parsed = driver.time(Target::ParseOnly, RUNS)?;
            let read = driver.time(Target::Subject, RUNS)?;
            samples.sent += u64::from(RUNS);
            if number > 0 {
                samples.over_parse.push(read - parsed);
                samples.parse.push(parsed - baseline);
            }
        }
        Ok(samples)
    }

    /// Adds them to a row.
    pub(crate) fn show(self, row: Row) -> Row {
        row.with("over parse", Figure::Nanoseconds(Spread::of(self.over_parse)))
            .with("parse only", Figure::Nanoseconds(Spread::of(self.parse)))
    }
}

/// Loads these rules, and has the driver aim at what comes in.
pub(crate) fn aim(driver: &mut Driver, rules: &str) -> Result<TimedRuns> {
    let ruleset = Bundle::of_text("rules", rules).parse().context("read the rules")?;
    let runs = LoadedRuleset::for_timed_runs(&compiled(&ruleset, INTERFACE)?, INTERFACE)?;
    driver.aim(runs.ingress_fd()?)?;
    Ok(runs)
}
