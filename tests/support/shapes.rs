//! Rulesets that are hard on the matcher: each makes as many classes, or as many surviving clauses, as it can.

use std::ops::RangeInclusive;

use foobar_common::{flow::protocol, verdict::Verdict};
use foobar_daemon::rules::model::{
    AddressCondition, AddressMatch, FlagCondition, IcmpCondition, Rule, Ruleset,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{frames::Family, random::Random};

/// Every source of 32 that lie inside each other with every such destination, four port ranges each, in no order.
pub fn nested(family: Family) -> Ruleset {
    let nets = |bits: u128| -> Vec<IpNet> {
        (1..=32)
            .map(|step| match family {
                Family::V4 => {
                    let address = u32::try_from(bits >> 96).expect("the upper 32 bits");
                    Ipv4Net::new_assert(address.into(), step).trunc().into()
                }
                Family::V6 => Ipv6Net::new_assert(bits.into(), step * 4).trunc().into(),
            })
            .collect()
    };
    let sources = nets(0x0a01_0203_5555_aaaa_1234_5678_9abc_def0);
    let destinations = nets(0xac10_fffe_0000_ffff_0f0f_f0f0_0001_8000);
    let ranges = [0..=65_535, 1_024..=65_535, 443..=443, 8_000..=9_000];
    let mut rules = Vec::new();
    for source in &sources {
        for destination in &destinations {
            for range in &ranges {
                rules.push(Rule {
                    source: Some(only(*source)),
                    destination: Some(only(*destination)),
                    destination_port: Some(vec![range.clone()]),
                    ..Rule::new("", Verdict::Accept)
                });
            }
        }
    }
    numbered(rules, 1)
}

/// So many rules whose only conditions are port ranges that overlap with a thousand others.
pub fn port_ranges(count: usize) -> Ruleset {
    let mut random = Random::new(2);
    let mut range = || {
        let start = random.short();
        let end = start.saturating_add(random.short() / 8);
        start..=end
    };
    let rules = (0..count)
        .map(|number| Rule {
            source_port: (!number.is_multiple_of(3)).then(|| vec![range(), range()]),
            destination_port: (number % 3 != 1).then(|| vec![range()]),
            ..Rule::new("", Verdict::Accept)
        })
        .collect();
    numbered(rules, 3)
}

/// So many rules, each of which asks for a single field.
pub fn one_field_each(count: usize) -> Ruleset {
    let mut random = Random::new(4);
    let rules = (0..count).map(|number| one_field(number, &mut random)).collect();
    numbered(rules, 5)
}

/// So many rules with ports of their own on both sides: `width` ports, from each `step` ports on. Where a range is
/// wider than a step, neighbours share ports.
pub fn own_ports(count: u16, step: u16, width: u16) -> Ruleset {
    let range = |number: u16| {
        let start = number.wrapping_mul(step);
        start..=start.saturating_add(width - 1)
    };
    let rules = (0..count)
        .map(|number| Rule {
            protocol: Some([protocol::TCP].into()),
            source_port: Some(vec![range(number)]),
            destination_port: Some(vec![range(number)]),
            ..Rule::new("", Verdict::Accept)
        })
        .collect();
    numbered(rules, 6)
}

fn one_field(number: usize, random: &mut Random) -> Rule {
    let rule = Rule::new("", Verdict::Accept);
    let single = |random: &mut Random| -> RangeInclusive<u16> {
        let port = random.short();
        port..=port
    };
    match number % 10 {
        0 => {
            let address = u32::try_from(random.wide() >> 96).expect("the upper 32 bits");
            Rule { source: Some(only(Ipv4Net::new_assert(address.into(), 32).into())), ..rule }
        }
        1 => {
            Rule { source: Some(only(Ipv6Net::new_assert(random.wide().into(), 64).trunc().into())), ..rule }
        }
        2 => {
            let address = u32::try_from(random.wide() >> 96).expect("the upper 32 bits");
            Rule { destination: Some(only(Ipv4Net::new_assert(address.into(), 24).trunc().into())), ..rule }
        }
        3 => Rule { destination: Some(only(Ipv6Net::new_assert(random.wide().into(), 128).into())), ..rule },
        4 => Rule { source_port: Some(vec![single(random)]), ..rule },
        5 => Rule { destination_port: Some(vec![single(random)]), ..rule },
        6 => {
            let vlan = u16::try_from(random.below(4_096)).expect("12 bits");
            Rule { vlan: Some([vlan].into()), ..rule }
        }
        7 => {
            let length = 20 + u16::try_from(random.below(1_480)).expect("a short length");
            // Not the lengths that most packets have: they would all end here.
            Rule { length: Some(length.max(100)..=length.max(100)), ..rule }
        }
        8 => {
            let [kind, code, set, ..] = random.number().to_le_bytes();
            if number.is_multiple_of(4) {
                let icmp = IcmpCondition { protocol: protocol::ICMP, kind, code: Some(code) };
                Rule { icmp: Some(vec![icmp]), ..rule }
            } else {
                Rule { tcp_flags: Some(FlagCondition { set: set | 0xe0, clear: !(set | 0xe0) }), ..rule }
            }
        }
        _ if number.is_multiple_of(3) => {
            Rule { interface: Some([format!("eth{}", 1 + number % 7)].into()), ..rule }
        }
        _ => {
            let protocol = u8::try_from(200 + number % 50).expect("a byte");
            Rule { protocol: Some([protocol].into()), ..rule }
        }
    }
}

fn only(prefix: IpNet) -> AddressCondition {
    AddressCondition { include: vec![AddressMatch::Prefix(prefix)], exclude: Vec::new() }
}

/// The rules in another order, with names, and with actions in turn.
fn numbered(mut rules: Vec<Rule>, seed: u64) -> Ruleset {
    Random::new(seed).shuffle(&mut rules);
    for (number, rule) in rules.iter_mut().enumerate() {
        rule.id = format!("r{number}").into();
        rule.action = if number.is_multiple_of(2) { Verdict::Accept } else { Verdict::Drop };
    }
    let mut ruleset = Ruleset { rules, ..Ruleset::default() };
    ruleset.policy.inbound = Verdict::Drop;
    ruleset
}
