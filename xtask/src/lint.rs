//! `cargo xtask lint`: format, lints and documentation, as CI wants them.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{
    built::PACKAGES,
    command::{cargo, say, succeed},
    setup,
};

/// Runs the command.
pub(crate) fn lint() -> Result<()> {
    setup::for_building_if_possible();
    step("format", &mut cargo(["fmt", "--all", "--check"]))?;
    step(
        "lints",
        cargo(["clippy", "--quiet"]).args(PACKAGES).args(["--all-targets", "--", "-D", "warnings"]),
    )?;
    // The programs have no std, and so neither a test harness nor unwinding.
    let no_unwinding = "profile.dev.panic=\"abort\"";
    step(
        "lints of the programs",
        &mut cargo([
            "clippy",
            "--quiet",
            "--package",
            "foobar-ebpf",
            "--package",
            "foobar-bench-programs",
            "--bins",
            "--config",
            no_unwinding,
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    step(
        "documentation",
        cargo(["doc", "--quiet", "--no-deps", "--lib"]).args(PACKAGES).env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    say("lint: clean");
    Ok(())
}

fn step(name: &str, command: &mut Command) -> Result<()> {
    say(&format!("lint: {name}"));
    succeed(command).with_context(|| name.to_owned())
}
