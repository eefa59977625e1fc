//! Address sets to the one table that the kernel looks addresses up in; [`foobar_common::sets`] has its layout.

mod buckets;
mod combinations;
pub mod edit;
mod nesting;
pub mod overlay;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use foobar_common::sets::{
    Entry, HEADER_LINES, Header, KeyV4, KeyV6, LENGTHS_V6, LINE_WORDS, Line, Lines, SET_NUMBERS_MAX,
};
use ipnet::IpNet;
use sha2::{Digest as _, Sha256};

use self::{
    buckets::{Item, Tags, fill},
    nesting::Stored,
};
pub use combinations::Combinations;

use super::{
    model::{AddressMatch, AddressSet, Rule, Ruleset},
    prefix::Prefix,
    rule_id::RuleId,
};

/// How many entries all sets that rules name can have together.
pub const ENTRIES_MAX: usize = 2_000_000;
/// Beyond so many prefixes of IPv4, a bitmap of networks is worth its 2 MiB.
const BITMAP_FROM: usize = 1_024;
/// Beyond so many lengths of prefixes, too.
const BITMAP_FROM_LENGTHS: usize = 3;

/// The table of all sets that rules name.
#[derive(Clone, Debug)]
pub struct SetTable {
    /// The table, as the kernel has it.
    pub lines: Vec<Line>,
    /// What there is to know of it besides.
    pub facts: SetFacts,
}

/// What a table of sets holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetFacts {
    /// SHA-256 over names and entries: equal for tables that say the same.
    pub digest: [u8; 32],
    /// What the classes stand for.
    pub combinations: Combinations,
    /// Entries of all sets, repeated and nested ones included.
    pub entries: usize,
    /// Prefixes that are stored.
    pub stored: usize,
}

impl SetTable {
    /// Makes the table of the sets that the rules of a ruleset name.
    ///
    /// # Errors
    /// Says how many entries are too many.
    pub fn build(sets: &NamedSets<'_>) -> Result<Self> {
        Self::of(sets, Combinations::of(sets.keys().map(ToString::to_string).collect()), digest(sets))
    }

    /// Makes the table of the same sets with other entries. Where [`SetTable::fits`] the one before, the rules that
    /// name them need not be compiled again.
    ///
    /// # Errors
    /// As [`SetTable::build`].
    pub fn build_after(sets: &NamedSets<'_>, before: &SetFacts) -> Result<Self> {
        let combinations = if before.combinations.are_of(&sets.keys().copied().collect::<Vec<_>>()) {
            before.combinations.clone()
        } else {
            Combinations::of(sets.keys().map(ToString::to_string).collect())
        };
        Self::of(sets, combinations, digest(sets))
    }

    /// Whether each class stands for the same combination as in another table, and there is no new one.
    pub fn fits(&self, before: &SetFacts) -> bool {
        self.facts.combinations == before.combinations
    }

    /// Makes the table of these sets. Combinations that are known keep their numbers.
    fn of(
        sets: &BTreeMap<&str, &AddressSet>,
        mut combinations: Combinations,
        digest: [u8; 32],
    ) -> Result<Self> {
        let entries: usize = sets.values().map(|set| set.entries.len()).sum();
        ensure!(
            entries <= ENTRIES_MAX,
            "the sets that rules name have {entries} entries, and there is room for {ENTRIES_MAX}"
        );
        let v4 = nesting::stored(sets, true, &mut combinations);
        let v6 = nesting::stored(sets, false, &mut combinations);
        let most = SET_NUMBERS_MAX as usize;
        ensure!(
            combinations.len() <= most,
            "the sets overlap in {} ways, and there is room for {most}",
            combinations.len()
        );
        let stored = v4.len() + v6.len();
        Ok(Self { lines: lines(&v4, &v6), facts: SetFacts { digest, combinations, entries, stored } })
    }

    /// The class of an address, looked up as the kernel does it.
    pub fn class(&self, address: std::net::IpAddr) -> Option<u32> {
        match address {
            std::net::IpAddr::V4(v4) => foobar_common::sets::class_v4(self, v4.to_bits()),
            std::net::IpAddr::V6(v6) => {
                let (high, low) = halves(v6.to_bits());
                foobar_common::sets::class_v6(self, high, low)
            }
        }
    }
}

impl Lines for SetTable {
    fn line(&self, number: u32) -> Option<&Line> {
        self.lines.get(number as usize)
    }
}

/// The sets that some rule names, by their names.
pub type NamedSets<'r> = BTreeMap<&'r str, &'r AddressSet>;

/// The sets that some rule names; what else there is costs nothing.
pub fn named_sets(ruleset: &Ruleset) -> NamedSets<'_> {
    let names: BTreeSet<&str> = ruleset.rules.iter().flat_map(names).collect();
    ruleset
        .sets
        .iter()
        .map(|(name, set)| (name.as_str(), set))
        .filter(|(name, _)| names.contains(name))
        .collect()
}

/// What was set to zero in set files that were read leniently: a sentence for each set.
pub fn masked_words(ruleset: &Ruleset) -> Vec<String> {
    let masked = ruleset.sets.iter().filter(|(_, set)| set.masked > 0);
    masked
        .map(|(name, AddressSet { file, masked, .. })| {
            let file = file.as_deref().unwrap_or("the rule file");
            let entries = if *masked == 1 { "1 entry".to_owned() } else { format!("{masked} entries") };
            format!("set {name}: {entries} of {file} had bits behind the prefix, which are set to zero")
        })
        .collect()
}

/// SHA-256 over names and entries.
pub fn digest(sets: &NamedSets<'_>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let mut bytes = Vec::new();
    for (name, set) in sets {
        bytes.clear();
        bytes.extend((name.len() as u64).to_be_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend((set.entries.len() as u64).to_be_bytes());
        write_entries(&set.entries, &mut bytes);
        hasher.update(&bytes);
    }
    hasher.finalize().into()
}

/// Entries in a form of their own each, for digests.
fn write_entries(entries: &[IpNet], bytes: &mut Vec<u8>) {
    for entry in entries {
        let Prefix { bits, length } = Prefix::of(entry);
        bytes.extend([u8::from(matches!(entry, IpNet::V4(_))), length]);
        bytes.extend(bits.to_be_bytes());
    }
}

/// The rules that name each set; sets that none names are left out.
pub fn rules_of_sets(ruleset: &Ruleset) -> BTreeMap<String, Vec<RuleId>> {
    let mut rules: BTreeMap<String, Vec<RuleId>> = BTreeMap::new();
    for rule in &ruleset.rules {
        for name in names(rule) {
            let ids = rules.entry(name.to_owned()).or_default();
            if ids.last() != Some(&rule.id) {
                ids.push(rule.id.clone());
            }
        }
    }
    rules
}

/// The sets that a rule names, some perhaps several times.
fn names(rule: &Rule) -> impl Iterator<Item = &str> {
    let conditions = [&rule.source, &rule.destination].into_iter().flatten();
    conditions.flat_map(|condition| condition.include.iter().chain(&condition.exclude)).filter_map(|one| {
        match one {
            AddressMatch::Set(name) => Some(name.as_str()),
            AddressMatch::Prefix(_) => None,
        }
    })
}

fn lines(v4: &[Stored], v6: &[Stored]) -> Vec<Line> {
    let mut header = Header::default();
    let mut lines = vec![Line::default(); HEADER_LINES as usize];

    header.v4.lengths = write_lengths(v4, &mut lines[1..2]);
    // The tag of a prefix of IPv4 is all of it.
    let (bucket_lines, seed) = fill(v4.len(), Tags::Different, |number, seed| {
        let Stored { prefix: Prefix { bits, length }, class } = v4[number];
        let key = KeyV4::new((bits >> 96) as u32, u32::from(length));
        Item { hash: key.hash(seed), tag: key.tag(), number: class }
    });
    header.v4.seed = seed;
    header.v4.first = count(lines.len());
    header.v4.mask = count(bucket_lines.len() - 1);
    lines.extend(bucket_lines);

    header.v6.lengths = write_lengths(v6, &mut lines[2..5]);
    let (bucket_lines, seed) = fill(v6.len(), Tags::MayBeEqual, |number, seed| {
        let Stored { prefix: Prefix { bits, length }, .. } = v6[number];
        let (high, low) = halves(bits);
        let hash = KeyV6::new(high, low, u32::from(length)).hash(seed);
        Item { hash, tag: KeyV6::tag(hash), number: count(number + 1) }
    });
    header.v6.seed = seed;
    header.v6.first = count(lines.len());
    header.v6.mask = count(bucket_lines.len() - 1);
    lines.extend(bucket_lines);

    header.entries = count(lines.len());
    let entries: Vec<[u64; 4]> = v6
        .iter()
        .map(|Stored { prefix: Prefix { bits, length }, class }| {
            let (high, low) = halves(*bits);
            Entry { high, low, length: u32::from(*length), class: *class }.words()
        })
        .collect();
    lines.extend(entries.chunks(2).map(|pair| {
        let mut line = Line::default();
        for (place, word) in line.words.iter_mut().zip(pair.iter().flatten()) {
            *place = *word;
        }
        line
    }));

    if v4.len() >= BITMAP_FROM || header.v4.lengths as usize >= BITMAP_FROM_LENGTHS {
        header.networks = count(lines.len());
        lines.extend(networks(v4));
    }
    lines[0] = header.line();
    lines
}

/// Writes the lengths that prefixes have, longest first, and says how many there are.
fn write_lengths(stored: &[Stored], lines: &mut [Line]) -> u32 {
    let mut has = [false; LENGTHS_V6 as usize];
    for Stored { prefix: Prefix { length, .. }, .. } in stored {
        has[usize::from(*length)] = true;
    }
    let lengths = (0_u64..).zip(has).filter(|(_, has)| *has).map(|(length, _)| length);
    let lengths: Vec<u64> = lengths.collect();
    for (place, length) in lengths.iter().rev().enumerate() {
        let word = place / 8;
        lines[word / LINE_WORDS].words[word % LINE_WORDS] |= length << (place % 8 * 8);
    }
    count(lengths.len())
}

/// A bit for each /24 network, set if a prefix has an address in it.
fn networks(v4: &[Stored]) -> Vec<Line> {
    const NETWORKS: usize = 1 << 24;
    let mut lines = vec![Line::default(); NETWORKS / (64 * LINE_WORDS)];
    let mut words: Vec<u64> = vec![0; NETWORKS / 64];
    for Stored { prefix: Prefix { bits, length }, .. } in v4 {
        let first = (bits >> 104) as usize;
        let count = 1 << 24u8.saturating_sub(*length);
        // Whole words where a short prefix covers many.
        if count >= 64 {
            words[first / 64..(first + count) / 64].fill(u64::MAX);
        } else {
            for network in first..first + count {
                words[network / 64] |= 1 << (network % 64);
            }
        }
    }
    for (line, words) in lines.iter_mut().zip(words.chunks(LINE_WORDS)) {
        line.words.copy_from_slice(words);
    }
    lines
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
fn halves(bits: u128) -> (u64, u64) {
    ((bits >> 64) as u64, bits as u64)
}

/// No table has 2^32 lines: the entries are limited.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
