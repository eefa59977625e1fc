//! `foobar man`.

use crate::{env::Env, outcome::Outcome};

/// Runs the command.
pub fn run(_env: &mut Env<'_>) -> anyhow::Result<Outcome> {
    anyhow::bail!("not yet")
}
