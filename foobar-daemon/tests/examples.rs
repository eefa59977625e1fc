//! What the example rule files accept and drop, and whether the README of the rule language is true.

use std::{fs, path::PathBuf};

use foobar_common::{
    flow::Direction,
    verdict::{Reason, Verdict},
};
use foobar_daemon::rules::{
    bundle::Bundle,
    check,
    evaluate::{Known, evaluate},
    import,
    model::Ruleset,
    packet,
};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../rules")
}

fn example(name: &str) -> Ruleset {
    Bundle::read(&folder().join(name)).expect(name).parse().expect(name)
}

/// Each row: a packet, and the rule or reason that decides it. A reason in capitals drops.
fn check_table(name: &str, rows: &[(&str, &str)]) {
    check_direction(name, Direction::In, rows);
}

/// The same for packets of one direction.
fn check_direction(name: &str, direction: Direction, rows: &[(&str, &str)]) {
    let ruleset = example(name);
    for (packet, expected) in rows {
        let (read, known) = packet::parse_with_state(packet).expect(packet);
        let known = known.unwrap_or_else(|| Known::likely(&ruleset, &read));
        let found = evaluate(&ruleset, &read, direction, "eth0", known);
        let by = found.rule.unwrap_or(found.reason.label());
        let shown = match found.verdict {
            Verdict::Accept | Verdict::Answer => by.to_owned(),
            Verdict::Drop | Verdict::Reject => by.to_uppercase(),
        };
        assert_eq!(shown, *expected, "{name}: {packet}");
    }
}

#[test]
fn default_accepts_everything() {
    check_table(
        "default.toml",
        &[
            ("tcp 203.0.113.7:5555 > 192.0.2.10:443 syn", "policy"),
            ("udp [2001:db8::7]:5 > [2001:db8::1]:9", "policy"),
            ("tcp 203.0.113.7 > 192.0.2.10 fragment", "policy"),
            ("arp", "infrastructure"),
            ("llc", "llc"),
            ("not_ip", "not_ip"),
        ],
    );
    let ruleset = example("default.toml");
    for reason in Reason::ALL.iter().filter(|reason| reason.is_malformed()) {
        assert_eq!(
            evaluate(&ruleset, &Err(*reason), Direction::In, "eth0", Known::NEW).verdict,
            Verdict::Accept,
            "{reason:?}"
        );
    }
}

#[test]
fn web_server_accepts_the_web_and_drops_the_rest() {
    check_table(
        "web-server.toml",
        &[
            ("tcp 203.0.113.7:5555 > 192.0.2.10:443 syn", "web"),
            ("tcp 203.0.113.7:5555 > 192.0.2.10:443 ack", "web"),
            ("tcp 203.0.113.7:5555 > 192.0.2.10:80 fin,ack", "web"),
            ("tcp [2001:db8::7]:5555 > [2001:db8::10]:80 syn", "web"),
            ("tcp 203.0.113.7:5555 > 192.0.2.10:22 syn", "failsafe"),
            ("icmp 203.0.113.7 > 192.0.2.10 echo-request", "ping"),
            ("icmpv6 2001:db8::7 > 2001:db8::10 echo-request", "ping"),
            ("icmp 203.0.113.7 > 192.0.2.10 3/4", "replies"),
            ("icmpv6 2001:db8::7 > 2001:db8::10 packet-too-big", "replies"),
            ("icmpv6 fe80::1 > fe80::2 neighbour-solicitation", "infrastructure"),
            ("arp", "infrastructure"),
            ("udp 192.0.2.1:67 > 192.0.2.10:68", "infrastructure"),
            ("tcp 203.0.113.7:443 > 192.0.2.10:40000 syn,ack", "replies"),
            ("tcp 203.0.113.7:443 > 192.0.2.10:40000 syn,ack state invalid", "POLICY"),
            ("tcp 203.0.113.7:443 > 192.0.2.10:40000 rst,ack state answer", "replies"),
            ("udp 203.0.113.53:53 > 192.0.2.10:40000 state answer", "replies"),
            ("udp 203.0.113.53:53 > 192.0.2.10:40000", "POLICY"),
            ("icmp 203.0.113.7 > 192.0.2.10 3/4 state invalid", "POLICY"),
            ("tcp 203.0.113.7:443 > 192.0.2.10:40000 syn", "POLICY"),
            ("tcp 203.0.113.7:5555 > 192.0.2.10:8080 syn", "POLICY"),
            ("tcp 203.0.113.7:5555 > 192.0.2.10:8080 ack", "POLICY"),
            ("tcp [2001:db8::7]:5555 > [2001:db8::10]:3306 syn", "POLICY"),
            ("udp 203.0.113.7:5555 > 192.0.2.10:443", "POLICY"),
            ("udp 203.0.113.7:53 > 192.0.2.10:9999", "POLICY"),
            ("icmp 203.0.113.7 > 192.0.2.10 redirect", "POLICY"),
            ("icmpv6 fe80::1 > fe80::2 neighbour-solicitation ttl 64", "POLICY"),
            ("tcp 203.0.113.7 > 192.0.2.10 fragment", "POLICY"),
            ("gre 203.0.113.7 > 192.0.2.10", "POLICY"),
            ("sctp 203.0.113.7:1 > 192.0.2.10:443", "POLICY"),
            ("not_ip", "NOT_IP"),
            ("ip_length", "IP_LENGTH"),
        ],
    );
}

#[test]
fn load_balancer_tells_clients_offices_and_its_twin_apart() {
    check_table(
        "load-balancer.toml",
        &[
            ("tcp 203.0.113.7:5555 > 192.0.2.1:443 syn", "web"),
            ("udp [2001:db8:9::7]:5555 > [2001:db8:1::1]:443", "http3"),
            ("tcp 198.51.100.7:5555 > 192.0.2.1:8404 syn", "statistics"),
            ("tcp [2001:db8:40::7]:5555 > [2001:db8:1::1]:8404 syn", "statistics"),
            ("tcp 203.0.113.7:5555 > 192.0.2.1:8404 syn", "POLICY"),
            ("112 192.0.2.3 > 224.0.0.18", "vrrp"),
            ("112 fe80::3 > ff02::12", "vrrp"),
            ("112 203.0.113.3 > 224.0.0.18", "POLICY"),
            ("112 192.0.2.3 > 192.0.2.9", "POLICY"),
            ("tcp 192.0.2.17:8080 > 192.0.2.2:1234 syn,ack", "replies"),
            ("tcp 192.0.2.17:8080 > 192.0.2.2:1234 syn", "POLICY"),
            ("tcp 203.0.113.7:8080 > 192.0.2.2:1234 ack", "POLICY"),
            ("icmp 203.0.113.7 > 192.0.2.1 echo-request", "ping"),
            ("tcp 203.0.113.7:443 > 192.0.2.2:40000 ack", "POLICY"),
            ("tcp 203.0.113.7:5555 > 192.0.2.1:22 syn", "failsafe"),
        ],
    );
}

#[test]
fn database_is_for_its_clients_and_nodes_only() {
    check_table(
        "database.toml",
        &[
            ("tcp 192.0.2.17:5555 > 192.0.2.33:3306 syn", "sql"),
            ("tcp [2001:db8:1:10::7]:5555 > [2001:db8:1:20::1]:3306 ack", "sql"),
            ("tcp 192.0.2.34:5555 > 192.0.2.33:3306 syn", "sql"),
            ("tcp 203.0.113.7:5555 > 192.0.2.33:3306 syn", "POLICY"),
            ("tcp 192.0.2.15:5555 > 192.0.2.33:3306 syn", "POLICY"),
            ("tcp 192.0.2.32:5555 > 192.0.2.33:3306 syn", "POLICY"),
            ("tcp 192.0.2.34:5555 > 192.0.2.33:4444 syn", "galera"),
            ("tcp 192.0.2.34:5555 > 192.0.2.33:4567 syn", "galera"),
            ("tcp 192.0.2.34:5555 > 192.0.2.33:4568 ack", "galera"),
            ("udp 192.0.2.34:5555 > 192.0.2.33:4567", "galera-udp"),
            ("tcp 192.0.2.17:5555 > 192.0.2.33:4567 syn", "POLICY"),
            ("tcp 203.0.113.7:5555 > 192.0.2.33:4567 syn", "POLICY"),
            ("udp 203.0.113.7:5555 > 192.0.2.33:4567", "POLICY"),
            ("icmp 192.0.2.17 > 192.0.2.33 echo-request", "ping"),
            ("icmp 203.0.113.7 > 192.0.2.33 echo-request", "POLICY"),
            ("icmp 203.0.113.7 > 192.0.2.33 time-exceeded", "replies"),
            ("tcp 192.0.2.34:4567 > 192.0.2.33:40000 syn,ack", "replies"),
            ("tcp 203.0.113.7:5555 > 192.0.2.33:22 syn", "failsafe"),
        ],
    );
}

#[test]
fn a_server_of_the_fleet_speaks_to_nobody_but_the_fleet() {
    check_table(
        "fleet/server.toml",
        &[
            ("tcp 192.0.2.10:5555 > 192.0.2.11:443 syn", "www"),
            ("tcp 192.0.2.10:5555 > 192.0.2.11:443 ack state established", "www-goes-on"),
            ("tcp 198.51.100.20:5555 > 192.0.2.11:443 syn", "POLICY"),
            ("tcp 192.0.2.12:5555 > 192.0.2.11:443 syn", "POLICY"),
            ("tcp 192.0.2.30:5555 > 192.0.2.11:443 syn", "POLICY"),
            ("tcp 192.0.2.9:5555 > 192.0.2.11:8443 syn", "admin"),
            ("tcp 192.0.2.9:5555 > 192.0.2.11:3306 syn", "sql"),
            ("tcp 192.0.2.13:5555 > 192.0.2.11:3306 syn", "sql"),
            ("tcp 192.0.2.30:5555 > 192.0.2.11:3306 syn", "POLICY"),
            ("tcp 192.0.2.13:5555 > 192.0.2.11:4567 syn", "galera"),
            ("tcp 192.0.2.10:5555 > 192.0.2.11:4567 syn", "POLICY"),
            ("tcp 192.0.2.10:5555 > 192.0.2.11:2379 syn", "etcd"),
            ("tcp 192.0.2.12:5555 > 192.0.2.11:2380 syn", "etcd-members"),
            ("tcp 192.0.2.10:5555 > 192.0.2.11:2380 syn", "POLICY"),
            ("tcp 192.0.2.30:5555 > 192.0.2.11:9477 syn", "metrics"),
            ("tcp 192.0.2.10:5555 > 192.0.2.11:9477 syn", "POLICY"),
            ("tcp 198.51.100.20:5555 > 192.0.2.11:22 syn", "POLICY"),
            ("arp", "infrastructure"),
        ],
    );
    check_direction(
        "fleet/server.toml",
        Direction::Out,
        &[
            ("tcp 192.0.2.11:5555 > 192.0.2.10:3306 syn", "ask-sql"),
            ("tcp 192.0.2.11:5555 > 192.0.2.12:4568 syn", "ask-galera"),
            ("tcp 192.0.2.11:5555 > 192.0.2.12:2380 syn", "ask-etcd"),
            ("tcp 192.0.2.11:5555 > 192.0.2.12:443 syn", "POLICY"),
            ("tcp 192.0.2.11:5555 > 192.0.2.30:4318 syn", "push-metrics"),
            ("tcp 192.0.2.11:5555 > 192.0.2.30:9091 syn", "push-metrics"),
            ("tcp 192.0.2.11:5555 > 192.0.2.30:9090 syn", "POLICY"),
            ("tcp 192.0.2.11:5555 > 198.51.100.20:443 syn", "POLICY"),
            ("tcp 192.0.2.11:443 > 192.0.2.10:5555 syn,ack state answer", "replies"),
        ],
    );
}

#[test]
fn the_balancer_of_the_fleet_asks_its_servers_and_nobody_else() {
    check_table(
        "fleet/balancer.toml",
        &[
            ("tcp 198.51.100.20:5555 > 192.0.2.10:443 syn", "www"),
            ("tcp 198.51.100.20:5555 > 192.0.2.10:3306 syn", "POLICY"),
            ("tcp 192.0.2.12:5555 > 192.0.2.10:3306 syn", "sql"),
            ("tcp 192.0.2.30:5555 > 192.0.2.10:8404 syn", "statistics"),
            ("tcp 198.51.100.20:5555 > 192.0.2.10:8404 syn", "POLICY"),
            ("tcp 192.0.2.30:5555 > 192.0.2.10:9477 syn", "statistics"),
        ],
    );
    check_direction(
        "fleet/balancer.toml",
        Direction::Out,
        &[
            ("tcp 192.0.2.10:5555 > 192.0.2.11:443 syn", "ask-servers"),
            ("tcp 192.0.2.9:5555 > 192.0.2.13:3306 syn", "ask-servers"),
            ("tcp 192.0.2.10:5555 > 192.0.2.13:2379 syn", "ask-etcd"),
            ("tcp 192.0.2.10:5555 > 192.0.2.13:4567 syn", "POLICY"),
            ("tcp 192.0.2.10:5555 > 198.51.100.20:80 syn", "POLICY"),
            ("tcp 192.0.2.10:443 > 198.51.100.20:5555 syn,ack state answer", "replies"),
        ],
    );
}

#[test]
fn check_has_nothing_to_remark_on_the_examples() {
    let files = ["", "fleet"].map(|part| fs::read_dir(folder().join(part)).unwrap());
    for entry in files.into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let ruleset = Bundle::read(&path).unwrap().parse().unwrap();
            assert_eq!(check::check(&ruleset, None), [], "{}", path.display());
        }
    }
}

#[test]
fn each_example_in_the_readme_is_read() {
    let readme = fs::read_to_string(folder().join("README.md")).unwrap();
    let mut blocks = 0;
    for block in readme.split("```toml\n").skip(1) {
        let text = block.split("```").next().unwrap();
        // Pieces leave out what every file begins with.
        let text = if text.contains("schema") { text.to_owned() } else { format!("schema = 1\n{text}") };
        let mut bundle = Bundle::of_text("README.md", &text);
        bundle.attachments.insert("sets/drop.txt".to_owned(), "203.0.113.0/24 # example\n".to_owned());
        if let Err(errors) = bundle.parse() {
            panic!("{text}\n{errors}");
        }
        blocks += 1;
    }
    assert!(blocks >= 10, "{blocks} examples found");
}

#[test]
fn the_import_in_the_readme_is_what_is_made() {
    let readme = fs::read_to_string(folder().join("README.md")).unwrap();
    let block = |name: &str, kind: &str| {
        let (_, behind) = readme.split_once(&format!("<!-- {name} -->\n```{kind}\n")).unwrap();
        behind.split("```").next().unwrap()
    };
    let import = import::import(import::Format::Iptables, block("iptables", "text")).unwrap();
    assert_eq!(import.toml, block("imported", "toml"));
    let said = block("remarks", "text");
    for remark in import.changed.iter().chain(&import.refused) {
        assert!(
            said.contains(&format!(": {}\n {} | {}\n", remark.why, remark.line, remark.text)),
            "{remark:?}"
        );
    }
    assert_eq!(said.lines().count(), 2 * (import.changed.len() + import.refused.len()) + 1);
}

/// Each block that begins with `# in:` is what the rest of the block says of that text.
#[test]
fn each_error_in_the_readme_is_what_is_said() {
    let readme = fs::read_to_string(folder().join("README.md")).unwrap();
    let (_, behind) = readme.split_once("<!-- rules -->\n```text\n").unwrap();
    let (text, behind) = behind.split_once("```").unwrap();
    let (_, behind) = behind.split_once("<!-- errors -->\n```text\n").unwrap();
    let (expected, _) = behind.split_once("```").unwrap();
    let errors = Bundle::of_text("rules.toml", text).parse().unwrap_err();
    assert_eq!(errors.to_string().trim_end(), expected.trim_end());
}
