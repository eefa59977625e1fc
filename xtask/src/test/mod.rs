//! `cargo xtask test`: every test, here and on other kernels.

mod beside;

use std::time::Instant;

use anyhow::{Result, bail};

use crate::{
    built::{Built, PACKAGES},
    command::{cargo, is_root, say, succeed},
    kernels, setup,
};

/// Flags of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the matrix of kernels: Debian's newest 6.1, 6.12 and newest of all, in qemu
    #[arg(long, conflicts_with = "no_kernels")]
    kernels: bool,
    /// Everything but the matrix of kernels
    #[arg(long)]
    no_kernels: bool,
    /// The long run: a million generated frames rather than a thousand, 1,000 reloads, 20 kills
    #[arg(long)]
    long: bool,
    /// Arguments for `cargo test`, such as `--package foobar-common` or the name of a test; without the kernels then
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the command.
pub(crate) fn test(args: &Args) -> Result<()> {
    setup::for_building_if_possible();
    let mut parts: Vec<Part> = Vec::new();
    if !args.kernels {
        setup::for_testing()?;
        if !is_root() {
            bail!(
                "the tests load BPF programs and make network namespaces, which takes root: \
                 run `sudo env PATH=\"$PATH\" cargo xtask test`"
            );
        }
        parts.push(Part::run("on this kernel", || here(args)));
    }
    if args.kernels || (!args.no_kernels && args.arguments.is_empty()) {
        parts.push(Part::run("on other kernels", kernels::matrix));
    }
    summary(&parts)
}

/// All tests of the workspace, or those that were named.
fn here(args: &Args) -> Result<()> {
    if args.arguments.is_empty() {
        return beside::run(&Built::tests()?, args.long);
    }
    // Tests start the binary, and need it whichever of them are chosen.
    let foobar = Built::programs()?.program("foobar-daemon/foobar")?;
    let mut test = cargo(["test"]);
    if !args.arguments.iter().any(|word| word == "-p" || word.starts_with("--package")) {
        // The programs run in the kernel; what they share with the daemon is tested there.
        test.args(PACKAGES);
    }
    if args.long {
        test.env("FOOBAR_LONG", "1");
    }
    succeed(test.env("FOOBAR_BIN", foobar).args(&args.arguments))
}

/// One part of the tests, and how it went.
struct Part {
    name: &'static str,
    seconds: u64,
    result: Result<()>,
}

impl Part {
    fn run(name: &'static str, body: impl FnOnce() -> Result<()>) -> Self {
        let start = Instant::now();
        let result = body();
        Self { name, seconds: start.elapsed().as_secs(), result }
    }
}

fn summary(parts: &[Part]) -> Result<()> {
    say("");
    for Part { name, seconds, result } in parts {
        let outcome = match result {
            Ok(()) => "passed".to_owned(),
            Err(error) => format!("FAILED: {error:#}"),
        };
        say(&format!("tests {name}: {outcome} ({seconds} s)"));
    }
    if parts.iter().any(|part| part.result.is_err()) {
        bail!("tests failed");
    }
    Ok(())
}
