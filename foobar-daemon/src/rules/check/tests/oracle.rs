//! What is said of small rulesets, against every packet there is and the plain reading.

use std::collections::BTreeSet;

use std::net::IpAddr;

use foobar_common::{
    address::Address,
    flow::{Direction, Family, Flow, Fragment, UNTAGGED, protocol},
    tracking::State,
    verdict::{Reason, Verdict},
};
use ipnet::IpNet;

use super::shapes::{Random, addresses};
use crate::rules::{
    check::{Kind, Subject, check},
    evaluate::{Known, evaluate, unmet},
    model::{
        AddressMatch, AddressSet, FlagCondition, FragmentPolicy, IcmpCondition, PortProtocol, Rule, Ruleset,
        ServicePort,
    },
};

#[test]
fn findings_are_those_of_going_through_every_packet() {
    let mut n_found = 0;
    for seed in 300..=420 {
        let ruleset = ruleset(&mut Random(seed * 0x9e37_79b9));
        let expected = expected(&ruleset, &packets(&ruleset));
        let found: BTreeSet<String> = check(&ruleset, None)
            .into_iter()
            .filter(|finding| finding.kind != Kind::Overlap)
            .filter_map(|finding| match finding.subject {
                Subject::Rule(id) => Some(format!("{id} {:?}", finding.kind)),
                Subject::Service(_) | Subject::Set(_) | Subject::Key(_) => None,
            })
            .collect();
        assert_eq!(found, expected, "seed {seed}: {ruleset:#?}");
        n_found += found.len();
    }
    assert!(n_found > 200, "{n_found}");
}

/// A packet, its interface, and what is known of its flow.
type Packet = (Flow, &'static str, Known);

/// What there is to be said of each rule.
fn expected(ruleset: &Ruleset, packets: &[Packet]) -> BTreeSet<String> {
    let decide = |ruleset: &Ruleset, (flow, interface, known): &Packet| {
        let found = evaluate(ruleset, &Ok(*flow), Direction::In, interface, *known);
        (found.verdict, found.reason, found.rule.map(str::to_owned))
    };
    let decided: Vec<_> = packets.iter().map(|packet| decide(ruleset, packet)).collect();
    let reached: BTreeSet<&str> = decided.iter().filter_map(|(_, _, rule)| rule.as_deref()).collect();
    let mut useful = ruleset.clone();
    useful.rules.retain(|rule| reached.contains(rule.id.as_str()));
    let kind = |rule: &Rule| {
        let without = |ruleset: &Ruleset| {
            let mut ruleset = ruleset.clone();
            ruleset.rules.retain(|other| other.id != rule.id);
            ruleset
        };
        if reached.contains(rule.id.as_str()) {
            let others = [without(ruleset), without(&useful)];
            let changes = packets.iter().zip(&decided).any(|(packet, (verdict, _, by))| {
                by.as_deref() == Some(rule.id.as_str())
                    && others.iter().any(|ruleset| decide(ruleset, packet).0 != *verdict)
            });
            return (!changes).then_some(Kind::Redundant);
        }
        let met = packets.iter().zip(&decided).filter(|((flow, interface, known), _)| {
            unmet(ruleset, rule, flow, Direction::In, interface, *known).is_none()
        });
        let verdicts: BTreeSet<Verdict> = met.map(|(_, (verdict, ..))| *verdict).collect();
        Some(if verdicts.is_empty() {
            Kind::Empty
        } else if verdicts.contains(&rule.action) {
            Kind::Shadowed
        } else {
            Kind::Contradiction
        })
    };
    assert!(decided.iter().all(|(_, reason, _)| *reason != Reason::Infrastructure));
    ruleset.rules.iter().filter_map(|rule| Some(format!("{} {:?}", rule.id, kind(rule)?))).collect()
}

const PREFIXES: [&str; 10] = [
    "10.0.0.0/30",
    "10.0.0.0/31",
    "10.0.0.2/31",
    "10.0.0.1/32",
    "10.0.0.2/32",
    "0.0.0.0/0",
    "::/0",
    "2001:db8::/127",
    "2001:db8::/128",
    "2001:db8::1/128",
];
const FLAGS: [u8; 2] = [0x02, 0x10];

fn ruleset(random: &mut Random) -> Ruleset {
    let mut ruleset = Ruleset::default();
    ruleset.policy.infrastructure = false;
    ruleset.policy.inbound = verdict(random);
    ruleset.policy.replies = random.percent(50);
    if random.percent(15) {
        ruleset.policy.fragments = FragmentPolicy::Always(verdict(random));
    }
    if random.percent(15) {
        ruleset.failsafe.ports.push(ServicePort { protocol: PortProtocol::Tcp, port: 1 });
    }
    if random.percent(15) {
        ruleset.failsafe.peers.push(prefix(random));
    }
    let entries = (0..random.below(3)).map(|_| prefix(random)).collect();
    ruleset.sets.insert("some".to_owned(), AddressSet { entries, ..AddressSet::default() });
    // The fewer conditions there are, the more rules cover each other.
    let often = 10 + random.below(40);
    // One field out of four is looked at in each ruleset, so that there are not too many packets.
    let field = random.below(4);
    ruleset.rules = (0..2 + random.below(6)).map(|number| rule(random, number, often, field)).collect();
    ruleset
}

fn rule(random: &mut Random, number: u32, often: u32, field: u32) -> Rule {
    let mut rule = Rule::new(&format!("r{number}"), verdict(random));
    for side in [&mut rule.source, &mut rule.destination] {
        if !random.percent(often) {
            continue;
        }
        *side = Some(addresses((0..random.below(3)).map(|_| prefix(random))));
        for condition in side.iter_mut() {
            if random.percent(20) {
                condition.include.push(AddressMatch::Set("some".to_owned()));
            }
            if random.percent(20) {
                condition.exclude.push(AddressMatch::Prefix(prefix(random)));
            }
        }
    }
    if random.percent(often) {
        let protocols = [protocol::TCP, protocol::UDP, protocol::ICMP, protocol::ICMPV6, 47];
        rule.protocol = Some((0..=random.below(2)).map(|_| random.one_of(&protocols)).collect());
    }
    for side in [&mut rule.source_port, &mut rule.destination_port] {
        if random.percent(often) {
            let low = u16::try_from(random.below(3)).unwrap();
            let high = random.one_of(&[low, 2, u16::MAX]);
            *side = Some(vec![low..=high.max(low), 1..=1]);
        }
    }
    if random.percent(often / 2) {
        let set = random.one_of(&FLAGS);
        let clear = random.one_of(&[0, FLAGS[0], FLAGS[1]]) & !set;
        rule.tcp_flags = Some(FlagCondition { set, clear });
    }
    if random.percent(often / 2) {
        let code = random.percent(50).then_some(0);
        rule.icmp = Some(vec![IcmpCondition { protocol: protocol::ICMP, kind: 8, code }]);
    }
    if random.percent(often / 2) {
        rule.fragment = Some(random.percent(50));
    }
    match field {
        _ if !random.percent(often) => {}
        0 => rule.interface = Some([random.one_of(&["a", "b"]).to_owned()].into()),
        1 => rule.vlan = Some([random.one_of(&[10, 11])].into()),
        2 => rule.state = Some((0..=random.below(2)).map(|_| random.one_of(State::ALL)).collect()),
        _ => rule.length = Some(random.one_of(&[0..=100, 0..=u16::MAX, 101..=u16::MAX])),
    }
    rule
}

fn verdict(random: &mut Random) -> Verdict {
    random.one_of(&[Verdict::Accept, Verdict::Drop])
}

fn prefix(random: &mut Random) -> IpNet {
    random.one_of(&PREFIXES).parse().unwrap()
}

/// A packet of each kind that the conditions above can tell apart.
fn packets(ruleset: &Ruleset) -> Vec<Packet> {
    let mut packets = Vec::new();
    let v4 = |last| Address::from(IpAddr::from([10, 0, 0, last]));
    let v6 = |last| Address::from(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]));
    let families =
        [(Family::V4, (0..=4).map(v4).collect::<Vec<Address>>()), (Family::V6, (0..=2).map(v6).collect())];
    for (family, addresses) in families {
        for source in &addresses {
            for destination in &addresses {
                let ends = Flow {
                    family,
                    protocol: 0,
                    fragment: Fragment::Whole,
                    tcp_flags: 0,
                    icmp_type: 0,
                    icmp_code: 0,
                    hop_limit: 64,
                    source: *source,
                    destination: *destination,
                    source_port: [0; 2],
                    destination_port: [0; 2],
                    vlan: UNTAGGED,
                    length: 100,
                };
                packets.extend(
                    with_ports(ends)
                        .into_iter()
                        .chain(without_ports(ends))
                        .map(|flow| (flow, "", Known::NEW)),
                );
            }
        }
    }
    let ask = |asks: fn(&Rule) -> bool| ruleset.rules.iter().any(asks);
    let mut others = Vec::new();
    for (flow, _, new) in &packets {
        if ask(|rule| rule.interface.is_some()) {
            others.extend(["a", "b"].map(|name| (*flow, name, *new)));
        }
        if ask(|rule| rule.vlan.is_some()) {
            others.extend([10, 11].map(|vlan| (Flow { vlan, ..*flow }, "", *new)));
        }
        if ask(|rule| rule.length.is_some()) {
            others.push((Flow { length: 101, ..*flow }, "", *new));
        }
        if ask(|rule| rule.state.is_some()) {
            // What is an answer is no question of rules.
            let known = State::ALL.iter().map(|state| Known { state: *state, is_answer: false });
            others.extend(known.map(|known| (*flow, "", known)));
        }
    }
    packets.extend(others);
    packets
}

fn with_ports(ends: Flow) -> Vec<Flow> {
    let [syn, ack] = FLAGS;
    let kinds = [
        (protocol::TCP, 0),
        (protocol::TCP, syn),
        (protocol::TCP, ack),
        (protocol::TCP, syn | ack),
        (protocol::UDP, 0),
        (protocol::SCTP, 0),
    ];
    let mut flows = Vec::new();
    for (protocol, tcp_flags) in kinds {
        for ports in 0..16u16 {
            let (source_port, destination_port) = ((ports / 4).to_be_bytes(), (ports % 4).to_be_bytes());
            flows.push(Flow { protocol, tcp_flags, source_port, destination_port, ..ends });
        }
    }
    flows
}

fn without_ports(ends: Flow) -> Vec<Flow> {
    let messages = [(8, 0), (8, 1), (3, 0)].map(|(icmp_type, icmp_code)| Flow {
        protocol: protocol::ICMP,
        icmp_type,
        icmp_code,
        ..ends
    });
    let whole = [protocol::ICMPV6, 47, 50].map(|protocol| Flow { protocol, ..ends });
    let later = [protocol::TCP, protocol::UDP, protocol::SCTP, protocol::ICMP, protocol::ICMPV6, 47, 50]
        .map(|protocol| Flow { protocol, fragment: Fragment::Later, ..ends });
    messages.into_iter().chain(whole).chain(later).collect()
}
