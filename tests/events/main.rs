//! Packets that are drawn as samples: which, what is told of them, to whom, and what is lost on the way.

mod capture;
mod losses;
mod told;
mod watching;

/// Everything that is dropped is told of.
const DROPS: &str = "schema = 1\n[policy]\nin = \"drop\"\nlog_drops = \"1/1\"\n";
/// Frames per second: a pace at which nothing is lost, however slow the machine is.
const PACE: u64 = 2_000;
