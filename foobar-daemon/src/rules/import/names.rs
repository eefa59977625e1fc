//! Names that others have for numbers on the wire, beside those of the rule language.

use foobar_common::{flow::protocol, tracking::State};

use crate::rules::names;

/// Protocols (IANA, Assigned Internet Protocol Numbers; the names are those of /etc/protocols).
const PROTOCOLS: [(&str, u8); 16] = [
    ("ipv6-icmp", protocol::ICMPV6),
    ("icmp6", protocol::ICMPV6),
    ("igmp", 2),
    ("ipencap", 4),
    ("ipip", 4),
    ("ipv4", 4),
    ("dccp", 33),
    ("ipv6", 41),
    ("ipv6-frag", 44),
    ("ipv6-nonxt", 59),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("carp", 112),
    ("l2tp", 115),
    ("udplite", 136),
];

/// Ports (IANA, Service Name and Transport Protocol Port Number Registry), those that servers filter.
const PORTS: [(&str, u16); 42] = [
    ("ftp-data", 20),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("bootps", 67),
    ("bootpc", 68),
    ("tftp", 69),
    ("http", 80),
    ("kerberos", 88),
    ("pop3", 110),
    ("sunrpc", 111),
    ("auth", 113),
    ("ntp", 123),
    ("netbios-ns", 137),
    ("netbios-dgm", 138),
    ("netbios-ssn", 139),
    ("imap2", 143),
    ("imap", 143),
    ("snmp", 161),
    ("snmp-trap", 162),
    ("bgp", 179),
    ("ldap", 389),
    ("https", 443),
    ("microsoft-ds", 445),
    ("submissions", 465),
    ("isakmp", 500),
    ("syslog", 514),
    ("dhcpv6-client", 546),
    ("dhcpv6-server", 547),
    ("submission", 587),
    ("ipp", 631),
    ("ldaps", 636),
    ("domain-s", 853),
    ("imaps", 993),
    ("pop3s", 995),
    ("openvpn", 1194),
    ("nfs", 2049),
    ("mysql", 3306),
    ("postgresql", 5432),
    ("mdns", 5353),
];

/// ICMP messages by type and code (IANA, ICMP Parameters).
const ICMP: [(&str, u8, Option<u8>); 29] = [
    ("pong", 0, None),
    ("network-unreachable", 3, Some(0)),
    ("host-unreachable", 3, Some(1)),
    ("protocol-unreachable", 3, Some(2)),
    ("port-unreachable", 3, Some(3)),
    ("fragmentation-needed", 3, Some(4)),
    ("source-route-failed", 3, Some(5)),
    ("network-unknown", 3, Some(6)),
    ("host-unknown", 3, Some(7)),
    ("network-prohibited", 3, Some(9)),
    ("host-prohibited", 3, Some(10)),
    ("TOS-network-unreachable", 3, Some(11)),
    ("TOS-host-unreachable", 3, Some(12)),
    ("communication-prohibited", 3, Some(13)),
    ("host-precedence-violation", 3, Some(14)),
    ("precedence-cutoff", 3, Some(15)),
    ("network-redirect", 5, Some(0)),
    ("host-redirect", 5, Some(1)),
    ("TOS-network-redirect", 5, Some(2)),
    ("TOS-host-redirect", 5, Some(3)),
    ("ping", 8, None),
    ("ttl-exceeded", 11, None),
    ("ttl-zero-during-transit", 11, Some(0)),
    ("ttl-zero-during-reassembly", 11, Some(1)),
    ("ip-header-bad", 12, Some(0)),
    ("required-option-missing", 12, Some(1)),
    ("info-request", 15, None),
    ("info-reply", 16, None),
    ("host-tos-redirect", 5, Some(3)),
];

/// `ICMPv6` messages by type and code (IANA, `ICMPv6` Parameters).
const ICMPV6: [(&str, u8, Option<u8>); 26] = [
    ("no-route", 1, Some(0)),
    ("communication-prohibited", 1, Some(1)),
    ("beyond-scope", 1, Some(2)),
    ("address-unreachable", 1, Some(3)),
    ("port-unreachable", 1, Some(4)),
    ("failed-policy", 1, Some(5)),
    ("reject-route", 1, Some(6)),
    ("ttl-exceeded", 3, None),
    ("ttl-zero-during-transit", 3, Some(0)),
    ("ttl-zero-during-reassembly", 3, Some(1)),
    ("bad-header", 4, Some(0)),
    ("unknown-header-type", 4, Some(1)),
    ("unknown-option", 4, Some(2)),
    ("ping", 128, None),
    ("pong", 129, None),
    ("mld-listener-query", 130, None),
    ("mld-listener-report", 131, None),
    ("mld-listener-done", 132, None),
    ("mld-listener-reduction", 132, None),
    ("nd-router-solicit", 133, None),
    ("nd-router-advert", 134, None),
    ("nd-neighbor-solicit", 135, None),
    ("nd-neighbor-advert", 136, None),
    ("nd-redirect", 137, None),
    ("router-renumbering", 138, None),
    ("mld2-listener-report", 143, None),
];

/// A state of a connection; `None` if no packet is ever in it.
pub(super) fn state(name: &str) -> Result<Option<State>, String> {
    // Nothing is left out of tracking.
    if name == "untracked" {
        return Ok(None);
    }
    let found = State::ALL.iter().find(|state| state.label() == name);
    found.map(|state| Some(*state)).ok_or_else(|| format!("the state {name:?} is not in the rule language"))
}

/// The number of a protocol.
pub(super) fn protocol(name: &str) -> Result<u8, String> {
    let lower = name.to_lowercase();
    names::number(&names::PROTOCOLS, &lower)
        .or_else(|| names::number(&PROTOCOLS, &lower))
        .or_else(|| super::values::number(name))
        .ok_or_else(|| format!("the protocol {name:?} is not known; write its number"))
}

/// A port by number or name.
pub(super) fn port(name: &str) -> Option<u16> {
    let named = || PORTS.iter().find(|(known, _)| *known == name).map(|(_, port)| *port);
    super::values::number(name).or_else(named)
}

/// Type and code of an ICMP message, by name or as `type` or `type/code`.
pub(super) fn icmp(of: u8, name: &str) -> Result<(u8, Option<u8>), String> {
    let others = if of == protocol::ICMP { &ICMP[..] } else { &ICMPV6[..] };
    if let Some(kind) = names::number(names::icmp_types(of), name) {
        return Ok((kind, None));
    }
    if let Some((_, kind, code)) = others.iter().find(|(known, ..)| *known == name) {
        return Ok((*kind, *code));
    }
    let (kind, code) = match name.split_once('/') {
        Some((kind, code)) => (kind, Some(code)),
        None => (name, None),
    };
    let unknown = || format!("the ICMP message {name:?} is not known; write its number");
    let kind = super::values::number(kind).ok_or_else(unknown)?;
    let code = code.map(|code| super::values::number(code).ok_or_else(unknown)).transpose()?;
    Ok((kind, code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names() {
        assert_eq!(protocol("TCP"), Ok(6));
        assert_eq!(protocol("ipv6-icmp"), Ok(58));
        assert_eq!(protocol("0x6"), Ok(6));
        assert!(protocol("256").is_err() && protocol("xyz").is_err());
        assert_eq!(
            (port("ssh"), port("65535"), port("65536"), port("-1")),
            (Some(22), Some(65_535), None, None)
        );
        assert_eq!(icmp(1, "fragmentation-needed"), Ok((3, Some(4))));
        assert_eq!(icmp(1, "3/4"), Ok((3, Some(4))));
        assert_eq!(icmp(58, "nd-neighbor-solicit"), Ok((135, None)));
        assert_eq!(icmp(58, "neighbor-advertisement"), Ok((136, None)));
        assert!(icmp(1, "nd-redirect").is_err() && icmp(1, "3/x").is_err() && icmp(1, "3/256").is_err());
    }
}
