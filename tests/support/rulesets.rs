//! Random rulesets, and the edges of what they ask for, so that random frames meet them.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::Duration,
};

use foobar_common::{
    flow::{Direction, protocol},
    tracking::State,
    verdict::Verdict,
};
use foobar_daemon::rules::{
    evaluate::PlainBan,
    log::OneIn,
    model::{
        AddressCondition, AddressMatch, AddressSet, Failsafe, FlagCondition, FragmentPolicy, GuardTerms,
        IcmpCondition, Policy, PortProtocol, Rule, Ruleset, Service, ServicePort,
    },
};
use ipnet::IpNet;
use proptest::{
    collection::{btree_set, vec},
    option::weighted,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::{Index, select},
};

use crate::generate::Pool;

/// Prefixes inside each other, side by side, of every odd length, and of both families.
const PREFIXES: [&str; 20] = [
    "0.0.0.0/0",
    "192.0.0.0/8",
    "192.0.2.0/24",
    "192.0.2.0/25",
    "192.0.2.128/25",
    "192.0.2.1/32",
    "192.0.2.2/31",
    "198.51.100.0/23",
    "198.51.100.255/32",
    "0.0.0.0/32",
    "255.255.255.255/32",
    "::/0",
    "2001:db8::/32",
    "2001:db8::/47",
    "2001:db8:1::/48",
    "2001:db8::/127",
    "2001:db8::1/128",
    "c000:200::/24",
    "::/128",
    "8000::/1",
];

/// Ends of port ranges.
const PORTS: [u16; 12] = [0, 1, 22, 53, 67, 68, 443, 546, 1023, 1024, 65_534, 65_535];
/// Ends of length ranges.
const LENGTHS: [u16; 9] = [0, 20, 40, 41, 60, 128, 129, 1_500, 65_535];
const VLANS: [u16; 4] = [0, 1, 10, 4_095];
const PROTOCOLS: [u8; 9] = [0, 1, 6, 17, 47, 50, 58, 132, 255];
const ICMP: [(u8, u8); 7] = [(0, 0), (3, 4), (8, 0), (128, 0), (135, 0), (135, 1), (255, 255)];
/// The sets that rules may name.
const SETS: [&str; 3] = ["empty", "mixed", "wide"];

/// Drops UDP to port 1000, and draws every packet of it.
pub const DRAWN: &str = r#"
schema = 1
[[rule]]
id = "noise"
action = "drop"
protocol = "udp"
destination_port = 1000
log = "1/1"
"#;
/// The interface that frames come through; rules also name another.
pub const INTERFACE: &str = "eth0";

/// Frames on both sides of every edge that a random ruleset can have.
pub fn pool() -> Pool {
    let around = |prefix: &str| {
        let prefix: IpNet = prefix.parse().expect("a prefix");
        let mut addresses = vec![prefix.network(), prefix.broadcast()];
        match prefix {
            IpNet::V4(prefix) => {
                let first = u32::from(prefix.network());
                let last = u32::from(prefix.broadcast());
                for number in [first.wrapping_sub(1), first.wrapping_add(1), last.wrapping_add(1)] {
                    addresses.push(std::net::Ipv4Addr::from(number).into());
                }
            }
            IpNet::V6(prefix) => {
                let first = u128::from(prefix.network());
                let last = u128::from(prefix.broadcast());
                for number in [first.wrapping_sub(1), first.wrapping_add(1), last.wrapping_add(1)] {
                    addresses.push(std::net::Ipv6Addr::from(number).into());
                }
            }
        }
        addresses
    };
    let next = |numbers: &[u16]| numbers.iter().flat_map(|one| [*one, one.wrapping_add(1)]).collect();
    Pool {
        addresses: PREFIXES.iter().flat_map(|prefix| around(prefix)).collect(),
        ports: next(&PORTS),
        protocols: PROTOCOLS.to_vec(),
        icmp: ICMP.iter().flat_map(|(kind, code)| [(*kind, *code), (*kind, code.wrapping_add(1))]).collect(),
        vlans: VLANS.iter().flat_map(|id| [*id, (id + 1) % 4_096]).collect(),
        lengths: next(&LENGTHS),
    }
}

/// A ruleset of up to 256 rules, many of which overlap.
pub fn ruleset() -> impl Strategy<Value = Ruleset> {
    let count = prop_oneof![1 => Just(0_usize), 6 => 1_usize..8, 2 => 60_usize..70, 1 => Just(256)];
    let rules = count.prop_flat_map(|count| vec(rule(), count));
    (policy(), failsafe(), peers(), services(), rules, vec((any::<Index>(), any::<Index>()), 0..3)).prop_map(
        |(policy, failsafe, peers, services, mut rules, twins)| {
            let twins = if rules.is_empty() { Vec::new() } else { twins };
            for (from, to) in twins {
                let twin = rules[from.index(rules.len())].clone();
                let place = to.index(rules.len());
                rules[place] = Rule { action: rules[place].action, ..twin };
            }
            for (number, rule) in rules.iter_mut().enumerate() {
                rule.id = format!("r{number}").into();
            }
            Ruleset { policy, failsafe, peers, sets: sets(), services, rules, guard: GuardTerms::default() }
        },
    )
}

/// Bans of addresses and of prefixes inside each other, at this time: some are over, some end later, some never. No
/// two are of the same.
pub fn bans(now_ns: u64) -> impl Strategy<Value = Vec<PlainBan>> {
    const HOUR: u64 = 3_600_000_000_000;
    let until_ns = select(vec![Some(0), Some(now_ns - 1), Some(now_ns.saturating_add(HOUR)), None]);
    let prefix = prop_oneof![
        1 => select(PREFIXES.to_vec()).prop_map(parsed),
        1 => select(pool().addresses).prop_map(IpNet::from),
        1 => (select(pool().addresses), 1_u8..=128).prop_map(|(address, length)| {
            let longest = if address.is_ipv4() { 32 } else { 128 };
            IpNet::new(address, 1 + (length - 1) % longest).expect("a prefix").trunc()
        }),
    ];
    let count = prop_oneof![1 => 0_usize..2, 3 => 1_usize..12, 1 => 100_usize..200];
    let bans = count.prop_flat_map(move |count| vec((prefix.clone(), until_ns.clone()), count));
    bans.prop_map(|bans| {
        let bans: BTreeMap<IpNet, Option<u64>> =
            bans.into_iter().filter(|(prefix, _)| prefix.prefix_len() > 0).collect();
        bans.into_iter().map(|(prefix, until_ns)| PlainBan { prefix, until_ns }).collect()
    })
}

fn sets() -> BTreeMap<String, AddressSet> {
    let entries =
        |every: usize| PREFIXES.iter().step_by(every).skip(1).map(|prefix| parsed(prefix)).collect();
    let set = |entries| AddressSet { entries, ..AddressSet::default() };
    BTreeMap::from([
        (SETS[0].to_owned(), set(Vec::new())),
        (SETS[1].to_owned(), set(entries(3))),
        (SETS[2].to_owned(), set(entries(2))),
    ])
}

fn parsed(prefix: &str) -> IpNet {
    prefix.parse().expect("a prefix")
}

/// What a policy or a rule can say.
fn refusing() -> impl Strategy<Value = Verdict> {
    select(Verdict::ALL.to_vec())
}

fn verdict() -> impl Strategy<Value = Verdict> {
    select(vec![Verdict::Accept, Verdict::Drop])
}

fn policy() -> impl Strategy<Value = Policy> {
    let fragments = prop_oneof![Just(FragmentPolicy::Rules), verdict().prop_map(FragmentPolicy::Always)];
    (refusing(), refusing(), verdict(), fragments, any::<bool>(), any::<bool>(), each()).prop_map(
        |(inbound, outbound, malformed, fragments, infrastructure, replies, log_drops)| Policy {
            inbound,
            outbound,
            malformed,
            fragments,
            infrastructure,
            replies,
            log_drops,
            adopt: Duration::ZERO,
            reject_rate: Policy::default().reject_rate,
        },
    )
}

/// Each packet is told of, or none is: chances would make nothing certain.
fn each() -> impl Strategy<Value = Option<OneIn>> {
    select(vec![None, OneIn::new(1)])
}

fn failsafe() -> impl Strategy<Value = Failsafe> {
    let prefixes = || vec(select(PREFIXES[2..].to_vec()).prop_map(parsed), 0..2);
    prop_oneof![
        3 => Just(Failsafe::default()),
        1 => (vec(service_port(), 0..3), prefixes(), prefixes())
            .prop_map(|(ports, peers, never_ban)| Failsafe { ports, peers, never_ban }),
    ]
}

/// Groups, which decide nothing; no prefix is in two of them.
fn peers() -> impl Strategy<Value = BTreeMap<String, Vec<IpNet>>> {
    btree_set(select(PREFIXES.to_vec()).prop_map(parsed), 0..4).prop_map(|prefixes| {
        let mut groups: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
        for (number, prefix) in prefixes.into_iter().enumerate() {
            groups.entry(format!("g{}", number % 2)).or_default().push(prefix);
        }
        groups
    })
}

fn services() -> impl Strategy<Value = Vec<Service>> {
    btree_set(service_port(), 0..6).prop_map(|ports| {
        let named = |(number, port)| Service::raw(&format!("s{number}"), vec![port]);
        ports.into_iter().enumerate().map(named).collect()
    })
}

fn service_port() -> impl Strategy<Value = ServicePort> {
    (select(PortProtocol::ALL.to_vec()), select(PORTS.to_vec()))
        .prop_map(|(protocol, port)| ServicePort { protocol, port })
}

fn rule() -> impl Strategy<Value = Rule> {
    let place = (
        weighted(0.3, addresses()),
        weighted(0.2, addresses()),
        weighted(0.1, btree_set(select(vec![INTERFACE.to_owned(), "eth1".to_owned()]), 1..3)),
        weighted(0.15, btree_set(select(VLANS.to_vec()), 1..3)),
        weighted(0.15, range(&LENGTHS)),
        weighted(0.15, any::<bool>()),
        weighted(0.15, btree_set(select(State::ALL.to_vec()), 1..4)),
    );
    let direction = prop_oneof![3 => Just(Direction::In), 1 => Just(Direction::Out)];
    (refusing(), direction, place, transport(), each()).prop_map(
        |(action, direction, place, transport, log)| {
            let (source, destination, interface, vlan, length, fragment, state) = place;
            let Transport { protocol, source_port, destination_port, tcp_flags, icmp } = transport;
            Rule {
                direction,
                source,
                destination,
                protocol,
                source_port,
                destination_port,
                tcp_flags,
                icmp,
                fragment,
                state,
                interface,
                vlan,
                length,
                log,
                ..Rule::new("", action)
            }
        },
    )
}

/// The conditions that belong together: none contradicts another.
#[derive(Clone, Debug, Default)]
struct Transport {
    protocol: Option<BTreeSet<u8>>,
    source_port: Option<Vec<RangeInclusive<u16>>>,
    destination_port: Option<Vec<RangeInclusive<u16>>>,
    tcp_flags: Option<FlagCondition>,
    icmp: Option<Vec<IcmpCondition>>,
}

fn transport() -> impl Strategy<Value = Transport> {
    let any_protocol = weighted(0.5, btree_set(select(PROTOCOLS.to_vec()), 1..4))
        .prop_map(|protocol| Transport { protocol, ..Transport::default() });
    let ported = weighted(0.5, btree_set(select(vec![6_u8, 17, 132]), 1..3));
    let ranges = || weighted(0.6, vec(range(&PORTS), 1..4));
    let ports = (ported, ranges(), ranges()).prop_map(|(protocol, source_port, destination_port)| {
        Transport { protocol, source_port, destination_port, ..Transport::default() }
    });
    let flags = (any::<u8>(), any::<u8>(), any::<u8>(), ranges(), any::<bool>()).prop_map(
        |(set, clear, thin, destination_port, named)| {
            // Most conditions on random flags meet nothing; thinned out they meet something.
            let set = set & thin & 0x17;
            let flags = FlagCondition { set, clear: clear & !set & 0x17 };
            Transport {
                protocol: named.then(|| BTreeSet::from([protocol::TCP])),
                destination_port,
                tcp_flags: Some(flags),
                ..Transport::default()
            }
        },
    );
    let message = (select(vec![protocol::ICMP, protocol::ICMPV6]), select(ICMP.to_vec()), any::<bool>())
        .prop_map(|(protocol, (kind, code), with_code)| IcmpCondition {
            protocol,
            kind,
            code: with_code.then_some(code),
        });
    let icmp =
        vec(message, 1..4).prop_map(|messages| Transport { icmp: Some(messages), ..Transport::default() });
    prop_oneof![3 => any_protocol, 4 => ports, 2 => flags, 2 => icmp]
}

fn addresses() -> impl Strategy<Value = AddressCondition> {
    let one = || {
        prop_oneof![
            4 => select(PREFIXES.to_vec()).prop_map(|prefix| AddressMatch::Prefix(parsed(prefix))),
            1 => select(SETS.to_vec()).prop_map(|name| AddressMatch::Set(name.to_owned())),
        ]
    };
    (vec(one(), 0..4), vec(one(), 0..3)).prop_map(|(include, exclude)| AddressCondition { include, exclude })
}

fn range(ends: &[u16]) -> impl Strategy<Value = RangeInclusive<u16>> + use<> {
    (select(ends.to_vec()), select(ends.to_vec())).prop_map(|(one, other)| one.min(other)..=one.max(other))
}
