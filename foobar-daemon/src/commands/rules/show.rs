//! `foobar rules show`.

use std::{collections::BTreeMap, io::Write};

use anyhow::{Context as _, Result};
use foobar_common::verdict::Reason;
use serde::Serialize;

use super::words::{self, Setting};
use crate::{
    commands::set::edits_words,
    control::{
        client::Target,
        protocol::{self, Counted, ReasonCounted, RulesInForce, SetEdits},
    },
    env::Env,
    outcome::Outcome,
    rules::model::Ruleset,
};

/// Flags of `foobar rules show`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  foobar rules show\n  foobar rules show --counters\n  foobar rules show \
                             --counters --json | jq '.rules[] | select(.packets == 0) | .id'"
)]
pub struct Args {
    /// With packets and bytes of every step and rule
    #[arg(long)]
    counters: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Shown {
    hash: String,
    generation: u64,
    /// Sets whose entries are not those of the rule files.
    edited_sets: BTreeMap<String, SetEdits>,
    /// What a packet meets before the rules, in order, and the policy after them.
    steps: Vec<Step>,
    rules: Vec<ShownRule>,
    /// The addresses of each group.
    peers: BTreeMap<String, String>,
    /// The ports of each service and what is spoken there.
    services: BTreeMap<String, String>,
}

/// A built-in step.
#[derive(Debug, Serialize)]
struct Step {
    #[serde(rename = "step")]
    name: &'static str,
    /// What the rule file says of it.
    settings: Vec<Setting>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counters: Option<Vec<ReasonCounted>>,
}

#[derive(Debug, Serialize)]
struct ShownRule {
    id: String,
    action: &'static str,
    conditions: Vec<Setting>,
    /// Up to which rate it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<String>,
    /// Of how many of its packets one is told of.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    counted: Option<Counted>,
    #[serde(skip)]
    line: String,
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    let in_force: RulesInForce = args.target.client()?.get(protocol::RULES)?;
    let ruleset =
        in_force.bundle.parse().context("read the rules in force; is the daemon of this version?")?;
    let shown = shown(&in_force, &ruleset, args.counters);
    if args.json {
        writeln!(env.out, "{}", serde_json::to_string_pretty(&shown)?)?;
    } else {
        print(&shown, env.out)?;
    }
    Ok(Outcome::Done)
}

fn shown(in_force: &RulesInForce, ruleset: &Ruleset, counters: bool) -> Shown {
    let policy = words::settings_of_policy(&ruleset.policy);
    let of_policy = |keys: &[&str]| -> Vec<Setting> {
        policy.iter().filter(|setting| keys.contains(&setting.key)).cloned().collect()
    };
    let (never_ban, failsafe): (Vec<Setting>, Vec<Setting>) = words::settings_of_failsafe(&ruleset.failsafe)
        .into_iter()
        .partition(|setting| setting.key == "never_ban");
    let step = |name, settings, is_of_step: fn(Reason) -> bool| Step {
        name,
        settings,
        counters: counters.then(|| {
            let known = |line: &&ReasonCounted| {
                Reason::ALL.iter().any(|reason| reason.label() == line.reason && is_of_step(*reason))
            };
            in_force.reasons.iter().filter(known).cloned().collect()
        }),
    };
    let steps = vec![
        step("parse", of_policy(&["malformed"]), Reason::is_malformed),
        step("infrastructure", of_policy(&["infrastructure"]), |reason| reason == Reason::Infrastructure),
        step("failsafe", failsafe, |reason| reason == Reason::Failsafe),
        step("bans", never_ban, |reason| reason == Reason::Ban),
        step("fragments", of_policy(&["fragments"]), |reason| reason == Reason::Fragments),
        step("replies", of_policy(&["replies", "adopt"]), |reason| reason == Reason::Replies),
        step("rules", Vec::new(), |reason| matches!(reason, Reason::Rule | Reason::Limit)),
        step("policy", of_policy(&["in", "out", "log_drops"]), |reason| {
            matches!(reason, Reason::Policy | Reason::Arp | Reason::NotIp | Reason::Llc)
        }),
    ];
    let rules = ruleset
        .rules
        .iter()
        .map(|rule| ShownRule {
            id: rule.id.to_string(),
            action: rule.action.label(),
            conditions: words::conditions(rule),
            limit: rule.limit.map(|limit| limit.to_string()),
            log: rule.log.map(|log| log.to_string()),
            comment: rule.comment.clone(),
            counted: counters.then(|| in_force.rules.get(&rule.id).copied().unwrap_or_default()),
            line: words::conditions_line(rule),
        })
        .collect();
    Shown {
        hash: in_force.hash.clone(),
        generation: in_force.generation,
        edited_sets: in_force.edited_sets.clone(),
        steps,
        rules,
        peers: owned(words::peers(&ruleset.peers)),
        services: owned(words::services(&ruleset.services)),
    }
}

fn print(shown: &Shown, out: &mut dyn Write) -> Result<()> {
    let Shown { hash, generation, edited_sets, steps, rules, peers, services } = shown;
    writeln!(out, "ruleset {hash}, generation {generation}")?;
    for (name, edits) in edited_sets {
        writeln!(out, "set {name} was {}", edits_words(edits))?;
    }
    writeln!(out)?;
    let width = rules.iter().map(|rule| rule.id.chars().count()).max().unwrap_or(0).max(14);
    for Step { name, settings, counters } in steps {
        let words: Vec<String> = settings
            .iter()
            .map(|Setting { key, value }| format!("{key} {}", if value.is_empty() { "none" } else { value }))
            .collect();
        let counters = counters.as_deref();
        if *name == "rules" {
            writeln!(out, "{name}")?;
            for rule in rules {
                let ShownRule { id, action, counted, comment, line, .. } = rule;
                let counted = counted.map(|counted| format!("{}  ", columns(counted))).unwrap_or_default();
                let comment = comment.as_ref().map(|text| format!("  # {text}")).unwrap_or_default();
                writeln!(out, "  {id:<width$}  {counted}{action:<6}  {line}{comment}")?;
            }
            if rules.is_empty() {
                writeln!(out, "  none")?;
            }
            continue;
        }
        writeln!(out, "{name:<14}  {}", words.join("  "))?;
        for ReasonCounted { direction, reason, action, counted } in counters.unwrap_or_default() {
            let what = format!("{reason}, {direction}");
            writeln!(out, "  {what:<width$}  {}  {action}", columns(*counted))?;
        }
    }
    for (title, named) in [("peers", peers), ("services", services)] {
        if !named.is_empty() {
            writeln!(out, "{title}")?;
        }
        for (name, words) in named {
            writeln!(out, "  {name:<width$}  {words}")?;
        }
    }
    Ok(())
}

fn owned(words: BTreeMap<&str, String>) -> BTreeMap<String, String> {
    words.into_iter().map(|(name, words)| (name.to_owned(), words)).collect()
}

fn columns(Counted { packets, bytes }: Counted) -> String {
    format!("{packets:>12} packets {bytes:>15} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::bundle::Bundle;

    fn in_force() -> RulesInForce {
        let bundle = Bundle::of_text(
            "r.toml",
            "schema = 1\n[policy]\nin = \"drop\"\n[peers]\nlb = \"192.0.2.8/29\"\n[failsafe]\nports = [\"tcp/22\"]\n[[rule]]\nid = \"web\"\naction \
             = \"accept\"\nprotocol = \"tcp\"\ndestination_port = 443\ncomment = \"everybody\"\n[[service]]\nname = \"www\"\nport = \"tcp/443\"\n\
             protocol = \"tls\"\ndecrypt_by = \"uprobe\"\n",
        );
        let counted = Counted { packets: 3, bytes: 180 };
        let reason = |reason: &str, action: &str| ReasonCounted {
            direction: "in".to_owned(),
            reason: reason.to_owned(),
            action: action.to_owned(),
            counted,
        };
        RulesInForce {
            hash: "abc".to_owned(),
            generation: 2,
            bundle,
            rules: BTreeMap::from([("web".into(), counted)]),
            edited_sets: BTreeMap::new(),
            reasons: vec![reason("policy", "drop"), reason("rule", "accept"), reason("ip_length", "drop")],
        }
    }

    fn text(counters: bool) -> String {
        let in_force = in_force();
        let ruleset = in_force.bundle.parse().unwrap();
        let mut out = Vec::new();
        print(&shown(&in_force, &ruleset, counters), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn steps_and_rules_are_shown_in_the_order_of_judgement() {
        assert_eq!(
            text(false),
            "ruleset abc, generation 2\n\n\
             parse           malformed drop\n\
             infrastructure  infrastructure true\n\
             failsafe        ports tcp/22  peers none\n\
             bans            never_ban none\n\
             fragments       fragments rules\n\
             replies         replies accept  adopt 30s\n\
             rules\n\
             \x20 web             accept  protocol tcp  destination_port 443  # everybody\n\
             policy          in drop  out accept\n\
             peers\n\
             \x20 lb              192.0.2.8/29\n\
             services\n\
             \x20 www             tcp/443 tls decrypt_by uprobe\n"
        );
    }

    #[test]
    fn counters_stand_with_their_step_and_rule() {
        assert_eq!(
            text(true),
            "ruleset abc, generation 2\n\n\
             parse           malformed drop\n\
             \x20 ip_length, in              3 packets             180 bytes  drop\n\
             infrastructure  infrastructure true\n\
             failsafe        ports tcp/22  peers none\n\
             bans            never_ban none\n\
             fragments       fragments rules\n\
             replies         replies accept  adopt 30s\n\
             rules\n\
             \x20 web                        3 packets             180 bytes  accept  protocol tcp  destination_port \
             443  # everybody\n\
             policy          in drop  out accept\n\
             \x20 policy, in                 3 packets             180 bytes  drop\n\
             peers\n\
             \x20 lb              192.0.2.8/29\n\
             services\n\
             \x20 www             tcp/443 tls decrypt_by uprobe\n"
        );
    }

    #[test]
    fn json_has_counters_only_when_asked() {
        let in_force = in_force();
        let ruleset = in_force.bundle.parse().unwrap();
        let with = serde_json::to_value(shown(&in_force, &ruleset, true)).unwrap();
        assert_eq!(with["rules"][0]["packets"], 3);
        assert_eq!(with["steps"][7]["counters"][0]["reason"], "policy");
        assert_eq!(with["services"]["www"], "tcp/443 tls decrypt_by uprobe");
        let without = serde_json::to_value(shown(&in_force, &ruleset, false)).unwrap();
        assert_eq!(without["rules"][0].get("packets"), None);
        assert_eq!(without["steps"][7].get("counters"), None);
    }
}
