//! `foobar top`.

mod live;
mod screen;
mod table;

use std::{
    io::{self, IsTerminal as _},
    thread,
    time::{Duration, SystemTime},
};

use anyhow::Result;
use serde_json::json;

use crate::{
    control::{
        client::{Client, NotRunning, Target},
        protocol::{TRAFFIC, Traffic},
    },
    env::Env,
    outcome::{InvalidInput, Outcome},
    rates::view::View,
    state::unix_ms,
};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Show what passes, renewed every second: packets and bits of each interface, requests, handshakes \
     and queries of services over 1, 10 and 60 seconds, SYNs that are answered with cookies and \
     cookies that come back, what is dropped and why, the bans that stop most, and the rules that \
     decide most.\n\nq, Esc or Ctrl-C leave. When the daemon goes away, top says so and waits for it. \
     Where the output is no terminal, one table is printed, as with --once.";

/// Between two looks.
const INTERVAL: &str = "1s";
/// What `--interval` can say.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_hours(1));

/// Flags of `foobar top`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  foobar top\n  foobar top --interval 5s\n  foobar top --once\n  foobar top --json | jq \
                       --unbuffered '.services[] | {service, per_second}'\n\nExit codes: 0 done; 1 failed, as without \
                       a daemon; 2 wrong usage."
)]
pub struct Args {
    /// Time from one look to the next, and over which rates are taken, from 100ms to 1h
    #[arg(long, value_name = "TIME", default_value = INTERVAL, value_parser = humantime::parse_duration)]
    interval: Duration,
    /// Print what passes in one interval, and end
    #[arg(long)]
    once: bool,
    /// As JSON: an object for each interval, in a line of its own
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    let (shortest, longest) = INTERVALS;
    if args.interval < shortest || args.interval > longest {
        return Err(InvalidInput("--interval is from 100ms to 1h".to_owned()).into());
    }
    let client = args.target.client()?;
    // Who starts it without a daemon is told at once, as by `status`.
    let first = client.get(TRAFFIC)?;
    if args.json {
        objects(&client, first, args, env)?;
    } else if args.once || !io::stdout().is_terminal() {
        let view = once(&client, first, args.interval, env.now)?;
        for line in table::whole(&view) {
            writeln!(env.out, "{line}")?;
        }
    } else {
        live::show(&client, first, args.interval, env)?;
    }
    Ok(Outcome::Done)
}

/// What passes from now on.
fn once(client: &Client, first: Traffic, interval: Duration, now: fn() -> SystemTime) -> Result<View> {
    let mut before = first;
    loop {
        thread::sleep(interval);
        let after = client.get(TRAFFIC)?;
        // A daemon that has started in between counts its time anew.
        if let Some(view) = View::between(&before, &after, unix_ms(now())) {
            return Ok(view);
        }
        before = after;
    }
}

/// An object for each interval; one without counters where there are none, as while no daemon runs.
fn objects(client: &Client, first: Traffic, args: &Args, env: &mut Env<'_>) -> Result<()> {
    if args.once {
        let view = once(client, first, args.interval, env.now)?;
        writeln!(env.out, "{}", serde_json::to_string(&view)?)?;
        return Ok(());
    }
    let mut before = Some(first);
    loop {
        thread::sleep(args.interval);
        let after = match client.get::<Traffic>(TRAFFIC) {
            Ok(after) => Some(after),
            Err(error) => {
                // It may also be busy with many rules.
                let (is_running, why) = (!error.is::<NotRunning>(), format!("{error:#}"));
                let words = json!({ "running": is_running, "unix_ms": unix_ms((env.now)()), "why": why });
                writeln!(env.out, "{words}")?;
                None
            }
        };
        let looks = before.as_ref().zip(after.as_ref());
        if let Some(view) =
            looks.and_then(|(before, after)| View::between(before, after, unix_ms((env.now)())))
        {
            writeln!(env.out, "{}", serde_json::to_string(&view)?)?;
        }
        env.out.flush()?;
        before = after;
    }
}
