//! `foobar rules diff`.

mod compare;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{
    control::{
        client::Target,
        protocol::{self, RulesInForce},
    },
    env::Env,
    outcome::{InvalidInput, Outcome},
    rules::bundle::Bundle,
};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Show what applying rules would change: rules added, removed, changed and moved, and changes of \
     policy, failsafe, sets and services. The order of rules matters, as the first that matches decides.";

/// Flags of `foobar rules diff`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rule file, or folder whose *.toml are read in name order as one
    path: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    let bundle = Bundle::read(&args.path)?;
    let new = bundle.parse().map_err(InvalidInput::from)?;
    let in_force: RulesInForce = args.target.client()?.get(protocol::RULES)?;
    let old = in_force.bundle.parse().context("read the rules in force; is the daemon of this version?")?;
    let difference = compare::compare((&in_force.hash, &old), (&bundle.hash(), &new));
    if args.json {
        writeln!(env.out, "{}", serde_json::to_string_pretty(&difference)?)?;
    } else {
        write!(env.out, "{difference}")?;
    }
    Ok(Outcome::Done)
}
