//! Sets that are of no use, or have more entries than they need.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{Finding, Kind, Severity, Subject};
use crate::rules::model::{AddressMatch, Ruleset};

/// Looks at each set.
pub(super) fn check(ruleset: &Ruleset, findings: &mut Vec<Finding>) {
    let conditions = ruleset.rules.iter().flat_map(|rule| [&rule.source, &rule.destination]).flatten();
    let used: BTreeSet<&str> = conditions
        .flat_map(|one| one.include.iter().chain(&one.exclude))
        .filter_map(|one| match one {
            AddressMatch::Set(name) => Some(name.as_str()),
            AddressMatch::Prefix(_) => None,
        })
        .collect();
    for (name, set) in &ruleset.sets {
        let note = |(message, help)| Finding {
            severity: Severity::Note,
            kind: Kind::Set,
            subject: Subject::Set(name.clone()),
            message,
            help,
        };
        if !used.contains(name.as_str()) {
            let help = format!("write \"@{name}\" into source or destination of a rule");
            findings.push(note(("no rule uses the set".to_owned(), help)));
        } else if set.entries.is_empty() {
            let message = "the set has no entries, so no packet is in it".to_owned();
            findings.push(note((message, "add addresses or prefixes".to_owned())));
        }
        findings.extend(needless(&set.entries).map(note));
    }
}

/// What is said of entries that add nothing, and what to do.
fn needless(entries: &[IpNet]) -> Option<(String, String)> {
    let mut sorted: Vec<IpNet> = entries.iter().map(IpNet::trunc).collect();
    // A prefix comes right before those inside of it.
    sorted.sort_unstable();
    let (mut repeated, mut inside) = (Vec::new(), Vec::new());
    let mut widest: Option<IpNet> = None;
    for pair in std::iter::once(None).chain(sorted.iter().map(Some)).zip(&sorted).map(|(a, b)| (a, *b)) {
        match (pair, widest) {
            ((Some(before), entry), _) if *before == entry => repeated.push(entry),
            ((_, entry), Some(wide)) if wide.contains(&entry) => inside.push((entry, wide)),
            ((_, entry), _) => widest = Some(entry),
        }
    }
    let said: Vec<String> = [
        repeated.first().map(|entry| format!("{} written before ({entry})", are(repeated.len()))),
        inside
            .first()
            .map(|(entry, wide)| format!("{} inside another ({entry} in {wide})", are(inside.len()))),
    ]
    .into_iter()
    .flatten()
    .collect();
    let help = "leave them out; what is in the set stays the same".to_owned();
    (!said.is_empty()).then(|| (format!("of its entries {}", said.join(", and ")), help))
}

fn are(count: usize) -> String {
    if count == 1 { "1 is".to_owned() } else { format!("{count} are") }
}
