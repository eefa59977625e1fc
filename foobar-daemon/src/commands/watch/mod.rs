//! `foobar watch`.

mod capture;
pub mod words;

use std::{io, ops::ControlFlow, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use clap::builder::PossibleValuesParser;
use foobar_common::verdict::{Reason, Verdict};
use serde_json::json;

use self::capture::CaptureFile;
use crate::{
    control::{
        client::{End, Target},
        events::{LostEvents, Told, ToldEvent, Wanted},
    },
    env::Env,
    outcome::Outcome,
    rules::bundle::bytes_of,
};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Show packets that were drawn as samples, as they come: when, where, what became of them, why, by which \
     rule, and what they are.\n\nWhich packets are drawn, the rules say: `log = \"1/1000\"` in a rule, one in a thousand \
     packets that meet it; `log_drops = \"1/1000\"` in [policy], one in a thousand of those that are dropped, for whatever \
     reason. \"1/1\" is each. The filter never waits for whoever watches: what comes faster than it is read is lost, and \
     how much that was is said on stderr.\n\nCtrl-C ends.";

/// Flags of `foobar watch`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  foobar watch\n  foobar watch --verdict drop --for 10s\n  foobar watch --reason ban \
                       --count 20\n  foobar watch --rule web --json | jq --unbuffered .packet\n  foobar watch --write \
                       drops.pcapng --for 1m && tshark -r drops.pcapng -Y 'frame.comment contains \"reason ban\"'\n  \
                       foobar watch --write - | tshark -r -\n\nExit codes: 0 done; 1 failed, as without a daemon, or \
                       where no packets are drawn; 2 wrong usage; 3 the daemon has ended."
)]
pub struct Args {
    /// Only packets that this rule decided, or that were over its limit
    #[arg(long, value_name = "ID")]
    rule: Option<String>,
    /// Only packets that were judged for this reason
    #[arg(long, value_parser = labels(Reason::ALL, Reason::label), hide_possible_values = true)]
    reason: Option<String>,
    /// Only packets of which this became
    #[arg(long, value_parser = labels(Verdict::ALL, Verdict::label))]
    verdict: Option<String>,
    /// End after so many packets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time, as 10s or 5m
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    /// As JSON: an object for each packet, in a line of its own
    #[arg(long, conflicts_with = "write")]
    json: bool,
    /// Write a capture (pcapng) that Wireshark and tshark read, with verdict, reason and rule as comment of each packet;
    /// - is stdout
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

fn labels<T: Copy>(all: &'static [T], label: fn(T) -> &'static str) -> PossibleValuesParser {
    PossibleValuesParser::new(all.iter().map(|one| label(*one)))
}

/// Where events go.
enum Shown {
    Lines,
    Json,
    Capture(CaptureFile),
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    let Args { rule, reason, verdict, count, time, json, write, target } = args;
    let client = target.client()?;
    let wanted = Wanted { rule: rule.clone(), reason: reason.clone(), verdict: verdict.clone() };
    let mut shown = match write {
        _ if *json => Shown::Json,
        Some(path) => {
            Shown::Capture(CaptureFile::new(path).map_err(|error| while_writing(error, write.as_ref()))?)
        }
        None => Shown::Lines,
    };
    let mut left = count.unwrap_or(u64::MAX);
    let (mut events, mut lost) = (0_u64, LostEvents::default());
    let end = client.follow(&wanted.path(), *time, &mut |lines| {
        for line in lines {
            let told = serde_json::from_slice(line)
                .context("understand the daemon; is it of the version of this foobar?")?;
            match told {
                Told::Event(event) => {
                    show(&event, &mut shown, env).map_err(|error| while_writing(error, write.as_ref()))?;
                    events += 1;
                    left -= 1;
                    if left == 0 {
                        break;
                    }
                }
                Told::Lost(LostEvents { ring, watcher }) => {
                    lost.ring = lost.ring.saturating_add(ring);
                    lost.watcher = lost.watcher.saturating_add(watcher);
                    writeln!(env.err, "lost: {}", words::losses(LostEvents { ring, watcher }))?;
                }
                Told::Note(note) => writeln!(env.err, "{}", words::printable(&note))?,
            }
        }
        flush(&mut shown, env).map_err(|error| while_writing(error, write.as_ref()))?;
        Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    // A capture without packets is one, too.
    if let Shown::Capture(capture) = &mut shown {
        capture
            .open(env.out)
            .and_then(|()| capture.flush(env.out))
            .map_err(|error| while_writing(error, write.as_ref()))?;
    }
    let of_all = if lost == LostEvents::default() {
        String::new()
    } else {
        format!("; lost: {}", words::losses(lost))
    };
    writeln!(env.err, "{events} packets{of_all}")?;
    if end == End::Closed {
        writeln!(env.err, "the daemon has ended")?;
        return Ok(Outcome::Partly);
    }
    Ok(Outcome::Done)
}

fn while_writing(error: io::Error, path: Option<&PathBuf>) -> anyhow::Error {
    let error = anyhow::Error::new(error);
    match path {
        Some(path) => error.context(format!("write {}", path.display())),
        None => error,
    }
}

fn show(event: &ToldEvent, shown: &mut Shown, env: &mut Env<'_>) -> io::Result<()> {
    let bytes = bytes_of(&event.bytes).unwrap_or_default();
    match shown {
        Shown::Lines => writeln!(env.out, "{}", words::line(event, &bytes)),
        Shown::Json => {
            let ToldEvent {
                unix_ns,
                interface,
                direction,
                verdict,
                reason,
                rule,
                one_in,
                packets,
                length,
                bytes: digits,
            } = event;
            let object = json!({
                "time": words::time(*unix_ns),
                "interface": interface,
                "direction": direction,
                "verdict": verdict,
                "reason": reason,
                "rule": rule,
                "one_in": one_in,
                "packets": packets,
                "length": length,
                "packet": words::packet(event, &bytes),
                "bytes": digits,
            });
            writeln!(env.out, "{object}")
        }
        Shown::Capture(capture) => capture.write(event, &bytes, env.out),
    }
}

fn flush(shown: &mut Shown, env: &mut Env<'_>) -> io::Result<()> {
    match shown {
        Shown::Lines | Shown::Json => env.out.flush(),
        Shown::Capture(capture) => capture.flush(env.out),
    }
}
