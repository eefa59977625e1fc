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

mod noise;
mod peers;
mod reconcile;

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
fn how_many_packets_are_told_of() {
    let text = rule("log = \"1/1000\"").replace("[[rule]]", "[policy]\nlog_drops = \"1/1\"\n[[rule]]");
    let ruleset = Bundle::of_text("rules.toml", &text).parse().unwrap();
    assert_eq!((ruleset.policy.log_drops, ruleset.rules[0].log), (OneIn::new(1), OneIn::new(1_000)));
    assert!(ruleset.logs());
    assert!(!Bundle::of_text("rules.toml", &rule("")).parse().unwrap().logs());
    for wrong in ["", "1", "1/", "1/0", "2/3", "1/-1", "1/+1", "1/4294967296", "1 / 2", "1/1.5", "1/x"] {
        let line = format!("log = {wrong:?}");
        check_errors(&rule(&line), &[(5, 7, &["log cannot be", "write \"1/1000\""])]);
    }
    check_errors(&rule("log = 1000"), &[(5, 7, &["log"])]);
    check_errors("schema = 1\n[policy]\nlog_drops = \"all\"\n", &[(3, 13, &["policy.log_drops cannot be"])]);
}

#[test]
fn what_is_not_enforced_is_refused_by_name() {
    check_errors(&rule("shadow = true"), &[(5, 10, &["not yet", "shadow"])]);
}

#[test]
fn syn_cookies_are_read_and_what_cannot_be_meant_is_shown() {
    let service = |port: &str, cookies: &str| {
        format!("schema = 1\n[[service]]\nname = \"a\"\nport = \"{port}\"\nsyn_cookies = {cookies}\n")
    };
    for (text, expected) in [
        ("\"off\"", SynCookies::default()),
        ("\"auto\"", SynCookies::auto(1_000, 500)),
        ("\"always\"", SynCookies { mode: CookieMode::Always, ..SynCookies::default() }),
        ("{ start = \"70/s\" }", SynCookies::auto(70, 35)),
        ("{ start = \"70/s\", stop = \"70/s\" }", SynCookies::auto(70, 70)),
    ] {
        let ruleset = Bundle::of_text("rules.toml", &service("tcp/1", text)).parse().unwrap();
        assert_eq!(ruleset.services[0].syn_cookies, expected, "{text}");
    }
    for (port, text, column, words) in [
        ("tcp/1", "\"on\"", 15, &["cannot be \"on\"", "always"][..]),
        ("tcp/1", "true", 15, &["syn_cookies"]),
        ("udp/1", "\"auto\"", 15, &["without a port of TCP"]),
        ("tcp/1", "{ stop = \"1/s\" }", 15, &["start"]),
        ("tcp/1", "{ start = \"1/m\" }", 25, &["1/m", "in a second"]),
        ("tcp/1", "{ start = \"-1/s\" }", 25, &["-1/s"]),
        ("tcp/1", "{ start = \"99999999999/s\" }", 25, &["99999999999/s"]),
        ("tcp/1", "{ start = \"0/s\" }", 25, &["always"]),
        ("tcp/1", "{ start = \"5/s\", stop = \"6/s\" }", 39, &["begin above 5", "end at 6"]),
        ("tcp/1", "{ start = \"5/s\", rate = \"6/s\" }", 32, &["rate"]),
    ] {
        check_errors(&service(port, text), &[(5, column, words)]);
    }
}

#[test]
fn packets_are_rejected_by_policies_rules_and_limits_up_to_a_rate() {
    let text = "schema = 1\n[policy]\nin = \"reject\"\nout = \"reject\"\n[[rule]]\nid = \"r\"\naction = \"reject\"\n\
                [[rule]]\nid = \"l\"\naction = \"accept\"\nlimit = { rate = \"1/s\" }\nover = \"reject\"\n";
    let parse = |text| Bundle::of_text("rules.toml", text).parse().unwrap();
    let ruleset = parse(text);
    let Policy { inbound, outbound, reject_rate, .. } = ruleset.policy;
    assert_eq!((inbound, outbound), (Verdict::Reject, Verdict::Reject));
    assert_eq!(reject_rate, Rate { packets: 1_000, span: RateSpan::Second });
    let [rejects, limited] = &ruleset.rules[..] else { panic!("{:?}", ruleset.rules) };
    assert_eq!(rejects.action, Verdict::Reject);
    assert_eq!(limited.limit.map(|limit| limit.over), Some(Verdict::Reject));
    assert!(ruleset.rejects() && ruleset.tracks());
    assert!(!parse("schema = 1\n[policy]\nin = \"drop\"\n").rejects());
    for (rate, said) in [
        ("\"0/s\"", "a rate of zero"),
        ("\"many\"", "is no rate"),
        ("\"99999999/s\"", "too high"),
        ("5", "policy.reject_rate"),
    ] {
        check_errors(&format!("schema = 1\n[policy]\nreject_rate = {rate}\n"), &[(3, 15, &[said])]);
    }
}

#[test]
fn what_a_service_asks_of_its_clients_fits_what_is_spoken_there() {
    let service = |lines: &str| format!("schema = 1\n[[service]]\nname = \"a\"\nport = \"tcp/1\"\n{lines}\n");
    let of_tls = "protocol = \"tls\"\nrequire_tls = true\nmin_tls = \"1.2\"";
    let ruleset = Bundle::of_text("rules.toml", &service(of_tls)).parse().unwrap();
    let TlsRequirements { required, oldest } = ruleset.services[0].tls;
    assert_eq!((required, oldest), (true, Some(TlsVersion::Tls12)));
    check_errors(&service("require_tls = true"), &[(5, 15, &["only", "protocol = \"tls\""])]);
    check_errors(&service("protocol = \"http1\"\nmin_tls = \"1.2\""), &[(6, 11, &["only", "tls"])]);
    check_errors(&service("protocol = \"tls\"\nmin_tls = \"1.4\""), &[(6, 11, &["min_tls cannot be"])]);
    check_errors(&service("proxy_protocol = true"), &[(5, 18, &["means nothing", "protocol = \"tls\""])]);
    let proxied = service("protocol = \"mysql\"\nproxy_protocol = true");
    assert!(Bundle::of_text("rules.toml", &proxied).parse().unwrap().services[0].proxy_protocol);
    let h2c = service("protocol = \"h2c\"").replace("tcp/1", "udp/1");
    check_errors(&h2c, &[(4, 8, &["udp/1 cannot speak h2c", "tcp/1"])]);
    check_errors(&service("protocol = \"h3\""), &[(5, 12, &["protocol", "dns, h2c"])]);
    let udp = service("protocol = \"tls\"").replace("tcp/1", "udp/1");
    check_errors(&udp, &[(4, 8, &["udp/1 cannot speak tls", "tcp/1"])]);
    let of_dns = service("protocol = \"dns\"").replace("\"tcp/1\"", "[\"udp/1\", \"tcp/1\"]");
    let ruleset = Bundle::of_text("rules.toml", &of_dns).parse().unwrap();
    assert_eq!((ruleset.services[0].protocol, ruleset.services[0].ports.len()), (Protocol::Dns, 2));
    let proxied = service("protocol = \"dns\"\nproxy_protocol = true");
    check_errors(
        &proxied,
        &[(6, 18, &["proxy_protocol means nothing for a service of dns", "leave this out"])],
    );
    let alone = service("protocol = \"http1\"\nresponses = false");
    assert!(!Bundle::of_text("rules.toml", &alone).parse().unwrap().services[0].responses);
    check_errors(&service("protocol = \"tls\"\nresponses = false"), &[(6, 13, &["http1", "leave this out"])]);
    let sctp = service("protocol = \"dns\"").replace("tcp/1", "sctp/1");
    check_errors(&sctp, &[(4, 8, &["sctp/1 cannot speak dns", "UDP and TCP", "udp/1"])]);
}

/// Line, column and parts of what is said.
type Error<'a> = (usize, usize, &'a [&'a str]);

#[test]
fn limits_are_rates_with_a_burst() {
    let rule = |lines: &str| format!("schema = 1\n[[rule]]\nid = \"a\"\naction = \"accept\"\n{lines}\n");
    let limit = |lines: &str| {
        Bundle::of_text("rules.toml", &rule(lines)).parse().unwrap().rules[0].limit.unwrap().to_string()
    };
    for (lines, words) in [
        ("limit = { rate = \"100/s\" }", "100/s burst 100 per rule, over drop"),
        ("limit = { rate = \"6/m\", burst = 20, per = \"source\" }", "6/m burst 20 per source, over drop"),
        ("limit = { rate = \"1/h\", per = \"source/24\" }", "1/h burst 1 per source/24, over drop"),
        (
            "limit = { rate = \"10000000/s\", per = \"source/48\" }",
            "10000000/s burst 10000000 per source/48, over drop",
        ),
    ] {
        assert_eq!(limit(lines), words);
    }
    let inverse = rule("limit = { rate = \"2/d\" }\nover = \"accept\"")
        .replace("action = \"accept\"", "action = \"drop\"");
    let inverse = Bundle::of_text("rules.toml", &inverse).parse().unwrap().rules[0].limit.unwrap();
    assert_eq!(inverse.to_string(), "2/d burst 2 per rule, over accept");
    let wrong: [(&str, Error<'_>); 14] = [
        ("limit = \"100/s\"", (5, 9, &["not a table", "rate = \"100/s\""])),
        ("limit = {}", (5, 9, &["rate"])),
        ("limit = { rate = 100 }", (5, 18, &["a whole number", "in quotes"])),
        ("limit = { rate = \"100\" }", (5, 18, &["no rate", "6/m"])),
        ("limit = { rate = \"+1/s\" }", (5, 18, &["no rate"])),
        ("limit = { rate = \"0/s\" }", (5, 18, &["zero", "drop"])),
        ("limit = { rate = \"99999999999/d\" }", (5, 18, &["too high", "10000000/s"])),
        ("limit = { rate = \"10000001/s\" }", (5, 18, &["too high"])),
        ("limit = { rate = \"1/d\", burst = 0 }", (5, 33, &["out of range"])),
        ("limit = { rate = \"1/d\", burst = 400 }", (5, 9, &["more than a year", "smaller burst"])),
        ("limit = { rate = \"1/d\", per = \"source/0\" }", (5, 31, &["per cannot be", "source/24"])),
        ("limit = { rate = \"1/d\", per = \"client\" }", (5, 31, &["not yet enforced", "source"])),
        ("over = \"accept\"", (5, 8, &["the rule has none"])),
        ("limit = { rate = \"1/d\" }\nover = \"accept\"", (6, 8, &["changes nothing", "another over"])),
    ];
    for (lines, error) in wrong {
        check_errors(&rule(lines), &[error]);
    }
    let banned = |per: &str, over: &str| rule(&format!("limit = {{ rate = \"1/d\"{per} }}\nover = {over}"));
    let source = ", per = \"source\"";
    for (per, length) in [(source, 64), (", per = \"source/48\"", 48)] {
        let file = banned(per, "{ ban = \"10m\" }");
        let limit = Bundle::of_text("rules.toml", &file).parse().unwrap().rules[0].limit.unwrap();
        assert_eq!((limit.over, limit.ban), (Verdict::Drop, Some(Duration::from_mins(10))));
        assert_eq!(limit.per, Per::Source { v4: 32, v6: length });
        assert!(limit.to_string().ends_with(", over ban 10m"), "{limit}");
    }
    check_errors(&banned("", "{ ban = \"10m\" }"), &[(5, 9, &["whoever came next", "per = \"source\""])]);
    let per_rule = banned(", per = \"rule\"", "{ ban = \"10m\" }");
    check_errors(&per_rule, &[(5, 31, &["whoever came next", "per = \"source\""])]);
    for (over, error) in [
        ("{ ban = \"soon\" }", (6, 16, &["no time of a ban", "10m"] as &[&str])),
        ("{ ban = \"forever\" }", (6, 16, &["without end", "30d"])),
        ("{ ban = 10 }", (6, 16, &["over.ban"])),
    ] {
        check_errors(&banned(source, over), &[error]);
    }
    for over in ["{ band = \"10m\" }", "{}"] {
        let errors = Bundle::of_text("rules.toml", &banned(source, over)).parse().unwrap_err().to_string();
        assert!(errors.contains("write over = { ban = \"10m\" }"), "{errors}");
    }
    let outbound = rule("direction = \"out\"\nlimit = { rate = \"1/d\" }\nover = { ban = \"10m\" }");
    check_errors(&outbound, &[(7, 8, &["this server", "over = \"drop\""])]);
    let outbound = rule("direction = \"out\"\nlimit = { rate = \"1/d\", per = \"source\" }");
    check_errors(&outbound, &[(6, 31, &["this server", "per = \"rule\""])]);
}

#[test]
fn what_is_inside_of_tls_is_read_of_processes_that_are_named() {
    let service = |lines: &str| format!("schema = 1\n[[service]]\nname = \"a\"\nport = \"tcp/1\"\n{lines}\n");
    let of_tls = |lines: &str| service(&format!("protocol = \"tls\"\ndecrypt_by = \"uprobe\"\n{lines}"));
    for (lines, from) in [
        ("", DecryptFrom::Listeners),
        (r#"decrypt_from = { unit = "nginx.service" }"#, DecryptFrom::Unit("nginx.service".to_owned())),
        (r#"decrypt_from = { path = "/usr/sbin/nginx" }"#, DecryptFrom::Path("/usr/sbin/nginx".to_owned())),
    ] {
        let ruleset = Bundle::of_text("rules.toml", &of_tls(lines)).parse().unwrap();
        assert_eq!(ruleset.services[0].decrypt, Some(from));
    }
    check_errors(&service("decrypt_by = \"uprobe\""), &[(5, 14, &["only", "protocol = \"tls\""])]);
    check_errors(
        &service("protocol = \"tls\"\ndecrypt_by = \"key\""),
        &[(6, 14, &["decrypt_by cannot be", "uprobe"])],
    );
    check_errors(
        &service("protocol = \"tls\"\ndecrypt_from = { unit = \"a.service\" }"),
        &[(6, 16, &["without decrypt_by", "decrypt_by = \"uprobe\""])],
    );
    check_errors(&of_tls("decrypt_from = \"nginx\""), &[(7, 16, &["not a table", "unit ="])]);
    check_errors(&of_tls("decrypt_from = {}"), &[(7, 16, &["names nothing", "leave it out"])]);
    check_errors(
        &of_tls("decrypt_from = { pid = 7 }"),
        &[(7, 16, &["names nothing"]), (7, 18, &["pid", "unit"])],
    );
    check_errors(
        &of_tls("decrypt_from = { unit = \"nginx\" }"),
        &[(7, 25, &["no name of a unit", "nginx.service"])],
    );
    check_errors(
        &of_tls("decrypt_from = { path = \"nginx\" }"),
        &[(7, 25, &["no path from the root", "/usr"])],
    );
    check_errors(
        &of_tls("decrypt_from = { unit = \"a.service\", path = \"/a\" }"),
        &[(7, 45, &["both", "leave one"])],
    );
}

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

#[test]
fn files_of_a_folder_are_one() {
    let file = |name: &str, text: &str| SourceFile { name: name.to_owned(), text: text.to_owned() };
    let files = vec![
        file(
            "a.toml",
            "schema = 1\n[policy]\nin = \"drop\"\n[[rule]]\nid = \"a\"\naction = \"drop\"\nsource = \"@s\"\n",
        ),
        file(
            "b.toml",
            "schema = 1\n[sets.s]\nentries = [\"::1\"]\n[[rule]]\nid = \"b\"\naction = \"drop\"\n",
        ),
    ];
    let mut bundle = Bundle { files, ..Bundle::default() };
    let ruleset = bundle.parse().unwrap();
    assert_eq!(ruleset.rules.iter().map(|rule| rule.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);

    bundle.files.push(file(
        "c.toml",
        "[policy]\nin = \"accept\"\n[sets.s]\nentries = []\n[[rule]]\nid = \"a\"\naction = \"drop\"\n",
    ));
    let errors = bundle.parse().unwrap_err();
    let places: Vec<_> = errors.errors().iter().map(|error| (error.file.as_str(), error.line)).collect();
    assert_eq!(places, [("c.toml", 1), ("c.toml", 1), ("c.toml", 3), ("c.toml", 6)], "{errors}");
    for part in ["schema is missing", "the first is at a.toml:2", "the first is at b.toml:2", "at a.toml:5"] {
        assert!(errors.to_string().contains(part), "{part}: {errors}");
    }
}

#[test]
fn errors_of_set_files_name_the_set_file() {
    let mut bundle = whole_bundle();
    bundle.attachments.insert("sets/drop.txt".to_owned(), "# x\n  10.0.0.1/8 # y\nfoo\n".to_owned());
    let errors = bundle.parse().unwrap_err();
    let text = errors.to_string();
    assert!(text.starts_with("sets/drop.txt:2:3: \"10.0.0.1/8\" has bits"), "{text}");
    assert!(text.contains("sets/drop.txt:3:1: \"foo\" is no address"), "{text}");
    bundle.attachments.clear();
    assert!(
        bundle.parse().unwrap_err().to_string().contains("rules.toml:19:8: the set file"),
        "no attachment"
    );
}

#[test]
fn set_files_are_found_however_their_key_is_written() {
    let named = |text: &str| -> Vec<String> {
        let files = Bundle::of_text("a.toml", text).files;
        set_files(&files).into_iter().map(|found| found.name).collect()
    };
    assert_eq!(named("[sets.one]\nfile = \"one.txt\"\n"), ["one.txt"]);
    assert_eq!(named("[sets]\none = { \"fi\\u006ce\" = \"one.txt\" }\n"), ["one.txt"]);
    assert_eq!(named("[[rule]]\nid = \"one\"\naction = \"drop\"\n"), Vec::<String>::new());
}
