//! Rulesets as `ClassBench` makes them (Taylor and Turner, 2007): access lists, firewalls and IP chains, whose
//! prefixes lie inside each other and whose ports are mostly a few well-known ones. The same seed gives the same.

use std::ops::RangeInclusive;

use foobar_common::{flow::protocol, verdict::Verdict};
use foobar_daemon::rules::model::{AddressCondition, AddressMatch, AddressSet, FlagCondition, Rule, Ruleset};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{frames::Family, random::Random};

/// What the rules are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Access list: exact destinations and ports, some sources.
    Acl,
    /// Firewall: many frequencies, ports on both sides.
    Fw,
    /// IP chain: both addresses, many lengths, few ports.
    Ipc,
}

impl Shape {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Acl, Self::Fw, Self::Ipc];

    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Acl => "acl",
            Self::Fw => "fw",
            Self::Ipc => "ipc",
        }
    }

    /// How often a condition is there or not.
    const fn frequencies(self) -> Frequencies {
        match self {
            Self::Acl => {
                Frequencies { source: 25, destination: 1, source_port: 2, destination_port: 75, protocol: 8 }
            }
            Self::Fw => Frequencies {
                source: 45,
                destination: 25,
                source_port: 25,
                destination_port: 55,
                protocol: 10,
            },
            Self::Ipc => Frequencies {
                source: 12,
                destination: 12,
                source_port: 12,
                destination_port: 45,
                protocol: 20,
            },
        }
    }

    /// Lengths of prefixes, as often as they occur: for a source, and for a destination.
    const fn lengths(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Acl => {
                (&[8, 16, 20, 23, 24, 24, 26, 28, 32, 32], &[24, 27, 28, 30, 31, 32, 32, 32, 32, 32])
            }
            Self::Fw => (&[1, 8, 16, 17, 24, 24, 28, 32, 32, 32], &[2, 10, 16, 22, 24, 26, 32, 32, 32, 32]),
            Self::Ipc => (&[4, 12, 16, 19, 22, 24, 25, 28, 32, 32], &[6, 14, 16, 20, 23, 24, 27, 29, 32, 32]),
        }
    }
}

/// Of 100 rules, so many …
struct Frequencies {
    /// … have no source.
    source: u32,
    /// … have no destination.
    destination: u32,
    /// … have no protocol, and so no port either.
    protocol: u32,
    /// … of those with ports have a source port.
    source_port: u32,
    /// … of those with ports have a destination port.
    destination_port: u32,
}

/// So many rules of one family. `action` is what each of them does, or as the seed has it.
pub fn ruleset(shape: Shape, family: Family, rules: usize, action: Option<Verdict>, seed: u64) -> Ruleset {
    let mut random = Random::new(seed ^ rules as u64);
    // As many networks as ClassBench's seeds have for that many rules, so that prefixes meet again.
    let networks = (rules / 8).clamp(4, 2_000);
    let roots: Vec<u128> = (0..networks).map(|_| random.wide()).collect();
    let rules = (0..rules)
        .map(|number| {
            let verdict = if random.percent(50) { Verdict::Accept } else { Verdict::Drop };
            rule(shape, family, &roots, &format!("r{number}"), action.unwrap_or(verdict), &mut random)
        })
        .collect();
    let mut ruleset = Ruleset { rules, ..Ruleset::default() };
    ruleset.policy.inbound = action.unwrap_or(Verdict::Drop);
    ruleset
}

/// A single rule that drops what comes from a set of so many addresses, and what comes from elsewhere is dropped
/// by the policy or not. The addresses are those of a block list: single ones, and every twentieth a network.
pub fn block_list(family: Family, entries: usize, policy: Verdict, seed: u64) -> Ruleset {
    let mut random = Random::new(seed ^ entries as u64);
    let mut members = std::collections::BTreeSet::new();
    while members.len() < entries {
        let length = if random.percent(5) { random.pick(&[24, 28, 30]) } else { 32 };
        members.insert(prefix(family, random.wide(), length));
    }
    let mut entries: Vec<IpNet> = members.into_iter().collect();
    random.shuffle(&mut entries);
    block_list_of(entries, policy)
}

/// A single rule that drops what comes from these.
pub fn block_list_of(entries: Vec<IpNet>, policy: Verdict) -> Ruleset {
    let name = "blocked".to_owned();
    let source = AddressCondition { include: vec![AddressMatch::Set(name.clone())], exclude: Vec::new() };
    let mut ruleset = Ruleset {
        rules: vec![Rule { source: Some(source), ..Rule::new("blocked", Verdict::Drop) }],
        sets: [(name, AddressSet { entries, ..AddressSet::default() })].into(),
        ..Ruleset::default()
    };
    ruleset.policy.inbound = policy;
    ruleset
}

fn rule(
    shape: Shape,
    family: Family,
    roots: &[u128],
    id: &str,
    action: Verdict,
    random: &mut Random,
) -> Rule {
    let frequencies = shape.frequencies();
    let (source_lengths, destination_lengths) = shape.lengths();
    let mut side = |absent: u32, lengths: &[u8]| {
        let length = random.pick(lengths);
        let inside = prefix(family, near(random.pick(roots), random), length);
        (!random.percent(absent)).then(|| condition(inside))
    };
    let source = side(frequencies.source, source_lengths);
    // A rule that asks for no address would meet packets of both families.
    let absent = if source.is_some() { frequencies.destination } else { 0 };
    let destination = side(absent, destination_lengths);
    let rule = Rule { source, destination, ..Rule::new(id, action) };
    if random.percent(frequencies.protocol) {
        return rule;
    }
    let number = match random.below(100) {
        0..65 => protocol::TCP,
        65..93 => protocol::UDP,
        _ if family == Family::V4 => protocol::ICMP,
        _ => protocol::ICMPV6,
    };
    let rule = Rule { protocol: Some([number].into()), ..rule };
    if number != protocol::TCP && number != protocol::UDP {
        return rule;
    }
    let source_port = random.percent(frequencies.source_port).then(|| vec![port(random)]);
    let destination_port = random.percent(frequencies.destination_port).then(|| vec![port(random)]);
    let syn = FlagCondition { set: 0x02, clear: 0x10 };
    let tcp_flags = (number == protocol::TCP && random.percent(4)).then_some(syn);
    Rule { source_port, destination_port, tcp_flags, ..rule }
}

fn condition(prefix: IpNet) -> AddressCondition {
    AddressCondition { include: vec![AddressMatch::Prefix(prefix)], exclude: Vec::new() }
}

/// `ClassBench`'s five classes of ports, but for the wildcard: high, low, a range, a single one.
fn port(random: &mut Random) -> RangeInclusive<u16> {
    const KNOWN: [u16; 14] = [20, 21, 22, 23, 25, 53, 80, 110, 123, 143, 161, 443, 1521, 3306];
    match random.below(100) {
        0..10 => 1024..=65_535,
        10..13 => 0..=1023,
        13..28 => {
            let (one, other) = (random.short(), random.short());
            one.min(other)..=one.max(other)
        }
        28..75 => {
            let port = random.pick(&KNOWN);
            port..=port
        }
        _ => {
            let port = random.short();
            port..=port
        }
    }
}

/// An address that shares some of its first bits with another.
fn near(root: u128, random: &mut Random) -> u128 {
    let shared = random.pick(&[8_u32, 12, 16, 16, 20, 24]);
    let own = u128::MAX >> shared;
    (root & !own) | (random.wide() & own)
}

/// The prefix of an address whose first bits are in the upper bits of `bits`. IPv6 has twice the length, below
/// `2000::/3`.
fn prefix(family: Family, bits: u128, length: u8) -> IpNet {
    match family {
        Family::V4 => {
            let address = u32::try_from(bits >> 96).expect("the upper 32 bits");
            Ipv4Net::new_assert(address.into(), length).trunc().into()
        }
        Family::V6 => {
            let length = if length == 32 { host_length(bits) } else { (length * 2).max(3) };
            let address = (bits >> 3) | (0b001 << 125);
            Ipv6Net::new_assert(address.into(), length).trunc().into()
        }
    }
}

/// Half of what is a single address in IPv4 is a network of 64 bits in IPv6.
fn host_length(bits: u128) -> u8 {
    if bits & 1 == 0 { 64 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_rules_and_another_gives_others() {
        for shape in Shape::ALL {
            let of = |seed| ruleset(shape, Family::V4, 100, None, seed);
            assert_eq!(of(1), of(1));
            assert_ne!(of(1), of(2));
            assert_eq!(of(1).rules.len(), 100);
        }
    }

    #[test]
    fn a_block_list_has_as_many_entries_as_asked_for() {
        let ruleset = block_list(Family::V6, 500, Verdict::Accept, 1);
        assert_eq!(ruleset.sets["blocked"].entries.len(), 500);
    }
}
