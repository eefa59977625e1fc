//! What of a packet a match looks at (nft(8), primary and payload expressions).

use std::collections::BTreeSet;

use foobar_common::flow::{
    Direction, Family,
    protocol::{ICMP, ICMPV6, SCTP, TCP, UDP},
};
use ipnet::IpNet;

use super::{
    super::{
        alternatives::{self, all, flags, lengths, messages, protocols},
        conditions::{Addresses, Conditions},
        language, names, values,
    },
    cursor::Cursor,
    elements::Value,
};
use crate::rules::{
    model::IcmpCondition,
    names::{self as words, TCP_FLAGS},
};

/// A field of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Address(End),
    /// Of this protocol, or of any that has ports.
    Port(Option<u8>, End),
    /// The protocol, of this IP version only or of both.
    Protocol(Option<Family>),
    /// The IP version, as `meta nfproto` or as an Ethernet type names it.
    Family,
    TcpFlags,
    IcmpType(u8),
    IcmpCode(u8),
    Interface(Direction),
    Vlan,
    Length(Option<Family>),
    State,
}

/// Which end of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Source,
    Destination,
}

impl Field {
    /// Reads a field, if one comes next.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Option<Self>, String> {
        let Some(first) = cursor.peek().and_then(|token| token.word()) else {
            return Ok(None);
        };
        let direct = match first {
            "iif" | "iifname" => Some(Self::Interface(Direction::In)),
            "oif" | "oifname" => Some(Self::Interface(Direction::Out)),
            _ => None,
        };
        if direct.is_some() {
            cursor.next();
            return Ok(direct);
        }
        if !["ip", "ip6", "tcp", "udp", "sctp", "th", "icmp", "icmpv6", "meta", "vlan", "ether", "ct"]
            .contains(&first)
        {
            return Ok(None);
        }
        cursor.next();
        let second = cursor.word().unwrap_or_default();
        let field = match (first, second) {
            ("ip" | "ip6", "saddr") => Self::Address(End::Source),
            ("ip" | "ip6", "daddr") => Self::Address(End::Destination),
            ("ip", "protocol") => Self::Protocol(Some(Family::V4)),
            ("ip6", "nexthdr") => Self::Protocol(Some(Family::V6)),
            ("ip", "length") => Self::Length(Some(Family::V4)),
            ("tcp", "flags") => Self::TcpFlags,
            ("tcp" | "udp" | "sctp" | "th", "sport") => Self::Port(port_protocol(first), End::Source),
            ("tcp" | "udp" | "sctp" | "th", "dport") => Self::Port(port_protocol(first), End::Destination),
            ("icmp", "type") => Self::IcmpType(ICMP),
            ("icmp", "code") => Self::IcmpCode(ICMP),
            ("icmpv6", "type") => Self::IcmpType(ICMPV6),
            ("icmpv6", "code") => Self::IcmpCode(ICMPV6),
            ("meta", "l4proto") => Self::Protocol(None),
            ("meta", "nfproto" | "protocol") | ("ether", "type") => Self::Family,
            ("meta", "iif" | "iifname") => Self::Interface(Direction::In),
            ("meta", "oif" | "oifname") => Self::Interface(Direction::Out),
            ("meta", "length") => Self::Length(None),
            ("vlan", "id") => Self::Vlan,
            ("ip6", "hoplimit") => return Err(language::HOP_LIMIT.to_owned()),
            ("ct", "state") => Self::State,
            _ => return Err(format!("{first} {second} is not in the rule language")),
        };
        Ok(Some(field))
    }

    /// The field has one of these values; negated, none of them.
    pub(super) fn conditions(self, values: &[Value], negated: bool) -> Result<Vec<Conditions>, String> {
        if values.contains(&Value::Others) {
            return Ok(if negated { Vec::new() } else { vec![Conditions::default()] });
        }
        match self {
            Self::Address(end) => Ok(end.addresses(&prefixes(values)?, negated)),
            Self::Port(protocol, end) => {
                let ranges = numbers(values, |text| values::ports(text, '-'), negated)?;
                let ports = match end {
                    End::Source => alternatives::source_ports(ranges),
                    End::Destination => alternatives::destination_ports(ranges),
                };
                match protocol {
                    Some(number) => all(&vec![vec![Conditions::of_protocol(number)], ports], &mut Vec::new()),
                    None => Ok(ports),
                }
            }
            Self::Protocol(family) => {
                let numbers = each(values, names::protocol)?;
                Ok(of_family(family, protocols(&numbers, negated)))
            }
            Self::Family => {
                let wanted = each(values, ip_version)?;
                let families = [Family::V4, Family::V6].into_iter();
                let families = families.filter(|family| wanted.contains(&Some(*family)) != negated);
                Ok(families.map(Conditions::of_family).collect())
            }
            Self::TcpFlags => flags_exactly(&each(values, flag_byte)?.into_iter().collect(), negated),
            Self::IcmpType(of) => {
                let named = each(values, |text| names::icmp(of, text))?;
                Ok(messages(of, &named, negated))
            }
            Self::IcmpCode(of) => {
                let wanted: BTreeSet<u8> =
                    each(values, |text| number(text, "ICMP code"))?.into_iter().collect();
                let codes = (0..=255).filter(|code| wanted.contains(code) != negated);
                let icmp: Vec<IcmpCondition> = codes
                    .flat_map(|code| {
                        (0..=255).map(move |kind| IcmpCondition { protocol: of, kind, code: Some(code) })
                    })
                    .collect();
                Ok(vec![Conditions { icmp: Some(icmp), ..Conditions::of_protocol(of) }])
            }
            Self::Interface(_) if negated => {
                Err("a list of interfaces cannot exclude one: write the others".to_owned())
            }
            Self::Interface(direction) => {
                let interfaces = Some(each(values, values::interface)?.into_iter().collect());
                Ok(vec![match direction {
                    Direction::In => Conditions { interfaces, ..Conditions::default() },
                    Direction::Out => Conditions { out_interfaces: interfaces, ..Conditions::default() },
                }])
            }
            Self::Vlan => {
                let wanted: BTreeSet<u16> = each(values, |text| number(text, "VLAN"))?.into_iter().collect();
                let vlans = (0..=4095).filter(|id| wanted.contains(id) != negated).collect();
                Ok(vec![Conditions { vlans: Some(vlans), ..Conditions::default() }])
            }
            Self::State => Ok(alternatives::states(
                &each(values, names::state)?.into_iter().flatten().collect(),
                negated,
            )),
            Self::Length(family) => {
                let ranges = numbers(values, |text| values::ports(text, '-'), negated)?;
                Ok(of_family(family, lengths(ranges)))
            }
        }
    }

    /// The address is in this set.
    pub(super) fn in_set(self, name: &str, family: Family, negated: bool) -> Option<Vec<Conditions>> {
        let Self::Address(end) = self else {
            return None;
        };
        let conditions = end.conditions(if negated {
            Addresses::not_in_set(name)
        } else {
            Addresses::in_set(name, family)
        });
        Some(of_family(Some(family), conditions))
    }
}

impl End {
    fn conditions(self, addresses: Addresses) -> Vec<Conditions> {
        match self {
            Self::Source => alternatives::source(addresses),
            Self::Destination => alternatives::destination(addresses),
        }
    }

    /// One of these addresses, or none of them but still of their IP version.
    fn addresses(self, prefixes: &[IpNet], negated: bool) -> Vec<Conditions> {
        let addresses = if negated { Addresses::outside(prefixes) } else { Addresses::of(prefixes.to_vec()) };
        of_family(prefixes.first().map(values::family), self.conditions(addresses))
    }
}

fn port_protocol(name: &str) -> Option<u8> {
    match name {
        "tcp" => Some(TCP),
        "udp" => Some(UDP),
        "sctp" => Some(SCTP),
        _ => None,
    }
}

/// The flags behind `tcp flags`, which have signs of their own.
pub(super) fn tcp_flags(cursor: &mut Cursor<'_>) -> Result<Vec<Conditions>, String> {
    if cursor.skip("!") {
        return Ok(flags(flag_list(cursor)?, 0, false));
    }
    if !cursor.skip("&") {
        let plain = cursor.skip("==") || cursor.skip("eq");
        let negated = !plain && (cursor.skip("!=") || cursor.skip("ne"));
        let listed = flag_list(cursor)?;
        if plain || negated {
            return flags_exactly(&BTreeSet::from([listed]), negated);
        }
        // `tcp flags syn / syn,ack`: of the flags behind the slash, those before it are set.
        return if cursor.skip("/") {
            Ok(flags(flag_list(cursor)?, listed, false))
        } else {
            Ok(flags(listed, 0, true))
        };
    }
    let mask = flag_list(cursor)?;
    let negated = cursor.skip("!=") || cursor.skip("ne");
    if !negated && !cursor.skip("==") && !cursor.skip("eq") {
        return Err("behind the mask of TCP flags there is neither == nor !=".to_owned());
    }
    Ok(flags(mask, flag_list(cursor)?, negated))
}

fn flags_exactly(bytes: &BTreeSet<u8>, negated: bool) -> Result<Vec<Conditions>, String> {
    let each: Vec<Vec<Conditions>> = bytes.iter().map(|byte| flags(0xff, *byte, negated)).collect();
    if negated { all(&each, &mut Vec::new()) } else { Ok(each.concat()) }
}

/// Flags with `|` or `,` between them, in brackets or not.
fn flag_list(cursor: &mut Cursor<'_>) -> Result<u8, String> {
    let bracket = cursor.skip("(");
    let mut byte = 0;
    loop {
        let Some(word) = cursor.word() else {
            return Err("a TCP flag is missing".to_owned());
        };
        byte |= flag_byte(word)?;
        if !cursor.skip("|") && !cursor.skip(",") {
            break;
        }
    }
    if bracket && !cursor.skip(")") {
        return Err("a bracket is not closed".to_owned());
    }
    Ok(byte)
}

fn flag_byte(name: &str) -> Result<u8, String> {
    words::number(&TCP_FLAGS, &name.replace("ecn", "ece"))
        .or_else(|| values::number(name))
        .ok_or_else(|| format!("there is no TCP flag {name:?}"))
}

fn ip_version(name: &str) -> Result<Option<Family>, String> {
    match name {
        "ipv4" | "ip" | "2" | "0x0800" | "0x800" => Ok(Some(Family::V4)),
        "ipv6" | "ip6" | "10" | "0x86dd" => Ok(Some(Family::V6)),
        "arp" => Ok(None),
        _ => Err(format!("{name:?} is no IP version")),
    }
}

fn of_family(family: Option<Family>, mut conditions: Vec<Conditions>) -> Vec<Conditions> {
    for one in &mut conditions {
        one.family = family;
    }
    conditions
}

/// The values of a field that has no ranges.
fn each<T>(values: &[Value], read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let one = |value: &Value| match value {
        Value::One(text) => read(text),
        Value::Range(first, last) => {
            Err(format!("the range {first}-{last} is not in the rule language here"))
        }
        Value::Others => Err("* is not in the rule language here".to_owned()),
    };
    values.iter().map(one).collect()
}

fn numbers(
    values: &[Value],
    read: impl Fn(&str) -> Result<std::ops::RangeInclusive<u16>, String>,
    negated: bool,
) -> Result<values::Ranges, String> {
    let one = |value: &Value| match value {
        Value::One(text) => read(text),
        Value::Range(first, last) => read(&format!("{first}-{last}")),
        Value::Others => Ok(0..=u16::MAX),
    };
    let ranges = values::joined(values.iter().map(one).collect::<Result<_, _>>()?);
    Ok(if negated { values::complement(&ranges) } else { ranges })
}

fn number<N: TryFrom<u32>>(text: &str, what: &str) -> Result<N, String> {
    values::number(text).ok_or_else(|| format!("{text:?} is no {what}"))
}

/// The prefixes that make up the values.
pub(super) fn prefixes(values: &[Value]) -> Result<Vec<IpNet>, String> {
    let mut prefixes = Vec::new();
    for value in values {
        match value {
            Value::One(text) => prefixes.extend(values::prefixes(text)?),
            Value::Range(first, last) => prefixes.extend(values::address_range(first, last)?),
            Value::Others => return Err("* is not in the rule language here".to_owned()),
        }
    }
    Ok(prefixes)
}
