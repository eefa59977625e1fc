//! The group that the tables of addresses give a peer, beside the plain reading.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foobar_common::{
    classes::{FAILSAFE_PEER, NO_GROUP},
    fields::STRIDE,
    flow::Flow,
    service::Protocol,
};
use proptest::{
    collection::{btree_map, vec},
    prelude::*,
};

use super::*;
use crate::{
    rules::{
        evaluate,
        model::{AddressCondition, AddressMatch, PortProtocol, Rule},
        packet,
    },
    slots::Slots,
};

/// Prefixes that often lie inside of each other, and end at any bit.
fn prefix() -> impl Strategy<Value = IpNet> {
    let bits =
        prop_oneof![Just(0_u128), Just(u128::MAX), Just(0xc000_0208 << 96 | 0x0db8_0009), any::<u128>()];
    (bits, 0_u8..=128, any::<bool>(), 0_u8..=128).prop_map(|(bits, length, is_v4, flipped)| {
        let bits = bits ^ 1_u128.checked_shl(127 - u32::from(flipped.min(127))).unwrap_or(0);
        if is_v4 {
            let address = IpAddr::V4(Ipv4Addr::from_bits((bits >> 96) as u32));
            IpNet::new(address, length % 33).unwrap().trunc()
        } else {
            IpNet::new(IpAddr::V6(Ipv6Addr::from_bits(bits)), length).unwrap().trunc()
        }
    })
}

/// Groups, and a rule and failsafe peers that name some of their prefixes as well.
fn ruleset() -> impl Strategy<Value = Ruleset> {
    (btree_map(prefix(), 0_u8..4, 0..12), vec(prefix(), 0..4)).prop_map(|(prefixes, others)| {
        let mut ruleset = Ruleset::default();
        let mut named: Vec<IpNet> = others;
        for (number, (prefix, group)) in prefixes.into_iter().enumerate() {
            // The fourth is nobody's.
            if group < 3 {
                ruleset.peers.entry(format!("g{group}")).or_default().push(prefix);
            }
            if number % 2 == 0 {
                named.push(prefix);
            }
        }
        ruleset.failsafe.peers = named.iter().step_by(2).copied().collect();
        if !named.is_empty() {
            let include = named.into_iter().map(AddressMatch::Prefix).collect();
            let source = Some(AddressCondition { include, exclude: Vec::new() });
            ruleset.rules.push(Rule { source, ..Rule::new("r", foobar_common::verdict::Verdict::Drop) });
        }
        ruleset.services =
            vec![Service::raw("s", vec![ServicePort { protocol: PortProtocol::Tcp, port: 25 }])];
        ruleset
    })
}

/// The first and the last address of each prefix, and those outside next to them.
fn boundaries(ruleset: &Ruleset) -> Vec<IpAddr> {
    let prefixes = ruleset.peers.values().flatten().chain(&ruleset.failsafe.peers);
    let around = prefixes.flat_map(|prefix| match prefix {
        IpNet::V4(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
                .map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
        }
        IpNet::V6(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
                .map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
        }
    });
    around.collect()
}

/// What the tables say of an address, byte by byte.
fn head(compiled: &CompiledRuleset, field: AddressField, address: IpAddr) -> ClassHead {
    let bytes = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let AddressTables { roots, strides } = &compiled.addresses;
    let mut entry = roots[field as usize * 65_536 + usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))];
    for byte in &bytes[2..] {
        if entry & STRIDE != 0 {
            entry = strides[(entry & !STRIDE) as usize * 256 + usize::from(*byte)];
        }
    }
    compiled.heads[entry as usize]
}

/// A packet between this peer and the server.
fn flow(peer: IpAddr, direction: Direction) -> Flow {
    let server = if peer.is_ipv4() { "198.51.100.1:25" } else { "[2001:db8::25]:25" };
    let peer = std::net::SocketAddr::new(peer, 1024);
    let text = match direction {
        Direction::In => format!("tcp {peer} > {server} syn"),
        Direction::Out => format!("tcp {server} > {peer} syn,ack"),
    };
    packet::parse(&text).unwrap().unwrap()
}

fn compiled(ruleset: &Ruleset) -> CompiledRuleset {
    compile(ruleset, &Slots::for_once(ruleset, &[]).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_group_of_a_peer_is_that_of_the_longest_prefix(ruleset in ruleset()) {
        let compiled = compiled(&ruleset);
        let has_groups = !ruleset.peers.is_empty();
        prop_assert_eq!(compiled.settings.uses & uses::GROUPS != 0, has_groups);
        for address in boundaries(&ruleset) {
            for direction in Direction::ALL {
                let flow = flow(address, direction);
                let field = match direction {
                    Direction::In => AddressField::source(flow.family),
                    Direction::Out => AddressField::destination(flow.family),
                };
                let expected = evaluate::group(&ruleset, &flow, direction);
                let ClassHead { group, failsafe, .. } = head(&compiled, field, address);
                let slots = &compiled.slots.peers;
                let found = slots.iter().find(|(_, slot)| **slot == u32::from(group)).map(|(name, _)| name.as_str());
                prop_assert_eq!(found, expected, "{} {:?}", address, direction);
                prop_assert!(found.is_some() || group == NO_GROUP);
                let is_failsafe = ruleset.failsafe.peers.iter().any(|prefix| prefix.contains(&address));
                prop_assert_eq!(failsafe, if is_failsafe { FAILSAFE_PEER } else { 0 });
            }
        }
    }
}

/// Without connections to count, nobody looks up who opens them.
#[test]
fn groups_cost_nothing_where_no_connections_are_counted() {
    let mut ruleset = Ruleset {
        peers: BTreeMap::from([("lb".to_owned(), vec!["192.0.2.8/29".parse().unwrap()])]),
        ..Ruleset::default()
    };
    let without = compiled(&Ruleset::default());
    let with = compiled(&ruleset);
    assert_eq!((with.settings, &with.heads), (without.settings, &without.heads));
    assert_eq!(with.addresses.strides, without.addresses.strides);
    let port = ServicePort { protocol: PortProtocol::Udp, port: 53 };
    ruleset.services = vec![Service::raw("names", vec![port])];
    assert_eq!(compiled(&ruleset).settings.uses, 0);
    ruleset.services = vec![Service { protocol: Protocol::Dns, ..Service::raw("names", vec![port]) }];
    assert_eq!(compiled(&ruleset).settings.uses, uses::SERVICES);
    let port = ServicePort { protocol: PortProtocol::Tcp, port: 25 };
    ruleset.services = vec![Service::raw("mail", vec![port])];
    assert_eq!(compiled(&ruleset).settings.uses, uses::SERVICES | uses::PEERS | uses::GROUPS);
}
