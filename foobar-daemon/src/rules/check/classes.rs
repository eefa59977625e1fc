//! Addresses by what the ruleset says of them.
//!
//! Two addresses that are in the same prefixes and sets of the ruleset are the same to every rule: they are one
//! class, and a class is a number. A set of a million entries comes down to a few classes unless rules name
//! parts of it, and its entries are looked at once, however many rules use it. Classes are numbered in the order
//! of their first address, so those of a prefix mostly lie side by side.

use std::collections::{BTreeSet, HashMap, HashSet};

use ipnet::IpNet;

use super::ranges::Ranges;
use crate::rules::model::{AddressCondition, AddressMatch, Ruleset};

/// The classes of one IP version.
#[derive(Debug)]
pub(super) struct Classes {
    count: u32,
    prefixes: HashMap<IpNet, Ranges>,
    sets: HashMap<String, Ranges>,
}

impl Classes {
    pub(super) fn v4(ruleset: &Ruleset) -> Self {
        Self::of(ruleset, u32::MAX.into(), |prefix| match prefix {
            IpNet::V4(v4) => Some((v4.network().to_bits().into(), v4.broadcast().to_bits().into())),
            IpNet::V6(_) => None,
        })
    }

    pub(super) fn v6(ruleset: &Ruleset) -> Self {
        Self::of(ruleset, u128::MAX, |prefix| match prefix {
            IpNet::V4(_) => None,
            IpNet::V6(v6) => Some((v6.network().to_bits(), v6.broadcast().to_bits())),
        })
    }

    /// All addresses.
    pub(super) fn all(&self) -> Ranges {
        Ranges::of([(0, self.count - 1)])
    }

    /// Those that a condition of the ruleset accepts.
    pub(super) fn of_condition(&self, condition: Option<&AddressCondition>) -> Ranges {
        let Some(AddressCondition { include, exclude }) = condition else {
            return self.all();
        };
        let of_list = |list: &[AddressMatch]| {
            union(&mut list.iter().filter_map(|one| match one {
                AddressMatch::Prefix(prefix) => self.prefixes.get(prefix),
                AddressMatch::Set(name) => self.sets.get(name),
            }))
        };
        let included = if include.is_empty() { self.all() } else { of_list(include) };
        if exclude.is_empty() { included } else { included.subtract(&of_list(exclude)) }
    }

    fn of(ruleset: &Ruleset, last: u128, range: impl Fn(&IpNet) -> Option<(u128, u128)>) -> Self {
        let conditions = ruleset.rules.iter().flat_map(|rule| [&rule.source, &rule.destination]).flatten();
        let named = conditions.flat_map(|one| one.include.iter().chain(&one.exclude));
        let mut prefixes: BTreeSet<&IpNet> = ruleset.failsafe.peers.iter().collect();
        let mut sets: BTreeSet<&String> = BTreeSet::new();
        for one in named {
            match one {
                AddressMatch::Prefix(prefix) => drop(prefixes.insert(prefix)),
                AddressMatch::Set(name) => drop(sets.insert(name)),
            }
        }
        let of_prefixes = prefixes.iter().map(|prefix| Ranges::of(range(prefix)));
        let of_sets = sets.iter().map(|name| {
            let entries = ruleset.sets.get(*name).map_or(&[][..], |set| &set.entries);
            Ranges::of(entries.iter().filter_map(&range))
        });
        let (count, classes) = number(&of_prefixes.chain(of_sets).collect::<Vec<_>>(), last);
        let mut classes = classes.into_iter();
        Self {
            count,
            prefixes: prefixes.into_iter().copied().zip(&mut classes).collect(),
            sets: sets.into_iter().cloned().zip(&mut classes).collect(),
        }
    }
}

fn union(all: &mut dyn Iterator<Item = &Ranges>) -> Ranges {
    Ranges::of(all.flat_map(Ranges::as_slice).copied())
}

/// Numbers the classes that these groups of the addresses up to the last one make: how many there are, and those
/// of each group.
fn number(groups: &[Ranges<u128>], last: u128) -> (u32, Vec<Ranges>) {
    // Where each group begins and ends.
    let mut turns: Vec<(u128, u32)> = Vec::new();
    for (group, ranges) in (0..).zip(groups) {
        for (low, high) in ranges.as_slice() {
            turns.push((*low, group));
            turns.extend((*high < last).then(|| (high + 1, group)));
        }
    }
    turns.sort_unstable();
    if turns.first().is_none_or(|(address, _)| *address > 0) {
        turns.insert(0, (0, u32::MAX));
    }
    let mut inside = Members::default();
    let mut seen = HashSet::new();
    let mut found: Vec<Vec<(u32, u32)>> = vec![Vec::new(); groups.len()];
    let mut n_classes = 0;
    for here in turns.chunk_by(|one, two| one.0 == two.0) {
        for (_, group) in here.iter().filter(|(_, group)| *group != u32::MAX) {
            inside.turn(*group);
        }
        if !seen.insert(inside.signature()) {
            continue;
        }
        for group in inside.iter() {
            let ranges = &mut found[group as usize];
            match ranges.last_mut() {
                Some((_, high)) if *high + 1 == n_classes => *high = n_classes,
                _ => ranges.push((n_classes, n_classes)),
            }
        }
        n_classes += 1;
    }
    (n_classes, found.into_iter().map(Ranges::of).collect())
}

/// Which of some numbered things are there, with a number for what is there altogether.
#[derive(Debug, Default)]
pub(super) struct Members {
    there: BTreeSet<u32>,
    signature: u128,
}

impl Members {
    /// Puts a thing in, or takes it out.
    pub(super) fn turn(&mut self, thing: u32) {
        if !self.there.remove(&thing) {
            self.there.insert(thing);
        }
        self.signature ^= u128::from(mix(u64::from(thing))) << 64 | u128::from(mix(!u64::from(thing)));
    }

    /// The same for the same things; that it is the same for others is as likely as to guess a key of 128 bits.
    pub(super) fn signature(&self) -> u128 {
        self.signature
    }

    /// The greatest thing.
    pub(super) fn last(&self) -> Option<u32> {
        self.there.last().copied()
    }

    /// The things, in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.there.iter().copied()
    }
}

/// Scatters a number over all 64 bits: the finalizer of `SplitMix64`, whose constants these are.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
