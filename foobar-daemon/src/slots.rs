//! Which counter belongs to whom: the memory of slots, which outlives rulesets and daemons.
//!
//! A slot belongs to a rule id, a service port or an interface for as long as there are free ones. When there
//! are none left, the rule that has been out of force longest gives its slot away, and what it had counted is
//! carried in the book, so that it goes on from there should it return.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use foobar_common::counters::Counter;
use serde::{Deserialize, Serialize};

use crate::rules::model::{Ruleset, ServicePort};

/// The book of slots, as it lies in the state folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {}

/// The slots of one ruleset on some interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    /// By rule id.
    pub rules: BTreeMap<String, RuleSlot>,
    /// By port.
    pub services: BTreeMap<ServicePort, u32>,
    /// By name.
    pub interfaces: BTreeMap<String, u32>,
}

/// The slot of a rule, and what it counted before it got this slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleSlot {
    /// The slot.
    pub slot: u32,
    /// Counted in slots that it gave away.
    pub carried: Counter,
}

impl Slots {
    /// Reads the book; a missing one is empty.
    ///
    /// # Errors
    /// A book that cannot be read is an error: guessing slots would mix up counters.
    pub fn load(_path: &Path) -> Result<Self> {
        anyhow::bail!("to come")
    }

    /// Writes the book, wholly or not at all.
    pub fn save(&self, _path: &Path) -> Result<()> {
        anyhow::bail!("to come")
    }

    /// Finds a slot for everything in the ruleset. `counted` tells what a rule slot holds, for rules that give
    /// theirs away.
    ///
    /// # Errors
    /// Says what there is too much of.
    pub fn assign(
        &mut self,
        _ruleset: &Ruleset,
        _interfaces: &[String],
        _counted: &dyn Fn(u32) -> Result<Counter>,
    ) -> Result<Assigned> {
        anyhow::bail!("to come")
    }

    /// For a single ruleset whose counters nobody keeps: replay, tests.
    pub fn for_once(_ruleset: &Ruleset, _interfaces: &[String]) -> Result<Assigned> {
        anyhow::bail!("to come")
    }
}
