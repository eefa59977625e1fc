//! Why a packet does not meet a condition, in words.

use std::ops::RangeInclusive;

use foobar_common::flow::{Direction, Flow, Fragment, UNTAGGED};

use super::{Condition, Known, destination_of, ports_of, source_of, tcp_flags_of};
use crate::rules::{
    model::{AddressCondition, AddressMatch, Rule},
    names,
};

/// Lists longer than this are cut.
const LISTED_MAX: usize = 6;

impl Condition {
    /// Its key in the rule file.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Direction => "direction",
            Self::Interface => "interface",
            Self::Vlan => "vlan",
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Protocol => "protocol",
            Self::Fragment => "fragment",
            Self::SourcePort => "source_port",
            Self::DestinationPort => "destination_port",
            Self::TcpFlags => "tcp_flags",
            Self::Icmp => "icmp",
            Self::Length => "length",
            Self::State => "state",
        }
    }

    /// Why the packet does not meet this condition of the rule: what the packet has, and what the rule wants.
    pub fn explain(self, rule: &Rule, flow: &Flow, interface: &str, known: Known) -> String {
        match self {
            Self::Direction => match rule.direction {
                Direction::In => "the packet goes out, the rule is for packets that come in".to_owned(),
                Direction::Out => "the packet comes in, the rule is for packets that go out".to_owned(),
            },
            Self::Interface => {
                let wanted = either(rule.interface.iter().flatten());
                if interface.is_empty() {
                    format!("no interface is given, so it is not {wanted}")
                } else {
                    format!("interface {interface} is not {wanted}")
                }
            }
            Self::Vlan => {
                let wanted = either(rule.vlan.iter().flatten());
                if flow.vlan == UNTAGGED {
                    format!("the packet has no VLAN tag, so it is not in VLAN {wanted}")
                } else {
                    format!("VLAN {} is not {wanted}", flow.vlan)
                }
            }
            Self::Source => format!("source {} {}", source_of(flow), outside(rule.source.as_ref())),
            Self::Destination => {
                format!("destination {} {}", destination_of(flow), outside(rule.destination.as_ref()))
            }
            Self::Protocol => {
                let wanted = rule.protocol.iter().flatten().map(|number| names::protocol_name(*number));
                format!("protocol {} is not {}", names::protocol_name(flow.protocol), either(wanted))
            }
            Self::Fragment => match rule.fragment {
                Some(true) => "the packet is not a later fragment".to_owned(),
                Some(false) | None => "the packet is a later fragment".to_owned(),
            },
            Self::SourcePort => {
                let port = ports_of(flow).map(|ports| ports.source);
                port_words("source", port, rule.source_port.as_deref(), flow)
            }
            Self::DestinationPort => {
                let port = ports_of(flow).map(|ports| ports.destination);
                port_words("destination", port, rule.destination_port.as_deref(), flow)
            }
            Self::TcpFlags => flag_words(rule, flow),
            Self::Icmp => icmp_words(rule, flow),
            Self::Length => {
                let wanted = rule.length.iter().map(range_words);
                format!("length {} is not {}", flow.length, either(wanted))
            }
            Self::State => {
                let wanted = rule.state.iter().flatten().map(|state| state.label());
                format!("the packet is {}, not {}", known.state.label(), either(wanted))
            }
        }
    }
}

fn outside(condition: Option<&AddressCondition>) -> String {
    let words = |list: &[AddressMatch]| {
        either(list.iter().map(|one| match one {
            AddressMatch::Prefix(prefix) if prefix.prefix_len() == prefix.max_prefix_len() => {
                prefix.addr().to_string()
            }
            AddressMatch::Prefix(prefix) => prefix.to_string(),
            AddressMatch::Set(name) => format!("@{name}"),
        }))
    };
    let mut reasons = Vec::new();
    if let Some(AddressCondition { include, exclude }) = condition {
        if !include.is_empty() {
            reasons.push(format!("is not in {}", words(include)));
        }
        if !exclude.is_empty() {
            reasons.push(format!("is excluded by {}", words(exclude)));
        }
    }
    reasons.join(", or ")
}

fn port_words(which: &str, port: Option<u16>, ranges: Option<&[RangeInclusive<u16>]>, flow: &Flow) -> String {
    let wanted = either(ranges.unwrap_or_default().iter().map(range_words));
    match port {
        Some(port) => format!("{which} port {port} is not {wanted}"),
        None => format!("{} has no ports, so none is {wanted}", packet_words(flow)),
    }
}

fn flag_words(rule: &Rule, flow: &Flow) -> String {
    let Some(byte) = tcp_flags_of(flow) else {
        return format!("{} has no TCP flags", packet_words(flow));
    };
    let wanted = rule.tcp_flags.unwrap_or_default();
    let missing = wanted.set & !byte;
    let surplus = wanted.clear & byte;
    let mut reasons = Vec::new();
    if missing != 0 {
        reasons.push(format!("{} not set", names::flag_names(missing)));
    }
    if surplus != 0 {
        reasons.push(format!("{} not clear", names::flag_names(surplus)));
    }
    format!("flags {}: {}", names::flag_names(byte), reasons.join(" and "))
}

fn icmp_words(rule: &Rule, flow: &Flow) -> String {
    let messages = rule.icmp.iter().flatten();
    let wanted = either(messages.map(|message| {
        let name = names::icmp_name(message.protocol, message.kind, message.code);
        format!("{} {name}", names::protocol_name(message.protocol))
    }));
    if names::icmp_types(flow.protocol).is_empty() || flow.fragment == Fragment::Later {
        return format!("{} has no ICMP type, so it is not {wanted}", packet_words(flow));
    }
    let name = names::icmp_name(flow.protocol, flow.icmp_type, Some(flow.icmp_code));
    format!("{} {name} is not {wanted}", names::protocol_name(flow.protocol))
}

fn packet_words(flow: &Flow) -> String {
    let part = if flow.fragment == Fragment::Later { "a later fragment of " } else { "" };
    format!("{part}{}", names::protocol_name(flow.protocol))
}

fn range_words(range: &RangeInclusive<u16>) -> String {
    if range.start() == range.end() {
        range.start().to_string()
    } else {
        format!("{}-{}", range.start(), range.end())
    }
}

/// `a`, `a or b`, `a, b or c`; long lists end in a count.
fn either(words: impl Iterator<Item = impl ToString>) -> String {
    let mut words: Vec<String> = words.map(|word| word.to_string()).collect();
    if words.len() > LISTED_MAX {
        let more = words.len() - (LISTED_MAX - 1);
        words.truncate(LISTED_MAX - 1);
        words.push(format!("{more} more"));
    }
    match words.split_last() {
        None => "anything".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, first)) => format!("{} or {last}", first.join(", ")),
    }
}
