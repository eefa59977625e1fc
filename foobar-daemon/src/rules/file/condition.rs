//! Conditions of a rule other than addresses and ports.

use std::collections::BTreeSet;

use foobar_common::{flow::protocol as number, tracking::State};

use super::{
    error::Errors,
    value::{Section, Value, one_of_or},
};
use crate::rules::{
    model::{FlagCondition, IcmpCondition, PortProtocol, Rule},
    names::{self, ICMP_TYPES, ICMPV6_TYPES, PROTOCOLS, TCP_FLAGS},
};

/// Names of interfaces are shorter than this (Linux, IFNAMSIZ, the closing zero included).
const INTERFACE_NAME_MAX: usize = 16;
/// VLAN ids are 12 bits (IEEE 802.1Q section 9.6).
const VLAN_MAX: u64 = 4095;

/// `protocol`.
pub(super) fn protocol(value: &Value<'_>, errors: &mut Errors<'_>) -> Option<BTreeSet<u8>> {
    collect(value, "protocol", errors, |element, errors| {
        if element.is_number() {
            return byte(element.number("protocol", 0..=255, errors)?);
        }
        let Some(name) = element.as_string() else {
            element.wrong_type("protocol", "a name in quotes, or a number from 0 to 255", errors);
            return None;
        };
        let found = names::number(&PROTOCOLS, name).or_else(|| name.parse().ok());
        if found.is_none() {
            let known = PROTOCOLS.map(|(name, _)| name);
            let help = match name {
                "icmp6" | "ipv6-icmp" => "write \"icmpv6\"".to_owned(),
                "any" | "all" | "ip" => "leave protocol out to mean any".to_owned(),
                _ => one_of_or(name, &known, ", or a number from 0 to 255"),
            };
            errors.add(&element.place, format!("there is no protocol {name:?}"), help);
        }
        found
    })
}

/// `tcp_flags`.
pub(super) fn tcp_flags(value: &Value<'_>, errors: &mut Errors<'_>) -> Option<FlagCondition> {
    let help = "write tcp_flags = { set = [\"syn\"], clear = [\"ack\"] }";
    let section = value.section("tcp_flags", help, errors)?;
    section.check_keys(&["set", "clear"], errors);
    if !section.is_empty() && section.get("set").is_none() && section.get("clear").is_none() {
        return None;
    }
    let mut flags_of = |key: &str| match section.get(key) {
        None => Some(0),
        Some(value) => flags(&value, key, errors),
    };
    let (set, clear) = (flags_of("set")?, flags_of("clear")?);
    if set == 0 && clear == 0 {
        errors.add(&section.place, "tcp_flags names no flag", help);
        return None;
    }
    if set & clear != 0 {
        errors.add(
            &section.place,
            format!(
                "{} cannot be set and clear at once, so no packet matches",
                names::flag_names(set & clear)
            ),
            "name each flag in one of the lists",
        );
        return None;
    }
    Some(FlagCondition { set, clear })
}

fn flags(value: &Value<'_>, key: &str, errors: &mut Errors<'_>) -> Option<u8> {
    let what = format!("tcp_flags.{key}");
    let mut byte = 0;
    for element in value.any_list() {
        byte |= element.word(&what, &TCP_FLAGS, errors)?;
    }
    Some(byte)
}

/// `icmp` of a rule with this `protocol`.
pub(super) fn icmp(
    value: &Value<'_>,
    protocols: Option<&BTreeSet<u8>>,
    errors: &mut Errors<'_>,
) -> Option<Vec<IcmpCondition>> {
    let versions: Vec<u8> = [number::ICMP, number::ICMPV6]
        .into_iter()
        .filter(|version| protocols.is_none_or(|protocols| protocols.contains(version)))
        .collect();
    if versions.is_empty() {
        // `check_transport` says so.
        return None;
    }
    let mut messages = Vec::new();
    let mut complete = true;
    for element in value.list("icmp", errors)? {
        match one_icmp(&element, &versions, errors) {
            Some(found) => messages.extend(found),
            None => complete = false,
        }
    }
    complete.then_some(messages)
}

fn one_icmp(value: &Value<'_>, versions: &[u8], errors: &mut Errors<'_>) -> Option<Vec<IcmpCondition>> {
    let (kind, code) = if value.is_number() {
        (byte(value.number("icmp", 0..=255, errors)?)?, None)
    } else {
        let Some(text) = value.as_string() else {
            value.wrong_type("icmp", "a type name, a type, or \"type/code\"", errors);
            return None;
        };
        match message(text) {
            Message::Named(name) => return named_icmp(value, name, versions, errors),
            Message::Numbered(kind, code) => (kind, code),
            Message::Wrong(help) => {
                errors.add(&value.place, format!("{text:?} is no ICMP message"), help);
                return None;
            }
        }
    };
    let [protocol] = versions else {
        errors.add(
            &value.place,
            "the numbers of ICMP messages mean different things in IPv4 and IPv6",
            "write protocol = \"icmp\" or protocol = \"icmpv6\" too, or the name of the message",
        );
        return None;
    };
    Some(vec![IcmpCondition { protocol: *protocol, kind, code }])
}

enum Message<'t> {
    Named(&'t str),
    Numbered(u8, Option<u8>),
    Wrong(&'static str),
}

fn message(text: &str) -> Message<'_> {
    let (kind, code) = match text.split_once('/') {
        Some((kind, code)) => (kind, Some(code)),
        None => (text, None),
    };
    match (kind.parse::<u8>(), code.map(str::parse::<u8>)) {
        (Ok(kind), None) => Message::Numbered(kind, None),
        (Ok(kind), Some(Ok(code))) => Message::Numbered(kind, Some(code)),
        (Err(_), None) => Message::Named(kind),
        (Err(_), Some(_)) => Message::Wrong("with a code the type is a number too, as in \"3/4\""),
        (Ok(_), Some(Err(_))) => Message::Wrong("type and code are numbers from 0 to 255, as in \"3/4\""),
    }
}

fn named_icmp(
    value: &Value<'_>,
    name: &str,
    versions: &[u8],
    errors: &mut Errors<'_>,
) -> Option<Vec<IcmpCondition>> {
    let found: Vec<IcmpCondition> = versions
        .iter()
        .filter_map(|version| {
            let kind = names::number(names::icmp_types(*version), name)?;
            Some(IcmpCondition { protocol: *version, kind, code: None })
        })
        .collect();
    if !found.is_empty() {
        return Some(found);
    }
    let is_other = ICMP_TYPES.iter().chain(&ICMPV6_TYPES).any(|(known, _)| *known == name);
    if is_other {
        let protocol = if versions.contains(&number::ICMP) { "icmpv6" } else { "icmp" };
        let message = format!("{name:?} is a message of {protocol} only");
        errors.add(&value.place, message, format!("write protocol = {protocol:?}, or leave protocol out"));
    } else {
        let known: Vec<&str> = versions
            .iter()
            .flat_map(|version| names::icmp_types(*version))
            .map(|(known, _)| *known)
            .collect();
        let help = one_of_or(name, &known, ", or a number");
        errors.add(&value.place, format!("there is no ICMP message {name:?}"), help);
    }
    None
}

/// `state`.
pub(super) fn state(value: &Value<'_>, errors: &mut Errors<'_>) -> Option<BTreeSet<State>> {
    let words: Vec<_> = State::ALL.iter().map(|state| (state.label(), *state)).collect();
    collect(value, "state", errors, |element, errors| element.word("state", &words, errors))
}

/// `interface`.
pub(super) fn interface(value: &Value<'_>, errors: &mut Errors<'_>) -> Option<BTreeSet<String>> {
    collect(value, "interface", errors, |element, errors| {
        let name = element.string("interface", errors)?;
        let wrong = |one: char| one.is_whitespace() || one.is_control() || one == '/';
        let help = "write a name as `ip link` shows it, as in \"eth0\"";
        if name.is_empty() || name == "." || name == ".." || name.contains(wrong) {
            errors.add(&element.place, format!("no interface can be called {name:?}"), help);
            return None;
        }
        if name.len() >= INTERFACE_NAME_MAX {
            let message = format!("no interface has a name of more than {} bytes", INTERFACE_NAME_MAX - 1);
            errors.add(&element.place, message, help);
            return None;
        }
        if name.contains(['*', '+']) {
            let message = format!("patterns like {name:?} are not known");
            errors.add(&element.place, message, "write each interface by its whole name");
            return None;
        }
        Some(name.to_owned())
    })
}

/// `vlan`.
pub(super) fn vlan(value: &Value<'_>, errors: &mut Errors<'_>) -> Option<BTreeSet<u16>> {
    collect(value, "vlan", errors, |element, errors| {
        u16::try_from(element.number("vlan", 0..=VLAN_MAX, errors)?).ok()
    })
}

/// Reports ports, flags and messages of protocols that have none, and of later fragments.
pub(super) fn check_transport(section: &Section<'_>, rule: &Rule, errors: &mut Errors<'_>) {
    let with_ports: BTreeSet<u8> = PortProtocol::ALL.into_iter().map(PortProtocol::number).collect();
    let features = [
        ("source_port", "ports", with_ports.clone(), "tcp, udp and sctp"),
        ("destination_port", "ports", with_ports, "tcp, udp and sctp"),
        ("tcp_flags", "TCP flags", BTreeSet::from([number::TCP]), "tcp"),
        ("icmp", "ICMP messages", BTreeSet::from([number::ICMP, number::ICMPV6]), "icmp and icmpv6"),
    ];
    // What the keys before leave over, and the key that narrowed it.
    let mut possible = rule.protocol.clone();
    let mut narrowed_by = "protocol";
    for (key, what, having, names) in features {
        if section.get(key).is_none() {
            continue;
        }
        let place = section.key_place(key);
        if rule.fragment == Some(true) {
            let help = "leave out fragment = true, or the condition: only first fragments have a beginning";
            errors.add(&place, format!("later fragments have no {what}, so no packet matches"), help);
        }
        let without = rule.protocol.iter().flatten().find(|number| !having.contains(number));
        if let Some(without) = without {
            let message = format!("{} has no {what}", names::protocol_name(*without));
            let help = format!("{what} are of {names}: name only such protocols, or make two rules of it");
            errors.add(&place, message, help);
            continue;
        }
        let left: BTreeSet<u8> = match &possible {
            Some(possible) => possible.intersection(&having).copied().collect(),
            None => having,
        };
        if left.is_empty() {
            let message = format!("no protocol has both {key} and {narrowed_by}, so no packet matches");
            errors.add(&place, message, "make two rules of it");
            continue;
        }
        narrowed_by = key;
        possible = Some(left);
    }
}

/// Reads each element of a list into a set.
fn collect<'t, T: Ord>(
    value: &Value<'t>,
    what: &str,
    errors: &mut Errors<'_>,
    read: impl Fn(&Value<'t>, &mut Errors<'_>) -> Option<T>,
) -> Option<BTreeSet<T>> {
    let elements = value.list(what, errors)?;
    let read: Vec<Option<T>> = elements.iter().map(|element| read(element, errors)).collect();
    read.into_iter().collect()
}

fn byte(number: u64) -> Option<u8> {
    u8::try_from(number).ok()
}
