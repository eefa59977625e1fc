//! A packet in words, as `rules explain --packet` takes it:
//! `tcp 203.0.113.7:5555 > 192.0.2.10:443 syn`.

mod describe;
mod words;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use foobar_common::{
    flow::{Family, Flow, Fragment, UNTAGGED, protocol},
    verdict::Reason,
};

pub use self::describe::describe;
use self::words::Words;
use super::evaluate::Known;
use super::names::{self, PROTOCOLS, TCP_FLAGS, closest};

/// What is wrong with a packet in words, and how to write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketError {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl PacketError {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

impl fmt::Display for PacketError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}; {}", self.message, self.help)
    }
}

impl std::error::Error for PacketError {}

/// Reads a packet in words, and gives what the parser of frames would give for it.
///
/// `PROTOCOL SOURCE > DESTINATION`, then any of these: TCP flags (`syn,ack`, or `none`; without any: `syn`), an
/// ICMP message (`echo-request`, `3/4`), `fragment` (a later one), `first-fragment`, `vlan N`, `length N`,
/// `hop-limit N`, `state S`. Ports stand behind the address: `192.0.2.1:443`, `[2001:db8::1]:443`. A frame without a flow
/// is the reason why: `arp`, `not_ip`, `llc`, `ip_length` and so on.
///
/// # Errors
/// What is wrong, and how to write it.
pub fn parse(text: &str) -> Result<Result<Flow, Reason>, PacketError> {
    parse_with_state(text).map(|(packet, _)| packet)
}

/// The same, and what is known of its flow, if the text says so: `state` and one of [`Known::WORDS`].
///
/// # Errors
/// As [`parse`].
pub fn parse_with_state(text: &str) -> Result<(Result<Flow, Reason>, Option<Known>), PacketError> {
    let mut words = Words::of(text);
    let Some(first) = words.next() else {
        return Err(PacketError::new("the packet is empty", EXAMPLE));
    };
    let flowless = Reason::ALL.iter().filter(|reason| is_flowless(**reason));
    if let Some(reason) = flowless.into_iter().find(|reason| reason.label() == first) {
        return match words.next() {
            None => Ok((Err(*reason), None)),
            Some(more) => Err(PacketError::new(
                format!("{first} says all of a frame, so {more:?} cannot follow"),
                format!("write {first:?} alone"),
            )),
        };
    }
    let protocol = protocol(first)?;
    let source = endpoint(words.next(), "source", protocol)?;
    match words.next() {
        Some(">" | "->") => {}
        other => {
            let found = other.map_or_else(|| "nothing".to_owned(), |word| format!("{word:?}"));
            return Err(PacketError::new(format!("behind the source there is {found}, not >"), EXAMPLE));
        }
    }
    let destination = endpoint(words.next(), "destination", protocol)?;
    let rest = Rest::read(words, protocol)?;
    flow(protocol, source, destination, &rest).map(|flow| (Ok(flow), rest.known))
}

/// How a packet is written.
pub const EXAMPLE: &str = "write it like 'tcp 203.0.113.7:5555 > 192.0.2.10:443 syn' or \
    'icmpv6 2001:db8::7 > 2001:db8::10 echo-request'";

/// Whether frames with this reason have no flow.
fn is_flowless(reason: Reason) -> bool {
    reason.is_malformed() || matches!(reason, Reason::Arp | Reason::NotIp | Reason::Llc)
}

fn protocol(word: &str) -> Result<u8, PacketError> {
    if let Some(number) = names::number(&PROTOCOLS, word).or_else(|| word.parse().ok()) {
        return Ok(number);
    }
    let names = PROTOCOLS.map(|(name, _)| name);
    let help = match closest(word, names) {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("begin with one of {}, or a number from 0 to 255", names.join(", ")),
    };
    Err(PacketError::new(format!("there is no protocol {word:?}"), help))
}

/// An address, and a port if one is written.
#[derive(Clone, Copy)]
struct Endpoint {
    address: IpAddr,
    port: Option<u16>,
}

fn endpoint(word: Option<&str>, which: &str, protocol: u8) -> Result<Endpoint, PacketError> {
    let Some(word) = word else {
        return Err(PacketError::new(format!("the packet has no {which}"), EXAMPLE));
    };
    if let Ok(address) = word.parse::<SocketAddr>() {
        if !has_ports(protocol) {
            return Err(PacketError::new(
                format!("{} has no ports", names::protocol_name(protocol)),
                format!("write the {which} as {}", address.ip()),
            ));
        }
        return Ok(Endpoint { address: address.ip(), port: Some(address.port()) });
    }
    let bare = word.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(word);
    bare.parse().map(|address| Endpoint { address, port: None }).map_err(|_error| {
        let help = if word.contains(':') && has_ports(protocol) {
            "write 192.0.2.1:443, or with an IPv6 address [2001:db8::1]:443"
        } else {
            "write an address like 192.0.2.1 or 2001:db8::1; names are not looked up"
        };
        PacketError::new(format!("the {which} {word:?} is no address"), help)
    })
}

/// What may stand behind the destination.
struct Rest {
    tcp_flags: Option<u8>,
    icmp: Option<(u8, u8)>,
    fragment: Fragment,
    vlan: u16,
    length: Option<u16>,
    hop_limit: Option<u8>,
    known: Option<Known>,
}

impl Rest {
    fn read(mut words: Words<'_>, protocol: u8) -> Result<Self, PacketError> {
        let mut rest = Self {
            tcp_flags: None,
            icmp: None,
            fragment: Fragment::Whole,
            vlan: UNTAGGED,
            length: None,
            hop_limit: None,
            known: None,
        };
        while let Some(word) = words.next() {
            match word {
                "fragment" => rest.fragment = Fragment::Later,
                "first-fragment" => rest.fragment = Fragment::First,
                "vlan" => rest.vlan = words.number("vlan", 4095)?,
                "length" => rest.length = Some(words.number("length", u16::MAX)?),
                "hop-limit" | "ttl" => rest.hop_limit = Some(words.number("hop-limit", u8::MAX)?),
                "state" => rest.known = Some(known(words.next())?),
                _ => rest.transport(word, protocol)?,
            }
        }
        Ok(rest)
    }

    fn transport(&mut self, word: &str, protocol: u8) -> Result<(), PacketError> {
        let general = "fragment, first-fragment, vlan N, length N, hop-limit N, state S";
        match protocol {
            protocol::TCP => {
                let Some(flags) = flags(word) else {
                    let names = TCP_FLAGS.map(|(name, _)| name);
                    let help = match closest(word, names) {
                        Some(meant) => format!("did you mean {meant}?"),
                        None => {
                            format!("behind the destination stand: {}, none, {general}", names.join(", "))
                        }
                    };
                    return Err(PacketError::new(format!("{word:?} is no TCP flag"), help));
                };
                self.tcp_flags = Some(self.tcp_flags.unwrap_or(0) | flags);
            }
            protocol::ICMP | protocol::ICMPV6 if self.icmp.is_none() => {
                let types = names::icmp_types(protocol);
                let Some(message) = icmp(word, protocol) else {
                    let help = match closest(word, types.iter().map(|(name, _)| *name)) {
                        Some(meant) => format!("did you mean {meant}?"),
                        None => format!("write a name like echo-request, a type, type/code, or {general}"),
                    };
                    let name = names::protocol_name(protocol);
                    return Err(PacketError::new(format!("{word:?} is no message of {name}"), help));
                };
                self.icmp = Some(message);
            }
            _ => {
                return Err(PacketError::new(
                    format!("{word:?} says nothing about a packet of {}", names::protocol_name(protocol)),
                    format!("behind the destination stand: {general}"),
                ));
            }
        }
        Ok(())
    }
}

fn known(word: Option<&str>) -> Result<Known, PacketError> {
    let found = Known::WORDS.iter().find(|(name, _)| Some(*name) == word);
    found.map(|(_, known)| *known).ok_or_else(|| {
        let names = Known::WORDS.map(|(name, _)| name);
        PacketError::new(
            format!(
                "behind state there is {}",
                word.map_or("nothing".to_owned(), |word| format!("{word:?}"))
            ),
            format!("write one of {}", names.join(", ")),
        )
    })
}

fn flags(word: &str) -> Option<u8> {
    if word == "none" {
        return Some(0);
    }
    word.split([',', '+', '|']).try_fold(0, |byte, name| Some(byte | names::number(&TCP_FLAGS, name)?))
}

fn icmp(word: &str, protocol: u8) -> Option<(u8, u8)> {
    let (kind, code) = word.split_once('/').unwrap_or((word, "0"));
    let kind = names::number(names::icmp_types(protocol), kind).or_else(|| kind.parse().ok())?;
    Some((kind, code.parse().ok()?))
}

fn flow(protocol: u8, source: Endpoint, destination: Endpoint, rest: &Rest) -> Result<Flow, PacketError> {
    let family = match (source.address, destination.address) {
        (IpAddr::V4(_), IpAddr::V4(_)) => Family::V4,
        (IpAddr::V6(_), IpAddr::V6(_)) => Family::V6,
        _ => {
            return Err(PacketError::new(
                "source and destination are of different IP versions",
                "write both as IPv4 or both as IPv6",
            ));
        }
    };
    let later = rest.fragment == Fragment::Later;
    let ports = match (source.port, destination.port) {
        (None, None) if later || !has_ports(protocol) => (0, 0),
        (Some(source), Some(destination)) if !later => (source, destination),
        (None, None) => return Err(PacketError::new("the packet has no ports", EXAMPLE)),
        (Some(_), None) if !later => return Err(PacketError::new("the destination has no port", EXAMPLE)),
        (None, Some(_)) if !later => return Err(PacketError::new("the source has no port", EXAMPLE)),
        _ => {
            return Err(PacketError::new(
                "a later fragment has no ports",
                "leave the ports out, or write first-fragment",
            ));
        }
    };
    if later && (rest.tcp_flags.is_some() || rest.icmp.is_some()) {
        return Err(PacketError::new(
            "a later fragment has neither TCP flags nor an ICMP message",
            "leave them out, or write first-fragment",
        ));
    }
    let is_icmp = matches!(protocol, protocol::ICMP | protocol::ICMPV6);
    if is_icmp && !later && rest.icmp.is_none() {
        return Err(PacketError::new("the ICMP packet has no message", "write its name, as in echo-request"));
    }
    let (icmp_type, icmp_code) = rest.icmp.unwrap_or_default();
    let tcp_flags = if protocol == protocol::TCP && !later { rest.tcp_flags.unwrap_or(SYN) } else { 0 };
    let flow = Flow {
        family,
        protocol,
        fragment: rest.fragment,
        tcp_flags,
        icmp_type,
        icmp_code,
        hop_limit: rest.hop_limit.unwrap_or_else(|| usual_hop_limit(protocol, icmp_type)),
        source: source.address.into(),
        destination: destination.address.into(),
        source_port: ports.0.to_be_bytes(),
        destination_port: ports.1.to_be_bytes(),
        vlan: rest.vlan,
        length: rest.length.unwrap_or_else(|| usual_length(family, protocol)),
    };
    Ok(flow)
}

/// What a TCP packet of which nothing is said is taken for: a new connection.
const SYN: u8 = 0x02;

fn has_ports(protocol: u8) -> bool {
    [protocol::TCP, protocol::UDP, protocol::SCTP].contains(&protocol)
}

/// Neighbour discovery is sent with 255 (RFC 4861); 64 is the usual start elsewhere (RFC 1700).
fn usual_hop_limit(protocol: u8, icmp_type: u8) -> u8 {
    if protocol == protocol::ICMPV6 && (133..=137).contains(&icmp_type) { 255 } else { 64 }
}

/// The length of the headers alone.
fn usual_length(family: Family, protocol: u8) -> u16 {
    let network = match family {
        Family::V4 => 20,
        Family::V6 => 40,
    };
    let transport = match protocol {
        protocol::TCP => 20,
        protocol::SCTP => 12,
        protocol::UDP | protocol::ICMP | protocol::ICMPV6 => 8,
        _ => 0,
    };
    network + transport
}

#[cfg(test)]
mod tests;
