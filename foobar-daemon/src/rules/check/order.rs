//! Rules that other rules make useless.

use foobar_common::verdict::Verdict;

use super::{
    Finding, Kind, Severity, Subject,
    region::{Region, TooMany},
};
use crate::rules::model::{FragmentPolicy, Ruleset};

/// A step before or among the rules that decides packets.
struct Step<'r> {
    name: String,
    /// `None` for steps that are no rules.
    id: Option<&'r str>,
    verdict: Verdict,
    region: Region,
}

/// Looks at each rule together with those before and behind it.
pub(super) fn check(ruleset: &Ruleset, findings: &mut Vec<Finding>) {
    let steps = steps(ruleset);
    let reached: Vec<Reached> =
        steps.iter().enumerate().map(|(number, step)| reached(step, &steps[..number])).collect();
    for (number, (step, reached_here)) in steps.iter().zip(&reached).enumerate() {
        let Some(id) = step.id else {
            continue;
        };
        let found = match reached_here {
            Reached::Not(found) => Some(found.clone()),
            Reached::TooMany => Some(undecided()),
            Reached::By(region) => {
                let behind = || steps.iter().zip(&reached).skip(number + 1);
                // Rules that are never reached may stay or go; what is said must hold in both cases.
                let all = redundant(step, region, behind().map(|(step, _)| step), ruleset.policy.inbound);
                let useful = behind().filter(|(_, reached)| !matches!(reached, Reached::Not(_)));
                let without = redundant(step, region, useful.map(|(step, _)| step), ruleset.policy.inbound);
                match (all, without) {
                    (Ok(true), Ok(true)) => Some(only_counts(step)),
                    (Ok(false), _) | (_, Ok(false)) => None,
                    (Err(TooMany), _) | (_, Err(TooMany)) => Some(undecided()),
                }
            }
        };
        let found = found.into_iter().chain(overlap(step, &steps[..number]));
        findings.extend(found.map(|(severity, kind, message, help)| Finding {
            severity,
            kind,
            subject: Subject::Rule(id.to_owned()),
            message,
            help,
        }));
    }
}

type Found = (Severity, Kind, String, String);

/// What gets to a step.
enum Reached {
    /// These packets.
    By(Region),
    /// None, and that is what is to be said of it.
    Not(Found),
    /// Not known.
    TooMany,
}

fn reached(step: &Step<'_>, before: &[Step<'_>]) -> Reached {
    if step.region.is_empty() {
        return Reached::Not((
            Severity::Warning,
            Kind::Empty,
            "no packet can match this rule: its conditions exclude each other, or a set has no entries"
                .to_owned(),
            "look at excluded addresses and at sets, or leave the rule out".to_owned(),
        ));
    }
    let meeting: Vec<&Step<'_>> = before.iter().filter(|one| one.region.meets(&step.region)).collect();
    for one in &meeting {
        if one.region.covers(&step.region).unwrap_or(false) {
            return Reached::Not(shadowed(step, &[one]));
        }
    }
    let mut reached = step.region.clone();
    for one in &meeting {
        match reached.subtract(&one.region) {
            Ok(rest) => reached = rest,
            Err(TooMany) => return Reached::TooMany,
        }
    }
    if reached.is_empty() { Reached::Not(shadowed(step, &meeting)) } else { Reached::By(reached) }
}

fn undecided() -> Found {
    (
        Severity::Note,
        Kind::Undecided,
        "so many rules match parts of it that it was not found out whether it is of use".to_owned(),
        "see whether its counter grows".to_owned(),
    )
}

/// The rule decides nothing, because of these.
fn shadowed(step: &Step<'_>, by: &[&Step<'_>]) -> Found {
    let names: Vec<&str> = by.iter().map(|one| one.name.as_str()).collect();
    let before = names.join(", ");
    let together = if by.len() > 1 { " together" } else { "" };
    let same = by.iter().all(|one| one.verdict == step.verdict);
    let opposite = by.iter().all(|one| one.verdict != step.verdict);
    let covered = format!("every packet that it matches is decided before it, by {before}{together}");
    let word = step.verdict.label();
    if same {
        let message = format!("{covered}, and gets the same verdict: {word}");
        (
            Severity::Warning,
            Kind::Shadowed,
            message,
            "leave the rule out, or put it first to count it".to_owned(),
        )
    } else if opposite {
        let message = format!("{covered}, and gets the opposite of its verdict: {word}");
        (
            Severity::Warning,
            Kind::Contradiction,
            message,
            format!("put the rule before {before}, or leave it out"),
        )
    } else {
        (Severity::Warning, Kind::Shadowed, covered, format!("put the rule before {before}, or leave it out"))
    }
}

/// Whether every packet that gets to the rule would get the same verdict from the steps behind it.
fn redundant<'s>(
    step: &Step<'_>,
    reached: &Region,
    behind: impl Iterator<Item = &'s Step<'s>>,
    policy: Verdict,
) -> Result<bool, TooMany> {
    let mut rest = reached.clone();
    for next in behind {
        if next.region.meets(&rest) {
            if next.verdict != step.verdict {
                return Ok(false);
            }
            rest = rest.subtract(&next.region)?;
        }
    }
    Ok(rest.is_empty() || policy == step.verdict)
}

fn only_counts(step: &Step<'_>) -> Found {
    let word = step.verdict.label();
    (
        Severity::Note,
        Kind::Redundant,
        format!("without the rule its packets would get the same verdict, {word}, so it only counts them"),
        "leave it out if its counter is not wanted".to_owned(),
    )
}

/// Earlier rules of the opposite verdict whose lists run into those of this rule.
fn overlap(step: &Step<'_>, before: &[Step<'_>]) -> Option<Found> {
    let names: Vec<&str> = before
        .iter()
        .filter(|one| one.id.is_some() && one.verdict != step.verdict && one.region.runs_into(&step.region))
        .map(|one| one.name.as_str())
        .collect();
    if names.is_empty() {
        return None;
    }
    let message = format!(
        "a list or range of it overlaps in part with {}: packets that meet both meet the earlier one",
        names.join(", ")
    );
    Some((Severity::Note, Kind::Overlap, message, "check that the order is meant".to_owned()))
}

fn steps(ruleset: &Ruleset) -> Vec<Step<'_>> {
    let failsafe = &ruleset.failsafe;
    let accept = |name: String, region| Step { name, id: None, verdict: Verdict::Accept, region };
    let mut steps = Vec::new();
    for port in &failsafe.ports {
        steps.push(accept(format!("failsafe port {port}"), Region::to_port(*port, None)));
    }
    if !failsafe.peers.is_empty() {
        steps.push(accept("failsafe.peers".to_owned(), Region::from_addresses(&failsafe.peers)));
    }
    if let FragmentPolicy::Always(verdict) = ruleset.policy.fragments {
        let name = "policy.fragments".to_owned();
        steps.push(Step { name, id: None, verdict, region: Region::later_fragments() });
    }
    steps.extend(ruleset.rules.iter().map(|rule| Step {
        name: format!("rule {}", rule.id),
        id: Some(&rule.id),
        verdict: rule.action,
        region: Region::of_rule(rule, ruleset),
    }));
    steps
}
