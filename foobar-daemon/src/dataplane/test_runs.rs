//! Single frames through the loaded program, attached to nothing (`BPF_PROG_TEST_RUN`).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use aya::{
    TestRun as _, TestRunOptions,
    maps::{Array, MapData},
};
use foobar_common::{
    maps,
    rule::{DecisionRecord, NO_RULE},
    verdict::{Reason, Verdict},
};

use super::{
    counters::{CounterReader, Counters},
    filter::ProgramFacts,
    load::LoadedRuleset,
};
use crate::rules::compile::CompiledRuleset;

/// A loaded ruleset that judges single frames (`BPF_PROG_TEST_RUN`).
pub struct TestRuns {
    loaded: LoadedRuleset,
    decision: Array<MapData, DecisionRecord>,
    counters: CounterReader,
    rules: BTreeMap<u32, String>,
}

/// What the program said of one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Id of the rule, if the reason is a rule.
    pub rule: Option<String>,
}

impl TestRuns {
    /// The loopback device of every network namespace: where the kernel says that frames of test runs come from.
    pub(super) const INTERFACE_INDEX: u32 = 1;
    /// The smallest frame that the kernel takes in a test run, in bytes: an Ethernet header.
    pub const FRAME_MIN: usize = 14;

    pub(super) fn new(mut loaded: LoadedRuleset, compiled: &CompiledRuleset) -> Result<Self> {
        let counters = CounterReader::new(&loaded, compiled)?;
        let decision = loaded.take_map(maps::DECISION)?;
        let rules = compiled.slots.rules.iter().map(|(id, owned)| (owned.slot, id.clone())).collect();
        Ok(Self { loaded, decision: decision.try_into()?, counters, rules })
    }

    /// Sends one frame through the ingress program.
    ///
    /// # Errors
    /// The kernel takes no frame of less than 14 bytes, nor more than it can hold in buffers.
    pub fn judge(&mut self, frame: &[u8]) -> Result<Judgement> {
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() };
        let returned = self
            .loaded
            .ingress()?
            .test_run(options)
            .with_context(|| format!("run the program on a frame of {} bytes", frame.len()))?
            .return_value;
        let DecisionRecord { verdict, reason, rule, port: _ } = self.decision.get(&0, 0)?;
        let judgement = Judgement {
            verdict: Verdict::from_number(verdict).context("a verdict without a name")?,
            reason: Reason::from_number(reason).context("a reason without a name")?,
            rule: (rule != NO_RULE).then(|| self.rules.get(&rule).cloned()).flatten(),
        };
        // XDP_PASS is 2, XDP_DROP is 1 (enum xdp_action, include/uapi/linux/bpf.h).
        let expected = match judgement.verdict {
            Verdict::Accept => 2,
            Verdict::Drop => 1,
        };
        ensure!(returned == expected, "the program returned {returned} for {judgement:?}");
        Ok(judgement)
    }

    /// The counters that those frames moved.
    pub fn counters(&self) -> Result<Counters> {
        self.counters.read()
    }

    /// What the kernel says of the program.
    pub fn facts(&self) -> Result<ProgramFacts> {
        self.loaded.facts()
    }

    /// Bytes of kernel memory that the maps take, by name.
    pub fn map_memory(&self) -> Result<BTreeMap<String, u64>> {
        self.loaded.map_memory()
    }
}
