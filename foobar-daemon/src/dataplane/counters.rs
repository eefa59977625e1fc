//! Counters, read from the kernel and summed over the processors.

use std::collections::BTreeMap;

use anyhow::Result;
use foobar_common::{
    counters::{Counter, Transport},
    flow::Direction,
    verdict::{Reason, Verdict},
};

use crate::rules::model::ServicePort;

/// All counters of the filter by what they count, since its pins were made. Zero ones are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By id of a rule that is in force; these are there even if zero.
    pub rules: BTreeMap<String, Counter>,
    /// By interface, verdict and reason. The interface `other` stands for those without a slot.
    pub verdicts: BTreeMap<(String, Verdict, Reason), Counter>,
    /// By interface, direction and port.
    pub ports: BTreeMap<(String, Direction, Port), Counter>,
}

/// What a packet is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Port {
    /// The port of a service.
    Service(ServicePort),
    /// Any other port, or no port, of this protocol.
    Other(Transport),
}

/// Reads the counters of a filter; independent of its thread and of swaps.
#[derive(Debug)]
pub struct CounterReader {}

impl CounterReader {
    /// Reads all of them.
    pub fn read(&self) -> Result<Counters> {
        anyhow::bail!("to come")
    }
}
