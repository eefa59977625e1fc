//! `foobar rules rollback`.

use crate::{
    control::{
        client::Target,
        protocol::{self, Changed},
    },
    env::Env,
    outcome::Outcome,
};

/// Flags of `foobar rules rollback`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> anyhow::Result<Outcome> {
    let changed: Changed = args.target.client()?.post(protocol::ROLLBACK, None::<&()>)?;
    writeln!(env.out, "{}", changed.message)?;
    Ok(Outcome::Done)
}
