//! `foobar detach`.

use std::path::PathBuf;

use anyhow::bail;

use crate::{
    config::DEFAULT_STATE,
    control::{
        client::{NotRunning, Target},
        protocol::{self, Changed},
    },
    dataplane::{detach::detach_pinned, pins},
    env::Env,
    outcome::Outcome,
    state::store::Store,
};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Take the filter away: remove links and pins.\n\nA daemon that runs is asked to do it, and ends. \
     Without one, what an earlier daemon left in force is taken away. Every packet passes then, and the \
     counters start again at zero; applied rules are remembered.";

/// Flags of `foobar detach`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Folder of the pins, for when no daemon runs [default: below /sys/fs/bpf/foobar, by version]
    #[arg(long, value_name = "DIR")]
    pins: Option<PathBuf>,
    /// State folder, which tells whether a daemon runs behind another control socket [default: /var/lib/foobar]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> anyhow::Result<Outcome> {
    let client = args.target.client()?;
    let not_running = match client.post::<Changed>(protocol::DETACH, None::<&()>) {
        Ok(changed) => {
            writeln!(env.out, "{}", changed.message)?;
            return Ok(Outcome::Done);
        }
        Err(error) => error.downcast::<NotRunning>()?,
    };
    let settings = args.target.settings()?;
    let folder = args.pins.clone().or(settings.pins).unwrap_or_else(pins::default_folder);
    let state = args.state.clone().or(settings.state).unwrap_or_else(|| DEFAULT_STATE.into());
    // Pins that were named are meant, whoever has the default state folder.
    if args.pins.is_none()
        && let Some(holder) = Store::in_use(&state)
    {
        bail!(
            "{not_running}\na daemon{holder} has the state folder {}; name its socket with --control, or what it \
             does not own with --pins",
            state.display()
        );
    }
    let interfaces = detach_pinned(&folder)?;
    if interfaces.is_empty() {
        writeln!(env.out, "nothing was attached: {} holds no links", folder.display())?;
    } else {
        writeln!(env.out, "the filter is taken away from {}", interfaces.join(", "))?;
    }
    Ok(Outcome::Done)
}
