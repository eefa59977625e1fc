//! Packets for a ruleset: those that meet a rule, those that meet none, those that go far down the list.

use std::net::IpAddr;

use foobar_common::{
    flow::{Direction, Flow, protocol},
    frame::Frame,
    parse::parse,
    verdict::Reason,
};
use foobar_daemon::rules::{
    evaluate::{Evaluation, Known, evaluate},
    model::{AddressCondition, AddressMatch, Rule, Ruleset},
};
use ipnet::IpNet;

use crate::{
    frames::Family,
    packets::{self, Packet},
    random::Random,
    rulesets::INTERFACE,
};

/// The headers of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Who sends it.
    pub source: IpAddr,
    /// Who gets it; of the same family.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Source port, where the protocol has ports.
    pub source_port: u16,
    /// Destination port, or type and code of a message.
    pub destination_port: u16,
    /// TCP flags.
    pub flags: u8,
}

impl Headers {
    /// A packet with random headers that lie inside of the rule.
    pub fn inside(rule: &Rule, family: Family, random: &mut Random) -> Self {
        let numbers: Vec<u8> = rule.protocols().into_iter().flatten().collect();
        let protocol = if numbers.is_empty() { protocol::TCP } else { random.pick(&numbers) };
        let port = |ranges: &Option<Vec<std::ops::RangeInclusive<u16>>>, random: &mut Random| {
            let Some(range) = ranges.as_ref().and_then(|ranges| ranges.first()) else {
                return random.short();
            };
            let span = u64::from(range.end() - range.start()) + 1;
            range.start() + u16::try_from(random.below(span)).expect("a span of ports")
        };
        let source_port = port(&rule.source_port, random);
        let destination_port = port(&rule.destination_port, random);
        let flags = rule.tcp_flags.map_or(0x10, |flags| flags.set);
        Self {
            source: address(rule.source.as_ref(), family, random),
            destination: address(rule.destination.as_ref(), family, random),
            protocol,
            source_port,
            destination_port,
            flags,
        }
    }

    /// The Ethernet frame.
    pub fn frame(&self) -> Vec<u8> {
        let Self { source: _, destination: _, protocol, source_port, destination_port, flags } = *self;
        let payload = match protocol {
            protocol::TCP => packets::tcp_header(source_port, destination_port, flags),
            protocol::UDP => packets::udp_header(source_port, destination_port, 8),
            // An echo, rather than a message that the network itself depends on.
            protocol::ICMP => vec![8, 0, 0, 0, 0, 0, 0, 0],
            protocol::ICMPV6 => vec![128, 0, 0, 0, 0, 0, 0, 0],
            _ => vec![0; 8],
        };
        self.packet(payload).frame()
    }

    fn packet(&self, payload: Vec<u8>) -> Packet {
        packets::packet(&self.source.to_string(), &self.destination.to_string(), self.protocol, payload)
    }
}

/// What the plain reading says of a frame that comes in through [`INTERFACE`].
pub fn judged<'r>(ruleset: &'r Ruleset, frame: &[u8]) -> Evaluation<'r> {
    judged_on_its_way(ruleset, frame, Direction::In)
}

/// What the plain reading says of a frame that comes or goes through [`INTERFACE`] and belongs to no flow.
pub fn judged_on_its_way<'r>(ruleset: &'r Ruleset, frame: &[u8], direction: Direction) -> Evaluation<'r> {
    let packet: Result<Flow, Reason> = parse(&Frame::from_slice(frame));
    evaluate(ruleset, &packet, direction, INTERFACE, Known::NEW)
}

/// So many packets, each inside of a random rule; an earlier rule may take it.
pub fn matching(ruleset: &Ruleset, family: Family, count: usize, random: &mut Random) -> Vec<Headers> {
    let rules = &ruleset.rules;
    if rules.is_empty() {
        return (0..count).map(|_| Headers::inside(&Rule::new("", ANY), family, random)).collect();
    }
    (0..count).map(|_| Headers::inside(&rules[random.index(rules.len())], family, random)).collect()
}

/// Up to so many packets that no rule takes, mixed from the fields of different rules.
pub fn unmatched(ruleset: &Ruleset, family: Family, count: usize, random: &mut Random) -> Vec<Headers> {
    let candidates = std::iter::repeat_with(|| {
        let one = matching(ruleset, family, 3, random);
        let [addresses, other, ports] = [one[0], one[1], one[2]];
        Headers { source: addresses.source, destination: other.destination, ..ports }
    });
    candidates
        .take(count * TRIES)
        .filter(|headers| judged(ruleset, &headers.frame()).reason == Reason::Policy)
        .take(count)
        .collect()
}

/// Up to so many packets that a rule of the last tenth takes.
pub fn late(ruleset: &Ruleset, family: Family, count: usize, random: &mut Random) -> Vec<Headers> {
    let rules = &ruleset.rules;
    let tenth = rules.split_at(rules.len() - rules.len().div_ceil(10)).1;
    if tenth.is_empty() {
        return Vec::new();
    }
    let candidates =
        std::iter::repeat_with(|| Headers::inside(&tenth[random.index(tenth.len())], family, random));
    candidates
        .take(count * TRIES)
        .filter(|headers| {
            let frame = headers.frame();
            let evaluation = judged(ruleset, &frame);
            evaluation.rule.is_some_and(|id| tenth.iter().any(|rule| rule.id == id))
        })
        .take(count)
        .collect()
}

/// So many packets, each from a random address of these.
pub fn from_members(members: &[IpNet], count: usize, random: &mut Random) -> Vec<Headers> {
    let rule = Rule::new("", ANY);
    (0..count)
        .map(|_| {
            let member = members[random.index(members.len())];
            let family = if matches!(member, IpNet::V4(_)) { Family::V4 } else { Family::V6 };
            Headers { source: within(member, random), ..Headers::inside(&rule, family, random) }
        })
        .collect()
}

/// For each packet wanted, so many may be tried.
const TRIES: usize = 8;
/// What a rule does that only lends its conditions.
const ANY: foobar_common::verdict::Verdict = foobar_common::verdict::Verdict::Accept;

fn address(condition: Option<&AddressCondition>, family: Family, random: &mut Random) -> IpAddr {
    let prefix = condition.and_then(|condition| {
        condition.include.iter().find_map(|entry| match entry {
            AddressMatch::Prefix(prefix) => Some(*prefix),
            AddressMatch::Set(_) => None,
        })
    });
    let everything = match family {
        Family::V4 => "0.0.0.0/0",
        Family::V6 => "2000::/3",
    };
    within(prefix.unwrap_or_else(|| everything.parse().expect("a prefix")), random)
}

/// A random address of a prefix.
fn within(prefix: IpNet, random: &mut Random) -> IpAddr {
    match prefix {
        IpNet::V4(net) => {
            let own = u32::MAX.checked_shr(net.prefix_len().into()).unwrap_or(0);
            let any = u32::try_from(random.number() >> 32).expect("half of it");
            IpAddr::V4((net.network().to_bits() | (any & own)).into())
        }
        IpNet::V6(net) => {
            let own = u128::MAX.checked_shr(net.prefix_len().into()).unwrap_or(0);
            IpAddr::V6((net.network().to_bits() | (random.wide() & own)).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use foobar_common::verdict::Verdict;

    use super::*;
    use crate::classbench::{Shape, block_list, ruleset};

    #[test]
    fn packets_are_what_they_are_said_to_be() {
        for shape in Shape::ALL {
            for family in Family::BOTH {
                let ruleset = ruleset(shape, family, 100, None, 1);
                let mut random = Random::new(2);
                let reason = |headers: &Headers| judged(&ruleset, &headers.frame()).reason;
                let matching = matching(&ruleset, family, 50, &mut random);
                assert!(
                    matching.iter().all(|headers| reason(headers) == Reason::Rule),
                    "{shape:?} {family:?}"
                );
                let unmatched = unmatched(&ruleset, family, 50, &mut random);
                assert!(!unmatched.is_empty(), "{shape:?} {family:?}");
                assert!(unmatched.iter().all(|headers| reason(headers) == Reason::Policy));
                assert!(!late(&ruleset, family, 20, &mut random).is_empty(), "{shape:?} {family:?}");
            }
        }
    }

    #[test]
    fn a_member_of_a_set_is_blocked() {
        for family in Family::BOTH {
            let ruleset = block_list(family, 100, Verdict::Accept, 1);
            let members = from_members(&ruleset.sets["blocked"].entries, 50, &mut Random::new(2));
            assert!(
                members.iter().all(|headers| judged(&ruleset, &headers.frame()).verdict == Verdict::Drop)
            );
        }
    }
}
