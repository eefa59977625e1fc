//! Several rules: the first that matches decides.

use std::fmt::Write as _;

use foobar_common::verdict::Verdict::{Accept, Drop};
use foobar_tests::packets::{flag, icmp, tcp, udp};

use super::{ByRule, HEAD, ICMP, NO_RULE, TCP, UDP, check};

const A4: &str = "192.0.2.1";
const B4: &str = "198.51.100.2";
const A6: &str = "2001:db8::1";
const B6: &str = "2001:db8:ffff::2";

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = format!(
        r#"{HEAD}
        [[rule]]
        id = "one-address"
        action = "drop"
        source = ["192.0.2.9"]
        destination_port = [443]
        [[rule]]
        id = "its-network"
        action = "accept"
        source = ["192.0.2.0/24"]
        [[rule]]
        id = "never-reached"
        action = "drop"
        source = ["192.0.2.0/25"]
        [[rule]]
        id = "everybody"
        action = "accept"
        destination_port = [80]
        "#
    );
    let syn = |source, port| tcp((source, 40_000), (B4, port), flag::SYN).frame();
    check(
        &rules,
        vec![
            ("the narrow rule first", syn("192.0.2.9", 443), ByRule("one-address", Drop), TCP),
            (
                "a longer prefix does not win by its length",
                syn("192.0.2.9", 80),
                ByRule("its-network", Accept),
                TCP,
            ),
            ("the second rule", syn("192.0.2.1", 443), ByRule("its-network", Accept), TCP),
            ("the last rule", syn("203.0.113.1", 80), ByRule("everybody", Accept), TCP),
            ("the last rule, IPv6", tcp((A6, 1), (B6, 80), 0).frame(), ByRule("everybody", Accept), TCP),
            ("none", syn("203.0.113.1", 443), NO_RULE, TCP),
        ],
    );
}

#[test]
fn all_conditions_of_a_rule_must_hold() {
    let rules = format!(
        r#"{HEAD}
        [[rule]]
        id = "all"
        action = "accept"
        source = ["192.0.2.0/24"]
        destination = ["198.51.100.2"]
        protocol = "tcp"
        source_port = ["1024-65535"]
        destination_port = [443]
        tcp_flags = {{ set = ["syn"], clear = ["ack"] }}
        fragment = false
        interface = ["eth0"]
        vlan = [10]
        length = "40-60"
        "#
    );
    let good = || tcp((A4, 40_000), (B4, 443), flag::SYN);
    check(
        &rules,
        vec![
            ("all hold", good().vlan(10).frame(), ByRule("all", Accept), TCP),
            ("source", tcp(("192.0.3.1", 40_000), (B4, 443), flag::SYN).vlan(10).frame(), NO_RULE, TCP),
            (
                "destination",
                tcp((A4, 40_000), ("198.51.100.3", 443), flag::SYN).vlan(10).frame(),
                NO_RULE,
                TCP,
            ),
            ("protocol", udp((A4, 40_000), (B4, 443), 20).vlan(10).frame(), NO_RULE, UDP),
            ("source port", tcp((A4, 1_023), (B4, 443), flag::SYN).vlan(10).frame(), NO_RULE, TCP),
            ("destination port", tcp((A4, 40_000), (B4, 442), flag::SYN).vlan(10).frame(), NO_RULE, TCP),
            ("flags", tcp((A4, 40_000), (B4, 443), flag::SYN | flag::ACK).vlan(10).frame(), NO_RULE, TCP),
            ("fragment", good().fragment(80, false).vlan(10).frame(), NO_RULE, TCP),
            ("VLAN", good().vlan(11).frame(), NO_RULE, TCP),
            ("length", good().options(&[1; 24]).vlan(10).frame(), NO_RULE, TCP),
        ],
    );
}

#[test]
fn the_last_of_256_rules_is_reached() {
    let mut rules = HEAD.to_owned();
    for number in 0..256 {
        let action = if number % 2 == 0 { "accept" } else { "drop" };
        write!(
            rules,
            "[[rule]]\nid = \"r{number}\"\naction = \"{action}\"\nsource = [\"10.0.{number}.0/24\"]\n"
        )
        .unwrap();
    }
    let from = |number: u8| icmp(&format!("10.0.{number}.7"), B4, 8, 0).frame();
    check(
        &rules,
        vec![
            ("the first", from(0), ByRule("r0", Accept), ICMP),
            ("the last of the first word", from(63), ByRule("r63", Drop), ICMP),
            ("the first of the second word", from(64), ByRule("r64", Accept), ICMP),
            ("the last of the second word", from(127), ByRule("r127", Drop), ICMP),
            ("the first of the third word", from(128), ByRule("r128", Accept), ICMP),
            ("the first of the last word", from(192), ByRule("r192", Accept), ICMP),
            ("the last", from(255), ByRule("r255", Drop), ICMP),
            ("none", icmp("10.1.0.1", B4, 8, 0).frame(), NO_RULE, ICMP),
        ],
    );
}
