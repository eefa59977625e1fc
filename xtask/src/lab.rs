//! `cargo xtask lab`: www.foobar.com in namespaces, with a foobar on every server.

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{cargo, is_root, say, succeed},
    setup, workspace,
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
    // What only tells something needs no release, which takes minutes; the tests build this one, too.
    let profile: &[&str] = if asks_only { &[] } else { &["--release"] };
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
    let lab = ["--package", "foobar-tests", "--bin", "lab"];
    if asks_only && !workspace::target().join("debug/lab").exists() {
        say("lab: it is built before it can tell what it does; the first time takes a minute or two");
    }
    // Not quietly: it can take long.
    succeed(cargo(["build"]).args(profile).args(lab))?;
    succeed(cargo(["run", "--quiet"]).args(profile).args(lab).arg("--").args(&args.arguments))
}
