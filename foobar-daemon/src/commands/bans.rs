//! `foobar bans`.

use std::{
    cmp::Reverse,
    io::{BufWriter, Write},
    time::Duration,
};

use anyhow::Result;

use crate::{
    bans::request::time_words,
    control::{
        bans::{self, BanInForce},
        client::Target,
    },
    env::Env,
    outcome::Outcome,
    patience::with_signs,
};

/// Flags of `foobar bans`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Packets are those that a ban has stopped since it was made, and with a daemon or rules that came later: \
                             the first 65,536 to the packet, what comes then by one in 64, drawn by chance. After a \
                             restart of the machine they count anew. A packet that several bans stop is counted by one of \
                             them: that of its address, or else that of the shortest prefix.\n\n\
                             Examples:\n  foobar bans\n  Who goes on sending:\n    foobar bans --sort packets | head\n  Those without end:\n    foobar bans --json | jq -r '.[] | \
                             select(.until_unix_ms == null) | .address'"
)]
pub struct Args {
    /// In which order
    #[arg(long, value_name = "BY", value_enum, default_value_t)]
    sort: Sort,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Orders of bans.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Sort {
    /// IPv4 first, and by address
    #[default]
    Address,
    /// Those that have stopped most packets first
    Packets,
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    let client = args.target.client()?;
    let mut bans: Vec<BanInForce> = with_signs("waiting for the daemon", || client.get(bans::BANS))?;
    match args.sort {
        // As the daemon has them.
        Sort::Address => {}
        Sort::Packets => bans.sort_by_key(|ban| Reverse(ban.packets)),
    }
    let mut out = BufWriter::new(&mut *env.out);
    if args.json {
        serde_json::to_writer_pretty(&mut out, &bans)?;
        writeln!(out)?;
    } else {
        print(&bans, &mut out)?;
    }
    out.flush()?;
    Ok(Outcome::Done)
}

fn print(bans: &[BanInForce], out: &mut dyn Write) -> Result<()> {
    if bans.is_empty() {
        writeln!(out, "nothing is banned")?;
    }
    let width = bans.iter().map(|ban| ban.address.len()).max().unwrap_or(0);
    for BanInForce { address, until_unix_ms, left_ms, packets, made } in bans {
        let until =
            until_unix_ms.map_or_else(|| "without end".to_owned(), |at| format!("until {}", time_words(at)));
        let left =
            left_ms.map(|left| humantime::format_duration(Duration::from_secs(left / 1_000)).to_string());
        let left = left.map(|left| format!("{left} left")).unwrap_or_default();
        let by = made.words();
        writeln!(out, "{address:<width$}  {until:<26}  {left:<16}  {packets:>10} packets  by {by}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bans::{Made, Origin};

    #[test]
    fn bans_are_told_with_their_ends_and_why() {
        let made = Made { unix_ms: 0, origin: Origin::Command, by: "root (uid 0)".to_owned(), reason: None };
        let bans = [
            BanInForce {
                address: "203.0.113.7".to_owned(),
                until_unix_ms: Some(90_000),
                left_ms: Some(89_999),
                packets: 1_234_567,
                made: Made { reason: Some("sshd".to_owned()), ..made.clone() },
            },
            BanInForce {
                address: "2001:db8::/64".to_owned(),
                until_unix_ms: None,
                left_ms: None,
                packets: 0,
                made,
            },
        ];
        let mut out = Vec::new();
        print(&bans, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "203.0.113.7    until 1970-01-01T00:01:30Z  1m 29s left          1234567 packets  by root (uid 0): sshd\n\
             2001:db8::/64  without end                                            0 packets  by root (uid 0)\n"
        );
    }
}
