//! `foobar fleet push`.

use std::{io::Write, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Result;
use serde::Serialize;
use tokio::{
    runtime,
    time::{Instant, sleep},
};

use super::{
    diff::{against, read},
    place::FleetPlace,
    plain,
};
use crate::{
    env::Env,
    fleet::{
        access::Keys,
        members::{Member, RefusedRules, view},
        place::EtcdPlace,
        push::Present,
    },
    outcome::Outcome,
    patience::with_signs,
};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Put rules into etcd for all servers of the fleet, in one change, and wait until each of them has them in force or has refused \
     them.\n\nThe rules are checked first; with an error in them nothing is written. What changes is shown. The rule files that are \
     pushed are all that etcd has afterwards: other *.toml below the prefix go, and so do set files that only those named. If \
     somebody else writes there at the same time, nothing is written.\n\nEach server guards them as `[guard]` of the rules says: \
     where a service loses its traffic, the rules before come back there, and why is shown here. etcd has the new ones still; push the \
     old ones to have all servers alike.";

/// Flags of `foobar fleet push`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  See what would change, then change it, on a member of the fleet:\n    foobar fleet diff rules.toml\n    \
                       foobar fleet push rules.toml\n\n  From elsewhere:\n    foobar fleet push rules/ --etcd etcds://etcd-1:2379/foobar \
                       --etcd-ca etcd-ca.pem --wait 5m\n\nExit codes: 0 in force on all members; 1 etcd does not answer, or \
                       somebody else wrote at the same time; 2 the rules are invalid, and nothing was written; 3 they are in etcd, and a member has \
                       refused them or says nothing of them yet."
)]
pub struct Args {
    /// Rule file, or folder whose *.toml are read in name order as one
    path: PathBuf,
    #[command(flatten)]
    place: FleetPlace,
    /// How long to wait for the members, their guards included; 0s is not at all
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// Take set files with bits behind a prefix, as servers that run with --lenient do
    #[arg(long)]
    lenient: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Between two looks at the members.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Where the rules are.
    place: String,
    hash: String,
    /// The revision of the change.
    revision: i64,
    /// Whether all members have them in force for good; `None` if nobody has waited for that.
    in_force: Option<bool>,
    members: Vec<Told>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Told {
    name: String,
    state: State,
    /// Why they were refused.
    why: Option<String>,
}

/// What has become of the rules on a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    InForce,
    /// In force, and may be taken back still.
    Guarded,
    Refused,
    /// It has told nothing of them.
    Waiting,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::InForce => "in force",
            Self::Guarded => "guarded",
            Self::Refused => "REFUSED",
            Self::Waiting => "waiting",
        }
    }
}

/// Runs the command.
///
/// # Errors
/// When etcd does not answer, and [`InvalidInput`](crate::outcome::InvalidInput).
pub fn run(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    let (bundle, ruleset) = read(&args.path, args.lenient)?;
    let (place, keys) = args.place.open()?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let look = Present::look(Arc::clone(&place), Arc::clone(&keys));
    let present = with_signs("asking etcd", || runtime.block_on(look))?;
    if !args.json {
        match against(&present, &bundle, &ruleset) {
            Ok(difference) => write!(env.out, "{difference}")?,
            // Rules that cannot be read are the best reason to push others.
            Err(error) => writeln!(env.err, "foobar: note: {error:#}")?,
        }
    }
    let revision = with_signs("writing to etcd", || runtime.block_on(present.write(&bundle)))?;
    let (in_force, members) = if args.wait.is_zero() {
        (None, Vec::new())
    } else {
        let waited = wait(&place, &keys, revision, args.wait);
        let members = with_signs("waiting for the members", || runtime.block_on(waited))?;
        let are_in_force = members.iter().all(|told| told.state == State::InForce);
        (Some(are_in_force && !members.is_empty()), members)
    };
    let report = Report { place: place.to_string(), hash: bundle.hash(), revision, in_force, members };
    if args.json {
        writeln!(env.out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        report.print(env.out)?;
    }
    Ok(if report.in_force == Some(false) { Outcome::Partly } else { Outcome::Done })
}

/// Looks at the members until each has told what becomes of the rules, or the time is over.
async fn wait(place: &Arc<EtcdPlace>, keys: &Arc<Keys>, revision: i64, time: Duration) -> Result<Vec<Told>> {
    let end = Instant::now() + time;
    loop {
        let members = match view(Arc::clone(place), Arc::clone(keys)).await {
            Ok(seen) => seen.members,
            Err(error) if Instant::now() >= end => {
                let why = format!(
                    "the rules are in etcd, revision {revision}, and what becomes of them is not known"
                );
                return Err(error.context(why));
            }
            // etcd may be choosing another leader.
            Err(_) => {
                sleep(LOOK_EVERY).await;
                continue;
            }
        };
        let told: Vec<Told> = members
            .into_iter()
            .map(|(name, member)| {
                let (state, why) = member.map_or((State::Waiting, None), |member| state(&member, revision));
                Told { name, state, why }
            })
            .collect();
        let is_over = told.iter().all(|told| matches!(told.state, State::InForce | State::Refused));
        if is_over || Instant::now() >= end {
            return Ok(told);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// What a member tells of the rules of this revision.
fn state(member: &Member, revision: i64) -> (State, Option<String>) {
    let Member { revision: in_force, pending, refused, .. } = member;
    match refused {
        Some(RefusedRules { revision: Some(of), why }) if *of >= revision => {
            (State::Refused, Some(why.clone()))
        }
        _ if in_force.is_none_or(|in_force| in_force < revision) => (State::Waiting, None),
        _ if *pending => (State::Guarded, None),
        _ => (State::InForce, None),
    }
}

impl Report {
    fn print(&self, out: &mut dyn Write) -> Result<()> {
        let Self { place, hash, revision, in_force, members } = self;
        let hash: String = hash.chars().take(12).collect();
        writeln!(out, "{place} has ruleset {hash}, revision {revision}")?;
        if *in_force == Some(false) && members.is_empty() {
            writeln!(
                out,
                "no member tells what is in force there; is one running, and may it write below members/?"
            )?;
        }
        let width = members.iter().map(|told| plain(&told.name).chars().count()).max().unwrap_or(0);
        for Told { name, state, why } in members {
            let mut lines = why.iter().flat_map(|why| why.lines());
            let first = lines.next().map_or_else(String::new, |line| format!(": {}", plain(line)));
            writeln!(out, "{:width$}  {}{first}", plain(name), state.word())?;
            for line in lines {
                writeln!(out, "{:width$}  {}", "", plain(line))?;
            }
        }
        if members.iter().any(|told| told.state == State::Refused) {
            writeln!(out, "who has refused them has the rules before; push those to have all alike")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_done_when_it_has_kept_or_refused_this_revision() {
        let refused = |revision| Some(RefusedRules { revision: Some(revision), why: "it fell".to_owned() });
        let member = Member { revision: Some(7), ..Member::default() };
        let cases = [
            (member.clone(), State::InForce),
            (Member { revision: Some(8), ..member.clone() }, State::InForce),
            (Member { pending: true, ..member.clone() }, State::Guarded),
            (Member { revision: Some(6), ..member.clone() }, State::Waiting),
            (Member { revision: None, ..member.clone() }, State::Waiting),
            (Member { revision: None, refused: refused(7), ..member.clone() }, State::Refused),
            // What it has refused before does not matter any more.
            (Member { revision: Some(5), refused: refused(6), ..member.clone() }, State::Waiting),
            (Member { refused: refused(6), ..member }, State::InForce),
        ];
        for (member, expected) in cases {
            assert_eq!(state(&member, 7).0, expected, "{member:?}");
        }
    }
}
