use super::*;
use crate::rules::{bundle::Bundle, packet};

fn ruleset(text: &str) -> Ruleset {
    Bundle::of_text("rules.toml", &format!("schema = 1\n{text}"))
        .parse()
        .unwrap_or_else(|errors| panic!("{errors}"))
}

/// One rule with these conditions, then a policy that drops.
fn with_rule(conditions: &str) -> Ruleset {
    ruleset(&format!(
        "[policy]\nin = \"drop\"\ninfrastructure = false\n[sets.s]\nentries = [\"10.0.0.0/8\", \"2001:db8::/32\"]\n\
         [[rule]]\nid = \"r\"\naction = \"accept\"\n{conditions}\n"
    ))
}

/// Each row: conditions of a rule, a packet that it matches, and one that fails at this condition.
#[test]
fn conditions() {
    let v4 = "tcp 10.0.0.1:1000 > 192.0.2.1:80 syn";
    let v6 = "tcp [2001:db8::1]:1000 > [2001:db8::2]:80 syn";
    let fragment = "tcp 10.0.0.1 > 192.0.2.1 fragment";
    let udp = "udp 10.0.0.1:53 > 192.0.2.1:53 length 100 vlan 10";
    let ping = "icmp 10.0.0.1 > 192.0.2.1 echo-request";
    let rows: &[(&str, &[&str], &[&str])] = &[
        ("", &[v4, v6, fragment, udp, ping], &[]),
        ("source = \"10.0.0.0/8\"", &[v4, fragment], &[v6, "tcp 11.0.0.1:1 > 10.0.0.1:1"]),
        ("source = [\"10.0.0.0/8\", \"2001:db8::/64\"]", &[v4, v6], &["udp [2001:db8:1::]:1 > [::]:1"]),
        ("source = \"@s\"", &[v4, v6], &["udp 9.255.255.255:1 > 10.0.0.1:1"]),
        ("source = [\"@s\", \"!10.0.0.1\"]", &[v6, "gre 10.0.0.2 > 10.0.0.1"], &[v4]),
        ("source = \"!10.0.0.0/8\"", &[v6, "gre 9.0.0.1 > 10.0.0.1"], &[v4]),
        ("source = \"!@s\"", &["gre 9.0.0.1 > 10.0.0.1"], &[v4, v6]),
        ("destination = \"192.0.2.1\"", &[v4], &[v6]),
        ("protocol = \"tcp\"", &[v4, v6, fragment], &[udp, ping]),
        ("protocol = [17, \"icmp\"]", &[udp, ping], &[v4]),
        ("source_port = \"1000-1001\"", &[v4, v6], &[udp, ping, fragment]),
        ("destination_port = [80, 53]", &[v4, udp, "sctp 1.2.3.4:1 > 1.2.3.4:80"], &[ping, fragment]),
        (
            "tcp_flags = { set = [\"syn\"], clear = [\"ack\"] }",
            &[v4, v6],
            &[udp, fragment, "tcp 1.2.3.4:1 > 1.2.3.4:2 syn,ack"],
        ),
        (
            "tcp_flags = { clear = [\"ack\"] }",
            &[v4, "tcp 1.2.3.4:1 > 1.2.3.4:2 none"],
            &["tcp 1.2.3.4:1 > 1.2.3.4:2 ack"],
        ),
        (
            "icmp = \"echo-request\"",
            &[ping, "icmpv6 ::1 > ::2 128/7"],
            &[v4, "icmp 1.2.3.4 > 1.2.3.4 echo-reply", "icmp 1.2.3.4 > 1.2.3.4 fragment"],
        ),
        (
            "protocol = \"icmp\"\nicmp = \"3/4\"",
            &["icmp 1.2.3.4 > 1.2.3.4 3/4"],
            &["icmp 1.2.3.4 > 1.2.3.4 3/3", "icmpv6 ::1 > ::2 3/4"],
        ),
        ("fragment = true", &[fragment], &[v4, "tcp 1.2.3.4:1 > 1.2.3.4:2 first-fragment"]),
        ("fragment = false", &[v4, ping, "tcp 1.2.3.4:1 > 1.2.3.4:2 first-fragment"], &[fragment]),
        ("interface = \"eth0\"", &[v4], &[]),
        ("interface = \"eth1\"", &[], &[v4]),
        ("vlan = [10, 11]", &[udp], &[v4]),
        ("length = \"41-100\"", &[udp, v6], &[v4, "gre 1.2.3.4 > 1.2.3.4 length 101"]),
    ];
    for (conditions, matching, failing) in rows {
        let ruleset = with_rule(conditions);
        let key = conditions.split(' ').next().unwrap();
        for text in *matching {
            let found = evaluate(&ruleset, &packet::parse(text).unwrap(), Direction::In, "eth0", Known::NEW);
            let expected = Evaluation { verdict: Verdict::Accept, reason: Reason::Rule, rule: Some("r") };
            assert_eq!(found, expected, "{conditions}: {text}");
        }
        for text in *failing {
            let read = packet::parse(text).unwrap();
            let found = evaluate(&ruleset, &read, Direction::In, "eth0", Known::NEW);
            let expected = Evaluation { verdict: Verdict::Drop, reason: Reason::Policy, rule: None };
            assert_eq!(found, expected, "{conditions}: {text}");
            let flow = read.unwrap();
            let condition =
                unmet(&ruleset, &ruleset.rules[0], &flow, Direction::In, "eth0", Known::NEW).unwrap();
            let either = condition.key() == key || conditions.contains(&format!("\n{} ", condition.key()));
            assert!(either, "{conditions}: {text}: {}", condition.key());
            assert!(!condition.explain(&ruleset.rules[0], &flow, "eth0", Known::NEW).is_empty());
        }
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let ruleset = ruleset(
        "[[rule]]\nid = \"a\"\naction = \"drop\"\ndestination_port = 1\n\
         [[rule]]\nid = \"b\"\naction = \"accept\"\nprotocol = \"udp\"\n\
         [[rule]]\nid = \"c\"\naction = \"drop\"\nprotocol = \"udp\"\n",
    );
    for (text, rule) in [
        ("udp 1.2.3.4:5 > 1.2.3.4:1", Some("a")),
        ("udp 1.2.3.4:5 > 1.2.3.4:2", Some("b")),
        ("tcp 1.2.3.4:5 > 1.2.3.4:2", None),
    ] {
        assert_eq!(
            evaluate(&ruleset, &packet::parse(text).unwrap(), Direction::In, "", Known::NEW).rule,
            rule,
            "{text}"
        );
    }
}

/// Each row: a packet, and the verdict and reason under a policy that drops what it can and one that accepts.
#[test]
fn what_is_judged_before_the_rules() {
    let rules = "[failsafe]\nports = [\"tcp/22\", \"udp/51\"]\npeers = [\"198.51.100.0/24\", \"2001:db8:7::/48\"]\n\
                 [[rule]]\nid = \"all\"\naction = \"drop\"\n";
    let strict = ruleset(&format!("[policy]\nin = \"drop\"\nfragments = \"drop\"\n{rules}"));
    let open = ruleset(&format!(
        "[policy]\nmalformed = \"accept\"\nfragments = \"accept\"\ninfrastructure = false\n{rules}"
    ));
    let (accept, drop) = (Verdict::Accept, Verdict::Drop);
    let infrastructure = (accept, Reason::Infrastructure);
    let failsafe = (accept, Reason::Failsafe);
    let rule = (drop, Reason::Rule);
    for (text, in_strict, in_open) in [
        ("arp", infrastructure, (accept, Reason::Arp)),
        ("not_ip", (drop, Reason::NotIp), (accept, Reason::NotIp)),
        ("llc", (drop, Reason::Llc), (accept, Reason::Llc)),
        ("vlan_depth", (drop, Reason::VlanDepth), (accept, Reason::VlanDepth)),
        ("ip_length", (drop, Reason::IpLength), (accept, Reason::IpLength)),
        ("icmpv6 fe80::1 > fe80::2 135/0", infrastructure, rule),
        ("icmpv6 fe80::1 > fe80::2 133/0 ttl 255", infrastructure, rule),
        ("icmpv6 fe80::1 > fe80::2 136/0 ttl 255 vlan 5", infrastructure, rule),
        ("icmpv6 fe80::1 > fe80::2 137/0 ttl 255", rule, rule),
        ("icmpv6 fe80::1 > fe80::2 132/0 ttl 255", rule, rule),
        ("icmpv6 fe80::1 > fe80::2 135/1 ttl 255", rule, rule),
        ("icmpv6 fe80::1 > fe80::2 135/0 ttl 254", rule, rule),
        ("icmpv6 fe80::1 > fe80::2 135/0 ttl 255 first-fragment", rule, rule),
        ("icmp 10.0.0.1 > 10.0.0.2 135/0 ttl 255", rule, rule),
        ("udp 10.0.0.1:67 > 10.0.0.2:68", infrastructure, rule),
        ("udp 10.0.0.1:68 > 10.0.0.2:67", rule, rule),
        ("udp 10.0.0.1:547 > 10.0.0.2:546", rule, rule),
        ("udp [fe80::1]:547 > [fe80::2]:546", infrastructure, rule),
        ("udp [fe80::1]:67 > [fe80::2]:68", rule, rule),
        ("tcp 10.0.0.1:67 > 10.0.0.2:68", rule, rule),
        ("udp 10.0.0.1:67 > 10.0.0.2:68 first-fragment", rule, rule),
        ("tcp 10.0.0.1:5 > 10.0.0.2:22", failsafe, failsafe),
        ("udp 10.0.0.1:5 > 10.0.0.2:22", rule, rule),
        ("tcp 10.0.0.1:22 > 10.0.0.2:5", rule, rule),
        ("udp 10.0.0.1:5 > 10.0.0.2:51", failsafe, failsafe),
        ("gre 198.51.100.255 > 10.0.0.2", failsafe, failsafe),
        ("gre 198.51.101.0 > 10.0.0.2", rule, rule),
        ("tcp 198.51.100.1 > 10.0.0.2 fragment", failsafe, failsafe),
        ("esp 2001:db8:7:1::1 > ::1", failsafe, failsafe),
        ("tcp 10.0.0.1 > 10.0.0.2 fragment", (drop, Reason::Fragments), (accept, Reason::Fragments)),
        ("tcp 10.0.0.1:1 > 10.0.0.2:2 first-fragment", rule, rule),
    ] {
        let packet = packet::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        for (name, ruleset, (verdict, reason)) in [("strict", &strict, in_strict), ("open", &open, in_open)] {
            let found = evaluate(ruleset, &packet, Direction::In, "eth0", Known::NEW);
            let id = (reason == Reason::Rule).then_some("all");
            assert_eq!(found, Evaluation { verdict, reason, rule: id }, "{name}: {text}");
        }
    }
}

/// What goes out is judged in the same order, by rules of its own; the ends of the packet have changed sides.
#[test]
fn what_goes_out_is_judged_from_the_other_side() {
    let ruleset = ruleset(
        "[policy]\nout = \"drop\"\n[failsafe]\nports = [\"tcp/22\"]\npeers = [\"198.51.100.0/24\"]\n\
         [[rule]]\nid = \"in\"\naction = \"drop\"\n\
         [[rule]]\nid = \"web\"\naction = \"accept\"\ndirection = \"out\"\nsource_port = 80\n",
    );
    let (accept, drop) = (Verdict::Accept, Verdict::Drop);
    for (text, verdict, reason, rule) in [
        ("arp", accept, Reason::Infrastructure, None),
        ("not_ip", drop, Reason::NotIp, None),
        ("udp 10.0.0.1:68 > 10.0.0.2:67", accept, Reason::Infrastructure, None),
        ("udp 10.0.0.1:67 > 10.0.0.2:68", drop, Reason::Policy, None),
        ("udp [fe80::1]:546 > [ff02::1:2]:547", accept, Reason::Infrastructure, None),
        ("tcp 10.0.0.1:22 > 10.0.0.2:5", accept, Reason::Failsafe, None),
        ("tcp 10.0.0.1:5 > 10.0.0.2:22", drop, Reason::Policy, None),
        ("gre 10.0.0.1 > 198.51.100.255", accept, Reason::Failsafe, None),
        ("gre 198.51.100.255 > 10.0.0.1", drop, Reason::Policy, None),
        ("tcp 10.0.0.1:80 > 10.0.0.2:5 syn,ack", accept, Reason::Rule, Some("web")),
        ("tcp 10.0.0.1:5 > 10.0.0.2:80", drop, Reason::Policy, None),
    ] {
        let packet = packet::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let found = evaluate(&ruleset, &packet, Direction::Out, "eth0", Known::NEW);
        assert_eq!(found, Evaluation { verdict, reason, rule }, "{text}");
    }
}

#[test]
fn the_longest_prefix_names_the_group() {
    let ruleset = ruleset(
        "[peers]\nlb = [\"192.0.2.8/29\", \"2001:db8:9::/48\"]\nmonitoring = [\"192.0.2.10\", \"2001:db8::/32\"]\n",
    );
    for (packet, inbound, outbound) in [
        ("tcp 192.0.2.9:5 > 192.0.2.10:80 syn", Some("lb"), Some("monitoring")),
        ("udp 192.0.2.16:5 > 192.0.2.15:80", None, Some("lb")),
        ("gre 2001:db8:9::1 > 2001:db8:a::1", Some("lb"), Some("monitoring")),
        ("gre ::1 > 2001:db9::", None, None),
    ] {
        let flow = packet::parse(packet).unwrap().unwrap();
        assert_eq!(group(&ruleset, &flow, Direction::In), inbound, "{packet}");
        assert_eq!(group(&ruleset, &flow, Direction::Out), outbound, "{packet}");
    }
}
