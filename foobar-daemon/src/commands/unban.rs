//! `foobar unban`.

use anyhow::Result;

use super::ban::{addresses_and_text, tell};
use crate::{
    control::{
        bans::{self, LiftRequest},
        client::Target,
        protocol::Changed,
    },
    env::Env,
    outcome::Outcome,
    patience::with_signs,
};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Lift bans, at once and on every interface.\n\nOnly what was banned can be lifted: what was not is told, and the exit \
     code is 3. An address inside a prefix that is banned stays banned with it, which is told, too.";

/// Flags of `foobar unban`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  foobar unban 203.0.113.7\n  foobar unban --all\n  What somebody has banned:\n    foobar \
                             bans --json | jq -r '.[] | select(.reason == \"sshd\") | .address' | foobar unban \
                             -\n\nExit codes: 0 done; 1 failed, and no ban is lifted; 2 wrong usage or bad address, and \
                             no ban is lifted; 3 something was not banned, and the other bans are lifted."
)]
pub struct Args {
    /// Addresses and prefixes, or - for those that stdin has on its lines
    #[arg(value_name = "ADDR", required_unless_present = "all", conflicts_with = "all")]
    addresses: Vec<String>,
    /// Lift every ban
    #[arg(long)]
    all: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    let (addresses, text) = addresses_and_text(&args.addresses)?;
    let request = LiftRequest { addresses, text, all: args.all };
    let client = args.target.client()?;
    let changed: Changed = with_signs("waiting for the daemon", || client.post(bans::LIFT, Some(&request)))?;
    let report = tell(changed, args.json, env)?;
    Ok(if report.absent.is_empty() { Outcome::Done } else { Outcome::Partly })
}
