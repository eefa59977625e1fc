//! `foobar rules diff`.

pub(in crate::commands) mod compare;

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use ipnet::IpNet;

use crate::{
    control::{
        client::Target,
        protocol::{self, RulesInForce, SetEdits, SetShown},
    },
    env::Env,
    outcome::{InvalidInput, Outcome},
    rules::{bundle::Bundle, file::parse_prefix, sets::overlay},
};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Show what applying rules would change: rules added, removed, changed and moved, and changes of \
     policy, failsafe, sets and services. Sets are compared as they are in force, with what was changed \
     at runtime, and changes that the new rules would drop are told. The order of rules matters, as the first that matches decides.";

/// Flags of `foobar rules diff`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rule file, or folder whose *.toml are read in name order as one
    path: PathBuf,
    /// In set files, set bits behind a prefix to zero, where they are errors otherwise, and say how many
    #[arg(long)]
    lenient: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    let bundle = Bundle::read(&args.path)?.lenient(args.lenient);
    let mut new = bundle.parse().map_err(InvalidInput::from)?;
    let client = args.target.client()?;
    let in_force: RulesInForce = client.get(protocol::RULES)?;
    let mut old =
        in_force.bundle.parse().context("read the rules in force; is the daemon of this version?")?;
    let mut dropped_edits = Vec::new();
    for (name, SetEdits { base, .. }) in &in_force.edited_sets {
        let SetShown { addresses, .. } = client.get(&protocol::set_path(name))?;
        let words = addresses.iter().map(|address| parse_prefix(address));
        let entries: Vec<IpNet> = words
            .collect::<Result<_, _>>()
            .map_err(|(message, _)| anyhow!("{message}; is the daemon of this version?"))?;
        match new.sets.get_mut(name) {
            Some(set) if overlay::base(&set.entries) == *base => set.entries.clone_from(&entries),
            _ => dropped_edits.push(name.clone()),
        }
        if let Some(set) = old.sets.get_mut(name) {
            set.entries = entries;
        }
    }
    let difference = compare::compare((&in_force.hash, &old), (&bundle.hash(), &new), dropped_edits);
    if args.json {
        writeln!(env.out, "{}", serde_json::to_string_pretty(&difference)?)?;
    } else {
        write!(env.out, "{difference}")?;
    }
    Ok(Outcome::Done)
}
