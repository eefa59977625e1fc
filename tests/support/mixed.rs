//! Rulesets of any size in which every condition occurs, in lists and exclusions, of both families, with prefixes
//! inside each other, sets that overlap, rules that repeat and rules that nothing meets. The same seed gives the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use foobar_common::{
    flow::{Direction, protocol},
    verdict::Verdict,
};
use foobar_daemon::rules::model::{
    AddressCondition, AddressMatch, AddressSet, FlagCondition, IcmpCondition, PortProtocol, Rule, Ruleset,
    Service, ServicePort,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{random::Random, rulesets::INTERFACE};

/// The sets that rules may name.
const SETS: [&str; 4] = ["empty", "few", "many", "wide"];

/// How many clauses the matcher makes of a rule: a list of both prefixes and sets counts twice.
pub fn clauses(rule: &Rule) -> usize {
    let parts = |condition: &Option<AddressCondition>| {
        let include = condition.iter().flat_map(|condition| &condition.include);
        let (sets, prefixes): (Vec<_>, Vec<_>) =
            include.partition(|entry| matches!(entry, AddressMatch::Set(_)));
        if sets.is_empty() || prefixes.is_empty() { 1 } else { 2 }
    };
    parts(&rule.source) * parts(&rule.destination)
}

/// A ruleset of just so many clauses.
pub fn ruleset(clauses: usize, seed: u64) -> Ruleset {
    let mut generator = Generator::new(clauses, seed);
    let mut rules: Vec<Rule> = Vec::new();
    let mut left = clauses;
    while left > 0 {
        // What meets nearly every packet comes last: nothing behind it would be met.
        generator.broad = left <= clauses / 8;
        let random = &mut generator.random;
        let mut rule = if !rules.is_empty() && random.percent(5) {
            rules[random.index(rules.len())].clone()
        } else {
            generator.rule()
        };
        if self::clauses(&rule) > left {
            rule.source = None;
            rule.destination = None;
        }
        rule.id = format!("r{}", rules.len()).into();
        rule.action = generator.verdict();
        left -= self::clauses(&rule);
        rules.push(rule);
    }
    let mut ruleset = Ruleset { rules, sets: generator.sets(), ..Ruleset::default() };
    ruleset.policy.inbound = generator.verdict();
    ruleset.failsafe.ports = vec![ServicePort { protocol: PortProtocol::Tcp, port: 22 }];
    ruleset.failsafe.peers = vec![generator.prefix(&[30], &[126])];
    let port = ServicePort { protocol: PortProtocol::Udp, port: 53 };
    ruleset.services = vec![Service::raw("names", vec![port])];
    ruleset
}

struct Generator {
    random: Random,
    /// The first bits of all addresses.
    roots: Vec<u128>,
    /// Whether conditions may be met by most packets.
    broad: bool,
}

impl Generator {
    fn new(clauses: usize, seed: u64) -> Self {
        let mut random = Random::new(seed ^ clauses as u64);
        let roots = (0..(clauses / 8).clamp(4, 1_500)).map(|_| random.wide()).collect();
        Self { random, roots, broad: false }
    }

    fn verdict(&mut self) -> Verdict {
        if self.random.percent(50) { Verdict::Accept } else { Verdict::Drop }
    }

    fn sets(&mut self) -> BTreeMap<String, AddressSet> {
        let counts = [0, 3, 40, 6];
        let sets = SETS.iter().zip(counts).map(|(name, count)| {
            let lengths: (&[u8], &[u8]) =
                if *name == "wide" { (&[5, 9], &[17, 30]) } else { (&[20, 24, 32], &[40, 64, 128]) };
            let entries = (0..count).map(|_| self.prefix(lengths.0, lengths.1)).collect();
            ((*name).to_owned(), AddressSet { entries, ..AddressSet::default() })
        });
        sets.collect()
    }

    fn rule(&mut self) -> Rule {
        let mut rule = Rule::new("", Verdict::Drop);
        if self.random.percent(20) {
            rule.direction = Direction::Out;
        }
        let sides = self.random.below(if self.broad { 110 } else { 98 });
        if sides < 70 {
            rule.source = Some(self.addresses());
        }
        if (40..98).contains(&sides) {
            rule.destination = Some(self.addresses());
        }
        match self.random.below(10) {
            0..6 => self.ports(&mut rule),
            6 => {
                let set = self.bits(0x17);
                rule.tcp_flags = Some(FlagCondition { set, clear: self.bits(0x17) & !set });
            }
            7 => rule.icmp = Some((0..self.count(3)).map(|_| self.message()).collect()),
            8 => rule.protocol = Some((0..self.count(3)).map(|_| self.protocol()).collect()),
            _ => {}
        }
        if self.random.percent(8) {
            rule.fragment = Some(self.random.percent(50));
        }
        if self.random.percent(8) {
            rule.vlan = Some((0..self.count(3)).map(|_| self.random.pick(&[0, 1, 10, 4_095])).collect());
        }
        if self.random.percent(8) {
            let (one, other) = (self.length(), self.length());
            rule.length = Some(one.min(other)..=one.max(other));
        }
        if self.random.percent(8) {
            let names = [INTERFACE, "eth1"];
            let named: BTreeSet<_> =
                (0..self.count(2)).map(|_| self.random.pick(&names).to_owned()).collect();
            rule.interface = Some(named);
        }
        rule
    }

    fn ports(&mut self, rule: &mut Rule) {
        if self.random.percent(70) {
            let numbers = [protocol::TCP, protocol::UDP, protocol::SCTP];
            rule.protocol = Some((0..self.count(2)).map(|_| self.random.pick(&numbers)).collect());
        }
        if self.random.percent(30) {
            rule.source_port = Some((0..self.count(3)).map(|_| self.range()).collect());
        }
        if rule.source_port.is_none() || self.random.percent(70) {
            rule.destination_port = Some((0..self.count(3)).map(|_| self.range()).collect());
        }
    }

    fn addresses(&mut self) -> AddressCondition {
        let included = if self.broad && self.random.percent(10) { 0 } else { self.count(4) };
        let include: Vec<AddressMatch> = (0..included).map(|_| self.address()).collect();
        let mut exclude = Vec::new();
        if included == 0 || self.random.percent(25) {
            for _ in 0..self.count(2) {
                // Something inside of what is included; or all of it, and the rule meets nothing there.
                let inside = include.iter().find_map(|entry| match entry {
                    AddressMatch::Prefix(prefix) => Some(*prefix),
                    AddressMatch::Set(_) => None,
                });
                exclude.push(match inside {
                    Some(prefix) if self.random.percent(70) => AddressMatch::Prefix(self.inside(prefix)),
                    _ => self.address(),
                });
            }
        }
        AddressCondition { include, exclude }
    }

    fn address(&mut self) -> AddressMatch {
        if self.random.percent(20) {
            let sets = if self.broad { &SETS[..] } else { &SETS[..3] };
            AddressMatch::Set(self.random.pick(sets).to_owned())
        } else if self.broad && self.random.percent(5) {
            AddressMatch::Prefix(self.prefix(&[0, 1], &[0, 1]))
        } else {
            AddressMatch::Prefix(self.prefix(
                &[12, 15, 16, 17, 20, 23, 24, 24, 25, 28, 30, 31, 32, 32],
                &[23, 24, 32, 33, 47, 48, 56, 64, 65, 96, 112, 120, 127, 128],
            ))
        }
    }

    /// A prefix of one of these lengths near a root.
    fn prefix(&mut self, lengths_v4: &[u8], lengths_v6: &[u8]) -> IpNet {
        let own = u128::MAX >> self.random.pick(&[12_u32, 16, 22, 24, 28, 30, 60, 120]);
        let bits = (self.random.pick(&self.roots) & !own) | (self.random.wide() & own);
        if self.random.percent(55) {
            net_v4(bits, self.random.pick(lengths_v4))
        } else {
            net_v6(bits, self.random.pick(lengths_v6))
        }
    }

    /// A prefix inside of another, or the same.
    fn inside(&mut self, prefix: IpNet) -> IpNet {
        let more = u8::try_from(self.random.below(9)).expect("less than 9");
        let length = (prefix.prefix_len() + more).min(prefix.max_prefix_len());
        let own = |length: u8| u128::MAX.checked_shr(length.into()).unwrap_or(0);
        match prefix {
            IpNet::V4(net) => {
                let bits = u128::from(net.network().to_bits()) << 96;
                net_v4(bits | (self.random.wide() & own(net.prefix_len())), length)
            }
            IpNet::V6(net) => {
                net_v6(net.network().to_bits() | (self.random.wide() & own(net.prefix_len())), length)
            }
        }
    }

    fn range(&mut self) -> RangeInclusive<u16> {
        const KNOWN: [u16; 10] = [0, 22, 53, 80, 443, 1_023, 1_024, 8_080, 65_534, 65_535];
        let one = if self.random.percent(50) { self.random.pick(&KNOWN) } else { self.random.short() };
        let other = if self.random.percent(50) { one } else { self.random.short() };
        one.min(other)..=one.max(other)
    }

    fn message(&mut self) -> IcmpCondition {
        let (kind, code) = self.random.pick(&[(0, 0), (3, 4), (8, 0), (128, 0), (129, 0), (255, 255)]);
        IcmpCondition {
            protocol: self.random.pick(&[protocol::ICMP, protocol::ICMPV6]),
            kind,
            code: self.random.percent(50).then_some(code),
        }
    }

    fn protocol(&mut self) -> u8 {
        self.random.pick(&[0, 1, 6, 6, 17, 17, 47, 50, 58, 132, 255])
    }

    fn length(&mut self) -> u16 {
        self.random.pick(&[0, 20, 28, 40, 41, 60, 61, 128, 1_500, 65_535])
    }

    /// From one to `most`; one most often.
    fn count(&mut self, most: usize) -> usize {
        if self.random.percent(60) { 1 } else { 1 + self.random.index(most) }
    }

    /// Some of these bits.
    fn bits(&mut self, of: u8) -> u8 {
        let [one, other, ..] = self.random.number().to_le_bytes();
        one & other & of
    }
}

/// The prefix of an address in the upper bits.
fn net_v4(bits: u128, length: u8) -> IpNet {
    let address = u32::try_from(bits >> 96).expect("the upper 32 bits");
    Ipv4Net::new_assert(address.into(), length).trunc().into()
}

fn net_v6(bits: u128, length: u8) -> IpNet {
    Ipv6Net::new_assert(bits.into(), length).trunc().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ruleset_has_as_many_clauses_as_asked_for_and_the_same_seed_gives_the_same() {
        for count in [1, 2, 3, 4, 255, 256, 257, 1_000] {
            let of = |seed| ruleset(count, seed);
            assert_eq!(of(1), of(1));
            assert_ne!(of(1), of(2));
            assert_eq!(of(1).rules.iter().map(clauses).sum::<usize>(), count);
        }
    }
}
