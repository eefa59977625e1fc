//! Who connects: the group of a peer in the kernel beside the plain reading, and real clients of several groups.

mod traffic;

use std::{collections::BTreeMap, net::IpAddr};

use foobar_common::{flow::Direction, frame::Frame, parse};
use foobar_daemon::{
    dataplane::load::LoadedRuleset,
    rules::{
        compile::compile,
        evaluate,
        model::{OTHER_PEERS, PortProtocol, Ruleset, Service, ServicePort},
    },
    slots::Slots,
};
use foobar_tests::{
    edges::around,
    packets::{self, flag},
    random::Random,
};
use ipnet::IpNet;

const PORT: ServicePort = ServicePort { protocol: PortProtocol::Tcp, port: 25 };

/// Groups whose prefixes often lie inside of each other, end at any bit, and are of both families.
fn groups(random: &mut Random) -> BTreeMap<String, Vec<IpNet>> {
    let roots = [random.wide(), random.wide(), random.wide()];
    let mut owners: BTreeMap<IpNet, u64> = BTreeMap::new();
    for _ in 0..random.below(24) {
        let [flipped, of_v4, of_v6] =
            [128, 33, 129].map(|end| u8::try_from(random.below(end)).expect("a small number"));
        let bits = (random.pick(&roots) ^ (1_u128 << flipped)).to_be_bytes();
        let prefix = if random.percent(50) {
            let [a, b, c, d, ..] = bits;
            IpNet::new(IpAddr::from([a, b, c, d]), of_v4)
        } else {
            IpNet::new(IpAddr::from(bits), of_v6)
        };
        owners.insert(prefix.expect("a prefix").trunc(), random.below(3));
    }
    let mut groups: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
    for (prefix, group) in owners {
        groups.entry(format!("g{group}")).or_default().push(prefix);
    }
    groups
}

#[test]
fn the_kernel_finds_the_group_that_plain_reading_does() {
    let mut random = Random::new(11);
    for _ in 0..if std::env::var_os("FOOBAR_LONG").is_some() { 200 } else { 12 } {
        let services = vec![Service::raw("mail", vec![PORT])];
        let ruleset = Ruleset { peers: groups(&mut random), services, ..Ruleset::default() };
        let slots = Slots::for_once(&ruleset, &["eth0".to_owned()]).expect("slots");
        let compiled = compile(&ruleset, &slots).expect("compiled rules");
        let mut runs = LoadedRuleset::for_test_runs(&compiled, "eth0").expect("loaded programs");
        let mut expected: BTreeMap<String, u64> =
            ruleset.peers.keys().map(|name| (name.clone(), 0)).chain([(OTHER_PEERS.to_owned(), 0)]).collect();
        let prefixes: Vec<IpNet> = ruleset.peers.values().flatten().copied().collect();
        let addresses =
            prefixes.into_iter().flat_map(|prefix| around(prefix, &mut random)).collect::<Vec<_>>();
        for (number, peer) in addresses.into_iter().enumerate() {
            let server = if peer.is_ipv4() { "192.0.2.1" } else { "2001:db8::1" };
            let client_port = 1024 + u16::try_from(number).expect("few addresses");
            // The connection is counted at the server's SYN-ACK, to the peer.
            let frame =
                packets::tcp((server, PORT.port), (&peer.to_string(), client_port), flag::SYN | flag::ACK)
                    .frame();
            let flow = parse::parse(&Frame::from_slice(&frame)).expect("a flow");
            let group = evaluate::group(&ruleset, &flow, Direction::Out).unwrap_or(OTHER_PEERS);
            *expected.get_mut(group).expect("a group of the ruleset") += 1;
            runs.judge(&frame, Direction::Out).expect("a test run");
        }
        let counters = runs.counters().expect("counters");
        let found: BTreeMap<String, u64> = counters.services[&PORT]
            .peers
            .by_name()
            .map(|(name, counted)| (name.to_owned(), counted.opened))
            .collect();
        assert_eq!(found, expected, "{:?}", ruleset.peers);
        let all: u64 = expected.values().sum();
        assert_eq!(counters.services[&PORT].requests(), all);
    }
}
