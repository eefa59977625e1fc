//! `foobar fleet diff`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tokio::runtime;

use super::place::FleetPlace;
use crate::{
    commands::rules::diff::compare::{Difference, compare},
    env::Env,
    fleet::{push::Present, ruleset::EtcdRules},
    outcome::{InvalidInput, Outcome},
    patience::with_signs,
    rules::{bundle::Bundle, model::Ruleset},
};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Show what pushing rules would change for the fleet: what `foobar rules diff` shows of one server, against what etcd has. \
     Nothing is written.";

/// Flags of `foobar fleet diff`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Exit codes: 0 the difference is shown, also if there is none; 1 etcd does not answer; 2 wrong usage, or the \
                       rules are invalid."
)]
pub struct Args {
    /// Rule file, or folder whose *.toml are read in name order as one
    path: PathBuf,
    #[command(flatten)]
    place: FleetPlace,
    /// Take set files with bits behind a prefix, as servers that run with --lenient do
    #[arg(long)]
    lenient: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When etcd does not answer, and [`InvalidInput`].
pub fn run(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    let (bundle, new) = read(&args.path, args.lenient)?;
    let (place, keys) = args.place.open()?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let present = with_signs("asking etcd", || runtime.block_on(Present::look(place, keys)))?;
    let difference = against(&present, &bundle, &new)?;
    if args.json {
        writeln!(env.out, "{}", serde_json::to_string_pretty(&difference)?)?;
    } else {
        write!(env.out, "{difference}")?;
    }
    Ok(Outcome::Done)
}

/// Reads rules as the servers will, leniently or not; the texts stay as they are.
pub(super) fn read(path: &Path, lenient: bool) -> Result<(Bundle, Ruleset)> {
    let bundle = Bundle::read(path)?;
    let ruleset = bundle.clone().lenient(lenient).parse().map_err(InvalidInput::from)?;
    Ok((bundle, ruleset))
}

/// How rules differ from those in etcd, and from none where it has none.
///
/// # Errors
/// When what etcd has cannot be read: then it is not known what would change.
pub(super) fn against(present: &Present, bundle: &Bundle, new: &Ruleset) -> Result<Difference> {
    let (hash, old) = match &present.rules {
        None => (String::new(), Ruleset::default()),
        Some(Ok(EtcdRules { bundle, .. })) => {
            let old = bundle.clone().lenient(true).parse().map_err(InvalidInput::from);
            (bundle.hash(), old.context(UNREADABLE)?)
        }
        Some(Err(error)) => return Err(InvalidInput(format!("{UNREADABLE}: {error:#}")).into()),
    };
    Ok(compare((&hash, &old), (&bundle.hash(), new), Vec::new()))
}

/// What stands before the reason.
const UNREADABLE: &str = "etcd has rules that cannot be read, so no difference can be told";
