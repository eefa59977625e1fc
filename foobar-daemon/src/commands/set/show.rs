//! `foobar set show`.

use std::io::{BufWriter, Write as _};

use anyhow::Result;

use super::words;
use crate::{
    control::{
        client::Target,
        protocol::{self, SetShown},
    },
    env::Env,
    outcome::Outcome,
};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Show a set in force: where it comes from, what was changed at runtime, which rules use it, and its \
     entries.\n\nWhat it prints is a set file: edited, it can be given to `foobar set replace`, or stand in \
     the place of the file that the rules name.";

/// Flags of `foobar set show`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  foobar set show blocked\n  Whether an address is an entry:\n    foobar set show \
                             blocked | grep -xF 203.0.113.7\n  Keep what was changed at runtime:\n    foobar set show \
                             blocked > /etc/foobar/rules/sets/blocked.txt"
)]
pub struct Args {
    /// The set
    name: String,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    let shown: SetShown = args.target.client()?.get(&protocol::set_path(&args.name))?;
    let mut out = BufWriter::new(&mut *env.out);
    if args.json {
        serde_json::to_writer_pretty(&mut out, &shown)?;
        writeln!(out)?;
    } else {
        let SetShown { set, addresses } = &shown;
        let (name, entries) = (&set.name, set.entries);
        writeln!(out, "# set {name}: {entries} entries, {} of IPv4, {} of IPv6", set.v4, set.v6)?;
        writeln!(out, "# from {}", words::origin(set))?;
        if let Some(edits) = &set.edits {
            writeln!(out, "# {}", words::edits(edits))?;
        }
        writeln!(out, "# rules: {}", words::rules(set))?;
        for address in addresses {
            writeln!(out, "{address}")?;
        }
    }
    out.flush()?;
    Ok(Outcome::Done)
}
