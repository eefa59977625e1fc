//! Ruleset to tables; pure.

use anyhow::Result;

use super::model::Ruleset;
use crate::slots::Assigned;

/// The tables of a ruleset, ready to be written into maps.
#[derive(Clone, Debug)]
pub struct CompiledRuleset {}

/// Compiles a ruleset whose counters have these slots.
///
/// # Errors
/// Says which limit the ruleset exceeds, and by how much.
pub fn compile(_ruleset: &Ruleset, _slots: &Assigned) -> Result<CompiledRuleset> {
    anyhow::bail!("to come")
}
