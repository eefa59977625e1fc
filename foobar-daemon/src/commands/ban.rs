//! `foobar ban`.

use std::{env::var, io};

use anyhow::{Context as _, Result};

use crate::{
    bans::{
        report::BanReport,
        request::{DEFAULT_TIME, parse_time},
    },
    control::{
        bans::{self, BanRequest},
        client::Target,
        protocol::Changed,
    },
    env::Env,
    outcome::{InvalidInput, Outcome},
    patience::with_signs,
    rules::{
        bundle::{SourceFile, read_set},
        check::SshSession,
        file::parse_prefix,
        names::prefix_words,
    },
};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Drop all that comes from addresses and prefixes, for a time.\n\nA ban acts at once and on every interface; the \
     kernel ends it by itself. It comes before the rules, and after infrastructure, [failsafe] peers and \
     [failsafe] ports: what is sent to a failsafe port is accepted from banned addresses, too. Bans stay \
     over reloads, restarts of the daemon and of the machine.\n\nWho is among [failsafe] peers and never_ban is not banned, \
     nor is a prefix that they are in. An address that is banned already is so until the later of both \
     times. Unless everything that is asked for can be banned, nothing is.";

/// Flags of `foobar ban`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  foobar ban 203.0.113.7\n  foobar ban 203.0.113.0/24 2001:db8:bad::/64 --for 7d --reason \
                             'sends spam'\n  Many at once; a line can have a time of its own behind the address, and # and ; start comments:\n    \
                             foobar ban - --for forever < list.txt\n\nExit codes: 0 done; 1 failed, and nothing is banned; 2 wrong \
                             usage, or something cannot be banned and so nothing is; 3 something cannot be banned, \
                             and the others are (with --partial)."
)]
pub struct Args {
    /// Addresses and prefixes, or - for those that stdin has on its lines
    #[arg(value_name = "ADDR", required = true)]
    addresses: Vec<String>,
    /// For how long: a time like 10m, 2h or 30d, or forever
    #[arg(long = "for", value_name = "TIME", default_value = DEFAULT_TIME, value_parser = checked_time)]
    time: String,
    /// Why, for whoever looks at the list of bans
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Ban what can be, if something cannot
    #[arg(long)]
    partial: bool,
    /// Ban also the address that this SSH session comes from
    #[arg(long)]
    force: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

fn checked_time(word: &str) -> Result<String, String> {
    parse_time(word).map(|_| word.to_owned()).map_err(|error| error.0)
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    let (addresses, text) = addresses_and_text(&args.addresses)?;
    if !args.force {
        check_session(&addresses, text.as_ref())?;
    }
    let (time, reason, partial) = (Some(args.time.clone()), args.reason.clone(), args.partial);
    let request = BanRequest { addresses, text, time, reason, partial };
    let client = args.target.client()?;
    let changed: Changed = with_signs("waiting for the daemon", || client.post(bans::BANS, Some(&request)))?;
    let report = tell(changed, args.json, env)?;
    Ok(if report.refused == 0 { Outcome::Done } else { Outcome::Partly })
}

/// Addresses that are given by themselves, and the lines of stdin if they are asked for.
pub(super) fn addresses_and_text(words: &[String]) -> Result<(Vec<String>, Option<SourceFile>)> {
    let addresses: Vec<String> = words.iter().filter(|word| *word != "-").cloned().collect();
    let text = if addresses.len() == words.len() {
        None
    } else {
        Some(SourceFile { name: "stdin".to_owned(), text: read_set(io::stdin().lock(), "stdin".as_ref())? })
    };
    Ok((addresses, text))
}

/// Tells what a change of bans did, and gives it.
pub(super) fn tell(changed: Changed, json: bool, env: &mut Env<'_>) -> Result<BanReport> {
    let report = changed.bans.context("the daemon does not tell what it did; is it of this version?")?;
    if json {
        writeln!(env.out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        writeln!(env.out, "{report}")?;
        for note in report.notes() {
            writeln!(env.err, "foobar: note: {note}")?;
        }
    }
    Ok(report)
}

/// Refuses to cut off the session that the command is typed in.
fn check_session(addresses: &[String], text: Option<&SourceFile>) -> Result<(), InvalidInput> {
    let Some(session) = SshSession::from_environment(|name| var(name).ok()) else { return Ok(()) };
    let lines = text.iter().flat_map(|text| text.text.lines());
    let words =
        lines.filter_map(|line| line.split_whitespace().next()).chain(addresses.iter().map(String::as_str));
    // What is no prefix the daemon will tell.
    let mut prefixes = words.filter_map(|word| parse_prefix(word).ok());
    match prefixes.find(|prefix| prefix.contains(&session.client)) {
        None => Ok(()),
        Some(prefix) => Err(InvalidInput(format!(
            "this SSH session comes from {}, which would be banned ({}); leave it out, or say --force; nothing is banned",
            session.client,
            prefix_words(&prefix)
        ))),
    }
}
