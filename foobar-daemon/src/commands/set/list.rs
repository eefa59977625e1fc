//! `foobar set list`.

use std::io::Write;

use anyhow::Result;

use super::words;
use crate::{
    control::{
        client::Target,
        protocol::{self, SetInForce},
    },
    env::Env,
    outcome::Outcome,
};

/// Flags of `foobar set list`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  foobar set list\n  Sets that were changed at runtime:\n    foobar set list \
                             --json | jq '.[] | select(.edits) | .name'"
)]
pub struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    let sets: Vec<SetInForce> = args.target.client()?.get(protocol::SETS)?;
    if args.json {
        writeln!(env.out, "{}", serde_json::to_string_pretty(&sets)?)?;
    } else {
        print(&sets, env.out)?;
    }
    Ok(Outcome::Done)
}

fn print(sets: &[SetInForce], out: &mut dyn Write) -> Result<()> {
    if sets.is_empty() {
        writeln!(out, "the rules in force have no sets")?;
    }
    let width = sets.iter().map(|set| set.name.len()).max().unwrap_or(0);
    for set in sets {
        let SetInForce { name, entries, v4, v6, edits, .. } = set;
        writeln!(out, "{name:<width$}  {entries:>8} entries: {v4} of IPv4, {v6} of IPv6")?;
        writeln!(out, "{:<width$}  from {}", "", words::origin(set))?;
        if let Some(edits) = edits {
            writeln!(out, "{:<width$}  {}", "", words::edits(edits))?;
        }
        writeln!(out, "{:<width$}  rules: {}", "", words::rules(set))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{control::protocol::SetEdits, state::Applied};

    #[test]
    fn sets_are_told_with_where_they_come_from_and_who_uses_them() {
        let plain = SetInForce {
            name: "offices".to_owned(),
            entries: 2,
            v4: 1,
            v6: 1,
            file: None,
            place: Some("rules.toml:3:7".to_owned()),
            edits: None,
            rules: Vec::new(),
        };
        let edited = SetInForce {
            name: "blocked".to_owned(),
            file: Some("sets/blocked.txt".to_owned()),
            edits: Some(SetEdits {
                changed: Applied { unix_ms: 1_000, by: "root (uid 0)".to_owned() },
                replaced: true,
                added: 3,
                removed: 1,
                base: String::new(),
            }),
            rules: (1..=12).map(|number| format!("r{number}")).collect(),
            ..plain.clone()
        };
        let mut out = Vec::new();
        print(&[edited, plain], &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "blocked         2 entries: 1 of IPv4, 1 of IPv6\n\
             \x20        from sets/blocked.txt (rules.toml:3:7)\n\
             \x20        changed at runtime: replaced, then 3 added, 1 removed; last at 1970-01-01T00:00:01Z by root \
             (uid 0)\n\
             \x20        rules: r1, r2, r3, r4, r5, r6, r7, r8, r9, r10 and 2 more\n\
             offices         2 entries: 1 of IPv4, 1 of IPv6\n\
             \x20        from rules.toml:3:7\n\
             \x20        rules: none\n"
        );
    }
}
