//! From compiled rules to programs and maps in the kernel.

use anyhow::Result;
use foobar_common::verdict::{Reason, Verdict};

use super::counters::Counters;
use crate::rules::compile::CompiledRuleset;

/// A ruleset in the kernel, attached to nothing.
#[derive(Debug)]
pub struct LoadedRuleset {}

impl LoadedRuleset {
    /// Loads a ruleset with counters of its own, which leaves its decisions to be read: for replay and tests.
    /// Packets come from the interface called `interface`.
    pub fn for_test_runs(_compiled: &CompiledRuleset, _interface: &str) -> Result<Self> {
        anyhow::bail!("to come")
    }

    /// Sends one frame through the ingress program (`BPF_PROG_TEST_RUN`).
    ///
    /// # Errors
    /// The kernel takes no frame of less than 14 bytes, nor more than it can hold in buffers.
    pub fn judge(&mut self, _frame: &[u8]) -> Result<Judgement> {
        anyhow::bail!("to come")
    }

    /// The counters that those frames moved.
    pub fn counters(&self) -> Result<Counters> {
        anyhow::bail!("to come")
    }
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
