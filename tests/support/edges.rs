//! Packets at the edges of what a rule asks for: in it by one address, port, flag or byte, or out of it by one.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

use foobar_common::flow::protocol;
use foobar_daemon::rules::model::{AddressCondition, AddressMatch, Rule, Ruleset};
use ipnet::IpNet;

use crate::{
    packets::{self, Packet},
    random::Random,
};

/// Of 100 choices, so many are one step outside of the condition.
const OUTSIDE: u32 = 4;

/// A packet that meets the rule, or would but for one of its fields or a few. An earlier rule may take it.
pub fn packet(ruleset: &Ruleset, rule: &Rule, random: &mut Random) -> Packet {
    let sides = [&rule.source, &rule.destination].map(|condition| members(ruleset, condition.as_ref()));
    // A list may have prefixes of both families.
    let is_v4 = match sides.iter().flatten().copied().collect::<Vec<_>>().as_slice() {
        [] => random.percent(50),
        nets => random.pick(nets).network().is_ipv4(),
    };
    let [source, destination] = sides.map(|nets| address(&nets, is_v4, random));
    let number = protocol_of(rule, is_v4, random);
    let mut packet = packets::packet(
        &source.to_string(),
        &destination.to_string(),
        number,
        transport(rule, number, random),
    );
    if let Some(id) = vlan(rule, random) {
        packet = packet.vlan(id);
    }
    let later = rule.fragment.unwrap_or(false) != random.percent(OUTSIDE);
    if later {
        packet = if is_v4 { packet.fragment(1_480, true) } else { packet.fragment_header(1_480, true) };
    }
    if let Some(length) = &rule.length {
        // The largest is more than a test run takes.
        packet = packet.grown_to(usize::from(port(std::slice::from_ref(length), random).min(3_000)));
    }
    packet
}

/// First and last address of a prefix, their neighbours outside, and something in between.
pub fn around(net: IpNet, random: &mut Random) -> [IpAddr; 5] {
    match net {
        IpNet::V4(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            let inside = random.wide().to_le_bytes();
            let [a, b, c, d, ..] = inside;
            let inside = first | (u32::from_le_bytes([a, b, c, d]) & (last - first));
            [first, last, inside, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
        }
        IpNet::V6(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            let inside = first | (random.wide() & (last - first));
            [first, last, inside, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
        }
    }
}

/// What a condition includes; or, one time in five, what it excludes.
fn members(ruleset: &Ruleset, condition: Option<&AddressCondition>) -> Vec<IpNet> {
    let Some(AddressCondition { include, exclude }) = condition else { return Vec::new() };
    let list = if include.is_empty() { exclude.iter().collect() } else { include.iter().collect::<Vec<_>>() };
    list.into_iter()
        .chain(exclude)
        .flat_map(|entry| match entry {
            AddressMatch::Prefix(prefix) => vec![*prefix],
            AddressMatch::Set(name) => ruleset.sets[name].entries.clone(),
        })
        .collect()
}

fn address(nets: &[IpNet], is_v4: bool, random: &mut Random) -> IpAddr {
    let of_family: Vec<IpNet> = nets.iter().copied().filter(|net| net.network().is_ipv4() == is_v4).collect();
    let net = match of_family.as_slice() {
        [] if is_v4 => IpNet::V4(ipnet::Ipv4Net::default()),
        [] => IpNet::V6(ipnet::Ipv6Net::default()),
        nets => random.pick(nets),
    };
    let [first, last, inside, before, behind] = around(net, random);
    if random.percent(2 * OUTSIDE) {
        random.pick(&[before, behind])
    } else {
        random.pick(&[first, last, inside])
    }
}

fn protocol_of(rule: &Rule, is_v4: bool, random: &mut Random) -> u8 {
    let numbers: Vec<u8> = rule.protocols().into_iter().flatten().collect();
    if numbers.is_empty() || random.percent(OUTSIDE) {
        let message = if is_v4 { protocol::ICMP } else { protocol::ICMPV6 };
        return random.pick(&[protocol::TCP, protocol::TCP, protocol::UDP, protocol::SCTP, message, 47]);
    }
    random.pick(&numbers)
}

fn transport(rule: &Rule, number: u8, random: &mut Random) -> Vec<u8> {
    let ports = |random: &mut Random| {
        let of = |ranges: &Option<Vec<RangeInclusive<u16>>>, random: &mut Random| match ranges.as_deref() {
            None | Some([]) => random.short(),
            Some(ranges) => port(ranges, random),
        };
        (of(&rule.source_port, random), of(&rule.destination_port, random))
    };
    match number {
        protocol::TCP => {
            let (source, destination) = ports(random);
            packets::tcp_header(source, destination, flags(rule, random))
        }
        protocol::UDP => {
            let (source, destination) = ports(random);
            packets::udp_header(source, destination, 8)
        }
        protocol::SCTP => {
            let (source, destination) = ports(random);
            let mut header = [source.to_be_bytes(), destination.to_be_bytes()].concat();
            header.resize(12, 0);
            header
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let (kind, code) = match rule.icmp.as_deref() {
                None | Some([]) => random.pick(&[(0, 0), (3, 4), (8, 0), (128, 0), (129, 1)]),
                Some(messages) => {
                    let message = random.pick(messages);
                    let kind = message.kind.wrapping_add(u8::from(random.percent(OUTSIDE)));
                    (kind, message.code.unwrap_or_default().wrapping_add(u8::from(random.percent(OUTSIDE))))
                }
            };
            vec![kind, code, 0, 0, 0, 0, 0, 0]
        }
        _ => vec![0; 8],
    }
}

/// An end of a range, something in between, or a neighbour outside.
fn port(ranges: &[RangeInclusive<u16>], random: &mut Random) -> u16 {
    let range = &ranges[random.index(ranges.len())];
    let (start, end) = (*range.start(), *range.end());
    if random.percent(2 * OUTSIDE) {
        return random.pick(&[start.wrapping_sub(1), end.wrapping_add(1)]);
    }
    let span = u64::from(end - start) + 1;
    let inside = start + u16::try_from(random.below(span)).expect("a span of 16 bits");
    random.pick(&[start, end, inside])
}

/// All flags that must be set, none that must not, and the others as they come; or one wrong.
fn flags(rule: &Rule, random: &mut Random) -> u8 {
    let [any, bit, ..] = random.number().to_le_bytes();
    let Some(condition) = rule.tcp_flags else { return random.pick(&[0x02, 0x10, 0x12, 0x18, any]) };
    let flags = (any | condition.set) & !condition.clear;
    if random.percent(2 * OUTSIDE) { flags ^ (1 << (bit % 8)) } else { flags }
}

fn vlan(rule: &Rule, random: &mut Random) -> Option<u16> {
    let ids: Vec<u16> = rule.vlan.iter().flatten().copied().collect();
    if ids.is_empty() {
        return random.percent(OUTSIDE).then_some(10);
    }
    let id = random.pick(&ids);
    if random.percent(OUTSIDE) { random.pick(&[None, Some((id + 1) % 4_096)]) } else { Some(id) }
}
