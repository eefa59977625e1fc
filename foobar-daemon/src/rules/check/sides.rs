//! What a rule asks of each field of a packet, as numbers.
//!
//! Within one IP version, and with or without ports, the fields of a packet are independent of each other. So a
//! rule is at most four boxes, one for each [`Space`], whose sides are sets of numbers.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    sync::LazyLock,
};

use foobar_common::{
    flow::{UNTAGGED, protocol},
    tracking::State,
};

use super::{classes::Classes, ranges::Ranges};
use crate::rules::model::{Rule, Ruleset};

/// Which packets a box is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    V4Ports,
    V4Portless,
    V6Ports,
    V6Portless,
}

impl Space {
    pub(super) const ALL: [Self; 4] = [Self::V4Ports, Self::V4Portless, Self::V6Ports, Self::V6Portless];

    fn has_ports(self) -> bool {
        matches!(self, Self::V4Ports | Self::V6Ports)
    }
}

/// How many sides a box has.
pub(super) const SIDES: usize = 9;

/// The sides of a box: source, destination, transport, source port, destination port, VLAN, length, interface,
/// state.
pub(super) type Sides = [Ranges; SIDES];

/// Turns the names and addresses of a ruleset into numbers.
#[derive(Debug)]
pub(super) struct Numbers<'r> {
    v4: Classes,
    v6: Classes,
    /// The rank of each interface that a rule names; all further numbers are interfaces without a rule.
    interfaces: BTreeMap<&'r str, u32>,
}

impl<'r> Numbers<'r> {
    pub(super) fn of(ruleset: &'r Ruleset) -> Self {
        let names = ruleset.rules.iter().filter_map(|rule| rule.interface.as_ref()).flatten();
        let names: BTreeSet<&str> = names.map(String::as_str).collect();
        Self {
            v4: Classes::v4(ruleset),
            v6: Classes::v6(ruleset),
            interfaces: names.into_iter().zip(0..).collect(),
        }
    }

    /// The packets of this space that a rule matches, if there are any. Its addresses are some of the ruleset.
    pub(super) fn sides(&self, rule: &Rule, space: Space) -> Option<Sides> {
        let classes = match space {
            Space::V4Ports | Space::V4Portless => &self.v4,
            Space::V6Ports | Space::V6Portless => &self.v6,
        };
        let transport = if space.has_ports() { with_ports(rule) } else { without_ports(rule) };
        let sides = [
            classes.of_condition(rule.source.as_ref()),
            classes.of_condition(rule.destination.as_ref()),
            transport,
            ports(rule.source_port.as_deref()),
            ports(rule.destination_port.as_deref()),
            rule.vlan.as_ref().map_or_else(
                || Ranges::of([(0, u32::from(UNTAGGED))]),
                |ids| Ranges::of(ids.iter().map(|id| (u32::from(*id), u32::from(*id)))),
            ),
            rule.length.as_ref().map_or_else(all_of_16_bits, |range| Ranges::of([wide(range)])),
            self.interfaces(rule.interface.as_ref()),
            states(rule),
        ];
        sides.iter().all(|side| !side.is_empty()).then_some(sides)
    }

    fn interfaces(&self, names: Option<&BTreeSet<String>>) -> Ranges {
        let Some(names) = names else {
            return Ranges::of([(0, u32::MAX)]);
        };
        Ranges::of(
            names.iter().filter_map(|name| self.interfaces.get(name.as_str())).map(|rank| (*rank, *rank)),
        )
    }
}

fn states(rule: &Rule) -> Ranges {
    match &rule.state {
        None => Ranges::of([(0, State::COUNT - 1)]),
        Some(states) => Ranges::of(states.iter().map(|state| (state.number(), state.number()))),
    }
}

fn wide(range: &RangeInclusive<u16>) -> (u32, u32) {
    (u32::from(*range.start()), u32::from(*range.end()))
}

fn all_of_16_bits() -> Ranges {
    Ranges::of([(0, u32::from(u16::MAX))])
}

fn ports(ranges: Option<&[RangeInclusive<u16>]>) -> Ranges {
    ranges.map_or_else(all_of_16_bits, |ranges| Ranges::of(ranges.iter().map(wide)))
}

// With ports, the transport is the flags byte of TCP, then UDP and SCTP.
const UDP: u32 = 0x100;
const SCTP: u32 = 0x101;
// Without, it is the protocol, or ICMP and ICMPv6 with type and code, or the protocol of a later fragment.
const ICMP: u32 = 0x1_0000;
const ICMPV6: u32 = 0x2_0000;
const LATER: u32 = 0x3_0000;

/// Whole packets of every protocol without ports.
static WHOLE: LazyLock<Ranges> = LazyLock::new(|| Ranges::of((0..=u8::MAX).filter_map(whole)));

fn with_ports(rule: &Rule) -> Ranges {
    let mut found = Vec::new();
    if rule.fragment == Some(true) || rule.icmp.is_some() {
        return Ranges::default();
    }
    match rule.tcp_flags {
        _ if !may_be(rule, protocol::TCP) => {}
        None => found.push((0, u32::from(u8::MAX))),
        Some(flags) => {
            let accepted = |byte: &u32| {
                byte & u32::from(flags.set) == u32::from(flags.set) && byte & u32::from(flags.clear) == 0
            };
            found.extend((0..=u32::from(u8::MAX)).filter(accepted).map(|byte| (byte, byte)));
        }
    }
    if rule.tcp_flags.is_none() {
        found.extend(may_be(rule, protocol::UDP).then_some((UDP, UDP)));
        found.extend(may_be(rule, protocol::SCTP).then_some((SCTP, SCTP)));
    }
    Ranges::of(found)
}

fn without_ports(rule: &Rule) -> Ranges {
    if rule.source_port.is_some() || rule.destination_port.is_some() || rule.tcp_flags.is_some() {
        return Ranges::default();
    }
    let mut found = Vec::new();
    if rule.fragment != Some(true) {
        if let Some(messages) = &rule.icmp {
            found.extend(messages.iter().filter(|one| may_be(rule, one.protocol)).map(|one| {
                let base = if one.protocol == protocol::ICMP { ICMP } else { ICMPV6 };
                let kind = base + (u32::from(one.kind) << 8);
                one.code.map_or((kind, kind + 255), |code| (kind + u32::from(code), kind + u32::from(code)))
            }));
        } else {
            match &rule.protocol {
                None => found.extend(WHOLE.as_slice()),
                Some(named) => found.extend(named.iter().filter_map(|number| whole(*number))),
            }
        }
    }
    if rule.fragment != Some(false) && rule.icmp.is_none() {
        let later = |number: u8| LATER + u32::from(number);
        match &rule.protocol {
            None => found.push((later(0), later(u8::MAX))),
            Some(named) => found.extend(named.iter().map(|number| (later(*number), later(*number)))),
        }
    }
    Ranges::of(found)
}

fn may_be(rule: &Rule, number: u8) -> bool {
    rule.protocol.as_ref().is_none_or(|numbers| numbers.contains(&number))
}

/// The numbers of packets of a protocol that are whole and have no ports.
fn whole(protocol: u8) -> Option<(u32, u32)> {
    match protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => None,
        protocol::ICMP => Some((ICMP, ICMP + 0xffff)),
        protocol::ICMPV6 => Some((ICMPV6, ICMPV6 + 0xffff)),
        other => Some((u32::from(other), u32::from(other))),
    }
}
