//! Rules as clauses, in an order that puts what matches alike side by side.
//!
//! A clause is a rule, or a part of one: where a list of addresses has both prefixes and sets, the rule is met if
//! either accepts the address, and two fields cannot say "either". Such a rule becomes two clauses, or four.

use std::cmp::Ordering;

use anyhow::{Result, ensure};
use foobar_common::{classes::Tier, flow::Direction};
use ipnet::IpNet;

use crate::rules::model::{AddressCondition, AddressMatch, Rule, Ruleset};

/// Conditions of which all must hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clause<'r> {
    /// The number of its rule.
    pub(super) number: u32,
    /// Its rule, whose conditions it has, but for these two.
    pub(super) rule: &'r Rule,
    /// Which part of the rule's source it stands for.
    pub(super) source: Part,
    /// Which part of the rule's destination it stands for.
    pub(super) destination: Part,
}

/// A part of an address condition. What is excluded, is so from each part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Every address.
    Any,
    /// The prefixes of the list.
    Prefixes,
    /// The sets of the list.
    Sets,
}

/// The clauses of a ruleset, in the order of their bits.
#[derive(Debug)]
pub(super) struct Clauses<'r> {
    pub(super) list: Vec<Clause<'r>>,
    pub(super) tier: Tier,
}

impl<'r> Clauses<'r> {
    /// # Errors
    /// Says how many clauses are too many.
    pub(super) fn of(ruleset: &'r Ruleset) -> Result<Self> {
        let mut list = Vec::with_capacity(ruleset.rules.len());
        for (number, rule) in (0..).zip(&ruleset.rules) {
            for source in parts(rule.source.as_ref()) {
                for destination in parts(rule.destination.as_ref()) {
                    list.push(Clause { number, rule, source: *source, destination: *destination });
                }
            }
        }
        let most = Tier::Blocks.clauses_max();
        ensure!(
            list.len() <= most,
            "the rules come to {} clauses, and there is room for {most}: a rule whose addresses have both prefixes \
             and sets counts as two, or as four if both of its ends have",
            list.len()
        );
        let tier = Tier::ALL.into_iter().find(|tier| list.len() <= tier.clauses_max());
        let mut clauses = Self { list, tier: Tier::Blocks };
        clauses.arrange(tier.unwrap_or(Tier::Blocks));
        Ok(clauses)
    }

    /// Puts the clauses into the order of a tier.
    pub(super) fn arrange(&mut self, tier: Tier) {
        self.tier = tier;
        if tier == Tier::Single {
            self.list.sort_by_key(|clause| clause.number);
            return;
        }
        self.list.sort_by_cached_key(Likeness::of);
        for unit in self.list.chunks_mut(tier.unit()) {
            unit.sort_by_key(|clause| clause.number);
        }
    }
}

fn parts(condition: Option<&AddressCondition>) -> &'static [Part] {
    let Some(AddressCondition { include, .. }) = condition else {
        return &[Part::Any];
    };
    let is_set = |one: &AddressMatch| matches!(one, AddressMatch::Set(_));
    match (include.iter().any(is_set), include.iter().all(is_set)) {
        _ if include.is_empty() => &[Part::Any],
        (_, true) => &[Part::Sets],
        (false, _) => &[Part::Prefixes],
        (true, false) => &[Part::Prefixes, Part::Sets],
    }
}

/// What makes clauses match the same packets: by this they are sorted. In the order of the rules, one wildcard would
/// be in nearly every unit; with wildcards among themselves, a packet has to look at few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Likeness {
    direction: Direction,
    /// Clauses with both addresses, with a destination, with a source, with neither.
    group: u8,
    first: Network,
    second: Network,
    destination_port: u16,
    source_port: u16,
    protocol: Option<u8>,
}

impl Likeness {
    fn of(clause: &Clause<'_>) -> Self {
        let Clause { number: _, rule, source, destination } = clause;
        let source = Network::of(rule.source.as_ref(), *source);
        let destination = Network::of(rule.destination.as_ref(), *destination);
        let (group, first, second) = match (source.is_any(), destination.is_any()) {
            (false, false) => (0, destination, source),
            (true, false) => (1, destination, source),
            (false, true) => (2, source, destination),
            (true, true) => (3, source, destination),
        };
        let first_port = |ports: &Option<Vec<std::ops::RangeInclusive<u16>>>| {
            ports.as_ref().and_then(|ports| ports.first()).map_or(0, |range| *range.start())
        };
        Self {
            direction: rule.direction,
            group,
            first,
            second,
            destination_port: first_port(&rule.destination_port),
            source_port: first_port(&rule.source_port),
            protocol: rule.protocol.as_ref().and_then(|numbers| numbers.first().copied()),
        }
    }
}

/// The first prefix of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Network {
    family: u8,
    bits: u128,
    length: u8,
}

impl Network {
    fn of(condition: Option<&AddressCondition>, part: Part) -> Self {
        let prefix = condition.filter(|_| part == Part::Prefixes).and_then(|condition| {
            condition.include.iter().find_map(|one| match one {
                AddressMatch::Prefix(net) => Some(net),
                AddressMatch::Set(_) => None,
            })
        });
        match prefix {
            None => Self { family: 0, bits: 0, length: 0 },
            Some(IpNet::V4(net)) => {
                Self { family: 4, bits: u128::from(net.network().to_bits()) << 96, length: net.prefix_len() }
            }
            Some(IpNet::V6(net)) => {
                Self { family: 6, bits: net.network().to_bits(), length: net.prefix_len() }
            }
        }
    }

    /// Whether it says nothing: a wildcard, or all addresses of one family.
    fn is_any(&self) -> bool {
        self.cmp(&Self { length: 0, ..*self }) == Ordering::Equal
    }
}
