//! The filter on all its interfaces.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    attach::{Attachment, Mode},
    counters::Counters,
};
use crate::rules::compile::CompiledRuleset;

/// Where and how to filter.
#[derive(Clone, Debug)]
pub struct FilterOptions {
    /// Names of the interfaces.
    pub interfaces: Vec<String>,
    /// Native, generic, or whichever works.
    pub mode: Mode,
    /// Where links and maps are pinned.
    pub pins: Pins,
}

/// Whether the filter outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pins {
    /// Pinned below this folder of a bpffs: it stays in force when the daemon ends, however it ends.
    Lasting(PathBuf),
    /// Gone with the process, however it ends. The folder is used for moments, while maps are handed over.
    Ephemeral(PathBuf),
}

/// A ruleset in force on interfaces.
#[derive(Debug)]
pub struct Filter {}

impl Filter {
    /// Puts rules in force: updates the links that an earlier daemon pinned, attaches where there are none.
    ///
    /// # Errors
    /// Says which interface, why, and what to do. Adopted interfaces then keep the rules that they had, and
    /// interfaces that had none are left without.
    pub fn start(_options: FilterOptions, _compiled: &CompiledRuleset) -> Result<Self> {
        anyhow::bail!("to come")
    }

    /// Replaces the rules on every interface. Each packet is judged wholly by the old or wholly by the new.
    ///
    /// # Errors
    /// The old rules are in force on every interface.
    pub fn swap(&mut self, _compiled: &CompiledRuleset) -> Result<()> {
        anyhow::bail!("to come")
    }

    /// Looks whether interfaces vanished or came back, and filters those again that did.
    pub fn tend(&mut self) -> Vec<Tended> {
        Vec::new()
    }

    /// Where the filter is attached, and where it should be and is not.
    pub fn attachments(&self) -> Vec<Attachment> {
        Vec::new()
    }

    /// All counters, summed over the processors.
    pub fn counters(&self) -> Result<Counters> {
        anyhow::bail!("to come")
    }

    /// Counters alone, for a thread that serves scrapes while the filter is being swapped.
    pub fn counter_reader(&self) -> Result<super::counters::CounterReader> {
        anyhow::bail!("to come")
    }

    /// How full the maps are.
    pub fn maps(&self) -> Result<Vec<MapFill>> {
        Ok(Vec::new())
    }

    /// The programs in force.
    pub fn programs(&self) -> Result<Vec<ProgramFacts>> {
        Ok(Vec::new())
    }

    /// Takes the filter away: links, pins and counters.
    pub fn detach(self) -> Result<()> {
        anyhow::bail!("to come")
    }
}

/// Takes away what a daemon that no longer runs left below `pins`, and says of which interfaces.
pub fn detach_pinned(_pins: &Path) -> Result<Vec<String>> {
    anyhow::bail!("to come")
}

/// What [`Filter::tend`] found, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tended {
    /// The interface is gone; nothing arrives through it.
    Vanished(String),
    /// The interface is back and filtered.
    Returned(String),
    /// The interface is back, and not filtered, because of this.
    Failed(String, String),
}

/// Entries of one map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapFill {
    /// Its name.
    pub map: String,
    /// Entries in use.
    pub entries: u32,
    /// Entries there is room for.
    pub max_entries: u32,
    /// Bytes of kernel memory, by the kernel's own account.
    pub bytes: u64,
}

/// One loaded program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramFacts {
    /// Its name.
    pub program: String,
    /// Its id in the kernel.
    pub id: u32,
    /// The kernel's hash of its instructions.
    pub tag: String,
    /// Instructions that the verifier walked, where the kernel tells.
    pub verified_instructions: Option<u32>,
    /// Times it ran, and nanoseconds it took; zero unless `kernel.bpf_stats_enabled` is on.
    pub runs: u64,
    /// See `runs`.
    pub run_time_ns: u64,
}
