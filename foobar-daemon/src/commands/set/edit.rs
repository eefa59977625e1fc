//! What the commands that change a set have in common.

use anyhow::{Context as _, Result};

use crate::{
    control::{
        client::Target,
        protocol::{self, Changed, SetEditRequest, SetRequest},
    },
    env::Env,
    outcome::Outcome,
    patience::with_signs,
};

/// Flags of every command that changes a set.
#[derive(Debug, clap::Args)]
pub(super) struct EditArgs {
    /// Set bits behind a prefix to zero, where they are errors otherwise, and say how many
    #[arg(long)]
    lenient: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Has a set changed, and tells what that did. It is partly done if something was to be removed that was not there.
pub(super) fn edit(name: &str, edit: SetEditRequest, args: &EditArgs, env: &mut Env<'_>) -> Result<Outcome> {
    let request = SetRequest { edit, lenient: args.lenient };
    let client = args.target.client()?;
    let changed: Changed =
        with_signs("waiting for the daemon", || client.post(&protocol::set_path(name), Some(&request)))?;
    let report = changed.set.context("the daemon does not tell what it did; is it of this version?")?;
    if args.json {
        writeln!(env.out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        writeln!(env.out, "{report}")?;
        for note in report.notes() {
            writeln!(env.err, "foobar: note: {note}")?;
        }
    }
    Ok(if report.absent.is_empty() { Outcome::Done } else { Outcome::Partly })
}
