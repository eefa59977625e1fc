//! `cargo xtask lab`: www.foobar.com in namespaces, with a foobar on every server.

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{cargo, is_root, succeed},
    setup,
};

/// What is handed on to the lab, which has commands and help of its own.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// up, status, load, break, heal, soak, down; `cargo xtask lab help` tells more
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the command.
pub(crate) fn lab(args: &Args) -> Result<()> {
    let asks_only = args.arguments.is_empty()
        || args.arguments.iter().any(|word| ["help", "--help", "-h"].contains(&word.as_str()));
    if !asks_only {
        if !is_root() {
            bail!(
                "the lab loads BPF programs and makes network namespaces, which takes root: \
                 run `sudo env PATH=\"$PATH\" cargo xtask lab …`"
            );
        }
        setup::for_building_if_possible();
        setup::for_testing().context("the lab runs programs of Debian's")?;
        succeed(&mut cargo(["build", "--release", "--package", "foobar-daemon", "--bin", "foobar"]))?;
    }
    let mut run = cargo(["run", "--release", "--quiet", "--package", "foobar-tests", "--bin", "lab", "--"]);
    succeed(run.args(&args.arguments))
}
