//! What is said of rules.

use foobar_common::verdict::Verdict;

use super::{Finding, Kind, Severity, Subject, steps::Steps};

/// A finding without the rule that it is about.
pub(super) type Found = (Severity, Kind, String, String);

/// More than these are counted, not named.
const NAMES_MAX: usize = 3;

/// No packet can match.
pub(super) fn empty() -> Found {
    (
        Severity::Warning,
        Kind::Empty,
        "no packet can match this rule: its conditions exclude each other, or a set has no entries"
            .to_owned(),
        "look at excluded addresses and at sets, or leave the rule out".to_owned(),
    )
}

/// It was not found out.
pub(super) fn undecided() -> Found {
    (
        Severity::Note,
        Kind::Undecided,
        "so many rules match parts of it that it was not found out whether it is of use".to_owned(),
        "see whether its counter grows".to_owned(),
    )
}

/// The rule decides nothing, because of these steps, of which packets get its verdict, another or both.
pub(super) fn shadowed(
    steps: &Steps<'_>,
    verdict: Verdict,
    by: &[usize],
    gets_same: bool,
    gets_other: bool,
) -> Found {
    let before = names(steps, by);
    let together = if by.len() > 1 { " together" } else { "" };
    let covered = format!("every packet that it matches is decided before it, by {before}{together}");
    let word = verdict.label();
    let before_or_out = format!("put the rule before {before}, or leave it out");
    match (gets_same, gets_other) {
        (true, false) => (
            Severity::Warning,
            Kind::Shadowed,
            format!("{covered}, and gets the same verdict: {word}"),
            "leave the rule out, or put it first to count it".to_owned(),
        ),
        (false, true) => (
            Severity::Warning,
            Kind::Contradiction,
            format!("{covered}, and gets the opposite of its verdict: {word}"),
            before_or_out,
        ),
        (true, true) | (false, false) => (Severity::Warning, Kind::Shadowed, covered, before_or_out),
    }
}

/// The rule changes no verdict.
pub(super) fn only_counts(verdict: Verdict) -> Found {
    let word = verdict.label();
    (
        Severity::Note,
        Kind::Redundant,
        format!("without the rule its packets would get the same verdict, {word}, so it only counts them"),
        "leave it out if its counter is not wanted".to_owned(),
    )
}

/// Lists run into those of these steps.
pub(super) fn overlap(steps: &Steps<'_>, others: &[usize]) -> Found {
    let message = format!(
        "a list or range of it overlaps in part with {}: packets that meet both meet the earlier one",
        names(steps, others)
    );
    (Severity::Note, Kind::Overlap, message, "check that the order is meant".to_owned())
}

/// So many rules have lists that run into others that no more were looked for.
pub(super) fn more_overlaps(n_told: usize) -> Finding {
    Finding {
        severity: Severity::Note,
        kind: Kind::Overlap,
        subject: Subject::Key("rule"),
        message: format!(
            "lists that overlap in part were looked for up to the first {n_told} rules with any"
        ),
        help: "mend those that are told, then check again".to_owned(),
    }
}

fn names(steps: &Steps<'_>, of: &[usize]) -> String {
    let named: Vec<&str> = of.iter().take(NAMES_MAX).map(|step| steps.name(*step)).collect();
    let named = named.join(", ");
    match of.len().saturating_sub(NAMES_MAX) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}
