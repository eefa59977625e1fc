//! `foobar run`.

use crate::{env::Env, outcome::Outcome};

/// Flags of `foobar run`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_args: &Args, _env: &mut Env<'_>) -> anyhow::Result<Outcome> {
    anyhow::bail!("not yet")
}
