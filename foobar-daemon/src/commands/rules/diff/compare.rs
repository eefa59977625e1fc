//! What differs between two rulesets. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use ipnet::IpNet;
use serde::Serialize;

use super::super::words::{self, Setting};
use crate::rules::{
    model::{Rule, Ruleset},
    names,
    rule_id::RuleId,
    sets::edit::{Difference as Entries, sorted},
};

/// All differences; what is the same is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::commands) struct Difference {
    /// Hashes of both.
    from: String,
    to: String,
    policy: Vec<Change>,
    failsafe: Vec<Change>,
    guard: Vec<Change>,
    peers: Vec<NamedChange>,
    sets: Vec<SetChange>,
    /// Sets whose changes at runtime are dropped.
    dropped_edits: Vec<String>,
    services: Vec<NamedChange>,
    rules: RuleChanges,
}

/// A key whose value differs; `None` where it is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Change {
    key: String,
    from: Option<String>,
    to: Option<String>,
}

/// Differences of a set; all its entries, if it is new or gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct SetChange {
    name: String,
    change: Kind,
    added: Vec<String>,
    removed: Vec<String>,
}

/// A group of peers or a service that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct NamedChange {
    name: String,
    change: Kind,
    from: Option<String>,
    to: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Added,
    Removed,
    Changed,
}

/// Differences of the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct RuleChanges {
    added: Vec<PlacedRule>,
    removed: Vec<PlacedRule>,
    changed: Vec<ChangedRule>,
    moved: Vec<MovedRule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct PlacedRule {
    id: String,
    /// Counted from 1.
    position: usize,
    action: &'static str,
    conditions: Vec<Setting>,
    #[serde(skip)]
    line: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ChangedRule {
    id: String,
    changes: Vec<Change>,
}

/// A rule that stands before or behind others than it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct MovedRule {
    id: String,
    /// Positions, counted from 1.
    from: usize,
    to: usize,
}

/// Compares two rulesets, each with its hash. Sets have the entries that they have in force; `dropped_edits` are
/// those whose changes at runtime the new rules make void.
pub(in crate::commands) fn compare(
    old: (&str, &Ruleset),
    new: (&str, &Ruleset),
    dropped_edits: Vec<String>,
) -> Difference {
    let (from, old) = old;
    let (to, new) = new;
    Difference {
        from: from.to_owned(),
        to: to.to_owned(),
        policy: settings(&words::settings_of_policy(&old.policy), &words::settings_of_policy(&new.policy)),
        failsafe: settings(
            &words::settings_of_failsafe(&old.failsafe),
            &words::settings_of_failsafe(&new.failsafe),
        ),
        guard: settings(&words::settings_of_guard(&old.guard), &words::settings_of_guard(&new.guard)),
        peers: named(&words::peers(&old.peers), &words::peers(&new.peers)),
        sets: sets(old, new),
        dropped_edits,
        services: named(&words::services(&old.services), &words::services(&new.services)),
        rules: rules(&old.rules, &new.rules),
    }
}

fn settings(old: &[Setting], new: &[Setting]) -> Vec<Change> {
    let by_key = |settings: &[Setting]| -> BTreeMap<&'static str, String> {
        settings.iter().map(|setting| (setting.key, setting.value.clone())).collect()
    };
    let (old_values, new_values) = (by_key(old), by_key(new));
    // In the order in which they are written, the new ones first.
    let mut keys: Vec<&'static str> = Vec::new();
    for setting in new.iter().chain(old) {
        if !keys.contains(&setting.key) {
            keys.push(setting.key);
        }
    }
    keys.into_iter()
        .map(|key| Change {
            key: key.to_owned(),
            from: old_values.get(key).cloned(),
            to: new_values.get(key).cloned(),
        })
        .filter(|change| change.from != change.to)
        .collect()
}

fn kind<T: PartialEq>(old: Option<&T>, new: Option<&T>) -> Option<Kind> {
    match (old, new) {
        (None, Some(_)) => Some(Kind::Added),
        (Some(_), None) => Some(Kind::Removed),
        (Some(old), Some(new)) if old != new => Some(Kind::Changed),
        _ => None,
    }
}

fn sets(old: &Ruleset, new: &Ruleset) -> Vec<SetChange> {
    let entries = |ruleset: &Ruleset, name: &str| ruleset.sets.get(name).map(|set| sorted(&set.entries));
    let names: BTreeSet<&String> = old.sets.keys().chain(new.sets.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| {
            let (before, after) = (entries(old, name), entries(new, name));
            let change = kind(before.as_ref(), after.as_ref())?;
            let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
            let Entries { added, removed } = Entries::between(&before, &after);
            let in_words = |entries: &[IpNet]| entries.iter().map(names::prefix_words).collect();
            Some(SetChange {
                name: name.clone(),
                change,
                added: in_words(&added),
                removed: in_words(&removed),
            })
        })
        .collect()
}

/// What has another text behind its name, or is new or gone.
fn named(before: &BTreeMap<&str, String>, after: &BTreeMap<&str, String>) -> Vec<NamedChange> {
    let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    names
        .into_iter()
        .filter_map(|name| {
            let (from, to) = (before.get(name), after.get(name));
            let change = kind(from, to)?;
            Some(NamedChange { name: name.to_owned(), change, from: from.cloned(), to: to.cloned() })
        })
        .collect()
}

fn rules(old: &[Rule], new: &[Rule]) -> RuleChanges {
    let place = |rules: &[Rule]| -> BTreeMap<RuleId, usize> {
        rules.iter().enumerate().map(|(index, rule)| (rule.id.clone(), index)).collect()
    };
    let (old_places, new_places) = (place(old), place(new));
    let only_in = |rules: &[Rule], others: &BTreeMap<RuleId, usize>| -> Vec<PlacedRule> {
        let lonely = rules.iter().enumerate().filter(|(_, rule)| !others.contains_key(&rule.id));
        lonely.map(|(index, rule)| placed(index, rule)).collect()
    };
    let mut changed = Vec::new();
    // Old positions of the rules that both have, in the new order.
    let mut common: Vec<(usize, usize, &str)> = Vec::new();
    for (to, rule) in new.iter().enumerate() {
        let Some((from, before)) = old_places.get(&rule.id).and_then(|from| Some((*from, old.get(*from)?)))
        else {
            continue;
        };
        common.push((from, to, rule.id.as_str()));
        let differing = settings(&words::settings_of_rule(before), &words::settings_of_rule(rule));
        if !differing.is_empty() {
            changed.push(ChangedRule { id: rule.id.to_string(), changes: differing });
        }
    }
    let stayed = longest_rising(&common.iter().map(|(from, _, _)| *from).collect::<Vec<_>>());
    let moved = common
        .iter()
        .filter(|(from, _, _)| !stayed.contains(from))
        .map(|(from, to, id)| MovedRule { id: (*id).to_owned(), from: from + 1, to: to + 1 })
        .collect();
    RuleChanges { added: only_in(new, &old_places), removed: only_in(old, &new_places), changed, moved }
}

fn placed(index: usize, rule: &Rule) -> PlacedRule {
    PlacedRule {
        id: rule.id.to_string(),
        position: index + 1,
        action: rule.action.label(),
        conditions: words::conditions(rule),
        line: words::conditions_line(rule),
    }
}

/// The longest part of a sequence of different numbers that rises: the rules that did not move, if as few as
/// possible did. (Schensted, Longest Increasing and Decreasing Subsequences, 1961.)
fn longest_rising(numbers: &[usize]) -> BTreeSet<usize> {
    // For each length, the smallest number that a rising part of it can end with.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: BTreeMap<usize, usize> = BTreeMap::new();
    for number in numbers {
        let shorter = ends.partition_point(|end| end < number);
        if let Some(last) = shorter.checked_sub(1).and_then(|length| ends.get(length)) {
            before.insert(*number, *last);
        }
        match ends.get_mut(shorter) {
            Some(end) => *end = *number,
            None => ends.push(*number),
        }
    }
    let mut rising = BTreeSet::new();
    let mut next = ends.last().copied();
    while let Some(number) = next {
        rising.insert(number);
        next = before.get(&number).copied();
    }
    rising
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, policy, failsafe, guard, peers, sets, dropped_edits, services, rules } = self;
        let RuleChanges { added, removed, changed, moved } = rules;
        if *self == (Self { from: from.clone(), to: to.clone(), ..Self::default() }) {
            let same = if from == to { "the same texts" } else { "other texts that say the same" };
            return writeln!(formatter, "nothing would change: {same}");
        }
        for (section, changes) in [("policy", policy), ("failsafe", failsafe), ("guard", guard)] {
            for change in changes {
                writeln!(formatter, "~ {section}.{change}")?;
            }
        }
        write_named(formatter, "peers", peers)?;
        for SetChange { name, change, added, removed } in sets {
            let (plus, minus) = (added.len(), removed.len());
            writeln!(formatter, "{} set {name}: {plus} entries more, {minus} less", change.sign())?;
        }
        for name in dropped_edits {
            writeln!(formatter, "~ set {name}: what was changed at runtime is dropped")?;
        }
        write_named(formatter, "service", services)?;
        for (sign, rules) in [("+", added), ("-", removed)] {
            for PlacedRule { id, position, action, line, .. } in rules {
                writeln!(formatter, "{sign} rule {id} (number {position}): {action}  {line}")?;
            }
        }
        for ChangedRule { id, changes } in changed {
            for change in changes {
                writeln!(formatter, "~ rule {id}: {change}")?;
            }
        }
        for MovedRule { id, from, to } in moved {
            writeln!(formatter, "> rule {id}: number {from} -> {to}")?;
        }
        Ok(())
    }
}

fn write_named(formatter: &mut fmt::Formatter<'_>, what: &str, changes: &[NamedChange]) -> fmt::Result {
    for NamedChange { name, change, from, to } in changes {
        let [from, to] = [from, to].map(|words| words.as_deref().unwrap_or("none"));
        writeln!(formatter, "{} {what} {name}: {from} -> {to}", change.sign())?;
    }
    Ok(())
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [from, to] = [&self.from, &self.to].map(|value| match value.as_deref() {
            None | Some("") => "none",
            Some(value) => value,
        });
        write!(formatter, "{} {from} -> {to}", self.key)
    }
}

impl Kind {
    const fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Changed => '~',
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::bundle::Bundle;

    fn difference(old: &str, new: &str) -> Difference {
        let [old, new] = [old, new].map(|text| Bundle::of_text("r.toml", &format!("schema = 1\n{text}")));
        compare((&old.hash(), &old.parse().unwrap()), (&new.hash(), &new.parse().unwrap()), Vec::new())
    }

    fn rules(ids: &str) -> String {
        ids.chars()
            .fold(String::new(), |text, id| text + &format!("[[rule]]\nid = \"{id}\"\naction = \"accept\"\n"))
    }

    #[test]
    fn the_same_rules_differ_in_nothing() {
        assert_eq!(difference("", "").to_string(), "nothing would change: the same texts\n");
        assert_eq!(
            difference("", "# a comment\n").to_string(),
            "nothing would change: other texts that say the same\n"
        );
    }

    #[test]
    fn every_part_is_compared() {
        let old = "[policy]\nin = \"drop\"\n[peers]\nlb = \"192.0.2.8/29\"\noffice = \"198.51.100.1\"\n[failsafe]\nports = [\"tcp/22\"]\n[sets.a]\nentries = [\"192.0.2.1\", \
                   \"192.0.2.2\"]\n[sets.gone]\nentries = [\"192.0.2.9\"]\n[[service]]\nname = \"www\"\nport = \
                   \"tcp/80\"\nprotocol = \"raw\"\n[[rule]]\nid = \"old\"\naction = \"drop\"\n[[rule]]\nid = \
                   \"web\"\naction = \"accept\"\nprotocol = \"tcp\"\ndestination_port = 80\n";
        let new = "[policy]\nin = \"accept\"\n[guard]\nwithin = \"1m\"\nservices = \"www\"\n[peers]\noffice = \"198.51.100.0/24\"\nmonitoring = [\"192.0.2.8/29\", \"2001:db8::1\"]\n[sets.a]\nentries = [\"192.0.2.1\", \"192.0.2.3\", \
                   \"192.0.2.4\"]\n[[service]]\nname = \"www\"\nport = [\"tcp/80\", \"tcp/443\"]\nprotocol = \
                   \"raw\"\n[[rule]]\nid = \"web\"\naction = \"drop\"\nprotocol = \"tcp\"\ndestination_port = [80, \
                   443]\nvlan = [3]\n[[rule]]\nid = \"new\"\naction = \"accept\"\nsource = [\"@a\"]\n";
        let difference = difference(old, new);
        assert_eq!(
            difference.to_string(),
            "~ policy.in drop -> accept\n\
             ~ failsafe.ports tcp/22 -> none\n\
             ~ guard.within 30s -> 1m\n\
             ~ guard.services all -> www\n\
             - peers lb: 192.0.2.8/29 -> none\n\
             + peers monitoring: none -> 192.0.2.8/29,2001:db8::1\n\
             ~ peers office: 198.51.100.1 -> 198.51.100.0/24\n\
             ~ set a: 2 entries more, 1 less\n\
             - set gone: 0 entries more, 1 less\n\
             ~ service www: tcp/80 -> tcp/80,tcp/443\n\
             + rule new (number 2): accept  source @a\n\
             - rule old (number 1): drop  every packet\n\
             ~ rule web: action accept -> drop\n\
             ~ rule web: destination_port 80 -> 80,443\n\
             ~ rule web: vlan none -> 3\n"
        );
        let json = serde_json::to_value(&difference).unwrap();
        assert_eq!(json["sets"][0]["added"], serde_json::json!(["192.0.2.3", "192.0.2.4"]));
        assert_eq!(json["sets"][1]["change"], "removed");
        assert_eq!(json["rules"]["added"][0]["position"], 2);
    }

    #[test]
    fn a_server_to_compare_with_is_a_setting_of_its_service() {
        let service = |reconcile: &str| {
            format!("[[service]]\nname = \"www\"\nport = \"tcp/80\"\nprotocol = \"http1\"\n{reconcile}")
        };
        let with = service("reconcile = { nginx_status = \"http://127.0.0.1:81/\", every = \"1m\" }\n");
        assert_eq!(
            difference(&service(""), &with).to_string(),
            "~ service www: tcp/80 http1 -> tcp/80 http1 reconcile nginx_status http://127.0.0.1:81/ every 1m\n"
        );
    }

    #[test]
    fn as_few_rules_as_possible_have_moved() {
        for (old, new, moved) in [
            ("abcde", "abcde", ""),
            ("abcde", "eabcd", "e"),
            ("abcde", "bcdea", "a"),
            ("abcde", "acbde", "c"),
            ("abcde", "xacye", ""),
            ("abc", "cba", "cb"),
        ] {
            let moves = difference(&rules(old), &rules(new)).rules.moved;
            let ids: String = moves.iter().map(|rule| rule.id.as_str()).collect();
            assert_eq!(ids.len(), moved.len(), "{old} {new}: {ids}");
            if moved.len() == 1 && moved != "c" {
                assert_eq!(ids, moved, "{old} {new}");
            }
        }
    }
}
