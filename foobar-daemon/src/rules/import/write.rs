//! The rule file.

use std::{collections::BTreeMap, fmt::Display};

use foobar_common::{flow::Direction, verdict::Verdict};
use ipnet::IpNet;
use toml::Value;

use super::{
    Format,
    conditions::{Addresses, Include, shown},
    flatten::{List, Rule},
    values::Ranges,
};
use crate::rules::{
    file::SCHEMA,
    model::IcmpCondition,
    names::{self, PROTOCOLS, TCP_FLAGS},
};

/// Writes rules as a rule file.
pub(super) fn rule_file(format: Format, list: &List, sets: &BTreeMap<String, Vec<IpNet>>) -> String {
    let [inbound, outbound] = list.policies;
    let mut file = format!(
        "# Made by `foobar rules import --from {}`.\nschema = {SCHEMA}\n\n[policy]\nin = \"{}\"\n",
        format.label(),
        inbound.label()
    );
    if outbound != Verdict::Accept {
        file.extend(["out = \"", outbound.label(), "\"\n"]);
    }
    let refuses = list.policies.iter().any(|policy| policy.is_refusal())
        || list.rules.iter().any(|rule| rule.action.is_refusal());
    if refuses {
        // Nothing is accepted that the rules do not accept.
        file.push_str("replies = \"rules\"\n");
    }
    for (name, entries) in sets {
        // A dot in a bare key would be a table in a table.
        let entries = key("entries", entries.iter().map(|entry| text(&shown(entry))));
        file.extend(["\n[sets.", &text(name), "]\n", &entries]);
    }
    for rule in &list.rules {
        file.push_str(&one_rule(rule));
    }
    file
}

fn one_rule(rule: &Rule) -> String {
    let Rule { id, action, direction, conditions, comment } = rule;
    let mut lines = format!("\n[[rule]]\nid = {}\naction = \"{}\"\n", text(id), action.label());
    let mut add = |line: String| lines.push_str(&line);
    let interfaces = match direction {
        Direction::In => &conditions.interfaces,
        Direction::Out => {
            add("direction = \"out\"\n".to_owned());
            &conditions.out_interfaces
        }
    };
    add(addresses("source", &conditions.source));
    add(addresses("destination", &conditions.destination));
    if let Some(protocols) = &conditions.protocols {
        let names: Vec<String> = protocols.iter().map(|number| protocol(*number)).collect();
        add(match &names[..] {
            [only] => format!("protocol = {only}\n"),
            _ => key("protocol", names.iter()),
        });
    }
    if let Some(ports) = &conditions.source_ports {
        add(key("source_port", ranges(ports)));
    }
    if let Some(ports) = &conditions.destination_ports {
        add(key("destination_port", ranges(ports)));
    }
    if let Some(flags) = conditions.tcp_flags {
        let lists = [("set", flags.set), ("clear", flags.clear)];
        let lists = lists.iter().filter(|(_, byte)| *byte != 0);
        let lists: Vec<String> = lists.map(|(key, byte)| format!("{key} = [{}]", flag_list(*byte))).collect();
        add(format!("tcp_flags = {{ {} }}\n", lists.join(", ")));
    }
    if let Some(messages) = &conditions.icmp {
        add(key("icmp", messages.iter().map(|one| message(*one))));
    }
    if let Some(fragment) = conditions.fragment {
        add(format!("fragment = {fragment}\n"));
    }
    if let Some(states) = &conditions.states {
        add(key("state", states.iter().map(|state| text(state.label()))));
    }
    if let Some(interfaces) = interfaces {
        add(key("interface", interfaces.iter().map(|name| text(name))));
    }
    if let Some(vlans) = &conditions.vlans {
        add(key("vlan", vlans.iter().map(u16::to_string)));
    }
    if let Some(length) = &conditions.length {
        add(format!("length = \"{}-{}\"\n", length.start(), length.end()));
    }
    if let Some(comment) = comment {
        add(format!("comment = {}\n", text(comment)));
    }
    lines
}

fn addresses(name: &str, addresses: &Addresses) -> String {
    let Addresses { include, exclude } = addresses;
    let mut elements: Vec<String> = match include {
        None => Vec::new(),
        Some(Include::Prefixes(prefixes)) => prefixes.iter().map(shown).collect(),
        Some(Include::Set { name, .. }) => vec![format!("@{name}")],
    };
    elements.extend(exclude.iter().map(|one| format!("!{one}")));
    if elements.is_empty() { String::new() } else { key(name, elements.iter().map(|one| text(one))) }
}

fn key(name: &str, elements: impl Iterator<Item = impl Display>) -> String {
    let elements: Vec<String> = elements.map(|element| element.to_string()).collect();
    format!("{name} = [{}]\n", elements.join(", "))
}

fn ranges(ranges: &Ranges) -> impl Iterator<Item = String> {
    ranges.iter().map(|range| {
        if range.start() == range.end() {
            range.start().to_string()
        } else {
            text(&format!("{}-{}", range.start(), range.end()))
        }
    })
}

fn protocol(number: u8) -> String {
    names::name(&PROTOCOLS, number).map_or_else(|| number.to_string(), text)
}

fn flag_list(byte: u8) -> String {
    let names = TCP_FLAGS.iter().filter(|(_, bit)| byte & bit != 0).map(|(name, _)| text(name));
    names.collect::<Vec<_>>().join(", ")
}

fn message(message: IcmpCondition) -> String {
    let IcmpCondition { protocol, kind, code } = message;
    match (names::name(names::icmp_types(protocol), kind), code) {
        (_, Some(code)) => text(&format!("{kind}/{code}")),
        (Some(name), None) => text(name),
        (None, None) => kind.to_string(),
    }
}

/// A text in quotes.
fn text(text: &str) -> String {
    Value::from(text).to_string()
}
