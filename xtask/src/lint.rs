//! `cargo xtask lint`: format, lints and documentation, as CI wants them.

use anyhow::{Context as _, Result};

use crate::{
    command::{cargo, say, succeed},
    setup,
};

/// Runs the command.
pub(crate) fn lint() -> Result<()> {
    setup::for_building_if_possible();
    step("format", &["fmt", "--all", "--check"])?;
    step(
        "lints",
        &[
            "clippy",
            "--quiet",
            "--workspace",
            "--exclude",
            "foobar-ebpf",
            "--exclude",
            "foobar-bench-programs",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    )?;
    // The programs have no std, and so neither a test harness nor unwinding.
    let no_unwinding = "profile.dev.panic=\"abort\"";
    step(
        "lints of the programs",
        &[
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
        ],
    )?;
    say("lint: documentation");
    succeed(
        cargo([
            "doc",
            "--quiet",
            "--no-deps",
            "--package",
            "foobar-common",
            "--package",
            "foobar-daemon",
            "--lib",
        ])
        .env("RUSTDOCFLAGS", "-D warnings"),
    )
    .context("documentation")?;
    say("lint: clean");
    Ok(())
}

fn step(name: &str, arguments: &[&str]) -> Result<()> {
    say(&format!("lint: {name}"));
    succeed(&mut cargo(arguments)).with_context(|| name.to_owned())
}
