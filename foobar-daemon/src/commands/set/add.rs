//! `foobar set add`.

use anyhow::Result;

use super::edit::{EditArgs, edit};
use crate::{control::protocol::SetEditRequest, env::Env, outcome::Outcome};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Add addresses and prefixes to a set, all of them in one step.\n\nOne that is an entry already is told and no \
     error; so is one that is inside a wider entry, which is added all the same.";

/// Flags of `foobar set add`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  foobar set add blocked 203.0.113.7 2001:db8:bad::/48\n  Until the rules know it, too:\n    \
                             foobar set add blocked 203.0.113.0/24\n    foobar set show blocked > \
                             /etc/foobar/rules/sets/blocked.txt\n    systemctl reload foobar\n\nExit codes: 0 done; 1 \
                             failed, and the set is as it was; 2 wrong usage, unknown set or bad address, and the set \
                             is as it was."
)]
pub struct Args {
    /// The set
    name: String,
    /// Addresses and prefixes to add
    #[arg(value_name = "ADDR", required = true)]
    addresses: Vec<String>,
    #[command(flatten)]
    edit: EditArgs,
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    edit(&args.name, SetEditRequest::Add(args.addresses.clone()), &args.edit, env)
}
