//! Ports, protocols, flags, ICMP types, VLAN ids and lengths to tables of 65,536 values.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use foobar_common::{
    counters::Transport,
    flow::{UNTAGGED, protocol},
    rule::{Class, NO_SERVICE, TableField, icmp_value, transport_value},
};

use super::{Classes, class_of_rules, vector};
use crate::{
    rules::model::{PortProtocol, Rule, Ruleset, ServicePort},
    slots::Assigned,
};

/// The class of each value of a 16-bit field; 65,536 of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTable {
    /// Indexed by value.
    pub classes: Vec<u16>,
}

/// Compiles the table of one field.
pub(super) fn table(
    ruleset: &Ruleset,
    slots: &Assigned,
    field: TableField,
    classes: &mut Classes,
) -> Result<FieldTable> {
    let mut table = Vec::with_capacity(65_536);
    let mut boundaries = boundaries(ruleset, slots, field).into_iter().peekable();
    while let Some(from) = boundaries.next() {
        let to = boundaries.peek().copied().unwrap_or(65_536);
        // All values between two boundaries mean the same to every rule.
        let value = u16::try_from(from).context("a boundary beyond the field")?;
        let class = classes.number(class_of_value(ruleset, slots, field, value));
        let class =
            u16::try_from(class).context("the rules divide ports and types into over 65,536 classes")?;
        table.resize(to as usize, class);
    }
    Ok(FieldTable { classes: table })
}

/// The values at which some rule changes its mind; always with 0.
fn boundaries(ruleset: &Ruleset, slots: &Assigned, field: TableField) -> BTreeSet<u32> {
    let rules = ruleset.rules.iter();
    let mut boundaries = BTreeSet::from([0]);
    let mut range = |low: u16, high: u16| boundaries.extend([u32::from(low), u32::from(high) + 1]);
    match field {
        TableField::SourcePort => {
            rules
                .flat_map(|rule| rule.source_port.iter().flatten())
                .for_each(|ports| range(*ports.start(), *ports.end()));
        }
        TableField::DestinationPort => {
            rules
                .flat_map(|rule| rule.destination_port.iter().flatten())
                .for_each(|ports| range(*ports.start(), *ports.end()));
            ruleset
                .failsafe
                .ports
                .iter()
                .chain(slots.services.keys())
                .for_each(|port| range(port.port, port.port));
        }
        TableField::Transport => (0..transport_value::END).for_each(|value| range(value, value)),
        TableField::Icmp => icmp_boundaries(ruleset, protocol::ICMP, range),
        TableField::Icmpv6 => icmp_boundaries(ruleset, protocol::ICMPV6, range),
        TableField::Vlan => {
            range(UNTAGGED, UNTAGGED);
            rules.flat_map(|rule| rule.vlan.iter().flatten()).for_each(|id| range(*id, *id));
        }
        TableField::Length => {
            rules.flat_map(|rule| &rule.length).for_each(|bytes| range(*bytes.start(), *bytes.end()));
        }
    }
    boundaries.remove(&65_536);
    boundaries
}

fn icmp_boundaries(ruleset: &Ruleset, number: u8, mut range: impl FnMut(u16, u16)) {
    let messages = ruleset.rules.iter().flat_map(|rule| rule.icmp.iter().flatten());
    for message in messages.filter(|message| message.protocol == number) {
        let (first, last) = message.code.map_or((0, u8::MAX), |code| (code, code));
        range(icmp_value(message.kind, first), icmp_value(message.kind, last));
    }
}

fn class_of_value(ruleset: &Ruleset, slots: &Assigned, field: TableField, value: u16) -> Class {
    let of_rules = |accepts: &dyn Fn(&Rule) -> bool| class_of_rules(vector(&ruleset.rules, accepts));
    match field {
        TableField::SourcePort => of_rules(&|rule| in_ranges(rule.source_port.as_deref(), value)),
        TableField::DestinationPort => Class {
            failsafe: failsafe_protocols(&ruleset.failsafe.ports, value),
            service: [PortProtocol::Tcp, PortProtocol::Udp, PortProtocol::Sctp].map(|protocol| {
                let slot = slots.services.get(&ServicePort { protocol, port: value });
                slot.and_then(|slot| u8::try_from(*slot).ok()).unwrap_or(NO_SERVICE)
            }),
            ..of_rules(&|rule| in_ranges(rule.destination_port.as_deref(), value))
        },
        TableField::Transport => of_rules(&|rule| accepts_transport(rule, value)),
        TableField::Icmp => of_rules(&|rule| accepts_icmp(rule, protocol::ICMP, value)),
        TableField::Icmpv6 => of_rules(&|rule| accepts_icmp(rule, protocol::ICMPV6, value)),
        TableField::Vlan => {
            of_rules(&|rule| rule.vlan.as_ref().is_none_or(|ids| value < UNTAGGED && ids.contains(&value)))
        }
        TableField::Length => {
            of_rules(&|rule| rule.length.as_ref().is_none_or(|bytes| bytes.contains(&value)))
        }
    }
}

fn in_ranges(ranges: Option<&[std::ops::RangeInclusive<u16>]>, value: u16) -> bool {
    ranges.is_none_or(|ranges| ranges.iter().any(|range| range.contains(&value)))
}

/// A bit for each protocol on which the port is failsafe, as [`Class::failsafe`] has them.
fn failsafe_protocols(ports: &[ServicePort], value: u16) -> u32 {
    let bit = |port: &ServicePort| {
        1u32 << match port.protocol {
            PortProtocol::Tcp => Transport::Tcp as u32,
            PortProtocol::Udp => Transport::Udp as u32,
            PortProtocol::Sctp => Transport::Sctp as u32,
        }
    };
    ports.iter().filter(|port| port.port == value).map(bit).fold(0, |bits, bit| bits | bit)
}

/// Whether a rule accepts a value of [`TableField::Transport`].
fn accepts_transport(rule: &Rule, value: u16) -> bool {
    let [kind, low] = (value & (transport_value::TCP | transport_value::LATER_FRAGMENT | 0xff)).to_be_bytes();
    let tcp = u16::from(kind) << 8 == transport_value::TCP;
    let later = u16::from(kind) << 8 == transport_value::LATER_FRAGMENT;
    let number = if tcp { protocol::TCP } else { low };
    let flags = match rule.tcp_flags {
        None => true,
        Some(flags) => tcp && low & flags.set == flags.set && low & flags.clear == 0,
    };
    accepts_protocol(rule, number)
        && flags
        && rule.icmp.is_none()
        && rule.fragment.is_none_or(|only_later| only_later == later)
}

/// Whether a rule accepts a message of ICMP or ICMPv6, which is no later fragment.
fn accepts_icmp(rule: &Rule, number: u8, value: u16) -> bool {
    let [kind, code] = value.to_be_bytes();
    let message = rule.icmp.as_ref().is_none_or(|messages| {
        messages.iter().any(|message| {
            message.protocol == number && message.kind == kind && message.code.is_none_or(|only| only == code)
        })
    });
    accepts_protocol(rule, number)
        && message
        && rule.tcp_flags.is_none()
        && rule.fragment.is_none_or(|only_later| !only_later)
}

fn accepts_protocol(rule: &Rule, number: u8) -> bool {
    rule.protocol.as_ref().is_none_or(|numbers| numbers.contains(&number))
}
