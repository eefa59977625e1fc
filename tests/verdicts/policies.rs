//! What happens before and behind the rules: policies, infrastructure, failsafe, services.

use foobar_common::verdict::{
    Reason,
    Verdict::{self, Accept, Drop},
};
use foobar_daemon::rules::model::PortProtocol;
use foobar_tests::packets::{self, VLAN, arp, ethernet, flag, icmp, packet, sctp, tcp, udp};

use super::{Because, ByRule, HEAD, ICMP, ICMPV6, OTHER, Row, SCTP, TCP, UDP, check, service};

const A4: &str = "192.0.2.1";
const B4: &str = "198.51.100.2";
const A6: &str = "2001:db8::1";
const B6: &str = "2001:db8:ffff::2";

fn syn() -> packets::Packet {
    tcp((A4, 40_000), (B4, 443), flag::SYN)
}

#[test]
fn without_rules_everything_is_accepted_and_counted() {
    check(
        "schema = 1",
        vec![
            ("TCP", syn().frame(), Because(Reason::Policy, Accept), TCP),
            ("UDP", udp((A6, 1), (B6, 2), 3).frame(), Because(Reason::Policy, Accept), UDP),
            ("SCTP", sctp((A6, 1), (B6, 2)).frame(), Because(Reason::Policy, Accept), SCTP),
            ("ICMP", icmp(A4, B4, 8, 0).frame(), Because(Reason::Policy, Accept), ICMP),
            (
                "a later fragment",
                udp((A4, 1), (B4, 2), 0).fragment(8, false).frame(),
                Because(Reason::Policy, Accept),
                UDP,
            ),
            ("ARP", arp(), Because(Reason::Infrastructure, Accept), OTHER),
            (
                "a broken frame is dropped all the same",
                syn().length(99).frame(),
                Because(Reason::IpLength, Drop),
                OTHER,
            ),
        ],
    );
}

#[test]
fn policy_in_decides_what_no_rule_can() {
    for verdict in [Accept, Drop] {
        let rules = format!(
            "schema = 1\n[policy]\nin = \"{}\"\ninfrastructure = false\n[[rule]]\nid = \"r\"\naction = \"accept\"\n\
             source = [\"203.0.113.0/24\"]\n",
            verdict.label()
        );
        check(
            &rules,
            vec![
                ("no rule matches", syn().frame(), Because(Reason::Policy, verdict), TCP),
                ("ARP", arp(), Because(Reason::Arp, verdict), OTHER),
                (
                    "ARP behind a tag",
                    [&arp()[..12], &[0x81, 0, 0, 9], &arp()[12..]].concat(),
                    Because(Reason::Arp, verdict),
                    OTHER,
                ),
                ("LLC", ethernet(38, &[0x42; 38]), Because(Reason::Llc, verdict), OTHER),
                ("MPLS", ethernet(0x8847, &[0; 46]), Because(Reason::NotIp, verdict), OTHER),
                ("an empty frame", ethernet(0x88cc, &[]), Because(Reason::NotIp, verdict), OTHER),
            ],
        );
    }
}

/// A frame for each way of being malformed.
fn malformed(verdict: Verdict) -> Vec<Row> {
    let udp4 = || udp((A4, 1), (B4, 2), 0);
    let mut wrong_version = syn().frame();
    wrong_version[14] = 0x65;
    let mut short_header = syn().frame();
    short_header[14] = 0x44;
    // The kernel shows a program about 3,500 bytes of a frame, and lets it know that there are more.
    let deep = tcp((A6, 1), (B6, 2), 0).extension_of(60, 2_048).extension_of(60, 2_048);
    let rows = vec![
        ("three tags", syn().vlan(1).vlan(2).vlan(3).frame(), Reason::VlanDepth),
        ("a tag cut short", ethernet(VLAN, &[0, 1]), Reason::TruncatedLink),
        ("an IP header cut short", syn().frame()[..33].to_vec(), Reason::TruncatedNetwork),
        ("a TCP header cut short", packet(A4, B4, 6, vec![0; 19]).frame(), Reason::TruncatedTransport),
        ("IPv6 that says it is IPv4", wrong_version, Reason::IpVersion),
        ("a header of 16 bytes", short_header, Reason::IpHeaderLength),
        ("longer than the frame", syn().length(41).frame(), Reason::IpLength),
        (
            "nine extension headers",
            (0..9).fold(tcp((A6, 1), (B6, 2), 0), |packet, _| packet.extension(60)).frame(),
            Reason::ExtensionHeaders,
        ),
        (
            "beyond 65,535",
            packet(A4, B4, 17, vec![0; 8]).fragment(65_528, false).frame(),
            Reason::FragmentOverflow,
        ),
        ("a tiny fragment", packet(A4, B4, 6, vec![0; 16]).fragment(0, true).frame(), Reason::TinyFragment),
        (
            "a fragment over the flags",
            packet(A4, B4, 6, vec![0; 16]).fragment(8, true).frame(),
            Reason::TinyFragment,
        ),
        ("UDP length", udp4().set(5, 99).frame(), Reason::TransportLength),
        ("TCP data offset", syn().set(12, 0x40).frame(), Reason::TransportLength),
        ("headers beyond the first buffer", deep.frame(), Reason::NonLinear),
    ];
    rows.into_iter().map(|(about, frame, reason)| (about, frame, Because(reason, verdict), OTHER)).collect()
}

#[test]
fn policy_malformed_decides_broken_frames_whatever_the_rules_say() {
    let rule =
        "[[rule]]\nid = \"everything\"\naction = \"accept\"\n[failsafe]\npeers = [\"0.0.0.0/0\", \"::/0\"]\n";
    check(&format!("schema = 1\n[policy]\nmalformed = \"drop\"\n{rule}"), malformed(Drop));
    check(&format!("{HEAD}malformed = \"accept\"\n"), malformed(Accept));
    check(&format!("{HEAD}\n{rule}"), malformed(Drop));
}

#[test]
fn policy_fragments_decides_later_fragments_before_the_rules() {
    let later = || udp((A4, 1), (B4, 2), 0).fragment(8, false).frame();
    let later6 = || tcp((A6, 1), (B6, 2), 0).fragment_header(64, true).frame();
    let first = || udp((A4, 1), (B4, 2), 0).fragment(0, true).frame();
    let rule = "[[rule]]\nid = \"everything\"\naction = \"accept\"\n";
    for verdict in [Accept, Drop] {
        check(
            &format!("{HEAD}fragments = \"{}\"\n{rule}", verdict.label()),
            vec![
                ("later", later(), Because(Reason::Fragments, verdict), UDP),
                ("later, IPv6", later6(), Because(Reason::Fragments, verdict), TCP),
                ("first", first(), ByRule("everything", Accept), UDP),
                ("whole", syn().frame(), ByRule("everything", Accept), TCP),
                (
                    "atomic",
                    tcp((A6, 1), (B6, 2), 0).fragment_header(0, false).frame(),
                    ByRule("everything", Accept),
                    TCP,
                ),
            ],
        );
    }
    check(
        &format!("{HEAD}fragments = \"rules\"\n{rule}"),
        vec![
            ("later", later(), ByRule("everything", Accept), UDP),
            ("later, IPv6", later6(), ByRule("everything", Accept), TCP),
        ],
    );
    check(
        &format!("{HEAD}fragments = \"drop\"\n[failsafe]\npeers = [\"{A4}\"]\n"),
        vec![
            ("a failsafe peer comes first", later(), Because(Reason::Failsafe, Accept), UDP),
            ("others do not", later6(), Because(Reason::Fragments, Drop), TCP),
        ],
    );
}

#[test]
fn infrastructure_is_accepted_before_everything() {
    let discovery = |kind, code, hops| icmp("fe80::1", "ff02::1", kind, code).hop_limit(hops).frame();
    let dhcp = |source, destination| udp((A4, source), ("255.255.255.255", destination), 240).frame();
    let dhcp6 = |source, destination| udp(("fe80::1", source), ("fe80::2", destination), 40).frame();
    let rows = |on: bool| {
        let row = |about, frame, is_infrastructure: bool, port| {
            let expected = if is_infrastructure && on {
                Because(Reason::Infrastructure, Accept)
            } else {
                ByRule("nothing", Drop)
            };
            (about, frame, expected, port)
        };
        vec![
            (
                "ARP",
                arp(),
                if on { Because(Reason::Infrastructure, Accept) } else { Because(Reason::Arp, Drop) },
                OTHER,
            ),
            row("router solicitation", discovery(133, 0, 255), true, ICMPV6),
            row("router advertisement", discovery(134, 0, 255), true, ICMPV6),
            row("neighbour solicitation", discovery(135, 0, 255), true, ICMPV6),
            row("neighbour advertisement", discovery(136, 0, 255), true, ICMPV6),
            row("redirect", discovery(137, 0, 255), false, ICMPV6),
            row("multicast listener report", discovery(132, 0, 255), false, ICMPV6),
            row("from another network", discovery(135, 0, 254), false, ICMPV6),
            row("with a code", discovery(135, 1, 255), false, ICMPV6),
            row("in IPv4", packet(A4, B4, 58, vec![135, 0, 0, 0]).hop_limit(255).frame(), false, ICMPV6),
            row(
                "in a fragment",
                icmp("fe80::1", "ff02::1", 135, 0).hop_limit(255).fragment_header(0, true).frame(),
                false,
                ICMPV6,
            ),
            row("DHCP reply", dhcp(67, 68), true, UDP),
            row("DHCP request", dhcp(68, 67), false, UDP),
            row("DHCP reply over TCP", tcp((A4, 67), (B4, 68), 0).frame(), false, TCP),
            row(
                "a fragment of a DHCP reply",
                udp((A4, 67), (B4, 68), 8).fragment(0, true).frame(),
                false,
                UDP,
            ),
            row("DHCPv6 reply", dhcp6(547, 546), true, UDP),
            row("DHCPv6 request", dhcp6(546, 547), false, UDP),
            row("ports of DHCP in IPv6", dhcp6(67, 68), false, UDP),
            row("ports of DHCPv6 in IPv4", dhcp(547, 546), false, UDP),
        ]
    };
    let rule = "[[rule]]\nid = \"nothing\"\naction = \"drop\"\n";
    check(&format!("{HEAD}{rule}"), rows(true));
    check(&format!("{HEAD}infrastructure = true\n{rule}"), rows(true));
    check(&format!("{HEAD}infrastructure = false\n{rule}"), rows(false));
}

#[test]
fn failsafe_is_accepted_before_the_rules() {
    let rules = format!(
        r#"{HEAD}fragments = "drop"
        [failsafe]
        ports = ["tcp/22", "udp/51820", "sctp/22"]
        peers = ["203.0.113.10", "2001:db8:1::/48"]
        never_ban = ["192.0.2.0/28"]
        [[rule]]
        id = "nothing"
        action = "drop"
        "#
    );
    let failsafe = Because(Reason::Failsafe, Accept);
    let nothing = ByRule("nothing", Drop);
    check(
        &rules,
        vec![
            ("a port", tcp((A4, 1), (B4, 22), flag::SYN).frame(), failsafe, TCP),
            ("a port, IPv6", tcp((A6, 1), (B6, 22), flag::ACK).frame(), failsafe, TCP),
            ("the port of another protocol", udp((A4, 1), (B4, 22), 0).frame(), nothing, UDP),
            ("UDP", udp((A4, 1), (B4, 51_820), 0).frame(), failsafe, UDP),
            ("SCTP", sctp((A4, 1), (B4, 22)).frame(), failsafe, SCTP),
            ("the port beside", tcp((A4, 1), (B4, 23), flag::SYN).frame(), nothing, TCP),
            ("as source port", tcp((A4, 22), (B4, 1), flag::SYN).frame(), nothing, TCP),
            ("a peer", icmp("203.0.113.10", B4, 8, 0).frame(), failsafe, ICMP),
            ("a peer, to any port", tcp(("2001:db8:1:2::3", 5), (B6, 6), 0).frame(), failsafe, TCP),
            (
                "a later fragment of a peer",
                packet("203.0.113.10", B4, 17, vec![0; 8]).fragment(8, false).frame(),
                failsafe,
                UDP,
            ),
            ("beside a peer", icmp("203.0.113.11", B4, 8, 0).frame(), nothing, ICMP),
            ("to a peer", icmp(A4, "203.0.113.10", 8, 0).frame(), nothing, ICMP),
            ("never banned is not always accepted", icmp("192.0.2.3", B4, 8, 0).frame(), nothing, ICMP),
            (
                "a later fragment has no port",
                tcp((A4, 1), (B4, 22), 0).fragment(80, false).frame(),
                Because(Reason::Fragments, Drop),
                TCP,
            ),
            (
                "a broken frame of a peer",
                tcp(("203.0.113.10", 1), (B4, 22), 0).length(99).frame(),
                Because(Reason::IpLength, Drop),
                OTHER,
            ),
        ],
    );
}

#[test]
fn services_are_counted_by_their_port_whatever_the_verdict() {
    let rules = format!(
        r#"{HEAD}
        [[service]]
        name = "web"
        port = ["tcp/80", "tcp/443", "udp/443"]
        protocol = "raw"
        [[service]]
        name = "signalling"
        port = "sctp/443"
        protocol = "raw"
        [[rule]]
        id = "web"
        action = "accept"
        protocol = "tcp"
        destination_port = [443]
        "#
    );
    let (accepted, dropped) = (ByRule("web", Accept), Because(Reason::Policy, Drop));
    check(
        &rules,
        vec![
            ("accepted", syn().frame(), accepted, service(PortProtocol::Tcp, 443)),
            ("dropped", tcp((A4, 1), (B4, 80), 0).frame(), dropped, service(PortProtocol::Tcp, 80)),
            ("UDP", udp((A6, 1), (B6, 443), 9).frame(), dropped, service(PortProtocol::Udp, 443)),
            ("SCTP", sctp((A4, 1), (B4, 443)).frame(), dropped, service(PortProtocol::Sctp, 443)),
            ("no service's port", tcp((A4, 1), (B4, 8_080), 0).frame(), dropped, TCP),
            ("no service's port of UDP", udp((A4, 1), (B4, 80), 0).frame(), dropped, UDP),
            ("from the port of a service", tcp((A4, 443), (B4, 40_000), 0).frame(), dropped, TCP),
            ("a later fragment", udp((A4, 1), (B4, 443), 0).fragment(8, false).frame(), dropped, UDP),
            ("ICMP that looks like the port", icmp(A4, B4, 1, 187).frame(), dropped, ICMP),
            ("a broken frame", syn().length(99).frame(), Because(Reason::IpLength, Drop), OTHER),
        ],
    );
}
