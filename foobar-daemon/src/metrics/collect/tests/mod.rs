mod monitoring;

use std::collections::BTreeSet;

use foobar_common::{
    dns::{DnsCounters, QueryType, ResponseCode},
    mysql::{Command, Operation},
    peers::PeerConnections,
    proxy::ProxyCounters,
    raw::RawCounters,
    service::{Histogram, HttpCounters, Loss, Losses, MysqlCounters, ServiceBytes, Ticks, TlsCounters},
    syn_cookies::SynCounters,
    tls::{Alpn, TlsVersion},
};
use prometheus::{Registry, TextEncoder};

use super::*;
use crate::{
    control::{
        bans::BanCounts,
        events::EventFacts,
        protocol::{PendingFacts, Reload, RulesetFacts, SynCookieFacts},
    },
    daemon::guarding::GuardFacts,
    dataplane::{
        attach::{AttachedMode, Mode, Obstacle},
        counters::{Peers, ProtocolCounters, ServiceCounters, SynCookieCounters},
        egress::EgressHook,
        fill::MapFill,
        probes::ProcessFacts,
        programs::ProgramFacts,
    },
    fleet::FleetFacts,
    guard::{Fallen, Rate},
    reconcile::{Reason as ReconcileReason, ReconcileFacts},
    state::Applied,
    state::EtcdDecision,
    web_config::{exposure::Protection, live::WebConfigFacts},
};

const WEB: ServicePort = ServicePort { protocol: PortProtocol::Tcp, port: 443 };
const DATABASE: ServicePort = ServicePort { protocol: PortProtocol::Tcp, port: 3306 };

/// A service whose clients are in two groups, besides others.
fn service_of(name: &str, of_protocol: ProtocolCounters) -> ServiceCounters {
    let names = BTreeMap::from([("lb".to_owned(), 1), ("monitoring".to_owned(), 0)]);
    let of_balancer = PeerConnections { first_bytes: [5, 7, 0, 0], sessions: [0, 0, 3, 1], opened: 2 };
    let peers = Peers::new(&of_protocol, &names, &[PeerConnections::default(), of_balancer]);
    ServiceCounters {
        service: name.to_owned(),
        bytes: ServiceBytes::default(),
        proxied: None,
        peers,
        syn_cookies: None,
        of_protocol,
    }
}

/// Counters and facts that give every metric a series; `fail` makes both fail.
struct Fixed {
    fail: bool,
}

impl Source for Fixed {
    fn go_on(&self, _families: &mut [MetricFamily]) {}

    fn counters(&self) -> Result<Counters, String> {
        if self.fail {
            return Err("the map is gone".to_owned());
        }
        let counter = Counter { packets: 3, bytes: 180 };
        let mut counters = Counters::default();
        counters.rules.insert("web".into(), counter);
        counters.rules.insert("never".into(), Counter::default());
        counters.over.insert("web".into(), Counter { packets: 2, bytes: 120 });
        counters.verdicts.insert(("eth0".to_owned(), Direction::In, Verdict::Accept, Reason::Rule), counter);
        counters
            .verdicts
            .insert(("other".to_owned(), Direction::Out, Verdict::Drop, Reason::Policy), counter);
        counters.ports.insert(("eth0".to_owned(), Direction::In, Port::Service(WEB)), counter);
        counters.ports.insert(("eth0".to_owned(), Direction::In, Port::Other(Transport::Icmp)), counter);
        let mut lost = Losses::default();
        lost.count(Direction::In, Loss::Gap);
        let http = HttpCounters {
            requests: [5, 0, 2, 0, 0, 0, 0, 0, 0, 1, 0],
            responses: [0, 6, 0, 1, 0, 0],
            lost,
            last_byte: Histogram {
                buckets: [1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3],
                sum: 200_000_000_000 / Ticks::NANOSECONDS,
            },
            ..HttpCounters::default()
        };
        let bytes = ServiceBytes { framed: 150, lost: 30 };
        let of_protocol = ProtocolCounters::Http1(http);
        let service = ServiceCounters {
            bytes,
            proxied: Some(ProxyCounters { headers: [0, 1, 6, 0] }),
            syn_cookies: Some(SynCookieCounters {
                counters: SynCounters { answered: 9, returned: 6, passed: [4, 0, 0, 2, 0, 0, 0] },
                active: true,
            }),
            ..service_of("www", of_protocol)
        };
        counters.services.insert(WEB, service);
        let mut mysql = MysqlCounters { sessions: [3, 0, 1, 0], errors: 2, ..MysqlCounters::default() };
        mysql.queries[Operation::Write as usize] = 4;
        mysql.commands[Command::Ping as usize] = 5;
        mysql.durations[Operation::Write as usize].observe(Ticks::from_nanoseconds(80_000));
        let of_protocol = ProtocolCounters::Mysql(Box::new(mysql), 1);
        counters.services.insert(DATABASE, service_of("db", of_protocol));
        let mut tls = TlsCounters { connections: [4, 1, 0, 0], ..TlsCounters::default() };
        tls.handshakes[TlsVersion::Tls13 as usize][Alpn::Http2 as usize] = 3;
        tls.failures[TlsVersion::Tls10 as usize] = 2;
        tls.turns.observe(Ticks::from_nanoseconds(80_000));
        counters
            .services
            .insert(ServicePort { port: 8443, ..WEB }, service_of("www", ProtocolCounters::Tls(tls)));
        let mut inside =
            HttpCounters { requests: [6, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], ..HttpCounters::default() };
        inside.lost.count(Direction::In, Loss::NotHttp);
        counters.decrypted.insert(ServicePort { port: 8443, ..WEB }, inside);
        let raw = RawCounters { opened: 8, resets: [1, 2], refused: 3 };
        counters
            .services
            .insert(ServicePort { port: 25, ..WEB }, service_of("mail", ProtocolCounters::Raw(raw)));
        // The same number over both transports.
        for (protocol, asked) in [(PortProtocol::Udp, 9), (PortProtocol::Tcp, 2)] {
            let mut dns = DnsCounters { repeated: 1, truncated: 3, unasked: 4, ..DnsCounters::default() };
            dns.queries[QueryType::Https as usize] = asked;
            dns.answers[ResponseCode::NxDomain as usize] = 6;
            dns.duration.buckets[2] = 1;
            dns.lost.count(Direction::In, Loss::NotDns);
            let bytes = ServiceBytes { framed: 100, lost: 7 };
            let service = ServiceCounters { bytes, ..service_of("dns", ProtocolCounters::Dns(dns)) };
            counters.services.insert(ServicePort { protocol, port: 53 }, service);
        }
        Ok(counters)
    }

    fn open(&self) -> Result<Open, String> {
        if self.fail {
            return Err("the kernel has no sock_diag".to_owned());
        }
        Ok(Open { connections: [(WEB, 12), (DATABASE, 0)].into(), requests: [(WEB, 5)].into() })
    }

    fn host(&self) -> Option<Readings> {
        Some(monitoring::readings())
    }

    fn facts(&self) -> Result<Facts, String> {
        if self.fail {
            return Err("the daemon is busy".to_owned());
        }
        let status = Status {
            version: "1.2.3".to_owned(),
            object: "built from \"source\"".to_owned(),
            pid: 1,
            started_unix_ms: 0,
            ready: true,
            not_ready: vec![],
            mode: Mode::Auto,
            interfaces: vec![attachment()],
            ruleset: ruleset(),
            pending: Some(PendingFacts { previous: "abd".to_owned(), seconds_left: 3.0, guarded: false }),
            guard: guard(),
            few_sources: Vec::new(),
            fleet: Some(fleet()),
            last_reload: Reload { success: true, unix_ms: 0, what: "start".to_owned(), error: None },
            maps: vec![MapFill { map: "WORD_RULES".to_owned(), entries: 2, max_entries: 256, bytes: 4096 }],
            busiest_bans: Vec::new(),
            rejects: Some(RejectFacts {
                inbound: [("tcp_reset".to_owned(), 9), ("rate".to_owned(), 2)].into(),
                outbound: [].into(),
            }),
            flows: Some(flows()),
            programs: vec![ProgramFacts {
                program: "ingress".to_owned(),
                id: 7,
                tag: "0123456789abcdef".to_owned(),
                verified_instructions: None,
                runs: 10,
                run_time_ns: 2_500,
            }],
            rates: None,
            services: Vec::new(),
            decryption: vec![DecryptionFacts {
                service: "api".to_owned(),
                port: 8443,
                processes: vec![ProcessFacts {
                    pid: 7,
                    name: "nginx".to_owned(),
                    library: "libssl.so.3".to_owned(),
                }],
                missed_connections: 2,
                problems: vec!["a process has no libssl".to_owned()],
            }],
            bans: BanCounts {
                addresses: [3, 2],
                prefixes: [1, 0],
                room: 10,
                made: 9,
                by_rules: 5,
                no_room: 7,
                expired: 2,
                lifted: 1,
                refused: 4,
            },
            syn_cookies: Some(SynCookieFacts {
                problem: Some("net.ipv4.tcp_syncookies is 1".to_owned()),
                notes: Vec::new(),
                sysctls: String::new(),
            }),
            events: EventFacts {
                draws: true,
                drawn: 50,
                lost_in_ring: 5,
                unwatched: 20,
                lost_by_watchers: 6,
                watchers: 1,
            },
            reconcile: vec![ReconcileFacts {
                source: "nginx".to_owned(),
                services: vec!["www".to_owned(), "https".to_owned()],
                difference: Some(-3),
                uncertainty: Some(2),
                compared_unix_ms: Some(2_500),
                baselines: 1,
                failures: BTreeMap::from([(ReconcileReason::Timeout, 4)]),
                problem: None,
            }],
            problems: vec![],
            listen: String::new(),
            page_viewers: 2,
            web_config: Some(web_config()),
            push: Some(monitoring::push()),
            certificates: vec![monitoring::certificate()],
            control: String::new(),
            state: String::new(),
            pins: String::new(),
            ephemeral: false,
        };
        Ok(Facts { status, service_ports: vec![WEB] })
    }
}

fn ruleset() -> RulesetFacts {
    RulesetFacts {
        hash: "abc".to_owned(),
        generation: 4,
        applied: Some(Applied { unix_ms: 1_500, by: "a test".to_owned() }),
        previous: None,
        path: "rules".to_owned(),
        rules: 2,
        services: 1,
        sets: 0,
        edited_sets: Vec::new(),
    }
}

fn guard() -> GuardFacts {
    let (service, port, what) = ("www".to_owned(), "tcp/80".to_owned(), "requests".to_owned());
    let fallen = Fallen { service, port, what, before: Rate(51_200), after: Rate(500) };
    GuardFacts { watched: Vec::new(), taken_back: 2, fallen: vec![fallen] }
}

fn fleet() -> FleetFacts {
    FleetFacts {
        connected: true,
        last_contact_unix_ms: Some(4_500),
        revision: Some(17),
        endpoints: vec![
            ("a:2379".to_owned(), Some(true)),
            ("b:2379".to_owned(), Some(false)),
            ("c:2379".to_owned(), None),
        ],
        decision: Some(EtcdDecision {
            hash: "abc".to_owned(),
            revision: 16,
            refused: Some("it fell".to_owned()),
        }),
        ..FleetFacts::default()
    }
}

fn web_config() -> WebConfigFacts {
    WebConfigFacts {
        path: "web.yml".to_owned(),
        protection: Protection::default(),
        read_unix_ms: 0,
        error: Some("it is broken".to_owned()),
    }
}

fn flows() -> FlowFacts {
    FlowFacts {
        begun: 40,
        proved: 30,
        proved_v4: FlowMapFacts { known: 2, room: 10, failed: 1, evicted: 2 },
        proved_v6: FlowMapFacts { known: 1, room: 10, failed: 3, evicted: 5 },
        unproved: FlowMapFacts { known: 5, room: 5, failed: 6, evicted: 4 },
    }
}

fn attachment() -> Attachment {
    Attachment {
        interface: "eth0".to_owned(),
        index: Some(2),
        mode: Some(AttachedMode::Generic),
        fallback: Some("the driver cannot run XDP programs".to_owned()),
        obstacle: Some(Obstacle::Driver),
        expected_program: Some(7),
        found_program: Some(7),
        egress: Some(EgressHook::Tcx),
    }
}

fn exposition(source: Fixed) -> String {
    let registry = Registry::new();
    registry.register(Box::new(ScrapeCollector::new(Box::new(source)).unwrap())).unwrap();
    TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
}

/// Lines whose value depends on the clock are left out.
fn timeless(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with("foobar_scrape_duration_seconds{")).collect()
}

#[test]
fn a_scrape_has_every_metric_of_the_catalogue_and_no_other() {
    let text = exposition(Fixed { fail: false });
    let told: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let listed: BTreeSet<&str> = catalogue::ALL.iter().map(catalogue::Entry::name).collect();
    assert_eq!(told, listed);
}

#[test]
fn a_scrape_tells_of_syn_cookies() {
    let text = exposition(Fixed { fail: false });
    let lines = timeless(&text);
    for line in [
        r#"foobar_syn_cookies_answered_total{port="443"} 9"#,
        r#"foobar_syn_cookies_passed_total{port="443",cause="inactive"} 4"#,
        r#"foobar_syn_cookies_passed_total{port="443",cause="refused"} 2"#,
        r#"foobar_syn_cookies_passed_total{port="443",cause="route"} 0"#,
        r#"foobar_syn_cookies_active{port="443"} 1"#,
        "foobar_syn_cookies_possible 0",
        "foobar_web_config_reload_success 0",
    ] {
        assert!(lines.contains(&line), "{line} is missing from\n{text}");
    }
}

#[test]
fn a_scrape_tells_what_the_source_gave() {
    let text = exposition(Fixed { fail: false });
    let lines = timeless(&text);
    for line in [
        r#"foobar_packets_total{iface="eth0",direction="in",port="443",l4="tcp"} 3"#,
        r#"foobar_bytes_total{iface="eth0",direction="in",port="443",l4="tcp"} 180"#,
        r#"foobar_packets_total{iface="eth0",direction="in",port="other",l4="icmp"} 3"#,
        r#"foobar_packets_total{iface="eth0",direction="in",port="other",l4="tcp"} 0"#,
        r#"foobar_firewall_packets_total{iface="eth0",direction="in",action="accept",reason="rule"} 3"#,
        r#"foobar_firewall_bytes_total{iface="other",direction="out",action="drop",reason="policy"} 180"#,
        r#"foobar_firewall_packets_total{iface="eth0",direction="in",action="drop",reason="policy"} 0"#,
        r#"foobar_firewall_packets_total{iface="eth0",direction="in",action="drop",reason="tiny_fragment"} 0"#,
        r#"foobar_firewall_rule_hits_total{rule="web"} 3"#,
        r#"foobar_firewall_rule_hits_total{rule="never"} 0"#,
        r#"foobar_http_requests_total{port="443",proto="http1",method="GET"} 5"#,
        r#"foobar_http_requests_total{port="443",proto="http1",method="PUT"} 0"#,
        r#"foobar_http_requests_total{port="443",proto="http1",method="_OTHER"} 1"#,
        r#"foobar_http_responses_total{port="443",class="4xx"} 1"#,
        r#"foobar_http_request_duration_seconds_bucket{port="443",proto="http1",le="0.00005"} 1"#,
        r#"foobar_http_request_duration_seconds_bucket{port="443",proto="http1",le="0.0001"} 3"#,
        r#"foobar_http_request_duration_seconds_bucket{port="443",proto="http1",le="60"} 3"#,
        r#"foobar_http_request_duration_seconds_bucket{port="443",proto="http1",le="+Inf"} 6"#,
        r#"foobar_http_request_duration_seconds_sum{port="443",proto="http1"} 200"#,
        r#"foobar_http_request_duration_seconds_count{port="443",proto="http1"} 6"#,
        r#"foobar_http_time_to_first_byte_seconds_count{port="443",proto="http1"} 0"#,
        r#"foobar_http_untimed_responses_total{port="443",proto="http1"} 0"#,
        r#"foobar_l7_framing_lost_total{port="443",proto="http1",reason="gap"} 1"#,
        r#"foobar_l7_framing_lost_total{port="443",proto="http1",reason="chunk"} 0"#,
        r#"foobar_l7_bytes_total{port="443",proto="http1",state="framed"} 150"#,
        r#"foobar_l7_bytes_total{port="443",proto="http1",state="lost"} 30"#,
        r#"foobar_db_queries_total{server="db",port="3306",op="write"} 4"#,
        r#"foobar_db_query_duration_seconds_bucket{server="db",port="3306",op="write",le="0.0001"} 1"#,
        r#"foobar_db_query_errors_total{server="db",port="3306"} 2"#,
        r#"foobar_db_commands_total{server="db",port="3306",command="ping"} 5"#,
        r#"foobar_db_sessions_total{server="db",port="3306",encryption="tls",compression="no"} 1"#,
        r#"foobar_connections_total{port="3306",encryption="none",app="mysql",peer="other"} 3"#,
        r#"foobar_db_replica_streams{server="db",port="3306"} 1"#,
        "foobar_db_writers 0",
        r#"foobar_proxy_connections_total{port="443",header="v2"} 6"#,
        r#"foobar_tls_handshakes_total{port="8443",version="tls1.3",alpn="h2"} 3"#,
        r#"foobar_tls_handshakes_total{port="8443",version="tls1.2",alpn="none"} 0"#,
        r#"foobar_tls_handshake_failures_total{port="8443",version="tls1.0"} 2"#,
        r#"foobar_tls_turns_total{port="8443"} 1"#,
        r#"foobar_tls_turn_duration_seconds_bucket{port="8443",le="0.0001"} 1"#,
        r#"foobar_connections_total{port="8443",encryption="tls",app="tls",peer="other"} 4"#,
        r#"foobar_connections_total{port="8443",encryption="none",app="http1",peer="other"} 1"#,
        r#"foobar_connections_total{port="443",encryption="none",app="http1",peer="other"} 0"#,
        r#"foobar_connections_active{port="443"} 12"#,
        r#"foobar_connections_active{port="3306"} 0"#,
        r#"foobar_http_requests_in_flight{port="443",proto="http1"} 5"#,
        r#"foobar_connections_total{port="25",encryption="unknown",app="unknown",peer="other"} 8"#,
        r#"foobar_connection_resets_total{port="25",direction="in"} 1"#,
        r#"foobar_connection_resets_total{port="25",direction="out"} 2"#,
        r#"foobar_connections_refused_total{port="25"} 3"#,
        r#"foobar_dns_queries_total{port="53",l4="udp",qtype="HTTPS"} 9"#,
        r#"foobar_dns_queries_total{port="53",l4="tcp",qtype="HTTPS"} 2"#,
        r#"foobar_dns_queries_total{port="53",l4="udp",qtype="other"} 0"#,
        r#"foobar_dns_repeated_queries_total{port="53",l4="udp"} 1"#,
        r#"foobar_dns_unanswered_queries{port="53",l4="udp"} 7"#,
        r#"foobar_dns_unanswered_queries{port="53",l4="tcp"} 0"#,
        r#"foobar_dns_answers_total{port="53",l4="udp",rcode="nxdomain"} 6"#,
        r#"foobar_dns_answers_total{port="53",l4="udp",rcode="other"} 0"#,
        r#"foobar_dns_truncated_answers_total{port="53",l4="udp"} 3"#,
        r#"foobar_dns_unasked_answers_total{port="53",l4="udp"} 4"#,
        r#"foobar_dns_duration_seconds_count{port="53",l4="udp"} 1"#,
        r#"foobar_l7_framing_lost_total{port="53",proto="dns",reason="not_dns"} 2"#,
        r#"foobar_l7_bytes_total{port="53",proto="dns",state="framed"} 200"#,
        r#"foobar_l7_bytes_total{port="53",proto="dns",state="lost"} 14"#,
        r#"foobar_reconcile_difference{source="nginx",service="www,https"} -3"#,
        r#"foobar_reconcile_uncertainty{source="nginx",service="www,https"} 2"#,
        r#"foobar_reconcile_compared_timestamp_seconds{source="nginx",service="www,https"} 2.5"#,
        r#"foobar_reconcile_baselines_total{source="nginx",service="www,https"} 1"#,
        r#"foobar_reconcile_failures_total{source="nginx",service="www,https",reason="timeout"} 4"#,
        r#"foobar_reconcile_failures_total{source="nginx",service="www,https",reason="login"} 0"#,
        r#"foobar_map_entries{map="WORD_RULES"} 2"#,
        r#"foobar_map_max_entries{map="WORD_RULES"} 256"#,
        r#"foobar_map_memory_bytes{map="WORD_RULES"} 4096"#,
        r#"foobar_program_attached{program="ingress",iface="eth0"} 1"#,
        r#"foobar_program_attached{program="egress",iface="eth0"} 1"#,
        r#"foobar_attach_mode_info{iface="eth0",mode="generic"} 1"#,
        r#"foobar_attach_fallback_info{iface="eth0",reason="driver"} 1"#,
        r#"foobar_program_runs_total{program="ingress"} 10"#,
        r#"foobar_program_run_seconds_total{program="ingress"} 0.0000025"#,
        r#"foobar_ruleset_info{hash="abc"} 1"#,
        "foobar_ruleset_generation 4",
        "foobar_rules_loaded_timestamp_seconds 1.5",
        "foobar_config_reload_success 1",
        "foobar_confirm_pending 1",
        "foobar_up 1",
        r#"foobar_build_info{version="1.2.3",object="built from \"source\""} 1"#,
        r#"foobar_collector_success{collector="counters"} 1"#,
        r#"foobar_collector_success{collector="daemon"} 1"#,
        r#"foobar_collector_success{collector="connections"} 1"#,
        r#"foobar_series{family="foobar_firewall_rule_hits_total"} 2"#,
    ] {
        assert!(lines.contains(&line), "{line} is missing in\n{text}");
    }
    // Of what is not read, nothing can be lost.
    assert!(!text.contains(r#"proto="raw""#), "{text}");
}

#[test]
fn a_scrape_tells_of_flows() {
    let text = exposition(Fixed { fail: false });
    let lines = timeless(&text);
    for line in [
        r#"foobar_map_update_failures_total{map="FLOWS_V4"} 1"#,
        r#"foobar_map_update_failures_total{map="FLOWS_V6"} 3"#,
        r#"foobar_map_update_failures_total{map="UNPROVED_FLOWS"} 6"#,
        r#"foobar_map_evictions_total{map="FLOWS_V4"} 2"#,
        r#"foobar_map_evictions_total{map="FLOWS_V6"} 5"#,
        r#"foobar_map_evictions_total{map="UNPROVED_FLOWS"} 4"#,
        r#"foobar_flows{kind="proved"} 3"#,
        r#"foobar_flows_total{kind="begun"} 40"#,
    ] {
        assert!(lines.contains(&line), "{line} is missing in\n{text}");
    }
}

#[test]
fn a_scrape_tells_what_came_of_rejected_packets() {
    let text = exposition(Fixed { fail: false });
    for line in [
        r#"foobar_firewall_packets_total{iface="eth0",direction="in",action="reject",reason="rule"} 0"#,
        r#"foobar_reject_answers_total{direction="in",answer="tcp_reset"} 9"#,
        r#"foobar_reject_answers_total{direction="out",answer="icmpv6"} 0"#,
        r#"foobar_reject_unanswered_total{direction="in",cause="rate"} 2"#,
    ] {
        assert!(text.lines().any(|told| told == line), "{line}\n{text}");
    }
}

#[test]
fn a_scrape_tells_what_was_over_limits() {
    let text = exposition(Fixed { fail: false });
    assert!(text.contains("\nfoobar_firewall_rule_over_limit_total{rule=\"web\"} 2\n"), "{text}");
}

#[test]
fn a_scrape_tells_of_bans() {
    let text = exposition(Fixed { fail: false });
    let lines = timeless(&text);
    for line in [
        r#"foobar_bans{ip="4",kind="address"} 3"#,
        r#"foobar_bans{ip="6",kind="address"} 2"#,
        r#"foobar_bans{ip="4",kind="prefix"} 1"#,
        r#"foobar_bans{ip="6",kind="prefix"} 0"#,
        "foobar_bans_made_total 9",
        "foobar_bans_made_by_rules_total 5",
        "foobar_bans_no_room_total 7",
        "foobar_bans_expired_total 2",
        "foobar_bans_lifted_total 1",
        "foobar_bans_refused_total 4",
        "foobar_events_total 50",
        r#"foobar_events_lost_total{where="ring"} 5"#,
        r#"foobar_events_lost_total{where="watcher"} 6"#,
        r#"foobar_events_lost_total{where="unwatched"} 20"#,
        r#"foobar_firewall_packets_total{iface="eth0",direction="in",action="drop",reason="ban"} 0"#,
    ] {
        assert!(lines.contains(&line), "{line} is not in\n{text}");
    }
}

#[test]
fn connections_are_told_by_the_group_that_opens_them() {
    let text = exposition(Fixed { fail: false });
    let lines = timeless(&text);
    for line in [
        r#"foobar_connections_total{port="25",encryption="unknown",app="unknown",peer="lb"} 2"#,
        r#"foobar_connections_total{port="3306",encryption="tls",app="mysql",peer="lb"} 4"#,
        r#"foobar_connections_total{port="8443",encryption="none",app="http1",peer="lb"} 7"#,
        r#"foobar_connections_total{port="443",encryption="none",app="http1",peer="monitoring"} 0"#,
    ] {
        assert!(lines.contains(&line), "{line} is missing in\n{text}");
    }
}

#[test]
fn series_are_counted_with_themselves() {
    let text = exposition(Fixed { fail: false });
    let total = text.lines().filter(|line| !line.starts_with('#')).count();
    let told: usize = text
        .lines()
        .filter_map(|line| line.strip_prefix("foobar_series{")?.split("} ").nth(1)?.parse::<usize>().ok())
        .sum();
    assert_eq!(told, total);
}

#[test]
fn a_collector_that_fails_says_so() {
    let text = exposition(Fixed { fail: true });
    let lines = timeless(&text);
    for line in [
        r#"foobar_collector_success{collector="counters"} 0"#,
        r#"foobar_collector_success{collector="daemon"} 0"#,
        r#"foobar_collector_success{collector="connections"} 0"#,
    ] {
        assert!(lines.contains(&line), "{line} is missing in\n{text}");
    }
    // What is not known is not zero.
    for metric in ["foobar_connections_active", "foobar_http_requests_in_flight"] {
        assert!(!text.contains(metric), "{text}");
    }
}

#[test]
fn every_obstacle_is_documented() {
    let text = crate::metrics::markdown::markdown();
    for reason in ReconcileReason::ALL {
        assert!(text.contains(&format!("`{}`", reason.label())), "{reason:?}");
    }
    for obstacle in Obstacle::ALL {
        assert!(text.contains(&format!("`{}`", obstacle.label())), "{obstacle:?}");
    }
}
