//! `cargo xtask bench`: what foobar costs a packet, beside others in the same run.

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{cargo, is_root, succeed},
    setup, workspace,
};

/// Flags of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Fewer sizes and samples: at most two minutes
    #[arg(long)]
    quick: bool,
    /// Only these parts: rules, sets, bans, flows, limits, events, services, server, syn, swap, rivals
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Runs the command.
pub(crate) fn bench(args: &Args) -> Result<()> {
    if !is_root() {
        bail!(
            "the benchmark loads BPF programs and makes network namespaces, which takes root: \
             run `sudo env PATH=\"$PATH\" cargo xtask bench`"
        );
    }
    setup::for_building()
        .context("the benchmark has BPF programs of its own, which are built from source")?;
    setup::for_benchmarks()?;
    workspace::private("bench")?;
    let mut run = cargo(["run", "--release", "--quiet", "--package", "foobar-tests", "--bin", "bench", "--"]);
    if args.quick {
        run.arg("--quick");
    }
    succeed(run.args(&args.arguments))
}
