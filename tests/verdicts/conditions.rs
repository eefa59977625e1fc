//! Every kind of condition of a rule: what meets it, and what just does not.

use foobar_tests::packets::{SERVICE_VLAN, VLAN, flag, icmp, packet, sctp, tcp, udp};

use super::{ICMP, ICMPV6, OTHER, SCTP, TCP, UDP, check_rule};

const A4: &str = "192.0.2.1";
const B4: &str = "198.51.100.2";
const A6: &str = "2001:db8::1";
const B6: &str = "2001:db8:ffff::2";

fn from(source: &str) -> Vec<u8> {
    let destination = if source.contains(':') { B6 } else { B4 };
    tcp((source, 40_000), (destination, 443), flag::SYN).frame()
}

fn to(destination: &str) -> Vec<u8> {
    let source = if destination.contains(':') { A6 } else { A4 };
    tcp((source, 40_000), (destination, 443), flag::SYN).frame()
}

fn to_port(port: u16) -> Vec<u8> {
    tcp((A4, 40_000), (B4, port), flag::SYN).frame()
}

fn from_port(port: u16) -> Vec<u8> {
    udp((A6, port), (B6, 53), 0).frame()
}

fn with_flags(flags: u8) -> Vec<u8> {
    tcp((A4, 40_000), (B4, 443), flags).frame()
}

#[test]
fn no_condition_is_met_by_every_packet() {
    check_rule(
        "",
        vec![
            ("TCP", from(A4), true, TCP),
            ("UDP", from_port(1), true, UDP),
            ("SCTP", sctp((A4, 1), (B4, 2)).frame(), true, SCTP),
            ("ICMP", icmp(A4, B4, 8, 0).frame(), true, ICMP),
            ("ICMPv6", icmp(A6, B6, 128, 0).frame(), true, ICMPV6),
            ("another protocol", packet(A6, B6, 47, vec![]).frame(), true, OTHER),
            ("a later fragment", udp((A4, 1), (B4, 2), 0).fragment(80, false).frame(), true, UDP),
        ],
    );
}

#[test]
fn source_prefixes() {
    check_rule(
        r#"source = ["192.0.2.64/26", "2001:db8::/33"]"#,
        vec![
            ("the first address", from("192.0.2.64"), true, TCP),
            ("the last address", from("192.0.2.127"), true, TCP),
            ("one below", from("192.0.2.63"), false, TCP),
            ("one above", from("192.0.2.128"), false, TCP),
            ("the first address, IPv6", from("2001:db8::"), true, TCP),
            ("the last address, IPv6", from("2001:db8:7fff:ffff:ffff:ffff:ffff:ffff"), true, TCP),
            ("one below, IPv6", from("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff"), false, TCP),
            ("one above, IPv6", from("2001:db8:8000::"), false, TCP),
            ("the destination does not count", to("192.0.2.65"), false, TCP),
            ("an IPv6 address that begins like the IPv4 prefix", from("c000:240::"), false, TCP),
        ],
    );
}

#[test]
fn destination_prefixes() {
    check_rule(
        r#"destination = ["198.51.100.2", "2001:db8:ffff::2/128"]"#,
        vec![
            ("the address", to("198.51.100.2"), true, TCP),
            ("one below", to("198.51.100.1"), false, TCP),
            ("one above", to("198.51.100.3"), false, TCP),
            ("the address, IPv6", to("2001:db8:ffff::2"), true, TCP),
            ("one above, IPv6", to("2001:db8:ffff::3"), false, TCP),
            ("the source does not count", from("198.51.100.2"), true, TCP),
        ],
    );
    check_rule(
        r#"destination = ["203.0.113.0/24"]"#,
        vec![("the source does not count", tcp(("203.0.113.1", 1), (B4, 2), 0).frame(), false, TCP)],
    );
}

#[test]
fn prefixes_of_one_family_are_met_by_that_family_only() {
    check_rule(
        r#"source = ["0.0.0.0/0"]"#,
        vec![
            ("IPv4", from(A4), true, TCP),
            ("the lowest", from("0.0.0.0"), true, TCP),
            ("the highest", from("255.255.255.255"), true, TCP),
            ("IPv6", from(A6), false, TCP),
            ("IPv6 zero", from("::"), false, TCP),
        ],
    );
    check_rule(r#"source = ["::/0"]"#, vec![("IPv4", from(A4), false, TCP), ("IPv6", from(A6), true, TCP)]);
}

#[test]
fn exclusions() {
    check_rule(
        r#"source = ["192.0.2.0/24", "!192.0.2.128/25", "!192.0.2.7"]"#,
        vec![
            ("included", from("192.0.2.6"), true, TCP),
            ("an excluded address", from("192.0.2.7"), false, TCP),
            ("behind it", from("192.0.2.8"), true, TCP),
            ("the first of an excluded prefix", from("192.0.2.128"), false, TCP),
            ("neither", from("192.0.3.1"), false, TCP),
            ("the other family", from(A6), false, TCP),
        ],
    );
    check_rule(
        r#"source = ["!192.0.2.0/24"]"#,
        vec![
            ("only exclusions: excluded", from("192.0.2.7"), false, TCP),
            ("only exclusions: any other address", from("192.0.3.0"), true, TCP),
            ("only exclusions: the other family", from(A6), true, TCP),
        ],
    );
    check_rule(
        r#"source = ["192.0.2.7", "!192.0.2.0/24"]"#,
        vec![("an exclusion holds for what is narrower, too", from("192.0.2.7"), false, TCP)],
    );
}

#[test]
fn sets() {
    let conditions = r#"source = ["@offices", "203.0.113.0/24", "!@banned"]
        [sets.offices]
        entries = ["192.0.2.0/24", "2001:db8:40::/48"]
        [sets.banned]
        entries = ["192.0.2.99", "203.0.113.0/28", "2001:db8:40:9::/64"]"#;
    check_rule(
        conditions,
        vec![
            ("in the set", from("192.0.2.1"), true, TCP),
            ("in the set, IPv6", from("2001:db8:40::1"), true, TCP),
            ("in the prefix beside it", from("203.0.113.16"), true, TCP),
            ("in the excluded set", from("192.0.2.99"), false, TCP),
            ("a prefix of the excluded set", from("203.0.113.15"), false, TCP),
            ("in the excluded set, IPv6", from("2001:db8:40:9::1"), false, TCP),
            ("in none", from("192.0.3.1"), false, TCP),
        ],
    );
}

#[test]
fn destination_ports() {
    check_rule(
        r#"destination_port = [80, "8000-8002", 65535]"#,
        vec![
            ("a port", to_port(80), true, TCP),
            ("one below", to_port(79), false, TCP),
            ("one above", to_port(81), false, TCP),
            ("the first of a range", to_port(8000), true, TCP),
            ("the last of a range", to_port(8002), true, TCP),
            ("behind a range", to_port(8003), false, TCP),
            ("before a range", to_port(7999), false, TCP),
            ("the last port", to_port(65_535), true, TCP),
            ("port 0", to_port(0), false, TCP),
            ("the source port does not count", tcp((A4, 80), (B4, 79), 0).frame(), false, TCP),
            ("UDP", udp((A4, 1), (B4, 80), 0).frame(), true, UDP),
            ("SCTP", sctp((A6, 1), (B6, 80)).frame(), true, SCTP),
            ("ICMP has none", icmp(A4, B4, 0, 80).frame(), false, ICMP),
            ("UDP-Lite has none that are read", packet(A4, B4, 136, vec![0, 1, 0, 80]).frame(), false, OTHER),
            ("a first fragment", tcp((A4, 1), (B4, 80), 0).fragment(0, true).frame(), true, TCP),
            (
                "a later fragment whose data look like the port",
                udp((A4, 1), (B4, 80), 0).fragment(64, true).frame(),
                false,
                UDP,
            ),
            (
                "a later fragment, IPv6",
                udp((A6, 1), (B6, 80), 0).fragment_header(64, true).frame(),
                false,
                UDP,
            ),
            ("behind IPv4 options", tcp((A4, 1), (B4, 80), 0).options(&[1; 40]).frame(), true, TCP),
            (
                "options that look like the port",
                tcp((A4, 1), (B4, 2), 0).options(&[0, 1, 0, 80]).frame(),
                false,
                TCP,
            ),
            (
                "behind extension headers",
                tcp((A6, 1), (B6, 80), 0).extension(0).extension_of(51, 12).extension(60).frame(),
                true,
                TCP,
            ),
            (
                "behind two VLAN tags",
                tcp((A6, 1), (B6, 80), 0).tag(SERVICE_VLAN, 1).vlan(2).frame(),
                true,
                TCP,
            ),
        ],
    );
}

#[test]
fn source_ports() {
    check_rule(
        r#"source_port = ["1024-65535"]"#,
        vec![
            ("below", from_port(1023), false, UDP),
            ("the first", from_port(1024), true, UDP),
            ("the last", from_port(65_535), true, UDP),
            ("no port at all", icmp(A6, B6, 128, 0).frame(), false, ICMPV6),
            ("a later fragment", udp((A6, 2000), (B6, 53), 0).fragment_header(8, false).frame(), false, UDP),
        ],
    );
}

#[test]
fn ports_of_one_protocol() {
    check_rule(
        "protocol = \"udp\"\ndestination_port = [53]",
        vec![
            ("UDP", udp((A4, 1), (B4, 53), 0).frame(), true, UDP),
            ("TCP", to_port(53), false, TCP),
            ("SCTP", sctp((A4, 1), (B4, 53)).frame(), false, SCTP),
        ],
    );
}

#[test]
fn protocols() {
    check_rule(
        r#"protocol = ["gre", "esp", "ah", "icmp", 253]"#,
        vec![
            ("by name", packet(A4, B4, 47, vec![]).frame(), true, OTHER),
            ("ESP", packet(A6, B6, 50, vec![]).frame(), true, OTHER),
            ("AH of IPv4", packet(A4, B4, 51, vec![]).frame(), true, OTHER),
            ("by number", packet(A6, B6, 253, vec![]).frame(), true, OTHER),
            ("ICMP", icmp(A4, B4, 8, 0).frame(), true, ICMP),
            ("a later fragment of one", packet(A4, B4, 47, vec![]).fragment(8, false).frame(), true, OTHER),
            ("ICMPv6", icmp(A6, B6, 128, 0).frame(), false, ICMPV6),
            ("another number", packet(A4, B4, 254, vec![]).frame(), false, OTHER),
            ("TCP", from(A4), false, TCP),
            (
                "AH of IPv6 is an extension header",
                tcp((A6, 1), (B6, 2), 0).extension_of(51, 24).frame(),
                false,
                TCP,
            ),
        ],
    );
    check_rule(
        "protocol = 0",
        vec![
            ("IPv4 knows a protocol 0", packet(A4, B4, 0, vec![]).frame(), true, OTHER),
            ("in IPv6 it is a header", tcp((A6, 1), (B6, 2), 0).extension(0).frame(), false, TCP),
        ],
    );
}

#[test]
fn tcp_flags() {
    check_rule(
        r#"tcp_flags = { set = ["syn"], clear = ["ack", "rst"] }"#,
        vec![
            ("SYN", with_flags(flag::SYN), true, TCP),
            ("SYN and something else", with_flags(flag::SYN | flag::PSH | flag::URG | 0xc0), true, TCP),
            ("SYN and ACK", with_flags(flag::SYN | flag::ACK), false, TCP),
            ("SYN and RST", with_flags(flag::SYN | flag::RST), false, TCP),
            ("none", with_flags(0), false, TCP),
            ("all", with_flags(0xff), false, TCP),
            ("FIN", with_flags(flag::FIN), false, TCP),
            ("UDP", udp((A4, 2), (B4, 2), 8).frame(), false, UDP),
            ("a later fragment", tcp((A4, 1), (B4, 2), flag::SYN).fragment(80, false).frame(), false, TCP),
            ("a first fragment", tcp((A4, 1), (B4, 2), flag::SYN).fragment(0, true).frame(), true, TCP),
            ("protocol number 2 is no SYN", packet(A4, B4, 2, vec![0; 8]).frame(), false, OTHER),
        ],
    );
}

#[test]
fn icmp_types() {
    check_rule(
        r#"icmp = ["echo-request"]"#,
        vec![
            ("echo request", icmp(A4, B4, 8, 0).frame(), true, ICMP),
            ("echo request with a code", icmp(A4, B4, 8, 1).frame(), true, ICMP),
            ("echo request, IPv6", icmp(A6, B6, 128, 0).frame(), true, ICMPV6),
            ("echo reply", icmp(A4, B4, 0, 0).frame(), false, ICMP),
            ("type 128 of IPv4", icmp(A4, B4, 128, 0).frame(), false, ICMP),
            ("type 8 of IPv6", icmp(A6, B6, 8, 0).frame(), false, ICMPV6),
            ("a later fragment", icmp(A4, B4, 8, 0).fragment(8, false).frame(), false, ICMP),
            ("TCP", from(A4), false, TCP),
        ],
    );
    check_rule(
        "protocol = \"icmp\"\nicmp = [\"3/4\", 11]",
        vec![
            ("type and code", icmp(A4, B4, 3, 4).frame(), true, ICMP),
            ("another code", icmp(A4, B4, 3, 3).frame(), false, ICMP),
            ("type with any code", icmp(A4, B4, 11, 255).frame(), true, ICMP),
            ("the same numbers in ICMPv6", icmp(A6, B6, 3, 4).frame(), false, ICMPV6),
        ],
    );
}

#[test]
fn fragments() {
    let rows = |later: bool| {
        vec![
            ("whole", from(A4), !later, TCP),
            ("first", tcp((A4, 1), (B4, 2), 0).fragment(0, true).frame(), !later, TCP),
            ("middle", udp((A4, 1), (B4, 2), 0).fragment(8, true).frame(), later, UDP),
            ("last", udp((A4, 1), (B4, 2), 0).fragment(8, false).frame(), later, UDP),
            (
                "later, of a protocol without ports",
                packet(A4, B4, 47, vec![0; 8]).fragment(8, false).frame(),
                later,
                OTHER,
            ),
            ("atomic, IPv6", tcp((A6, 1), (B6, 2), 0).fragment_header(0, false).frame(), !later, TCP),
            // Before the first of the same datagram: behind it, it would go the same way.
            ("later, IPv6", icmp(A6, B6, 128, 0).fragment_header(8, false).frame(), later, ICMPV6),
            ("first, IPv6", tcp((A6, 1), (B6, 2), 0).fragment_header(0, true).frame(), !later, TCP),
        ]
    };
    check_rule("fragment = true", rows(true));
    check_rule("fragment = false", rows(false));
}

#[test]
fn interfaces() {
    check_rule(r#"interface = ["eth0"]"#, vec![("through it", from(A4), true, TCP)]);
    check_rule(r#"interface = ["eth1", "eth00", "eth"]"#, vec![("through another", from(A4), false, TCP)]);
    check_rule(r#"interface = ["eth1", "eth0"]"#, vec![("through one of two", from(A4), true, TCP)]);
}

#[test]
fn vlans() {
    let syn = || tcp((A4, 1), (B4, 2), flag::SYN);
    check_rule(
        "vlan = [0, 10, 4095]",
        vec![
            ("untagged", syn().frame(), false, TCP),
            ("the id", syn().vlan(10).frame(), true, TCP),
            ("another id", syn().vlan(11).frame(), false, TCP),
            ("priority and eligibility do not count", syn().tag(VLAN, 0xf00a).frame(), true, TCP),
            ("802.1ad", syn().tag(SERVICE_VLAN, 10).frame(), true, TCP),
            ("the outer tag", syn().vlan(10).vlan(20).frame(), true, TCP),
            ("the inner tag does not count", syn().vlan(20).vlan(10).frame(), false, TCP),
            ("a priority tag is 0", syn().tag(VLAN, 0xe000).frame(), true, TCP),
            ("the last id", syn().vlan(4_095).frame(), true, TCP),
        ],
    );
}

#[test]
fn lengths() {
    let bytes = |length: usize| packet(A4, B4, 47, vec![0; length - 20]).padding(7).frame();
    check_rule(
        r#"length = "40-128""#,
        vec![
            ("one below", bytes(39), false, OTHER),
            ("the shortest", bytes(40), true, OTHER),
            ("the longest", bytes(128), true, OTHER),
            ("one above", bytes(129), false, OTHER),
            ("the header of IPv6 counts", icmp(A6, B6, 128, 0).frame(), true, ICMPV6),
        ],
    );
    check_rule(
        "length = \"9000-65535\"",
        vec![("a jumbo frame", bytes(9_000), true, OTHER), ("one below", bytes(8_999), false, OTHER)],
    );
}
