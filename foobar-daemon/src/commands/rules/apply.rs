//! `foobar rules apply`.

use std::{path::PathBuf, time::Duration};

use crate::{
    control::{
        client::Target,
        protocol::{self, ApplyRequest, Changed},
    },
    env::Env,
    outcome::{InvalidInput, Outcome},
    patience::with_signs,
    rules::{
        bundle::Bundle,
        check::{self, Finding, SshSession},
        sets::masked_words,
    },
};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Put rules in force, on every interface in one step: each packet is judged wholly by the old or \
     wholly by the new rules. Rules with an error leave the old ones in force.\n\nWith --confirm-within \
     the old rules come back by themselves unless `foobar rules confirm` is said in time, also when the \
     daemon was killed meanwhile and started again: the way not to be locked out of a machine that is \
     far away. With --guard they come back if a service loses its traffic, which is seen from \
     its own requests, queries or connections; otherwise the new ones stay.\n\nApplied rules are remembered: they stay in force over a restart of the daemon, until \
     its rule files change or others are applied.";

/// Flags of `foobar rules apply`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  See what would change, then change it:\n    foobar rules check new.toml\n    \
                       foobar rules diff new.toml\n    foobar rules apply new.toml --confirm-within 60s\n    \
                       foobar rules confirm\n\n  Back to the rules before:\n    foobar rules rollback\n\nExit codes: \
                       0 in force; 1 failed, and the old rules are in force; 2 the rules are invalid, and the old \
                       rules are in force."
)]
pub struct Args {
    /// Rule file, or folder whose *.toml are read in name order as one
    path: PathBuf,
    /// Take the rules back after this time unless they are confirmed, as 60s or 5m
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    confirm_within: Option<Duration>,
    /// Take the rules back if a service loses traffic within this time, as 30s: half of it, or what `[guard]` of the rules says
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "confirm_within")]
    guard: Option<Duration>,
    /// In set files, set bits behind a prefix to zero, where they are errors otherwise, and say how many
    #[arg(long)]
    lenient: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> anyhow::Result<Outcome> {
    let bundle = Bundle::read(&args.path)?.lenient(args.lenient);
    // The daemon reads them again; here an error is told even if it does not run.
    let ruleset = bundle.parse().map_err(InvalidInput::from)?;
    for masked in masked_words(&ruleset) {
        writeln!(env.err, "foobar: note: {masked}")?;
    }
    let session = SshSession::from_environment(|name| std::env::var(name).ok());
    if let Some(finding) = session.and_then(|session| check::lock_out(&ruleset, &session)) {
        let Finding { message, help, .. } = finding;
        writeln!(env.err, "foobar: warning: {message}; {help}")?;
    }
    let confirm_within_ms =
        args.confirm_within
            .map(|within| u64::try_from(within.as_millis()))
            .transpose()
            .map_err(|error| InvalidInput(format!("--confirm-within: {error}; it is from 1s to 24h")))?;
    let guard_ms = args
        .guard
        .map(|within| u64::try_from(within.as_millis()))
        .transpose()
        .map_err(|error| InvalidInput(format!("--guard: {error}; it is from 5s to 1h")))?;
    let request = ApplyRequest { bundle, confirm_within_ms, guard_ms };
    let client = args.target.client()?;
    let changed: Changed =
        with_signs("waiting for the daemon", || client.post(protocol::APPLY, Some(&request)))?;
    writeln!(env.out, "{}", changed.message)?;
    Ok(Outcome::Done)
}
