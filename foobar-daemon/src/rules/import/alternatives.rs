//! What one match of another firewall says: packets meet any of some conditions.
//!
//! One list is enough for most; a negation of several things is several lists, each of which becomes a rule.

use std::collections::BTreeSet;

use foobar_common::{flow::protocol, tracking::State};

use super::{
    conditions::{Addresses, Conditions, NotBoth},
    values::Ranges,
};
use crate::rules::model::{FlagCondition, IcmpCondition};

/// More alternatives of one rule are refused.
const ALTERNATIVES_MAX: usize = 1024;
/// More values in all alternatives of one rule are refused, and so are more pairs of values to be compared.
pub(super) const VALUES_MAX: usize = 1 << 18;

/// Conditions that hold all at once, each a list of alternatives.
pub(super) type Parts = Vec<Vec<Conditions>>;

/// One list of alternatives that says what all parts say.
pub(super) fn all(parts: &Parts, changes: &mut Vec<String>) -> Result<Vec<Conditions>, String> {
    let mut alternatives = vec![Conditions::default()];
    for part in parts {
        if alternatives.len().saturating_mul(part.len()) > ALTERNATIVES_MAX {
            return Err(format!("it becomes more than {ALTERNATIVES_MAX} rules; write it by hand"));
        }
        let mut next = Vec::new();
        for (one, other) in alternatives.iter().flat_map(|one| part.iter().map(move |other| (one, other))) {
            if one.size().saturating_mul(other.size()) > 16 * VALUES_MAX {
                return Err("it has too many values to be put together; write it as several rules".to_owned());
            }
            match one.and(other) {
                Ok(both) => next.push(both),
                Err(NotBoth::Never) => {}
                Err(NotBoth::Unsayable(why)) => return Err(why),
            }
        }
        alternatives = next;
        let values: usize = alternatives.iter().map(Conditions::size).sum();
        if alternatives.len() > 1 && values > VALUES_MAX {
            return Err(format!("it becomes rules with more than {VALUES_MAX} values; write it by hand"));
        }
    }
    if alternatives.is_empty() {
        changes.push("no packet can meet it, so it is left out".to_owned());
    }
    Ok(alternatives)
}

pub(super) fn source(source: Addresses) -> Vec<Conditions> {
    vec![Conditions { source, ..Conditions::default() }]
}

pub(super) fn destination(destination: Addresses) -> Vec<Conditions> {
    vec![Conditions { destination, ..Conditions::default() }]
}

pub(super) fn source_ports(ranges: Ranges) -> Vec<Conditions> {
    if ranges.is_empty() {
        return Vec::new();
    }
    vec![Conditions { source_ports: Some(ranges), ..Conditions::default() }]
}

pub(super) fn destination_ports(ranges: Ranges) -> Vec<Conditions> {
    if ranges.is_empty() {
        return Vec::new();
    }
    vec![Conditions { destination_ports: Some(ranges), ..Conditions::default() }]
}

/// The length is in any of the ranges.
pub(super) fn lengths(ranges: Ranges) -> Vec<Conditions> {
    ranges.into_iter().map(|range| Conditions { length: Some(range), ..Conditions::default() }).collect()
}

/// The state is one of these; negated, none of them.
pub(super) fn states(named: &BTreeSet<State>, negated: bool) -> Vec<Conditions> {
    let states: BTreeSet<State> =
        State::ALL.iter().copied().filter(|state| named.contains(state) != negated).collect();
    match states.len() {
        0 => Vec::new(),
        all if all == State::ALL.len() => vec![Conditions::default()],
        _ => vec![Conditions { states: Some(states), ..Conditions::default() }],
    }
}

/// The protocol is one of these; negated, none of them.
pub(super) fn protocols(numbers: &[u8], negated: bool) -> Vec<Conditions> {
    let protocols: BTreeSet<u8> = (0..=255).filter(|one| numbers.contains(one) != negated).collect();
    if protocols.is_empty() {
        return Vec::new();
    }
    vec![Conditions { protocols: Some(protocols), ..Conditions::default() }]
}

/// The flags of the mask are as in `set`; negated, any of them is not.
pub(super) fn flags(mask: u8, set: u8, negated: bool) -> Vec<Conditions> {
    let condition = |set, clear| Conditions {
        tcp_flags: Some(FlagCondition { set, clear }).filter(|flags| *flags != FlagCondition::default()),
        ..Conditions::of_protocol(protocol::TCP)
    };
    if set & !mask != 0 {
        return if negated { vec![condition(0, 0)] } else { Vec::new() };
    }
    if !negated {
        return vec![condition(set, mask & !set)];
    }
    let bits = (0..8).map(|bit| 1 << bit).filter(|bit| mask & bit != 0);
    bits.map(|bit| if set & bit != 0 { condition(0, bit) } else { condition(bit, 0) }).collect()
}

/// The ICMP message is one of these types, or types with codes; negated, none of them.
pub(super) fn messages(of: u8, named: &[(u8, Option<u8>)], negated: bool) -> Vec<Conditions> {
    let message = |kind, code| IcmpCondition { protocol: of, kind, code };
    let mut messages = Vec::new();
    if negated {
        for kind in 0..=255 {
            let codes: BTreeSet<Option<u8>> =
                named.iter().filter(|(other, _)| *other == kind).map(|(_, code)| *code).collect();
            if codes.is_empty() {
                messages.push(message(kind, None));
            } else if !codes.contains(&None) {
                let others = (0..=255).map(Some).filter(|code| !codes.contains(code));
                messages.extend(others.map(|code| message(kind, code)));
            }
        }
    } else {
        messages.extend(named.iter().map(|(kind, code)| message(*kind, *code)));
    }
    if messages.is_empty() {
        return Vec::new();
    }
    vec![Conditions { icmp: Some(messages), ..Conditions::of_protocol(of) }]
}
