//! What the kernel says of programs that are loaded.

use anyhow::Result;
use aya::programs::{ProgramFd, ProgramInfo};
use serde::{Deserialize, Serialize};

use super::features;

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

impl ProgramFacts {
    pub(super) fn of(name: &str, info: &ProgramInfo, program: &ProgramFd) -> Result<Self> {
        let (runs, run_time_ns) = features::program_runs(program)?;
        Ok(Self {
            program: name.to_owned(),
            id: info.id(),
            tag: format!("{:016x}", info.tag()),
            verified_instructions: info.verified_instruction_count(),
            runs,
            run_time_ns,
        })
    }
}
