mod oracle;
mod shapes;
mod size;

use foobar_common::flow::Flow;
use proptest::prelude::*;

use super::*;
use crate::rules::{
    bundle::Bundle,
    evaluate::{Known, evaluate},
    packet,
};

fn ruleset(text: &str) -> Ruleset {
    Bundle::of_text("rules.toml", &format!("schema = 1\n{text}"))
        .parse()
        .unwrap_or_else(|errors| panic!("{errors}"))
}

/// What is found: `kind subject`.
fn found(ruleset: &Ruleset, session: Option<&SshSession>) -> Vec<String> {
    let words = |finding: &Finding| {
        let value = serde_json::to_value(finding).unwrap();
        let subject = ["rule", "service", "set", "key"].iter().find_map(|key| value[key].as_str());
        format!("{} {}", value["kind"].as_str().unwrap(), subject.unwrap())
    };
    check(ruleset, session).iter().map(words).collect()
}

/// Rules with these verdicts and conditions, called r0, r1 and so on, after some other text.
fn rules(before: &str, rules: &[(&str, &str)]) -> Ruleset {
    let rules = rules.iter().enumerate().map(|(number, (action, conditions))| {
        format!("[[rule]]\nid = \"r{number}\"\naction = {action:?}\n{conditions}\n")
    });
    ruleset(&format!("{before}\n{}", rules.collect::<String>()))
}

/// What stands before the rules, their verdicts and conditions, and what is found.
type Row = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

const DROP: &str = "[policy]\nin = \"drop\"\nreplies = \"rules\"\n[failsafe]\npeers = [\"203.0.113.1\"]\n";

const ROWS: &[Row] = &[
    (DROP, &[("accept", "destination_port = 80"), ("accept", "destination_port = 81")], &[]),
    (DROP, &[("accept", "destination_port = 80"), ("accept", "destination_port = 80")], &["shadowed r1"]),
    (
        DROP,
        &[("accept", "protocol = \"tcp\""), ("accept", "protocol = \"tcp\"\ndestination_port = 80")],
        &["shadowed r1"],
    ),
    // In the other order it counts some of them by themselves, but changes nothing.
    (
        DROP,
        &[("accept", "protocol = \"tcp\"\ndestination_port = 80"), ("accept", "protocol = \"tcp\"")],
        &["redundant r0"],
    ),
    (
        DROP,
        &[("accept", "protocol = \"tcp\""), ("drop", "protocol = \"tcp\"\ndestination_port = 80")],
        &["contradiction r1"],
    ),
    // What comes in and what goes out are apart.
    ("", &[("drop", "destination_port = 80"), ("drop", "direction = \"out\"\ndestination_port = 80")], &[]),
    (
        "",
        &[
            ("drop", "direction = \"out\"\nprotocol = \"tcp\""),
            ("drop", "protocol = \"udp\""),
            ("accept", "direction = \"out\"\nprotocol = \"tcp\"\ndestination_port = 80"),
        ],
        &["contradiction r2"],
    ),
    // There, failsafe peers are where packets go.
    (
        DROP,
        &[
            ("drop", "direction = \"out\"\nsource = \"203.0.113.1\""),
            ("drop", "direction = \"out\"\ndestination = \"203.0.113.1\""),
        ],
        &["contradiction r1"],
    ),
    // An exception and its general rule.
    (DROP, &[("drop", "source = \"10.0.0.1\""), ("accept", "source = \"10.0.0.0/8\"")], &[]),
    // Orthogonal conditions meet without being a mistake.
    (DROP, &[("drop", "source = \"10.0.0.1\""), ("accept", "destination_port = 80")], &[]),
    (
        DROP,
        &[("drop", "destination_port = \"80-90\""), ("accept", "destination_port = \"85-95\"")],
        &["overlap r1"],
    ),
    // Several together cover a rule, none alone does.
    (
        DROP,
        &[
            ("accept", "protocol = \"tcp\"\ndestination_port = \"0-1000\""),
            ("accept", "protocol = \"tcp\"\ndestination_port = \"1001-65535\""),
            ("drop", "protocol = \"tcp\"\nfragment = false\nsource = \"10.0.0.0/8\""),
        ],
        &["contradiction r2"],
    ),
    (
        DROP,
        &[
            ("accept", "source = \"10.0.0.0/9\""),
            ("drop", "source = \"10.128.0.0/9\""),
            ("accept", "source = \"10.0.0.0/8\""),
        ],
        &["shadowed r2"],
    ),
    // The same with one address missing.
    (
        DROP,
        &[
            ("accept", "source = [\"10.0.0.0/9\", \"!10.0.0.1\"]"),
            ("accept", "source = \"10.128.0.0/9\""),
            ("drop", "source = \"10.0.0.0/8\""),
        ],
        &["redundant r2"],
    ),
    // Only one IP version is covered.
    (DROP, &[("accept", "source = \"0.0.0.0/0\""), ("accept", "destination_port = 80")], &[]),
    (
        DROP,
        &[("accept", "source = [\"0.0.0.0/0\", \"::/0\"]"), ("accept", "destination_port = 80")],
        &["shadowed r1"],
    ),
    // Flags, messages, fragments, VLAN, length and interface count.
    (
        DROP,
        &[("accept", "tcp_flags = { set = [\"ack\"] }"), ("accept", "protocol = \"tcp\"")],
        &["redundant r0"],
    ),
    (
        DROP,
        &[("accept", "protocol = \"tcp\"\nfragment = false"), ("accept", "tcp_flags = { set = [\"ack\"] }")],
        &["shadowed r1"],
    ),
    (
        DROP,
        &[("accept", "icmp = \"echo-request\""), ("accept", "protocol = \"icmp\"\nicmp = \"8/0\"")],
        &["shadowed r1"],
    ),
    (DROP, &[("accept", "icmp = \"echo-request\""), ("accept", "protocol = \"icmp\"")], &[]),
    (DROP, &[("accept", "vlan = [1, 2]"), ("accept", "vlan = 1")], &["shadowed r1"]),
    (DROP, &[("accept", "length = \"0-65535\""), ("drop", "vlan = 1")], &["contradiction r1"]),
    (
        DROP,
        &[("accept", "interface = [\"a\", \"b\"]"), ("accept", "interface = \"b\"\nvlan = 1")],
        &["shadowed r1"],
    ),
    (DROP, &[("accept", "interface = [\"a\", \"b\"]"), ("accept", "vlan = 1")], &[]),
    // What the rest would get anyway.
    ("", &[("accept", "destination_port = 80")], &["redundant r0"]),
    ("", &[("accept", "destination_port = 80"), ("drop", "")], &[]),
    (DROP, &[("drop", "source = \"10.0.0.0/8\"")], &["redundant r0"]),
    (DROP, &[("accept", "source = [\"10.0.0.0/8\", \"!10.0.0.0/7\"]")], &["empty r0"]),
    ("[sets.e]\nentries = []\n", &[("drop", "source = \"@e\"")], &["empty r0", "set e"]),
    ("[sets.e]\nentries = [\"::1\"]\n", &[("drop", "")], &["set e"]),
    // What has a limit decides something, and nothing else does the same.
    ("", &[("accept", "destination_port = 80\nlimit = { rate = \"1/s\" }")], &[]),
    (
        DROP,
        &[("accept", "destination_port = 80"), ("accept", "protocol = \"tcp\"\nlimit = { rate = \"1/s\" }")],
        &[],
    ),
    (
        DROP,
        &[("accept", "protocol = \"tcp\"\nlimit = { rate = \"1/s\" }"), ("accept", "protocol = \"tcp\"")],
        &["shadowed r1"],
    ),
    // Steps before the rules cover too.
    (
        "[failsafe]\nports = [\"tcp/22\"]",
        &[("drop", "protocol = \"tcp\"\ndestination_port = 22")],
        &["contradiction r0"],
    ),
    ("[failsafe]\nports = [\"tcp/22\"]", &[("drop", "destination_port = 22")], &[]),
    ("[failsafe]\npeers = [\"10.0.0.0/8\"]", &[("drop", "source = \"10.1.0.0/16\"")], &["contradiction r0"]),
    ("[policy]\nfragments = \"drop\"", &[("drop", "fragment = true")], &["shadowed r0"]),
];

#[test]
fn rules_that_are_of_no_use() {
    for (before, list, expected) in ROWS {
        let mut found = found(&rules(before, list), None);
        let mut expected = expected.to_vec();
        found.sort();
        expected.sort_unstable();
        assert_eq!(found, expected, "{before}\n{list:?}");
    }
}

#[test]
fn what_is_said_names_the_rules() {
    let ruleset = rules(
        "",
        &[
            ("drop", "source = \"10.0.0.0/9\""),
            ("drop", "source = \"10.128.0.0/9\""),
            ("accept", "source = \"10.0.0.0/8\""),
        ],
    );
    let findings = check(&ruleset, None);
    assert_eq!(findings.len(), 1);
    assert_eq!(
        findings[0].message,
        "every packet that it matches is decided before it, by rule r0, rule r1 together, and gets the opposite \
         of its verdict: accept"
    );
    assert_eq!(findings[0].severity, Severity::Warning);
}

#[test]
fn policies_and_services() {
    let drop = "[policy]\nin = \"drop\"\nreplies = \"rules\"\n";
    let out = "[policy]\nout = \"drop\"\nreplies = \"rules\"\n";
    let replies = "[[rule]]\nid = \"tcp\"\naction = \"accept\"\ntcp_flags = { set = [\"ack\"] }\n\
                   [[rule]]\nid = \"dns\"\naction = \"accept\"\nprotocol = \"udp\"\nsource_port = 53\n";
    let www = "[[service]]\nname = \"www\"\nport = \"tcp/80\"\n";
    let rule = |conditions: &str| format!("[[rule]]\nid = \"web\"\naction = \"accept\"\n{conditions}\n");
    for (text, expected) in [
        (String::new(), vec![]),
        (drop.to_owned(), vec!["replies policy.in"]),
        (drop.replace("rules", "accept"), vec![]),
        (format!("{drop}{}", rule("state = [\"established\"]")), vec![]),
        (format!("{drop}{}", rule("state = [\"new\"]")), vec!["replies policy.in"]),
        (format!("{drop}{replies}"), vec![]),
        (format!("{drop}infrastructure = false\n{replies}"), vec!["infrastructure policy.infrastructure"]),
        ("[policy]\ninfrastructure = false\n".to_owned(), vec![]),
        (format!("{drop}malformed = \"accept\"\n{replies}"), vec!["malformed policy.malformed"]),
        ("[policy]\nmalformed = \"accept\"\n".to_owned(), vec![]),
        ("[failsafe]\npeers = [\"0.0.0.0/0\"]\n".to_owned(), vec!["open failsafe.peers"]),
        (www.to_owned(), vec![]),
        (format!("{out}{www}"), vec!["unreachable www"]),
        (format!("{}{www}", out.replace("rules", "accept")), vec![]),
        (
            format!(
                "{}{www}{}",
                drop.replace("rules", "accept"),
                rule("state = [\"new\"]\ndestination_port = 80")
            ),
            vec!["unreachable www"],
        ),
        (format!("{out}{www}{}", rule("direction = \"out\"\nsource_port = 80")), vec![]),
        (format!("{out}infrastructure = false\n"), vec!["infrastructure policy.infrastructure"]),
        (format!("{drop}{www}{replies}"), vec!["unreachable www"]),
        (format!("{drop}{www}{replies}{}", rule("destination_port = 80")), vec![]),
        (
            format!("{drop}{www}{replies}{}", rule("source = \"10.0.0.1\"\ndestination_port = \"70-90\"")),
            vec![],
        ),
        (
            format!("{drop}{www}{replies}{}", rule("protocol = \"udp\"\ndestination_port = 80")),
            vec!["unreachable www"],
        ),
        (format!("{drop}[failsafe]\nports = [\"tcp/80\"]\n{www}{replies}"), vec![]),
        (
            format!(
                "{drop}{www}[[rule]]\nid = \"dns\"\naction = \"accept\"\nprotocol = \"udp\"\n{}",
                rule("tcp_flags = { set = [\"syn\"] }")
            ),
            vec!["unreachable www"],
        ),
        (
            format!(
                "{www}[[rule]]\nid = \"x\"\naction = \"drop\"\nprotocol = \"tcp\"\ndestination_port = 80"
            ),
            vec!["unreachable www"],
        ),
    ] {
        assert_eq!(found(&ruleset(&text), None), expected, "{text}");
    }
}

#[test]
fn the_own_ssh_session_is_noticed() {
    let variables = |name: &'static str, value: &'static str| {
        SshSession::from_environment(move |asked| (asked == name).then(|| value.to_owned()))
    };
    let session = variables("SSH_CONNECTION", "203.0.113.7 50022 192.0.2.10 22").unwrap();
    assert_eq!((session.client_port, session.server_port), (50_022, 22));
    assert_eq!(session.server, Some("192.0.2.10".parse().unwrap()));
    let mapped = variables("SSH_CLIENT", "::ffff:203.0.113.7 50022 22").unwrap();
    assert_eq!((mapped.client, mapped.server), (session.client, None));
    let local = variables("SSH_CONNECTION", "fe80::1%eth0 50022 fe80::2%eth0 2222").unwrap();
    assert_eq!(local.client, "fe80::1".parse::<std::net::IpAddr>().unwrap());
    for broken in ["", "x y z", "203.0.113.7 50022", "203.0.113.7 99999 192.0.2.10 22", "1 2 3 4 5"] {
        assert_eq!(variables("SSH_CONNECTION", broken), None, "{broken}");
        assert_eq!(variables("SSH_CLIENT", broken), None, "{broken}");
    }

    let drop = "[policy]\nin = \"drop\"\nreplies = \"rules\"\n";
    let out = "[policy]\nout = \"drop\"\nreplies = \"rules\"\n";
    let back = "[[rule]]\nid = \"back\"\naction = \"accept\"\ndirection = \"out\"\nsource_port = 22\n";
    let udp = "[[rule]]\nid = \"udp\"\naction = \"accept\"\nprotocol = \"udp\"\n";
    let ssh = |conditions: &str| {
        format!("[[rule]]\nid = \"ssh\"\naction = \"accept\"\ndestination_port = 22\n{conditions}\n")
    };
    for (text, is_locked_out, says) in [
        (String::new(), false, ""),
        (drop.to_owned(), true, "203.0.113.7 to port 22 is dropped (policy)"),
        (format!("{drop}[failsafe]\nports = [\"tcp/22\"]\n"), false, ""),
        (out.to_owned(), true, "what goes back to 203.0.113.7 from port 22 is dropped (policy)"),
        (out.replace("rules", "accept"), false, ""),
        (format!("{}{}", drop.replace("rules", "accept"), ssh("state = [\"new\"]")), true, "to port 22"),
        (format!("{out}[failsafe]\nports = [\"tcp/22\"]\n"), false, ""),
        (format!("{out}{}", ssh("direction = \"out\"")), true, "goes back"),
        (format!("{out}{back}"), false, ""),
        (format!("{drop}[failsafe]\nports = [\"tcp/2222\"]\n"), true, ""),
        (format!("{drop}[failsafe]\npeers = [\"203.0.113.0/24\"]\n"), false, ""),
        (format!("{drop}{udp}{}", ssh("")), false, ""),
        (format!("{drop}{udp}{}", ssh("source = \"198.51.100.0/24\"")), true, ""),
        (format!("{drop}{udp}{}", ssh("tcp_flags = { set = [\"syn\"] }")), true, ""),
        (format!("{drop}{udp}{}", ssh("tcp_flags = { set = [\"ack\"] }")), true, ""),
        (format!("{drop}{udp}{}", ssh("destination = \"192.0.2.10\"")), false, ""),
        (format!("{drop}{udp}{}", ssh("interface = \"eth0\"")), true, "an interface that no rule names"),
        (
            "[[rule]]\nid = \"no\"\naction = \"drop\"\ninterface = \"eth1\"\n".to_owned(),
            true,
            "through eth1 (rule no)",
        ),
    ] {
        let findings = check(&ruleset(&text), Some(&session));
        let lock_out = findings.iter().find(|finding| finding.kind == Kind::LockOut);
        assert_eq!(lock_out.is_some(), is_locked_out, "{text}");
        if let Some(finding) = lock_out {
            assert!(finding.message.contains(says), "{}", finding.message);
        }
    }
}

#[test]
fn the_largest_ruleset_is_checked_soon() {
    let list: Vec<(String, String)> = (0..256u32)
        .map(|n| {
            let action = if n % 3 == 0 { "drop" } else { "accept" };
            let conditions = format!(
                "source = \"10.{}.0.0/{}\"\nprotocol = \"tcp\"\ndestination_port = \"{}-{}\"\nlength = \"{}-1500\"",
                (n * 8) % 256, 13 + n % 4, n * 10, n * 10 + 500, n
            );
            (action.to_owned(), conditions.replace("/14", "/16").replace("/13", "/16").replace("/15", "/16"))
        })
        .collect();
    let list: Vec<(&str, &str)> =
        list.iter().map(|(action, text)| (action.as_str(), text.as_str())).collect();
    let start = std::time::Instant::now();
    let findings = check(&rules("", &list), None);
    assert!(findings.len() <= 3 * 256);
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

const CONDITIONS: [&str; 22] = [
    "",
    "source = \"10.0.0.0/8\"",
    "source = [\"10.0.0.0/9\", \"2001:db8::/32\"]",
    "source = [\"!10.0.0.0/16\"]",
    "destination = [\"192.0.2.0/25\", \"!192.0.2.1\"]",
    "protocol = \"tcp\"",
    "protocol = [\"udp\", \"icmp\"]",
    "destination_port = [53, 80]",
    "destination_port = \"50-79\"",
    "source_port = \"0-1023\"",
    "tcp_flags = { set = [\"syn\"], clear = [\"ack\"] }",
    "tcp_flags = { set = [\"ack\"] }",
    "icmp = \"echo-request\"",
    "protocol = \"icmp\"\nicmp = [\"8/0\", 3]",
    "fragment = true",
    "fragment = false",
    "interface = \"eth0\"",
    "interface = [\"eth0\", \"eth1\"]",
    "vlan = [10]",
    "length = \"0-100\"",
    "source = \"10.0.0.1\"\nlength = 84",
    "source = \"10.128.0.0/9\"",
];

fn some_flow() -> impl Strategy<Value = (Flow, &'static str)> {
    let v4 = prop::sample::select(vec!["10.0.0.1", "10.0.5.5", "10.128.0.1", "192.0.2.1", "192.0.2.77"]);
    let v4 = (v4.clone(), v4);
    let v6 = prop::sample::select(vec!["2001:db8::1", "2001:db9::1"]);
    let v6 = (v6.clone(), v6);
    let port = || prop::sample::select(vec![20u16, 53, 60, 80, 5000]);
    let tail = (
        prop::sample::select(vec!["", " vlan 10", " vlan 11"]),
        prop::sample::select(vec!["", " length 84", " length 1000"]),
        prop::sample::select(vec!["eth0", "eth1", "eth2"]),
    );
    (prop_oneof![v4, v6], port(), port(), 0..8usize, tail).prop_map(
        |((from, to), sport, dport, kind, tail)| {
            let version = if from.contains(':') { "icmpv6" } else { "icmp" };
            let ports = format!("[{from}]:{sport} > [{to}]:{dport}");
            let ports = if from.contains(':') { ports } else { ports.replace(['[', ']'], "") };
            let text = match kind {
                0 => format!("tcp {ports} syn"),
                1 => format!("tcp {ports} syn,ack"),
                2 => format!("udp {ports}"),
                3 => format!("sctp {ports}"),
                4 => format!("{version} {from} > {to} echo-request"),
                5 => format!("{version} {from} > {to} 3/1"),
                6 => format!("tcp {from} > {to} fragment"),
                _ => format!("gre {from} > {to}"),
            };
            let (vlan, length, interface) = tail;
            (packet::parse(&format!("{text}{vlan}{length}")).unwrap().unwrap(), interface)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// What is said of rules holds for every packet, by the plain reading.
    #[test]
    fn findings_are_true(
        chosen in prop::collection::vec((any::<bool>(), prop::sample::select(CONDITIONS.to_vec())), 1..7),
        policy in any::<bool>(),
        flows in prop::collection::vec(some_flow(), 200),
    ) {
        let list: Vec<_> = chosen.iter().map(|(accept, text)| (if *accept { "accept" } else { "drop" }, *text)).collect();
        let before = format!(
            "[policy]\nin = {:?}\ninfrastructure = false\n[failsafe]\nports = [\"udp/60\"]\n",
            if policy { "accept" } else { "drop" }
        );
        let ruleset = rules(&before, &list);
        for finding in check(&ruleset, None) {
            let Subject::Rule(id) = &finding.subject else { continue };
            let mut without = ruleset.clone();
            without.rules.retain(|rule| rule.id != *id);
            for (flow, interface) in &flows {
                let found = evaluate(&ruleset, &Ok(*flow), Direction::In, interface, Known::NEW);
                match finding.kind {
                    Kind::Empty | Kind::Shadowed | Kind::Contradiction => {
                        prop_assert_ne!(found.rule, Some(id.as_str()), "{:?} {:?}", finding, flow);
                    }
                    Kind::Redundant => {
                        let other = evaluate(&without, &Ok(*flow), Direction::In, interface, Known::NEW);
                        prop_assert_eq!(found.verdict, other.verdict, "{:?} {:?}", finding, flow);
                    }
                    Kind::Overlap
                    | Kind::Undecided
                    | Kind::LockOut
                    | Kind::Unreachable
                    | Kind::Replies
                    | Kind::Infrastructure
                    | Kind::Malformed
                    | Kind::Open
                    | Kind::Believed
                    | Kind::Balancer
                    | Kind::Set => {}
                }
            }
        }
    }
}

#[test]
fn who_may_name_clients() {
    let behind =
        "[[service]]\nname = \"www\"\nport = \"tcp/80\"\nprotocol = \"http1\"\nproxy_protocol = true\n";
    let others = "[[rule]]\nid = \"others\"\naction = \"drop\"\nsource = [\"0.0.0.0/0\", \"::/0\", \"!192.0.2.8/29\"]\n";
    let rule = |conditions: &str| {
        format!(
            "[[rule]]\nid = \"web\"\naction = \"accept\"\ndestination_port = 80\n\
             limit = {{ rate = \"9/s\", per = \"client\" }}\n{conditions}\n"
        )
    };
    for (text, expected) in [
        (format!("{behind}{}", rule("")), vec!["believed web"]),
        (format!("{behind}{}{others}", rule("")), vec!["believed web"]),
        (format!("{behind}{others}{}", rule("")), vec![]),
        (format!("{behind}{}", rule("source = \"192.0.2.8/29\"")), vec![]),
        (format!("{behind}{}", rule("").replace("client", "source")), vec![]),
    ] {
        assert_eq!(found(&ruleset(&text), None), expected, "{text}");
    }
}

#[test]
fn who_is_banned_in_the_place_of_others() {
    let service = "[[service]]\nname = \"www\"\nport = \"tcp/80\"\nprotocol = \"http1\"\n";
    let behind = format!("{service}proxy_protocol = true\n");
    let groups = "[peers]\nlb = \"192.0.2.8/29\"\n[failsafe]\nnever_ban = ";
    let rule = |per: &str, conditions: &str| {
        format!(
            "[[rule]]\nid = \"web\"\naction = \"accept\"\nlimit = {{ rate = \"9/s\", per = {per:?} }}\n\
             over = {{ ban = \"1m\" }}\n{conditions}\n"
        )
    };
    for (text, expected) in [
        (format!("{behind}{}", rule("source", "destination_port = 80")), vec!["balancer web"]),
        (format!("{behind}{}", rule("source/24", "")), vec!["balancer web"]),
        (format!("{behind}{}", rule("source", "destination_port = 81")), vec![]),
        (format!("{behind}{}", rule("source", "protocol = \"udp\"")), vec![]),
        (format!("{service}{}", rule("source", "")), vec![]),
        (format!("{groups}[]\n{service}{}", rule("source", "")), vec!["balancer web"]),
        (format!("{groups}\"peers.lb\"\n{service}{}", rule("source", "")), vec![]),
        (format!("{groups}\"192.0.2.0/24\"\n{service}{}", rule("source", "")), vec![]),
        (format!("{groups}[]\n{service}{}", rule("source", "source = \"203.0.113.0/24\"")), vec![]),
    ] {
        assert_eq!(found(&ruleset(&text), None), expected, "{text}");
    }
}

#[test]
fn entries_of_sets_that_add_nothing() {
    let needless = |entries: &str| {
        let text = format!(
            "[sets.s]\nentries = {entries}\n[[rule]]\nid = \"r\"\naction = \"drop\"\nsource = \"@s\"\n"
        );
        let findings = check(&ruleset(&text), None);
        findings.into_iter().map(|finding| finding.message).collect::<Vec<_>>()
    };
    for (entries, expected) in [
        ("[\"10.0.0.0/8\", \"11.0.0.0/8\", \"::/0\"]", vec![]),
        (
            "[\"10.0.0.1\", \"10.0.0.2\", \"10.0.0.1\"]",
            vec!["of its entries 1 is written before (10.0.0.1/32)"],
        ),
        (
            "[\"10.0.0.1\", \"10.0.0.0/8\", \"10.0.0.1\", \"10.2.0.0/16\", \"::1\"]",
            vec![
                "of its entries 1 is written before (10.0.0.1/32), and 2 are inside another (10.0.0.1/32 in \
                 10.0.0.0/8)",
            ],
        ),
    ] {
        assert_eq!(needless(entries), expected, "{entries}");
    }
}
