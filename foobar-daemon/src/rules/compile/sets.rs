//! Sets that rules name to the classes of their combinations.

use std::collections::BTreeSet;

use super::{
    classes::{Class, Classes},
    clauses::{Clause, Clauses, Part},
    vectors::Blocks,
};
use crate::rules::{
    model::{AddressCondition, AddressMatch},
    sets::Combinations,
};

/// Which address of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
}

impl Side {
    fn of<'c>(self, clause: &'c Clause<'_>) -> (Option<&'c AddressCondition>, Part) {
        let Clause { number: _, rule, source, destination } = clause;
        match self {
            Self::Source => (rule.source.as_ref(), *source),
            Self::Destination => (rule.destination.as_ref(), *destination),
        }
    }
}

/// Whether some clause asks for the sets that an address is in.
pub(super) fn are_used(clauses: &Clauses<'_>, side: Side) -> bool {
    let names_set = |one: &AddressMatch| matches!(one, AddressMatch::Set(_));
    clauses.list.iter().any(|clause| {
        let (condition, _) = side.of(clause);
        condition.is_some_and(|condition| condition.include.iter().chain(&condition.exclude).any(names_set))
    })
}

/// Adds a class for each combination, in their order, and gives the number of the first.
pub(super) fn classes(
    clauses: &Clauses<'_>,
    side: Side,
    combinations: &Combinations,
    blocks: &mut Blocks,
    classes: &mut Classes,
) -> u32 {
    let mut always = Vec::new();
    let mut asking: Vec<(u32, Asked<'_>)> = Vec::new();
    for (bit, clause) in (0..).zip(&clauses.list) {
        let asked = Asked::of(clause, side);
        if asked.is_nothing() { always.push(bit) } else { asking.push((bit, asked)) }
    }
    let always = blocks.vector(always);
    let mut first = None;
    for combination in combinations.names() {
        let accepting = asking.iter().filter(|(_, asked)| asked.accepts(&combination)).map(|(bit, _)| *bit);
        let mut accepting: Vec<u32> = accepting.collect();
        let mut vector = always.clone();
        blocks.set(&mut vector, &mut accepting);
        let number = classes.push(Class::of(vector));
        first.get_or_insert(number);
    }
    first.unwrap_or(0)
}

/// What a clause asks of the sets that an address is in.
struct Asked<'r> {
    /// At least one of these; `None` is no matter.
    any_of: Option<Vec<&'r str>>,
    none_of: Vec<&'r str>,
}

impl<'r> Asked<'r> {
    fn of(clause: &Clause<'r>, side: Side) -> Self {
        let rule = clause.rule;
        let (condition, part) = match side {
            Side::Source => (&rule.source, clause.source),
            Side::Destination => (&rule.destination, clause.destination),
        };
        let names = |list: &'r [AddressMatch]| {
            list.iter().filter_map(|one| match one {
                AddressMatch::Set(name) => Some(name.as_str()),
                AddressMatch::Prefix(_) => None,
            })
        };
        let Some(AddressCondition { include, exclude }) = condition else {
            return Self { any_of: None, none_of: Vec::new() };
        };
        Self {
            any_of: (part == Part::Sets).then(|| names(include).collect()),
            none_of: names(exclude).collect(),
        }
    }

    fn is_nothing(&self) -> bool {
        self.any_of.is_none() && self.none_of.is_empty()
    }

    fn accepts(&self, combination: &BTreeSet<&str>) -> bool {
        let Self { any_of, none_of } = self;
        any_of.as_ref().is_none_or(|names| names.iter().any(|name| combination.contains(name)))
            && !none_of.iter().any(|name| combination.contains(name))
    }
}
