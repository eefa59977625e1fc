//! `foobar set remove`.

use anyhow::Result;

use super::edit::{EditArgs, edit};
use crate::{control::protocol::SetEditRequest, env::Env, outcome::Outcome};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Remove addresses and prefixes from a set, all of them in one step.\n\nOnly what is an entry can be removed: \
     one that is none is told, and the exit code is 3. What is inside a wider entry stays in the set, \
     which is told, too.";

/// Flags of `foobar set remove`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  foobar set remove blocked 203.0.113.7\n\nExit codes: 0 done; 1 failed, and the set is as it was; 2 \
                             wrong usage, unknown set or bad address, and the set is as it was; 3 some were no entries, \
                             and the others are removed."
)]
pub struct Args {
    /// The set
    name: String,
    /// Entries to remove
    #[arg(value_name = "ADDR", required = true)]
    addresses: Vec<String>,
    #[command(flatten)]
    edit: EditArgs,
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    edit(&args.name, SetEditRequest::Remove(args.addresses.clone()), &args.edit, env)
}
