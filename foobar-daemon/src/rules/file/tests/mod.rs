use std::{collections::BTreeSet, time::Duration};

use foobar_common::{
    flow::Direction, service::Protocol, syn_cookies::CookieMode, tls::TlsVersion, tracking::State,
    verdict::Verdict,
};

use super::*;
use crate::rules::{
    limit::{Per, Rate, RateSpan},
    log::OneIn,
    model::{
        AddressCondition, AddressMatch, AddressSet, DecryptFrom, Failsafe, FlagCondition, FragmentPolicy,
        IcmpCondition, Policy, PortProtocol, Rule, Service, ServicePort, SynCookies, TlsRequirements,
    },
};

mod bundles;
mod consequences;
mod guard;
mod noise;
mod peers;
mod reconcile;
mod services;

/// Everything that the language can say and this version acts on.
const WHOLE: &str = r#"schema = 1
[policy]
in = "drop"
out = "drop"
malformed = "accept"
fragments = "drop"
infrastructure = false
replies = "rules"
log_drops = "1/1000"
adopt = "1m"
reject_rate = "50/m"
[failsafe]
ports = ["tcp/22", "udp/51820"]
peers = ["198.51.100.10", "2001:db8::/48"]
never_ban = ["192.0.2.0/28"]
[sets.offices]
entries = ["198.51.100.0/24", "2001:db8:40::/48"]
[sets.spamhaus]
file = "sets/drop.txt"
[[service]]
name = "www"
port = ["tcp/80", "tcp/443"]
protocol = "raw"
syn_cookies = "off"
require_tls = false
proxy_protocol = false
[[service]]
name = "vpn"
port = "udp/51820"
[[rule]]
id = "web"
action = "accept"
direction = "in"
source = ["@offices", "203.0.113.0/24", "!203.0.113.9", "!@spamhaus"]
destination = "192.0.2.10"
protocol = ["tcp", 6]
source_port = "1024-65535"
destination_port = [80, "443", "8000-8099"]
tcp_flags = { set = ["syn"], clear = ["ack", "rst"] }
fragment = false
state = ["new", "related"]
interface = ["eth0", "bond0.10"]
vlan = [10, 4095]
length = "0-128"
shadow = false
log = "1/100"
comment = "…"
[[rule]]
id = "ping"
action = "drop"
direction = "out"
icmp = ["echo-request", "packet-too-big"]
length = 84
[[rule]]
id = "frag"
action = "drop"
protocol = "icmp"
icmp = ["3/4", 5]
[[rule]]
id = "later"
action = "accept"
protocol = ["udp", "esp", 253]
fragment = true
"#;

fn whole_bundle() -> Bundle {
    let mut bundle = Bundle::of_text("rules.toml", WHOLE);
    let text = "# bad ones\n203.0.113.64/26 ; from 2024\n\n2001:db8:bad::/48#x\n\t192.0.2.7\r\n";
    bundle.attachments.insert("sets/drop.txt".to_owned(), text.to_owned());
    bundle
}

#[test]
fn the_whole_language_is_read() {
    let prefix = |text: &str| text.parse().unwrap();
    let ruleset = whole_bundle().parse().unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(
        ruleset.policy,
        Policy {
            inbound: Verdict::Drop,
            outbound: Verdict::Drop,
            malformed: Verdict::Accept,
            fragments: FragmentPolicy::Always(Verdict::Drop),
            infrastructure: false,
            replies: false,
            log_drops: OneIn::new(1_000),
            adopt: Duration::from_mins(1),
            reject_rate: Rate { packets: 50, span: RateSpan::Minute },
        }
    );
    let tcp = |port| ServicePort { protocol: PortProtocol::Tcp, port };
    let vpn = ServicePort { protocol: PortProtocol::Udp, port: 51_820 };
    assert_eq!(
        ruleset.failsafe,
        Failsafe {
            ports: vec![tcp(22), vpn],
            peers: vec![prefix("198.51.100.10/32"), prefix("2001:db8::/48")],
            never_ban: vec![prefix("192.0.2.0/28")],
        }
    );
    assert_eq!(
        ruleset.services,
        [Service::raw("www", vec![tcp(80), tcp(443)]), Service::raw("vpn", vec![vpn]),]
    );
    assert_eq!(
        ruleset.sets["spamhaus"],
        AddressSet {
            file: Some("sets/drop.txt".to_owned()),
            entries: vec![prefix("203.0.113.64/26"), prefix("2001:db8:bad::/48"), prefix("192.0.2.7/32")],
            masked: 0,
        }
    );
    let mut web = Rule::new("web", Verdict::Accept);
    web.source = Some(AddressCondition {
        include: vec![
            AddressMatch::Set("offices".to_owned()),
            AddressMatch::Prefix(prefix("203.0.113.0/24")),
        ],
        exclude: vec![
            AddressMatch::Prefix(prefix("203.0.113.9/32")),
            AddressMatch::Set("spamhaus".to_owned()),
        ],
    });
    web.destination = Some(AddressCondition {
        include: vec![AddressMatch::Prefix(prefix("192.0.2.10/32"))],
        exclude: Vec::new(),
    });
    web.protocol = Some(BTreeSet::from([6]));
    web.source_port = Some(vec![1024..=65_535]);
    web.destination_port = Some(vec![80..=80, 443..=443, 8000..=8099]);
    web.tcp_flags = Some(FlagCondition { set: 0x02, clear: 0x14 });
    web.fragment = Some(false);
    web.state = Some(BTreeSet::from([State::New, State::Related]));
    web.interface = Some(BTreeSet::from(["eth0".to_owned(), "bond0.10".to_owned()]));
    web.vlan = Some(BTreeSet::from([10, 4095]));
    web.length = Some(0..=128);
    web.log = OneIn::new(100);
    web.comment = Some("…".to_owned());
    let icmp = |protocol, kind, code| IcmpCondition { protocol, kind, code };
    let mut ping = Rule::new("ping", Verdict::Drop);
    ping.icmp = Some(vec![icmp(1, 8, None), icmp(58, 128, None), icmp(58, 2, None)]);
    ping.length = Some(84..=84);
    ping.direction = Direction::Out;
    let mut frag = Rule::new("frag", Verdict::Drop);
    frag.protocol = Some(BTreeSet::from([1]));
    frag.icmp = Some(vec![icmp(1, 3, Some(4)), icmp(1, 5, None)]);
    let mut later = Rule::new("later", Verdict::Accept);
    later.protocol = Some(BTreeSet::from([17, 50, 253]));
    later.fragment = Some(true);
    assert_eq!(ruleset.rules, [web, ping, frag, later]);

    assert_eq!(Bundle::of_text("x", "schema = 1").parse(), Ok(Ruleset::default()));
}

#[test]
fn positions_are_those_of_ids_and_names() {
    let (_, positions) = whole_bundle().parse_with_positions().unwrap();
    let at = |line, column| Position { file: "rules.toml".to_owned(), line, column };
    assert_eq!(positions.rules["web"], at(31, 6));
    assert_eq!(positions.services["vpn"], at(28, 8));
    assert_eq!(positions.sets["offices"], at(16, 7));
}

/// A rule with these lines, which begin at line 5 of the file.
fn rule(lines: &str) -> String {
    format!("schema = 1\n[[rule]]\nid = \"r\"\naction = \"drop\"\n{lines}\n")
}

/// Each row: lines of a rule, the place of the error, and parts of what is said.
#[test]
fn what_is_wrong_in_a_rule() {
    let rows: &[(&str, (usize, usize), &[&str])] = &[
        (r#"protcol = "tcp""#, (5, 1), &["no key \"protcol\"", "did you mean protocol?"]),
        (r"dport = 80", (5, 1), &["did you mean destination_port?"]),
        (r"xyzzy = 1", (5, 1), &["keys of [[rule]]: id, action"]),
        (
            r#"source = "10.0.0.1/8""#,
            (5, 10),
            &["bits set behind", "write 10.0.0.0/8", "10.0.0.1 for the one"],
        ),
        (r#"source = ["::1", "2001:db8::1/64"]"#, (5, 18), &["write 2001:db8::/64"]),
        (r#"source = "10.0.0.0/33""#, (5, 10), &["no prefix length from 0 to 32"]),
        (r#"source = "10.0.0.0/255.0.0.0""#, (5, 10), &["write 10.0.0.0/8"]),
        (r#"source = "10.0.0.0/+8""#, (5, 10), &["no prefix length"]),
        (r#"source = "::/129""#, (5, 10), &["0 to 128"]),
        (r#"source = "10.0.0.0/""#, (5, 10), &["no prefix length"]),
        (r#"source = "10.0.0""#, (5, 10), &["all four numbers"]),
        (r#"source = "10.0.0.1-10.0.0.9""#, (5, 10), &["address ranges are not known"]),
        (r#"source = "web.example.org""#, (5, 10), &["names are not looked up"]),
        (r#"source = "any""#, (5, 10), &["leave the key out"]),
        (r#"source = " ::1""#, (5, 10), &["without the spaces"]),
        (r#"source = "[::1]""#, (5, 10), &["without brackets"]),
        (r#"source = "fe80::1%eth0""#, (5, 10), &["the key interface"]),
        (r#"source = "::ffff:192.0.2.1""#, (5, 10), &["in IPv6 form", "write 192.0.2.1;"]),
        (r#"source = "::ffff:192.0.2.0/120""#, (5, 10), &["write 192.0.2.0/24;"]),
        (r#"source = ["!"]"#, (5, 11), &["no address"]),
        (r#"source = "@offices""#, (5, 10), &["there is no set \"offices\"", "[sets.offices]"]),
        (r#"source = "!@""#, (5, 10), &["name of the set behind the @"]),
        (r"source = []", (5, 10), &["empty list", "leave source out"]),
        (r"source = 7", (5, 10), &["cannot be a whole number", "text in quotes"]),
        (r#"source = ["::1", 7]"#, (5, 18), &["cannot be a whole number"]),
        ("source = \"::1\"\ndestination = \"10.0.0.0/8\"", (6, 1), &["no IP version in common"]),
        (
            "protocol = \"icmp\"\nsource = \"::1\"",
            (6, 1),
            &["ICMP is of IPv4", "write protocol = \"icmpv6\""],
        ),
        ("icmp = \"packet-too-big\"\ndestination = \"10.0.0.1\"", (6, 1), &["destination has IPv4 only"]),
        (r#"protocol = "upd""#, (5, 12), &["no protocol \"upd\"", "did you mean \"udp\"?"]),
        (r#"protocol = "ipv6-icmp""#, (5, 12), &["write \"icmpv6\""]),
        (r"protocol = 256", (5, 12), &["256 is out of range", "0 to 255"]),
        (r"protocol = -1", (5, 12), &["-1 is out of range"]),
        (r"protocol = 1.5", (5, 12), &["a number with a point"]),
        (r"protocol = []", (5, 12), &["empty list"]),
        (r"destination_port = 65536", (5, 20), &["out of range"]),
        (r#"destination_port = "90-80""#, (5, 20), &["empty", "write \"80-90\""]),
        (r#"destination_port = "80 - 90""#, (5, 20), &["write \"80-90\""]),
        (r#"destination_port = "80:90""#, (5, 20), &["write \"80-90\""]),
        (r#"destination_port = "80-""#, (5, 20), &["write \"80-65535\""]),
        (r#"destination_port = "http""#, (5, 20), &["no number or range"]),
        (r"source_port = [1, true]", (5, 19), &["source_port cannot be true or false"]),
        ("protocol = \"icmp\"\ndestination_port = 80", (6, 1), &["icmp has no ports", "tcp, udp and sctp"]),
        ("protocol = [\"tcp\", 47]\ndestination_port = 80", (6, 1), &["gre has no ports"]),
        ("protocol = [\"tcp\", \"udp\"]\ntcp_flags = { set = [\"syn\"] }", (6, 1), &["udp has no TCP flags"]),
        ("protocol = \"tcp\"\nicmp = \"echo-request\"", (6, 1), &["tcp has no ICMP messages"]),
        ("icmp = \"echo-request\"\nsource_port = 1", (5, 1), &["no protocol has both icmp and source_port"]),
        ("icmp = \"echo-request\"\ntcp_flags = { set = [\"syn\"] }", (5, 1), &["both icmp and tcp_flags"]),
        (r#"tcp_flags = { set = ["sny"] }"#, (5, 22), &["did you mean \"syn\"?"]),
        (r"tcp_flags = {}", (5, 13), &["names no flag"]),
        (
            r#"tcp_flags = { set = ["syn"], clear = ["syn", "ack"] }"#,
            (5, 13),
            &["syn cannot be set and clear"],
        ),
        (r#"tcp_flags = { unset = ["syn"] }"#, (5, 15), &["tcp_flags has no key \"unset\""]),
        (r#"tcp_flags = "syn""#, (5, 13), &["not a table", "write tcp_flags = { set"]),
        (r#"icmp = "eco-request""#, (5, 8), &["did you mean \"echo-request\"?"]),
        (r"icmp = 8", (5, 8), &["different things in IPv4 and IPv6", "protocol = \"icmp\""]),
        (r#"icmp = "3/4""#, (5, 8), &["different things"]),
        ("protocol = [\"icmp\", \"icmpv6\"]\nicmp = 8", (6, 8), &["different things"]),
        ("protocol = \"icmp\"\nicmp = \"packet-too-big\"", (6, 8), &["a message of icmpv6 only"]),
        ("protocol = \"icmp\"\nicmp = \"3/256\"", (6, 8), &["from 0 to 255"]),
        ("protocol = \"icmp\"\nicmp = \"redirect/1\"", (6, 8), &["the type is a number too"]),
        (r#"fragment = "yes""#, (5, 12), &["true or false, without quotes"]),
        ("fragment = true\ndestination_port = 1", (6, 1), &["later fragments have no ports"]),
        (
            "fragment = true\nprotocol = \"icmp\"\nicmp = 8",
            (7, 1),
            &["later fragments have no ICMP messages"],
        ),
        (r#"interface = "eth0/1""#, (5, 13), &["no interface can be called"]),
        (r#"interface = "eth*""#, (5, 13), &["patterns"]),
        (r#"interface = "averyverylongname""#, (5, 13), &["more than 15 bytes"]),
        (r"vlan = 4096", (5, 8), &["0 to 4095"]),
        (r#"vlan = "10""#, (5, 8), &["a whole number"]),
        (r#"length = "100-20""#, (5, 10), &["write \"20-100\""]),
        (r"comment = 1", (5, 11), &["comment cannot be"]),
    ];
    for (lines, (line, column), parts) in rows {
        check_errors(&rule(lines), &[(*line, *column, parts)]);
    }
}

/// The errors of a text are exactly these, in this order.
fn check_errors(text: &str, expected: &[(usize, usize, &[&str])]) {
    let errors = Bundle::of_text("rules.toml", text).parse().expect_err(text);
    assert_eq!(errors.count(), expected.len(), "{text}\n{errors}");
    for (error, (line, column, parts)) in errors.errors().iter().zip(expected) {
        assert_eq!((error.line, error.column), (*line, *column), "{text}\n{errors}");
        for part in *parts {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
    }
}

#[test]
fn what_is_wrong_elsewhere() {
    check_errors("", &[(1, 1, &["the file says nothing", "schema = 1"])]);
    check_errors("# only a comment\n", &[(1, 1, &["the file says nothing"])]);
    check_errors("[policy]\nin = \"drop\"\n", &[(1, 1, &["schema is missing"])]);
    check_errors("schema = 2\nx = 1", &[(1, 10, &["schema 1 only"])]);
    check_errors("schema = \"1\"", &[(1, 10, &["schema cannot be a text"])]);
    check_errors("schema = 1\nrules = []", &[(2, 1, &["did you mean rule?"])]);
    check_errors("schema = 1\nrule = 3", &[(2, 8, &["not one of several tables"])]);
    check_errors("schema = 1\n[rule]\nid = \"x\"", &[(2, 1, &["[[rule]] is a table"])]);
    check_errors(
        "schema = 1\n[[rule]]\n[[service]]\n[sets.x]\n[sets.\"a b\"]\nentries = []\n",
        &[
            (2, 1, &["[[rule]] has no id"]),
            (2, 1, &["[[rule]] has no action"]),
            (3, 1, &["[[service]] has no name"]),
            (3, 1, &["[[service]] has no port"]),
            (4, 1, &["neither entries nor a file"]),
            (5, 7, &["the name of a set contains ' '"]),
        ],
    );
    check_errors(
        "schema = 1\n[policy]\nin = \"dorp\"\nmalformed = \"reject\"\nfragments = true\ninfrastructure = 1\n",
        &[
            (3, 6, &["did you mean \"drop\"?"]),
            (4, 13, &["policy.malformed cannot be \"reject\""]),
            (5, 13, &["policy.fragments cannot be true or false"]),
            (6, 18, &["policy.infrastructure cannot be a whole number"]),
        ],
    );
    check_errors(
        "schema = 1\n[failsafe]\nports = [22, \"443/tcp\", \"http\", \"tcp/1-9\", \"icmp/1\"]\npeers = \"@x\"\n",
        &[
            (3, 10, &["failsafe.ports 22 has no protocol", "write \"tcp/22\""]),
            (3, 14, &["write \"tcp/443\""]),
            (3, 25, &["write protocol/port"]),
            (3, 33, &["ranges are not known"]),
            (3, 44, &["protocols with ports are"]),
            (4, 9, &["addresses and prefixes only"]),
        ],
    );
    check_errors(
        "schema = 1\n[[service]]\nname = \"a\"\nport = [\"tcp/1\", \"tcp/1\"]\n[[service]]\nname = \"a\"\nport = []\n",
        &[
            (4, 18, &["tcp/1 belongs to a service already, at rules.toml:4"]),
            (6, 8, &["given a second time; the first is at rules.toml:3"]),
            (7, 8, &["empty list"]),
        ],
    );
    check_errors(
        &format!(
            "{}[[rule]]\nid = \"r\"\naction = \"drop\"\n[[rule]]\nid = \"\"\naction = \"drop\"\n",
            rule("")
        ),
        &[(7, 6, &["the first is at rules.toml:3"]), (10, 6, &["the id of a rule is empty"])],
    );
    check_errors(
        "schema = 1\nx = 192.0.2.1\n[policy\n[[rule]]\nid = web\n",
        &[(2, 10, &["put them in quotes"]), (3, 8, &["unclosed table"]), (5, 6, &["put them in quotes"])],
    );
    check_errors("schema = 1\nschema = 1\n", &[(2, 1, &["duplicate key"])]);
    let long = "x".repeat(65);
    check_errors(&rule("").replace("\"r\"", &format!("{long:?}")), &[(3, 6, &["has 65 characters"])]);
}

#[test]
fn what_is_not_enforced_is_refused_by_name() {
    check_errors(&rule("shadow = true"), &[(5, 10, &["not yet", "shadow"])]);
}

/// Line, column and parts of what is said.
type Error<'a> = (usize, usize, &'a [&'a str]);

#[test]
fn there_are_131072_rules_and_32_service_ports_at_most() {
    let rules = |count: usize| {
        let rules = (0..count).map(|n| format!("[[rule]]\nid = \"r{n}\"\naction = \"drop\"\n"));
        format!("schema = 1\n{}", rules.collect::<String>())
    };
    check_errors(&rules(131_073), &[(393_218, 1, &["rule number 131073", "room for 131072"])]);
    let services = |count: usize| {
        let ports: Vec<String> = (1..=count).map(|n| format!("\"tcp/{n}\"")).collect();
        format!("schema = 1\n[[service]]\nname = \"x\"\nport = [\n{}\n]", ports.join(",\n"))
    };
    assert_eq!(Bundle::of_text("x", &services(32)).parse().unwrap().services[0].ports.len(), 32);
    check_errors(&services(33), &[(37, 1, &["number 33; at most 32"])]);
}
