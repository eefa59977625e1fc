//! The words of the rule language for numbers on the wire.

use foobar_common::flow::protocol;
use ipnet::IpNet;

/// Protocols that have a name, with their numbers (IANA, Assigned Internet Protocol Numbers).
pub const PROTOCOLS: [(&str, u8); 8] = [
    ("tcp", protocol::TCP),
    ("udp", protocol::UDP),
    ("icmp", protocol::ICMP),
    ("icmpv6", protocol::ICMPV6),
    ("sctp", protocol::SCTP),
    ("esp", 50),
    ("ah", 51),
    ("gre", 47),
];

/// TCP flags with their bits (RFC 9293 section 3.1).
pub const TCP_FLAGS: [(&str, u8); 8] = [
    ("fin", 0x01),
    ("syn", 0x02),
    ("rst", 0x04),
    ("psh", 0x08),
    ("ack", 0x10),
    ("urg", 0x20),
    ("ece", 0x40),
    ("cwr", 0x80),
];

/// ICMP message types (IANA, ICMP Type Numbers).
pub const ICMP_TYPES: [(&str, u8); 14] = [
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("source-quench", 4),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("address-mask-request", 17),
    ("address-mask-reply", 18),
    ("extended-echo-request", 42),
];

/// `ICMPv6` message types (IANA, `ICMPv6` Parameters).
pub const ICMPV6_TYPES: [(&str, u8); 15] = [
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("listener-query", 130),
    ("listener-report", 131),
    ("listener-done", 132),
    ("router-solicitation", 133),
    ("router-advertisement", 134),
    ("neighbour-solicitation", 135),
    ("neighbour-advertisement", 136),
    ("redirect", 137),
    ("listener-report-v2", 143),
];

/// The ICMP message types of a protocol; none for any but ICMP and `ICMPv6`.
pub fn icmp_types(protocol: u8) -> &'static [(&'static str, u8)] {
    match protocol {
        protocol::ICMP => &ICMP_TYPES,
        protocol::ICMPV6 => &ICMPV6_TYPES,
        _ => &[],
    }
}

/// The number of a name in one of these lists. American spellings are understood.
pub fn number(list: &[(&str, u8)], name: &str) -> Option<u8> {
    let name = name.replace("neighbor", "neighbour");
    list.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The name of a number in one of these lists.
pub fn name(list: &'static [(&'static str, u8)], number: u8) -> Option<&'static str> {
    list.iter().find(|(_, known)| *known == number).map(|(name, _)| *name)
}

/// A protocol for people.
pub fn protocol_name(number: u8) -> String {
    name(&PROTOCOLS, number).map_or_else(|| format!("protocol {number}"), str::to_owned)
}

/// A flags byte for people: `syn,ack`, or `none`.
pub fn flag_names(byte: u8) -> String {
    let names: Vec<&str> =
        TCP_FLAGS.iter().filter(|(_, bit)| byte & bit != 0).map(|(name, _)| *name).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(",") }
}

/// An ICMP message for people.
pub fn icmp_name(protocol: u8, kind: u8, code: Option<u8>) -> String {
    let kind = name(icmp_types(protocol), kind).map_or_else(|| kind.to_string(), str::to_owned);
    match code {
        Some(code) => format!("{kind}/{code}"),
        None => kind,
    }
}

/// An address as an address, a prefix as a prefix.
pub fn prefix_words(prefix: &IpNet) -> String {
    if prefix.prefix_len() == prefix.max_prefix_len() {
        prefix.addr().to_string()
    } else {
        prefix.to_string()
    }
}

/// The known word that is most like an unknown one, if any is like it enough to be meant.
pub fn closest<'w>(unknown: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let unknown = unknown.to_lowercase();
    // Nobody misspells a word into three times its length, and the distance costs the product of both.
    if unknown.chars().count() > 64 {
        return None;
    }
    known
        .into_iter()
        .map(|word| (distance(&unknown, word), word))
        .filter(|(distance, word)| *distance <= 1.max(word.len() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// How many letters must be put in, taken away, replaced or swapped with their neighbour (optimal string
/// alignment distance).
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut rows = vec![vec![0usize; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = usize::from(from[i - 1] != to[j - 1]);
                let mut least =
                    (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + replaced);
                if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                    least = least.min(rows[i - 2][j - 2] + 1);
                }
                least
            };
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closest_finds_what_was_meant() {
        for (unknown, meant) in [
            ("protcol", Some("protocol")),
            ("Source", Some("source")),
            ("destination_prot", Some("destination_port")),
            ("xyzzy", None),
            ("", None),
        ] {
            let known = ["source", "protocol", "destination_port", "destination"];
            assert_eq!(closest(unknown, known), meant, "{unknown}");
        }
    }

    #[test]
    fn names_and_numbers_are_one_to_one() {
        for list in [&PROTOCOLS[..], &TCP_FLAGS, &ICMP_TYPES, &ICMPV6_TYPES] {
            for (word, value) in list {
                assert_eq!(number(list, word), Some(*value));
                assert_eq!(list.iter().filter(|(other, _)| other == word).count(), 1, "{word}");
                assert_eq!(list.iter().filter(|(_, other)| other == value).count(), 1, "{word}");
            }
        }
    }
}
