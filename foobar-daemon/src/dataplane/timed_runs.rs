//! The loaded program for whoever measures it: as it is in service, with no trace of its decisions.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aya::{TestRun as _, TestRunOptions, programs::ProgramFd};

use super::{
    bans::BanMaps,
    counters::{CounterReader, Counters},
    load::LoadedRuleset,
    programs::ProgramFacts,
};
use crate::rules::compile::CompiledRuleset;

/// A loaded ruleset that another program calls.
pub struct TimedRuns {
    loaded: LoadedRuleset,
    counters: CounterReader,
    bans: BanMaps,
}

impl TimedRuns {
    pub(super) fn new(loaded: LoadedRuleset, compiled: &CompiledRuleset) -> Result<Self> {
        let counters = CounterReader::new(&loaded, compiled)?;
        let bans = BanMaps::of(&loaded)?;
        Ok(Self { loaded, counters, bans })
    }

    /// The bans that hold for packets.
    pub fn bans(&mut self) -> &mut BanMaps {
        &mut self.bans
    }

    /// The ingress program, for an array of programs.
    pub fn ingress_fd(&self) -> Result<&ProgramFd> {
        Ok(self.loaded.ingress()?.fd()?)
    }

    /// Sends a frame through the program for what goes out, once.
    pub fn goes_out(&self, frame: &[u8]) -> Result<()> {
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() };
        self.loaded.egress()?.test_run(options).context("run the program on a frame that goes out")?;
        Ok(())
    }

    /// Sends a frame through the program for what comes in, once.
    pub fn goes_in(&self, frame: &[u8]) -> Result<()> {
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() };
        self.loaded.ingress()?.test_run(options).context("run the program on a frame that comes in")?;
        Ok(())
    }

    /// The same, so many times.
    pub fn goes_in_often(&self, frame: &[u8], times: u32) -> Result<()> {
        let options = TestRunOptions { data_in: Some(frame), repeat: times, ..TestRunOptions::default() };
        self.loaded.ingress()?.test_run(options).context("run the program on a frame that comes in")?;
        Ok(())
    }

    /// The counters that frames moved.
    pub fn counters(&self) -> Result<Counters> {
        self.counters.read()
    }

    /// What the kernel says of the programs.
    pub fn facts(&self) -> Result<Vec<ProgramFacts>> {
        self.loaded.facts()
    }

    /// Bytes of kernel memory that the maps take, by name.
    pub fn map_memory(&self) -> Result<BTreeMap<String, u64>> {
        self.loaded.map_memory()
    }
}
