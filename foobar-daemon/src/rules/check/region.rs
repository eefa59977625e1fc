//! The packets that a rule matches, as a thing that can be subtracted and compared.
//!
//! Within one IP version, and with or without ports, the fields of a packet are independent of each other. So a
//! rule is at most four boxes, one for each [`Space`], whose sides are sets of numbers.

use std::{collections::BTreeSet, sync::Arc};

use foobar_common::flow::{UNTAGGED, protocol};
use ipnet::IpNet;

use super::ranges::Ranges;
use crate::rules::model::{AddressCondition, AddressMatch, PortProtocol, Rule, Ruleset, ServicePort};

/// More pieces than these are not looked through; see [`TooMany`].
const PIECES_MAX: usize = 400;

/// Which packets a box is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    V4Ports,
    V4Portless,
    V6Ports,
    V6Portless,
}

impl Space {
    const ALL: [Self; 4] = [Self::V4Ports, Self::V4Portless, Self::V6Ports, Self::V6Portless];

    fn is_v4(self) -> bool {
        matches!(self, Self::V4Ports | Self::V4Portless)
    }

    fn has_ports(self) -> bool {
        matches!(self, Self::V4Ports | Self::V6Ports)
    }
}

/// The fields of a packet, as sides of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
    Transport,
    SourcePort,
    DestinationPort,
    Vlan,
    Length,
    Interface,
}

const SIDES: usize = 8;
const ALL_SIDES: [Side; SIDES] = [
    Side::Source,
    Side::Destination,
    Side::Transport,
    Side::SourcePort,
    Side::DestinationPort,
    Side::Vlan,
    Side::Length,
    Side::Interface,
];

/// A box of packets.
#[derive(Clone, Debug)]
struct Piece {
    space: Space,
    sides: [Arc<Ranges>; SIDES],
}

/// A set of packets.
#[derive(Clone, Debug, Default)]
pub(super) struct Region {
    pieces: Vec<Piece>,
}

/// The region has more pieces than are worth the time; nothing is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooMany;

impl Region {
    /// What a rule matches.
    pub(super) fn of_rule(rule: &Rule, ruleset: &Ruleset) -> Self {
        Self::build(|space, side| match side {
            Side::Source => addresses(rule.source.as_ref(), ruleset, space),
            Side::Destination => addresses(rule.destination.as_ref(), ruleset, space),
            Side::Transport => transport(rule, space),
            Side::SourcePort => ports(rule.source_port.as_deref(), space),
            Side::DestinationPort => ports(rule.destination_port.as_deref(), space),
            Side::Vlan => match &rule.vlan {
                None => whole(side, space),
                Some(ids) => Ranges::of(ids.iter().map(|id| (u128::from(*id), u128::from(*id)))),
            },
            Side::Length => match &rule.length {
                None => whole(side, space),
                Some(range) => Ranges::of([(u128::from(*range.start()), u128::from(*range.end()))]),
            },
            Side::Interface => interfaces(rule.interface.as_ref(), ruleset),
        })
    }

    /// All later fragments.
    pub(super) fn later_fragments() -> Self {
        Self::build(|space, side| match (side, space.has_ports()) {
            (Side::Transport, false) => Ranges::of([(LATER, LATER + 255)]),
            (Side::Transport, true) => Ranges::default(),
            _ => whole(side, space),
        })
    }

    /// All that these addresses send.
    pub(super) fn from_addresses(prefixes: &[IpNet]) -> Self {
        Self::build(|space, side| match side {
            Side::Source => of_prefixes(prefixes, space),
            Side::Destination
            | Side::Transport
            | Side::SourcePort
            | Side::DestinationPort
            | Side::Vlan
            | Side::Length
            | Side::Interface => whole(side, space),
        })
    }

    /// All that goes to this port, or only packets with exactly these flags if it is one of TCP.
    pub(super) fn to_port(port: ServicePort, flags: Option<u8>) -> Self {
        Self::build(|space, side| match side {
            Side::Transport if space.has_ports() => Ranges::of(match (port.protocol, flags) {
                (PortProtocol::Tcp, Some(flags)) => [(u128::from(flags), u128::from(flags))],
                (PortProtocol::Tcp, None) => [(0, 255)],
                (PortProtocol::Udp, _) => [(UDP, UDP)],
                (PortProtocol::Sctp, _) => [(SCTP, SCTP)],
            }),
            Side::Transport => Ranges::default(),
            Side::DestinationPort => Ranges::of([(u128::from(port.port), u128::from(port.port))]),
            Side::Source
            | Side::Destination
            | Side::SourcePort
            | Side::Vlan
            | Side::Length
            | Side::Interface => whole(side, space),
        })
    }

    /// Whether no packet is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether any packet is in both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.pieces.iter().any(|one| other.pieces.iter().any(|two| one.meets(two)))
    }

    /// The packets in this and not in the other.
    pub(super) fn subtract(&self, other: &Self) -> Result<Self, TooMany> {
        let mut pieces = self.pieces.clone();
        for hole in &other.pieces {
            let mut left = Vec::new();
            for piece in pieces {
                piece.subtract_into(hole, &mut left);
                if left.len() > PIECES_MAX {
                    return Err(TooMany);
                }
            }
            pieces = left;
        }
        Ok(Self { pieces })
    }

    /// Whether all packets of the other are in this.
    pub(super) fn covers(&self, other: &Self) -> Result<bool, TooMany> {
        other.subtract(self).map(|rest| rest.is_empty())
    }

    /// Whether some packets are in both, and on some field each of the two accepts values that the other does
    /// not: two lists or ranges that run into each other, as against an exception and its general rule.
    pub(super) fn runs_into(&self, other: &Self) -> bool {
        self.pieces.iter().any(|one| {
            other.pieces.iter().any(|two| {
                one.meets(two) && one.sides.iter().zip(&two.sides).any(|(one, two)| one.overlaps_in_part(two))
            })
        })
    }

    fn build(side: impl Fn(Space, Side) -> Ranges) -> Self {
        let pieces = Space::ALL
            .into_iter()
            .map(|space| Piece { space, sides: ALL_SIDES.map(|one| Arc::new(side(space, one))) })
            .filter(|piece| piece.sides.iter().all(|side| !side.is_empty()))
            .collect();
        Self { pieces }
    }
}

impl Piece {
    fn meets(&self, other: &Self) -> bool {
        self.space == other.space
            && self.sides.iter().zip(&other.sides).all(|(one, two)| !one.intersect(two).is_empty())
    }

    /// What is left of this without the other: for each side the part that sticks out, with all sides before
    /// it cut to what both have.
    fn subtract_into(mut self, other: &Self, left: &mut Vec<Self>) {
        if !self.meets(other) {
            left.push(self);
            return;
        }
        for number in 0..SIDES {
            let outside = self.sides[number].subtract(&other.sides[number]);
            if !outside.is_empty() {
                let mut piece = self.clone();
                piece.sides[number] = Arc::new(outside);
                left.push(piece);
            }
            self.sides[number] = Arc::new(self.sides[number].intersect(&other.sides[number]));
        }
    }
}

// Numbers of the side `Transport`. With ports: the flags byte of TCP, then UDP and SCTP.
const UDP: u128 = 0x100;
const SCTP: u128 = 0x101;
// Without ports: the protocol; ICMP and ICMPv6 with type and code; the protocol of a later fragment.
const ICMP: u128 = 0x1_0000;
const ICMPV6: u128 = 0x2_0000;
const LATER: u128 = 0x3_0000;
const WITH_OWN_NUMBERS: [u8; 5] =
    [protocol::TCP, protocol::UDP, protocol::SCTP, protocol::ICMP, protocol::ICMPV6];

/// Every value of a field.
fn whole(side: Side, space: Space) -> Ranges {
    Ranges::of([match side {
        Side::Source | Side::Destination if space.is_v4() => (0, u128::from(u32::MAX)),
        Side::Source | Side::Destination => (0, u128::MAX),
        Side::Transport => return transport(&Rule::new("", foobar_common::verdict::Verdict::Accept), space),
        Side::SourcePort | Side::DestinationPort if !space.has_ports() => (0, 0),
        Side::SourcePort | Side::DestinationPort | Side::Length => (0, 65_535),
        Side::Vlan => (0, u128::from(UNTAGGED)),
        Side::Interface => (0, u128::from(u32::MAX)),
    }])
}

fn addresses(condition: Option<&AddressCondition>, ruleset: &Ruleset, space: Space) -> Ranges {
    let all = whole(Side::Source, space);
    let Some(AddressCondition { include, exclude }) = condition else {
        return all;
    };
    let of_list = |list: &[AddressMatch]| {
        let prefixes: Vec<IpNet> = list
            .iter()
            .flat_map(|one| match one {
                AddressMatch::Prefix(prefix) => std::slice::from_ref(prefix),
                AddressMatch::Set(name) => ruleset.sets.get(name).map_or(&[][..], |set| &set.entries),
            })
            .copied()
            .collect();
        of_prefixes(&prefixes, space)
    };
    let included = if include.is_empty() { all } else { of_list(include) };
    included.subtract(&of_list(exclude))
}

fn of_prefixes(prefixes: &[IpNet], space: Space) -> Ranges {
    Ranges::of(prefixes.iter().filter_map(|prefix| match prefix {
        IpNet::V4(v4) if space.is_v4() => {
            Some((u128::from(v4.network().to_bits()), u128::from(v4.broadcast().to_bits())))
        }
        IpNet::V6(v6) if !space.is_v4() => Some((v6.network().to_bits(), v6.broadcast().to_bits())),
        IpNet::V4(_) | IpNet::V6(_) => None,
    }))
}

fn transport(rule: &Rule, space: Space) -> Ranges {
    let may_be = |number: u8| rule.protocol.as_ref().is_none_or(|numbers| numbers.contains(&number));
    let one = |number: u128| (number, number);
    let mut found = Vec::new();
    if space.has_ports() {
        if rule.fragment == Some(true) || rule.icmp.is_some() {
            return Ranges::default();
        }
        if may_be(protocol::TCP) {
            let accepted = |byte: &u8| {
                rule.tcp_flags.is_none_or(|flags| byte & flags.set == flags.set && byte & flags.clear == 0)
            };
            found.extend((0..=u8::MAX).filter(accepted).map(|byte| one(u128::from(byte))));
        }
        if rule.tcp_flags.is_none() {
            found.extend(may_be(protocol::UDP).then_some(one(UDP)));
            found.extend(may_be(protocol::SCTP).then_some(one(SCTP)));
        }
        return Ranges::of(found);
    }
    if rule.source_port.is_some() || rule.destination_port.is_some() || rule.tcp_flags.is_some() {
        return Ranges::default();
    }
    if rule.fragment != Some(true) {
        if let Some(messages) = &rule.icmp {
            found.extend(messages.iter().filter(|one| may_be(one.protocol)).map(|one| {
                let base = if one.protocol == protocol::ICMP { ICMP } else { ICMPV6 };
                let kind = base + (u128::from(one.kind) << 8);
                one.code.map_or((kind, kind + 255), |code| (kind + u128::from(code), kind + u128::from(code)))
            }));
        } else {
            found.extend(may_be(protocol::ICMP).then_some((ICMP, ICMP + 0xffff)));
            found.extend(may_be(protocol::ICMPV6).then_some((ICMPV6, ICMPV6 + 0xffff)));
            let others = (0..=u8::MAX).filter(|number| !WITH_OWN_NUMBERS.contains(number));
            found.extend(others.filter(|number| may_be(*number)).map(|number| one(u128::from(number))));
        }
    }
    if rule.fragment != Some(false) && rule.icmp.is_none() {
        let all = (0..=u8::MAX).filter(|number| may_be(*number));
        found.extend(all.map(|number| one(LATER + u128::from(number))));
    }
    Ranges::of(found)
}

fn ports(ranges: Option<&[std::ops::RangeInclusive<u16>]>, space: Space) -> Ranges {
    match ranges {
        Some(ranges) if space.has_ports() => {
            Ranges::of(ranges.iter().map(|range| (u128::from(*range.start()), u128::from(*range.end()))))
        }
        Some(_) => Ranges::default(),
        None => whole(Side::SourcePort, space),
    }
}

/// Interfaces by their rank among the names in the ruleset; all further numbers are interfaces without a rule.
fn interfaces(names: Option<&BTreeSet<String>>, ruleset: &Ruleset) -> Ranges {
    let Some(names) = names else {
        return Ranges::of([(0, u128::from(u32::MAX))]);
    };
    let all: BTreeSet<&String> =
        ruleset.rules.iter().filter_map(|rule| rule.interface.as_ref()).flatten().collect();
    let ranks = all.iter().enumerate().filter(|(_, name)| names.contains(**name));
    Ranges::of(ranks.map(|(rank, _)| (rank as u128, rank as u128)))
}
