//! Rulesets of many rules: like those of `ClassBench` (access lists, firewalls, IP chains), and some that are hard.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

use foobar_common::{flow::protocol, verdict::Verdict};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::rules::model::{AddressCondition, AddressMatch, AddressSet, Rule, Ruleset};

/// Numbers that look random and are the same in each run: xorshift64 of Marsaglia.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number less than this one.
    pub(super) fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.next() >> 16 & 0xffff_ffff).unwrap() % end
    }

    /// True so many times in a hundred.
    pub(super) fn percent(&mut self, times: u32) -> bool {
        self.below(100) < times
    }

    /// One of these.
    pub(super) fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(u32::try_from(all.len()).unwrap()) as usize].clone()
    }
}

/// A prefix of IPv4.
pub(super) fn v4(address: u32, length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new(Ipv4Addr::from_bits(address), length).unwrap().trunc())
}

/// A condition that accepts these.
pub(super) fn addresses(prefixes: impl IntoIterator<Item = IpNet>) -> AddressCondition {
    let include = prefixes.into_iter().map(AddressMatch::Prefix).collect();
    AddressCondition { include, exclude: Vec::new() }
}

/// A condition that accepts what is in this set.
fn set(name: &str) -> AddressCondition {
    AddressCondition { include: vec![AddressMatch::Set(name.to_owned())], exclude: Vec::new() }
}

fn verdict(is_accepted: bool) -> Verdict {
    if is_accepted { Verdict::Accept } else { Verdict::Drop }
}

fn rules(n_rules: u32, mut fill: impl FnMut(u32, &mut Rule)) -> Ruleset {
    let mut ruleset = Ruleset::default();
    ruleset.policy.inbound = Verdict::Drop;
    ruleset.rules = (0..n_rules)
        .map(|number| {
            let mut rule = Rule::new(&format!("r{number}"), Verdict::Accept);
            fill(number, &mut rule);
            rule
        })
        .collect();
    ruleset
}

/// What kind of ruleset one is like: how often, in a hundred rules, each condition is absent.
pub(super) struct Likeness {
    any_source: u32,
    any_destination: u32,
    any_protocol: u32,
    any_source_port: u32,
    any_destination_port: u32,
    shortest: u8,
}

/// Access lists: few wildcards, exact ports of the destination.
pub(super) const ACL: Likeness = Likeness {
    any_source: 20,
    any_destination: 2,
    any_protocol: 10,
    any_source_port: 100,
    any_destination_port: 30,
    shortest: 16,
};
/// Firewalls: wildcards in every field.
pub(super) const FW: Likeness = Likeness {
    any_source: 40,
    any_destination: 30,
    any_protocol: 20,
    any_source_port: 70,
    any_destination_port: 40,
    shortest: 8,
};
/// IP chains: pairs of networks.
pub(super) const IPC: Likeness = Likeness {
    any_source: 10,
    any_destination: 10,
    any_protocol: 30,
    any_source_port: 80,
    any_destination_port: 50,
    shortest: 8,
};

/// Rules of which a tenth are for IPv6.
pub(super) fn like(likeness: &Likeness, n_rules: u32, seed: u64) -> Ruleset {
    let mut random = Random(seed);
    let networks: Vec<u32> = (0..n_rules / 2 + 4).map(|_| random.below(u32::MAX)).collect();
    let services = [22, 25, 53, 80, 110, 123, 143, 443, 993, 1433, 3306, 5432, 8080];
    rules(n_rules, |_, rule| {
        let is_v6 = random.percent(10);
        rule.action = verdict(random.percent(70));
        if !random.percent(likeness.any_source) || is_v6 {
            rule.source = Some(addresses([prefix(&mut random, &networks, likeness.shortest, is_v6)]));
        }
        // Who may be anybody has to do with few.
        let shortest = if rule.source.is_none() { 26 } else { likeness.shortest };
        if rule.source.is_none() || !random.percent(likeness.any_destination) {
            rule.destination = Some(addresses([prefix(&mut random, &networks, shortest, is_v6)]));
        }
        if random.percent(likeness.any_protocol) {
            return;
        }
        if random.percent(8) {
            rule.protocol = Some([random.one_of(&[protocol::ICMP, 47, 50])].into());
            return;
        }
        rule.protocol = Some([random.one_of(&[protocol::TCP, protocol::TCP, protocol::UDP])].into());
        if !random.percent(likeness.any_source_port) {
            rule.source_port = Some(vec![ports(&mut random, &services)]);
        }
        if !random.percent(likeness.any_destination_port) {
            rule.destination_port = Some(vec![ports(&mut random, &services)]);
        }
    })
}

fn prefix(random: &mut Random, networks: &[u32], shortest: u8, is_v6: bool) -> IpNet {
    let network = random.one_of(networks);
    let lengths = u32::from(33 - shortest);
    let length = shortest + u8::try_from(random.below(lengths).max(random.below(lengths))).unwrap();
    let address = network ^ random.below(1 << (32 - shortest.max(20)));
    if is_v6 {
        let address = 0x2001_0db8 << 96 | u128::from(address) << 64;
        return IpNet::V6(Ipv6Net::new(Ipv6Addr::from_bits(address), 32 + length).unwrap().trunc());
    }
    v4(address, length)
}

fn ports(random: &mut Random, services: &[u16]) -> RangeInclusive<u16> {
    match random.below(10) {
        0 => 1024..=65_535,
        1 => 0..=1023,
        2 | 3 => {
            let low = u16::try_from(random.below(60_000)).unwrap();
            low..=low + u16::try_from(random.below(2_000)).unwrap()
        }
        _ => {
            let port = random.one_of(services);
            port..=port
        }
    }
}

/// Every pair of nested sources and nested destinations, with ranges of ports that run into each other.
pub(super) fn nested(n_rules: u32) -> Ruleset {
    let mut random = Random(7);
    rules(n_rules, |number, rule| {
        rule.action = verdict(number % 2 == 0);
        let length = |number: u32| u8::try_from(32 - number % 32).unwrap();
        rule.source = Some(addresses([v4(0x0a00_0000, length(number))]));
        rule.destination = Some(addresses([v4(0xc000_0200, length(number / 32))]));
        rule.protocol = Some([protocol::TCP].into());
        let low = u16::try_from(random.below(50_000)).unwrap();
        rule.source_port = Some(vec![low..=low + 10_000]);
        rule.destination_port = Some(vec![low / 2..=low / 2 + 20_000]);
    })
}

/// Nothing but wildcards.
pub(super) fn wildcards(n_rules: u32) -> Ruleset {
    rules(n_rules, |number, rule| rule.action = verdict(number % 3 == 0))
}

/// Half of the rules have a source, half have a destination: every two of different halves meet.
pub(super) fn crossing(n_rules: u32) -> Ruleset {
    rules(n_rules, |number, rule| {
        rule.action = verdict(number % 3 == 0);
        let address = Some(addresses([v4(0x0a00_0000 + number / 2, 32)]));
        *(if number % 2 == 0 { &mut rule.source } else { &mut rule.destination }) = address;
    })
}

/// Single ports one after the other, and at last rules that all of them together cover.
pub(super) fn covered_by_many(n_rules: u32) -> Ruleset {
    rules(n_rules, |number, rule| {
        rule.action = verdict(number % 2 == 0);
        rule.protocol = Some([protocol::UDP].into());
        let port = u16::try_from(number % 65_536).unwrap();
        rule.destination_port =
            Some(if number + 10 < n_rules { vec![port..=port] } else { vec![0..=port - 10] });
    })
}

/// Long lists that have some entries in common.
pub(super) fn lists(n_rules: u32, n_entries: u32) -> Ruleset {
    let mut random = Random(9);
    rules(n_rules, |number, rule| {
        rule.action = verdict(number % 2 == 0);
        let mut list = || (0..n_entries).map(|_| v4(random.below(1 << 24) << 8, 24)).collect::<Vec<_>>();
        rule.source = Some(addresses(list()));
        rule.destination = Some(addresses(list()));
        let port = u16::try_from(number % 1000).unwrap();
        rule.destination_port = Some(vec![port..=port, 2000..=3000]);
    })
}

/// One set of many entries, on both sides of each rule.
pub(super) fn large_set(n_rules: u32, n_entries: u32) -> Ruleset {
    let mut random = Random(11);
    let mut ruleset = rules(n_rules, |number, rule| {
        rule.action = verdict(number % 2 == 0);
        rule.source = Some(set("large"));
        rule.destination = Some(set("large"));
        if number % 2 == 0 {
            let exclude = vec![AddressMatch::Prefix(v4(random.below(u32::MAX), 24))];
            rule.source = rule.source.take().map(|source| AddressCondition { exclude, ..source });
        }
        rule.protocol = Some(BTreeSet::from([protocol::TCP]));
        let low = u16::try_from(random.below(60_000)).unwrap();
        rule.destination_port = Some(vec![low..=low + 1000]);
    });
    let entries = (0..n_entries).map(|_| v4(random.below(u32::MAX), 32)).collect();
    ruleset.sets.insert("large".to_owned(), AddressSet { entries, ..AddressSet::default() });
    ruleset
}
