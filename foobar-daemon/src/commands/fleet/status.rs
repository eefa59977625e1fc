//! `foobar fleet status`.

use std::{io::Write, sync::Arc};

use anyhow::Result;
use serde::Serialize;
use tokio::runtime;

use super::{place::FleetPlace, plain};
use crate::{
    env::Env,
    fleet::{
        members::{FleetView, Member, RefusedRules, view},
        place::EtcdPlace,
        ruleset::EtcdRules,
    },
    outcome::Outcome,
    patience::with_signs,
};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Show which rules are in force on each member of the fleet, who lags behind what etcd has, and who has refused \
     it and why.\n\nEach daemon with rules from etcd writes a key below PREFIX/members/ that vanishes 12 s after its \
     last sign of life.";

/// Flags of `foobar fleet status`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  By /etc/foobar/foobar.toml, on a member:\n    foobar fleet status\n\n  From elsewhere:\n    \
                       foobar fleet status --etcd etcds://etcd-1:2379/foobar --etcd-ca etcd-ca.pem\n\nExit codes: 0 all \
                       members are ready and have what etcd has; 1 etcd does not answer; 2 wrong usage; 3 they differ."
)]
pub struct Args {
    #[command(flatten)]
    place: FleetPlace,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Where the rules are.
    place: String,
    /// What etcd has; `None` if that cannot be told.
    ruleset: Option<InEtcd>,
    /// Why not.
    problem: Option<String>,
    /// Whether all members are ready and have it.
    agreed: bool,
    members: Vec<Told>,
}

#[derive(Debug, Serialize)]
struct InEtcd {
    hash: String,
    revision: i64,
}

#[derive(Debug, Serialize)]
struct Told {
    name: String,
    /// Whether it is ready and has what etcd has, or what the others have if that cannot be told.
    agrees: bool,
    /// `None` if what it tells cannot be understood.
    member: Option<Member>,
}

/// Runs the command.
///
/// # Errors
/// When etcd does not answer, and [`InvalidInput`](crate::outcome::InvalidInput).
pub fn run(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    let (place, keys) = args.place.open()?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let seen = with_signs("asking etcd", || runtime.block_on(view(Arc::clone(&place), keys)))?;
    let report = Report::of(&place, seen);
    if args.json {
        writeln!(env.out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        report.print(env.out)?;
    }
    Ok(if report.agreed { Outcome::Done } else { Outcome::Partly })
}

impl Report {
    fn of(place: &EtcdPlace, seen: FleetView) -> Self {
        let FleetView { members, rules } = seen;
        // Members that run with --lenient have another hash of the same rules.
        let (ruleset, wanted, problem) = match rules {
            Ok(EtcdRules { bundle, revision }) => {
                let hash = bundle.hash();
                (Some(InEtcd { hash: hash.clone(), revision }), vec![hash, bundle.lenient(true).hash()], None)
            }
            Err(error) => {
                let first = members.iter().find_map(|(_, member)| Some(member.as_ref()?.hash.clone()));
                (None, first.into_iter().collect(), Some(format!("{error:#}")))
            }
        };
        let agrees =
            |member: &Member| member.ready && member.refused.is_none() && wanted.contains(&member.hash);
        let members: Vec<Told> = members
            .into_iter()
            .map(|(name, member)| Told { name, agrees: member.as_ref().is_some_and(agrees), member })
            .collect();
        let agreed = problem.is_none() && !members.is_empty() && members.iter().all(|told| told.agrees);
        Self { place: place.to_string(), ruleset, problem, agreed, members }
    }

    fn print(&self, out: &mut dyn Write) -> Result<()> {
        let Self { place, ruleset, problem, agreed: _, members } = self;
        writeln!(out, "{place}")?;
        if let Some(InEtcd { hash, revision }) = ruleset {
            writeln!(out, "etcd has ruleset {}, revision {revision}", short(hash))?;
        }
        for line in problem.iter().flat_map(|problem| problem.lines()) {
            writeln!(out, "problem: {}", plain(line))?;
        }
        if members.is_empty() {
            writeln!(
                out,
                "no member tells what is in force there; is one running, and may it write below members/?"
            )?;
            return Ok(());
        }
        let width = members.iter().map(|told| plain(&told.name).chars().count()).max().unwrap_or(0).max(6);
        writeln!(
            out,
            "\n{:width$}  {:12}  {:>10}  {:>8}  {:10}  STATE",
            "MEMBER", "RULESET", "GENERATION", "REVISION", "VERSION"
        )?;
        for Told { name, agrees, member } in members {
            let name = plain(name);
            let Some(member) = member else {
                writeln!(out, "{name:width$}  tells what this foobar does not understand")?;
                continue;
            };
            let Member { hash, generation, revision, version, ready, pending, refused, .. } = member;
            let revision = revision.map_or_else(|| "-".to_owned(), |revision| revision.to_string());
            let state = match (ready, refused, agrees, pending) {
                (false, ..) => "NOT READY",
                (true, Some(_), ..) => "REFUSED",
                (true, None, false, _) => "OTHER RULES",
                (true, None, true, true) => "guarded",
                (true, None, true, false) => "ready",
            };
            writeln!(
                out,
                "{name:width$}  {:12}  {generation:>10}  {revision:>8}  {:10}  {state}",
                short(hash),
                plain(version)
            )?;
            if let Some(RefusedRules { revision, why }) = refused {
                let revision = revision.map_or_else(String::new, |revision| format!("revision {revision}: "));
                let mut lines = why.lines();
                writeln!(out, "  {revision}{}", plain(lines.next().unwrap_or_default()))?;
                for line in lines {
                    writeln!(out, "  {}", plain(line))?;
                }
            }
        }
        Ok(())
    }
}

fn short(hash: &str) -> String {
    plain(hash).chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;
    use crate::rules::bundle::Bundle;

    fn member(hash: &str) -> Member {
        Member {
            hash: hash.to_owned(),
            version: "1".to_owned(),
            ready: true,
            generation: 3,
            ..Member::default()
        }
    }

    fn printed(members: Vec<(&str, Option<Member>)>, rules: Result<EtcdRules>) -> (bool, String) {
        let members = members.into_iter().map(|(name, member)| (name.to_owned(), member)).collect();
        let report = Report::of(&"etcd://a/p".parse().unwrap(), FleetView { members, rules });
        let mut out = Vec::new();
        report.print(&mut out).unwrap();
        (report.agreed, String::from_utf8(out).unwrap())
    }

    #[test]
    fn they_agree_if_all_have_what_etcd_has() {
        let bundle = Bundle::of_text("rules.toml", "schema = 1");
        let hash = bundle.hash();
        let rules = || Ok(EtcdRules { bundle: bundle.clone(), revision: 5 });
        let good = member(&hash);
        assert!(printed(vec![("a", Some(good.clone())), ("b", Some(good.clone()))], rules()).0);
        let refused = Some(RefusedRules { revision: Some(6), why: "it\u{1b}[2J fell".to_owned() });
        for (other, said) in [
            (Some(member("abc")), "OTHER RULES"),
            (Some(Member { ready: false, ..good.clone() }), "NOT READY"),
            (Some(Member { refused, ..good.clone() }), "revision 6: it\u{fffd}[2J fell"),
            (None, "does not understand"),
        ] {
            let (agreed, text) = printed(vec![("a", Some(good.clone())), ("b", other)], rules());
            assert!(!agreed && text.contains(said), "{text}");
        }
        assert!(!printed(vec![], rules()).0);
        let (agreed, text) = printed(vec![("a", Some(good))], Err(anyhow!("denied")));
        assert!(!agreed && text.contains("problem: denied"), "{text}");
    }
}
