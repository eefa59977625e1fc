//! Ports, protocols, flags, ICMP types, VLAN ids and lengths to tables of 65,536 values.

use std::{collections::BTreeMap, ops::RangeInclusive};

use anyhow::{Context as _, Result};
use foobar_common::{
    classes::NO_SERVICE,
    counters::Transport,
    fields::{TableField, icmp_value, transport_value},
    flow::{UNTAGGED, protocol},
};

use super::{
    classes::{Class, Field},
    clauses::Clauses,
    vectors::Blocks,
};
use crate::{
    rules::model::{FlagCondition, IcmpCondition, PortProtocol, Rule, ServicePort, Spoken},
    slots::Assigned,
};

/// Values of a field.
const VALUES: usize = 65_536;

/// What else there is to know of ports.
pub(super) struct PortFacts<'a> {
    /// `failsafe.ports`.
    pub(super) failsafe: &'a [ServicePort],
    /// The slots of services.
    pub(super) slots: &'a Assigned,
    /// What is spoken there.
    pub(super) spoken: &'a BTreeMap<ServicePort, Spoken>,
}

/// Compiles the table of one field: the class of each value, counted from the field's first one.
///
/// # Errors
/// Says how many classes are too many.
pub(super) fn table(
    field: TableField,
    clauses: &Clauses<'_>,
    facts: &PortFacts<'_>,
    blocks: &mut Blocks,
    classes: &mut Field<'_>,
) -> Result<Vec<u16>> {
    let mut sweep = Sweep::default();
    // Many rules ask the same of protocol and flags; that is worked out once.
    let mut accepted: BTreeMap<TransportCondition<'_>, Accepted> = BTreeMap::new();
    for (bit, clause) in (0..).zip(&clauses.list) {
        let rule = clause.rule;
        match field {
            TableField::SourcePort => sweep.add(bit, &Accepted::of_ranges(rule.source_port.as_deref())),
            TableField::DestinationPort => {
                sweep.add(bit, &Accepted::of_ranges(rule.destination_port.as_deref()));
            }
            TableField::Vlan => sweep.add(bit, &accepted_vlans(rule)),
            TableField::Length => {
                sweep.add(bit, &Accepted::of_ranges(rule.length.as_ref().map(std::slice::from_ref)));
            }
            TableField::Transport | TableField::Icmp | TableField::Icmpv6 => {
                let condition = TransportCondition::of(rule);
                let accepted = accepted.entry(condition).or_insert_with(|| condition.accepted(field));
                sweep.add(bit, accepted);
            }
        }
    }
    let is_port = matches!(field, TableField::SourcePort | TableField::DestinationPort);
    if is_port {
        let ports = facts.failsafe.iter().chain(facts.slots.services.keys());
        for port in ports {
            sweep.divide(port.port);
        }
    }
    sweep.table(blocks, classes, |value, class| if is_port { facts.add(value, class) } else { class })
}

/// The values of a field that a clause accepts.
enum Accepted {
    All,
    /// In ascending order, with a gap between any two.
    Ranges(Vec<RangeInclusive<u16>>),
}

impl Accepted {
    fn of_ranges(ranges: Option<&[RangeInclusive<u16>]>) -> Self {
        let Some(ranges) = ranges else { return Self::All };
        let mut sorted: Vec<_> = ranges.iter().filter(|range| !range.is_empty()).cloned().collect();
        sorted.sort_unstable_by_key(|range| *range.start());
        let mut merged: Vec<RangeInclusive<u16>> = Vec::new();
        for range in sorted {
            match merged.last_mut() {
                Some(last) if *range.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=*range.end().max(last.end());
                }
                _ => merged.push(range),
            }
        }
        Self::Ranges(merged)
    }

    fn of_values(values: impl Iterator<Item = u16>) -> Self {
        Self::of_ranges(Some(&values.map(|value| value..=value).collect::<Vec<_>>()))
    }
}

fn accepted_vlans(rule: &Rule) -> Accepted {
    match &rule.vlan {
        None => Accepted::All,
        Some(ids) => Accepted::of_values(ids.iter().copied().filter(|id| *id < UNTAGGED)),
    }
}

/// What a rule asks for that [`TableField::Transport`] and the fields of ICMP decide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TransportCondition<'r> {
    protocol: Option<&'r std::collections::BTreeSet<u8>>,
    flags: Option<(u8, u8)>,
    icmp: Option<&'r [IcmpCondition]>,
    fragment: Option<bool>,
}

impl<'r> TransportCondition<'r> {
    fn of(rule: &'r Rule) -> Self {
        Self {
            protocol: rule.protocol.as_ref(),
            flags: rule.tcp_flags.map(|FlagCondition { set, clear }| (set, clear)),
            icmp: rule.icmp.as_deref(),
            fragment: rule.fragment,
        }
    }

    fn accepted(&self, field: TableField) -> Accepted {
        match field {
            TableField::Icmp => self.messages(protocol::ICMP),
            TableField::Icmpv6 => self.messages(protocol::ICMPV6),
            TableField::Transport
            | TableField::SourcePort
            | TableField::DestinationPort
            | TableField::Vlan
            | TableField::Length => {
                Accepted::of_values((0..transport_value::END).filter(|value| self.accepts(*value)))
            }
        }
    }

    /// Whether it accepts a value of [`TableField::Transport`].
    fn accepts(&self, value: u16) -> bool {
        let [kind, low] = value.to_be_bytes();
        let tcp = u16::from(kind) << 8 == transport_value::TCP;
        let later = u16::from(kind) << 8 == transport_value::LATER_FRAGMENT;
        let number = if tcp { protocol::TCP } else { low };
        let flags = match self.flags {
            None => true,
            Some((set, clear)) => tcp && low & set == set && low & clear == 0,
        };
        self.accepts_protocol(number)
            && flags
            && self.icmp.is_none()
            && self.fragment.is_none_or(|only_later| only_later == later)
    }

    /// The messages of ICMP or `ICMPv6`, which are no later fragments, that it accepts.
    fn messages(&self, number: u8) -> Accepted {
        if !self.accepts_protocol(number) || self.flags.is_some() || self.fragment == Some(true) {
            return Accepted::Ranges(Vec::new());
        }
        let Some(messages) = self.icmp else { return Accepted::All };
        let ranges: Vec<_> = messages
            .iter()
            .filter(|message| message.protocol == number)
            .map(|message| {
                let (first, last) = message.code.map_or((0, u8::MAX), |code| (code, code));
                icmp_value(message.kind, first)..=icmp_value(message.kind, last)
            })
            .collect();
        Accepted::of_ranges(Some(&ranges))
    }

    fn accepts_protocol(&self, number: u8) -> bool {
        self.protocol.is_none_or(|numbers| numbers.contains(&number))
    }
}

impl PortFacts<'_> {
    /// The class with what is known of a destination port.
    fn add(&self, port: u16, class: Class) -> Class {
        let failsafe = self.failsafe.iter().filter(|one| one.port == port);
        let transport = |protocol| match protocol {
            PortProtocol::Tcp => Transport::Tcp,
            PortProtocol::Udp => Transport::Udp,
            PortProtocol::Sctp => Transport::Sctp,
        };
        Class {
            failsafe: failsafe.fold(0, |bits, one| bits | 1 << transport(one.protocol) as u32),
            service: PortProtocol::ALL.map(|protocol| {
                let slot = self.slots.services.get(&ServicePort { protocol, port });
                slot.and_then(|slot| u8::try_from(*slot).ok()).unwrap_or(NO_SERVICE)
            }),
            protocol: PortProtocol::ALL.map(|protocol| {
                let spoken = self.spoken.get(&ServicePort { protocol, port });
                spoken.map_or(0, |spoken| u8::try_from(spoken.number()).unwrap_or(0))
            }),
            ..class
        }
    }
}

/// The values at which clauses change their mind.
#[derive(Default)]
struct Sweep {
    /// The clauses that accept value 0 or every value.
    first: Vec<u32>,
    /// Value, and the clause that accepts from there on, or no longer does; or nobody.
    changes: Vec<(u16, Option<u32>)>,
}

impl Sweep {
    fn add(&mut self, bit: u32, accepted: &Accepted) {
        let Accepted::Ranges(ranges) = accepted else {
            self.first.push(bit);
            return;
        };
        for range in ranges {
            if *range.start() == 0 {
                self.first.push(bit);
            } else {
                self.changes.push((*range.start(), Some(bit)));
            }
            if let Some(end) = range.end().checked_add(1) {
                self.changes.push((end, Some(bit)));
            }
        }
    }

    /// Has a value and its neighbours decided apart.
    fn divide(&mut self, value: u16) {
        self.changes.push((value, None));
        self.changes.extend(value.checked_add(1).map(|next| (next, None)));
    }

    fn table(
        mut self,
        blocks: &mut Blocks,
        classes: &mut Field<'_>,
        class_of: impl Fn(u16, Class) -> Class,
    ) -> Result<Vec<u16>> {
        self.changes.sort_unstable();
        let mut accepted = blocks.vector(self.first);
        let mut rest = &self.changes[..];
        let mut table = Vec::with_capacity(VALUES);
        let mut from = 0;
        loop {
            // All values between two changes mean the same to every clause.
            let count = rest.partition_point(|(value, _)| *value <= from);
            let mut toggled: Vec<u32> = rest[..count].iter().filter_map(|(_, bit)| *bit).collect();
            rest = &rest[count..];
            blocks.toggle(&mut accepted, &mut toggled);
            let number = classes.number(class_of(from, Class::of(accepted.clone()))) - classes.first;
            let number = u16::try_from(number).with_context(|| {
                format!("the rules divide ports and types into over {VALUES} classes; use wider ranges")
            })?;
            let next = rest.first().map_or(VALUES, |(value, _)| usize::from(*value));
            table.resize(next, number);
            match rest.first() {
                Some((value, _)) => from = *value,
                None => return Ok(table),
            }
        }
    }
}
