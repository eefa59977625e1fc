//! Everything that touches the kernel; the only module that names aya.
//!
//! [`filter::Filter`] is the whole of it for the daemon: it starts from compiled rules, adopts what an earlier
//! daemon left pinned, swaps rules, looks after interfaces, and reads counters. [`load::LoadedRuleset`] alone
//! serves replay and tests.

pub mod attach;
pub mod bans;
mod batches;
pub mod counters;
pub mod detach;
pub mod egress;
pub mod events;
pub mod features;
pub mod fill;
pub mod filter;
pub mod flows;
pub mod interfaces;
pub mod load;
mod mapped;
pub mod object;
pub mod pins;
pub mod probes;
pub mod programs;
pub mod rejects;
mod services;
mod sets;
pub mod test_runs;
pub mod timed_runs;
