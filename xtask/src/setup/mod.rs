//! `cargo xtask setup`: what building and testing take. Says what it is about to install, then does it; costs
//! nothing when all is there.

mod bpf;
mod packages;

use std::path::PathBuf;

use anyhow::Result;

use crate::command::say;

/// Flags of `cargo xtask setup`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only what building takes: bpf-linker and rust-src
    #[arg(long, conflicts_with = "tests")]
    bpf: bool,
    /// Only what the tests take: Debian packages
    #[arg(long)]
    tests: bool,
}

/// Runs the command.
pub(crate) fn setup(args: &Args) -> Result<()> {
    if !args.tests {
        for_building()?;
    }
    if !args.bpf {
        for_testing()?;
    }
    say("setup: all there");
    Ok(())
}

/// Gets what the BPF programs are built with.
pub(crate) fn for_building() -> Result<()> {
    bpf::ensure()
}

/// Like [`for_building`], but goes on where nothing can be reached: the build may still have the kept object.
pub(crate) fn for_building_if_possible() {
    if let Err(error) = for_building() {
        say(&format!("setup: going on without the BPF toolchain: {error:#}"));
    }
}

/// Gets the programs that tests call.
pub(crate) fn for_testing() -> Result<()> {
    packages::ensure()
}

/// Gets the programs that the benchmark calls.
pub(crate) fn for_benchmarks() -> Result<()> {
    packages::ensure_for_benchmarks()
}

/// What [`for_building`] would have to get.
pub(crate) fn lacks_for_building() -> Result<Vec<&'static str>> {
    bpf::lacks()
}

/// What [`for_testing`] would have to install.
pub(crate) fn lacks_for_testing() -> Vec<&'static str> {
    packages::missing()
}

/// Where bpf-linker is installed.
pub(crate) fn tools() -> PathBuf {
    crate::workspace::root().join("target/tools")
}
