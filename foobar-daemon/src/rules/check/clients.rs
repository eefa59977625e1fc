//! Who may say for whom he speaks.

use foobar_common::verdict::Verdict;

use super::{Finding, Kind, Severity, Subject};
use crate::rules::{
    limit::Per,
    model::{Rule, Ruleset},
};

/// Looks at rules with limits of clients: whom they let in is believed.
pub(super) fn check(ruleset: &Ruleset, findings: &mut Vec<Finding>) {
    let mut is_sorted_out = false;
    for rule in &ruleset.rules {
        let limits_clients = rule.limit.is_some_and(|limit| limit.per == Per::Client);
        if limits_clients && rule.source.is_none() && !is_sorted_out {
            findings.push(Finding {
                severity: Severity::Note,
                kind: Kind::Believed,
                subject: Subject::Rule(rule.id.to_string()),
                message: "whoever it lets in is believed for whom he speaks, and can have the limit of others used up"
                    .to_owned(),
                help: "write source = [\"…\"] with the addresses of those that send PROXY headers".to_owned(),
            });
        }
        is_sorted_out |= sorts_out(rule);
    }
}

/// Whether a rule keeps some sources out.
fn sorts_out(rule: &Rule) -> bool {
    rule.source.is_some() && matches!(rule.action, Verdict::Drop | Verdict::Reject)
}
