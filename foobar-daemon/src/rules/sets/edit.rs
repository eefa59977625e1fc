//! Changes of the entries of one set. Pure: entries in, entries out, and what there is to tell of it.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::rules::names::prefix_words;

/// A change that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetEdit {
    /// These are entries, too.
    Add(Vec<IpNet>),
    /// These are entries no longer.
    Remove(Vec<IpNet>),
    /// These are the entries, and no others.
    Replace(Vec<IpNet>),
}

/// A set after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditedSet {
    /// Its entries. Those that stayed keep their order, new ones come last.
    pub entries: Vec<IpNet>,
    /// How they differ from those before.
    pub delta: Delta,
    /// What there is to tell.
    pub report: EditReport,
}

/// How the entries of a set differ from those before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delta {
    /// By these, in the order in which they were given.
    Entries {
        /// New ones.
        added: Vec<IpNet>,
        /// Those that are gone.
        removed: Vec<IpNet>,
    },
    /// All of them were given anew.
    Whole,
}

/// What a change did, as `--json` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditReport {
    /// Name of the set.
    pub set: String,
    /// How many entries it has.
    pub entries: usize,
    /// How many of them are new.
    pub added: usize,
    /// How many others are gone.
    pub removed: usize,
    /// What was to be added and was an entry already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub present: Vec<String>,
    /// What was to be removed and was no entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<String>,
    /// What was added or to be removed, and is inside a wider entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub covered: Vec<Covered>,
    /// How many entries of a whole set were given once more.
    #[serde(default)]
    pub repeated: usize,
    /// How many entries of a whole set are inside another.
    #[serde(default)]
    pub nested: usize,
    /// How many of the given entries had bits behind the prefix, which were set to zero.
    #[serde(default)]
    pub masked: usize,
}

/// An entry inside a wider one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    /// The entry.
    pub entry: String,
    /// The wider one.
    pub by: String,
}

impl SetEdit {
    /// Changes the entries of a set.
    pub fn of(self, name: &str, entries: &[IpNet]) -> EditedSet {
        let mut edited = match self {
            Self::Add(given) => add(entries, &given),
            Self::Remove(given) => remove(entries, &given),
            Self::Replace(given) => replace(entries, given),
        };
        name.clone_into(&mut edited.report.set);
        edited.report.entries = edited.entries.len();
        edited
    }
}

fn add(entries: &[IpNet], given: &[IpNet]) -> EditedSet {
    let mut found = Found::of(given, entries);
    found.cover_by(given);
    let mut report = EditReport::default();
    let mut added = Vec::new();
    for (prefix, place) in found.in_order(given) {
        if place.is_entry {
            report.present.push(prefix_words(&prefix));
            continue;
        }
        added.push(prefix);
        report.covered.extend(place.covered(&prefix));
    }
    report.added = added.len();
    let entries = entries.iter().chain(&added).copied().collect();
    EditedSet { entries, delta: Delta::Entries { added, removed: Vec::new() }, report }
}

fn remove(entries: &[IpNet], given: &[IpNet]) -> EditedSet {
    let found = Found::of(given, entries);
    let mut report = EditReport::default();
    let mut removed = Vec::new();
    for (prefix, place) in found.in_order(given) {
        if place.is_entry {
            removed.push(prefix);
        } else {
            report.absent.push(prefix_words(&prefix));
        }
        report.covered.extend(place.covered(&prefix));
    }
    report.removed = removed.len();
    let entries = entries.iter().filter(|entry| !found.places.contains_key(entry)).copied().collect();
    EditedSet { entries, delta: Delta::Entries { added: Vec::new(), removed }, report }
}

fn replace(entries: &[IpNet], given: Vec<IpNet>) -> EditedSet {
    let (before, after) = (sorted(entries), sorted(&given));
    let Difference { added, removed } = Difference::between(&before, &after);
    let report = EditReport {
        added: added.len(),
        removed: removed.len(),
        repeated: given.len() - after.len(),
        nested: nested(&after),
        ..EditReport::default()
    };
    EditedSet { entries: given, delta: Delta::Whole, report }
}

/// Where given prefixes stand among the entries of a set.
struct Found {
    places: BTreeMap<IpNet, Place>,
}

#[derive(Clone, Copy, Default)]
struct Place {
    is_entry: bool,
    /// A wider entry, which is not given itself.
    wider: Option<IpNet>,
}

impl Place {
    fn covered(&self, prefix: &IpNet) -> Option<Covered> {
        self.wider.map(|wider| Covered { entry: prefix_words(prefix), by: prefix_words(&wider) })
    }
}

impl Found {
    /// Looks at each entry once: entries may be a million, given are a few.
    fn of(given: &[IpNet], entries: &[IpNet]) -> Self {
        let mut places: BTreeMap<IpNet, Place> =
            given.iter().map(|prefix| (*prefix, Place::default())).collect();
        for entry in entries {
            if let Some(place) = places.get_mut(entry) {
                place.is_entry = true;
                continue;
            }
            for (_, place) in places.range_mut(inside(entry)) {
                place.wider.get_or_insert(*entry);
            }
        }
        Self { places }
    }

    /// Counts given prefixes as entries that others are inside of.
    fn cover_by(&mut self, given: &[IpNet]) {
        for wider in given {
            for (prefix, place) in self.places.range_mut(inside(wider)) {
                if prefix != wider {
                    place.wider.get_or_insert(*wider);
                }
            }
        }
    }

    /// Each given prefix once.
    fn in_order(&self, given: &[IpNet]) -> impl Iterator<Item = (IpNet, Place)> {
        let mut rest = self.places.clone();
        given.iter().filter_map(move |prefix| rest.remove(prefix).map(|place| (*prefix, place)))
    }
}

/// The prefixes from this one to the last one inside, in the order of [`IpNet`]: by address, then by length.
fn inside(prefix: &IpNet) -> RangeInclusive<IpNet> {
    *prefix..=IpNet::from(prefix.broadcast())
}

/// Each entry once, in order.
pub fn sorted(entries: &[IpNet]) -> Vec<IpNet> {
    let mut sorted = entries.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    sorted
}

/// What two lists of entries, each [`sorted`], do not have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What only the later has.
    pub added: Vec<IpNet>,
    /// What only the earlier has.
    pub removed: Vec<IpNet>,
}

impl Difference {
    /// Compares them.
    pub fn between(before: &[IpNet], after: &[IpNet]) -> Self {
        let mut difference = Self::default();
        let (mut before, mut after) = (before, after);
        while let (Some((old, older)), Some((new, newer))) = (before.split_first(), after.split_first()) {
            match old.cmp(new) {
                std::cmp::Ordering::Equal => (before, after) = (older, newer),
                std::cmp::Ordering::Less => {
                    difference.removed.push(*old);
                    before = older;
                }
                std::cmp::Ordering::Greater => {
                    difference.added.push(*new);
                    after = newer;
                }
            }
        }
        difference.removed.extend(before);
        difference.added.extend(after);
        difference
    }
}

/// How many of these, in order, are inside another.
fn nested(entries: &[IpNet]) -> usize {
    let mut outer: Option<IpNet> = None;
    let mut nested = 0;
    for entry in entries {
        if outer.is_some_and(|outer| outer.contains(entry)) {
            nested += 1;
        } else {
            outer = Some(*entry);
        }
    }
    nested
}

impl EditReport {
    /// What a reader should know besides, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let Self {
            set: _,
            entries: _,
            added: _,
            removed: _,
            present,
            absent,
            covered,
            repeated,
            nested,
            masked,
        } = self;
        let mut notes: Vec<String> =
            present.iter().map(|entry| format!("{entry} was an entry already")).collect();
        notes.extend(absent.iter().map(|entry| format!("{entry} was no entry")));
        notes.extend(covered.iter().map(|Covered { entry, by }| format!("{entry} is inside the entry {by}")));
        for (count, what) in [
            (repeated, "given once more"),
            (nested, "inside another"),
            (masked, "with bits behind the prefix, which are set to zero"),
        ] {
            if *count > 0 {
                notes.push(format!("entries {what}: {count}"));
            }
        }
        notes
    }
}

impl fmt::Display for EditReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { set, entries, added, removed, .. } = self;
        let all = if *entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") };
        write!(formatter, "set {set}: {added} added, {removed} removed; {all} in all")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &str) -> Vec<IpNet> {
        words.split_whitespace().map(|word| crate::rules::file::parse_prefix(word).unwrap()).collect()
    }

    fn covered(pairs: &[(&str, &str)]) -> Vec<Covered> {
        let covered = |(entry, by): &(&str, &str)| Covered { entry: (*entry).into(), by: (*by).into() };
        pairs.iter().map(covered).collect()
    }

    const BEFORE: &str = "192.0.2.0/24 198.51.100.7 2001:db8::/32 198.51.100.7";

    #[test]
    fn what_is_added_is_told_apart_from_what_was_there() {
        let given = list("192.0.2.9 203.0.113.1 198.51.100.7 203.0.113.0/24 2001:db8::/32 203.0.113.1");
        let EditedSet { entries, delta, report } = SetEdit::Add(given).of("s", &list(BEFORE));
        let added = list("192.0.2.9 203.0.113.1 203.0.113.0/24");
        assert_eq!(entries, [list(BEFORE), added.clone()].concat());
        assert_eq!(delta, Delta::Entries { added, removed: Vec::new() });
        assert_eq!(
            report,
            EditReport {
                set: "s".to_owned(),
                entries: 7,
                added: 3,
                present: vec!["198.51.100.7".to_owned(), "2001:db8::/32".to_owned()],
                covered: covered(&[("192.0.2.9", "192.0.2.0/24"), ("203.0.113.1", "203.0.113.0/24")]),
                ..EditReport::default()
            }
        );
        assert_eq!(report.to_string(), "set s: 3 added, 0 removed; 7 entries in all");
    }

    #[test]
    fn what_is_removed_may_be_inside_of_what_stays() {
        let before = list(&format!("{BEFORE} 192.0.2.9"));
        let given = list("192.0.2.9 198.51.100.7 192.0.2.10 ::1");
        let EditedSet { entries, delta, report } = SetEdit::Remove(given).of("s", &before);
        assert_eq!(entries, list("192.0.2.0/24 2001:db8::/32"), "and what was there twice is gone wholly");
        let removed = list("192.0.2.9 198.51.100.7");
        assert_eq!(delta, Delta::Entries { added: Vec::new(), removed });
        assert_eq!(report.absent, ["192.0.2.10", "::1"]);
        assert_eq!(report.covered, covered(&[("192.0.2.9", "192.0.2.0/24"), ("192.0.2.10", "192.0.2.0/24")]));
        assert_eq!((report.added, report.removed, report.entries), (0, 2, 2));
        // The wider entry goes along, so nothing is inside of it any more.
        let both = SetEdit::Remove(list("192.0.2.9 192.0.2.0/24")).of("s", &before);
        assert_eq!(both.report.covered, []);
    }

    #[test]
    fn a_whole_set_is_compared_with_the_one_before() {
        let given = list("192.0.2.0/24 192.0.2.0/25 192.0.2.1 ::/0 ::1 192.0.2.1 192.0.3.0/24");
        let EditedSet { entries, delta, report } = SetEdit::Replace(given.clone()).of("s", &list(BEFORE));
        assert_eq!((entries, delta), (given, Delta::Whole));
        let counts = (report.added, report.removed, report.repeated, report.nested);
        assert_eq!(counts, (5, 2, 1, 3), "{:?}", report.notes());
    }
}
