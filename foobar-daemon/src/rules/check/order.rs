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
    for (number, step) in steps.iter().enumerate() {
        let Some(id) = step.id else {
            continue;
        };
        let (before, behind) = (&steps[..number], &steps[number + 1..]);
        let found = match judge(step, before, behind, ruleset.policy.inbound) {
            Ok(found) => found,
            Err(TooMany) => Some((
                Severity::Note,
                Kind::Undecided,
                "so many rules before it match parts of it that it was not found out whether it is of use"
                    .to_owned(),
                "compare its counter with zero".to_owned(),
            )),
        };
        let found = found.into_iter().chain(overlap(step, before));
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

/// What is to be said of a rule.
fn judge(
    step: &Step<'_>,
    before: &[Step<'_>],
    behind: &[Step<'_>],
    policy: Verdict,
) -> Result<Option<Found>, TooMany> {
    if step.region.is_empty() {
        return Ok(Some((
            Severity::Warning,
            Kind::Empty,
            "no packet can match this rule: its conditions exclude each other, or a set has no entries"
                .to_owned(),
            "look at excluded addresses and at sets, or leave the rule out".to_owned(),
        )));
    }
    let meeting: Vec<&Step<'_>> = before.iter().filter(|one| one.region.meets(&step.region)).collect();
    for one in &meeting {
        if one.region.covers(&step.region).unwrap_or(false) {
            return Ok(Some(shadowed(step, &[one])));
        }
    }
    let mut reached = step.region.clone();
    for one in &meeting {
        reached = reached.subtract(&one.region)?;
    }
    if reached.is_empty() {
        return Ok(Some(shadowed(step, &meeting)));
    }
    redundant(step, reached, behind, policy)
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

/// Whether every packet that gets to the rule would get the same verdict without it.
fn redundant(
    step: &Step<'_>,
    reached: Region,
    behind: &[Step<'_>],
    policy: Verdict,
) -> Result<Option<Found>, TooMany> {
    let mut rest = reached;
    for next in behind {
        if next.region.meets(&rest) {
            if next.verdict != step.verdict {
                return Ok(None);
            }
            rest = rest.subtract(&next.region)?;
        }
    }
    if !rest.is_empty() && policy != step.verdict {
        return Ok(None);
    }
    let word = step.verdict.label();
    Ok(Some((
        Severity::Note,
        Kind::Redundant,
        format!("without the rule its packets would get the same verdict, {word}, so it only counts them"),
        "leave it out if its counter is not wanted".to_owned(),
    )))
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
