//! What the daemon serves: `/metrics`, `/healthz` and `/readyz`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    net::TcpStream,
    path::Path,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use foobar_daemon::metrics::catalogue::{ALL, Entry};
use foobar_tests::{
    command::{stderr, stdout, succeed, with_input},
    daemon::{Foobar, LISTEN},
    frames::{Family, echo_request, tcp_syn, udp},
    metrics::Metrics,
    network::{CLIENT, Network, SERVER},
    sender::PacketSocket,
    tap::settle,
    web_server::ACCEPTED,
};

const CLOSED: &str = r#"
schema = 1
[policy]
in = "drop"

[failsafe]
ports = ["tcp/22"]

[[service]]
name = "web"
port = ["tcp/80", "tcp/443"]
protocol = "raw"
"#;

const NOISE: &str = r#"
[[rule]]
id = "noise"
action = "drop"
protocol = "udp"
destination_port = ["1000-1999"]
"#;

#[test]
fn rules_record_and_alert_as_they_should() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/prometheus");
    let known: Vec<&str> = ALL.iter().map(Entry::name).collect();
    for name in ["recording", "alerts", "fleet"] {
        let (rules, test) = (format!("{name}.yml"), format!("{name}.test.yml"));
        for words in [["check", "rules", &rules], ["test", "rules", &test]] {
            succeed(Command::new("promtool").args(words).current_dir(&folder))?;
        }
        // No rule asks for a metric that there is not.
        let text = fs::read_to_string(folder.join(rules))?;
        for word in text.split(|byte: char| !byte.is_ascii_alphanumeric() && byte != '_' && byte != ':') {
            if word.starts_with("foobar_") && !word.contains(':') {
                ensure!(known.contains(&word.trim_end_matches("_bucket")), "{word} is no metric of foobar");
            }
        }
    }
    Ok(())
}

#[test]
fn promtool_has_nothing_to_say() -> Result<()> {
    let (_network, foobar) = running()?;
    let answer = foobar.get("/metrics")?;
    assert_eq!(answer.status, 200);
    let head = answer.head.to_ascii_lowercase();
    ensure!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let output = with_input(Command::new("promtool").args(["check", "metrics"]), answer.body.as_bytes())?;
    let said = format!("{}{}", stdout(&output), stderr(&output));
    ensure!(output.status.success() && said.trim().is_empty(), "{}: {said}\n{}", output.status, answer.body);
    Ok(())
}

#[test]
fn a_known_number_of_packets_is_counted_exactly() -> Result<()> {
    let mut cut = udp(Family::V4, 1000, b"longer than it is")?;
    cut.truncate(30);
    let row =
        |frame, times, rule, verdict, reason, port, l4| Row { frame, times, rule, verdict, reason, port, l4 };
    let table = [
        row(tcp_syn(Family::V4, 80)?, 11, Some("web"), "accept", "rule", "80", "tcp"),
        row(tcp_syn(Family::V6, 443)?, 13, Some("web"), "accept", "rule", "443", "tcp"),
        row(tcp_syn(Family::V6, 22)?, 17, None, "accept", "failsafe", "other", "tcp"),
        row(tcp_syn(Family::V4, 23)?, 19, None, "drop", "policy", "other", "tcp"),
        row(udp(Family::V4, 1500, b"12345")?, 23, Some("noise"), "drop", "rule", "other", "udp"),
        row(udp(Family::V6, 80, b"")?, 29, None, "drop", "policy", "other", "udp"),
        row(echo_request(Family::V4, 1)?, 31, None, "drop", "policy", "other", "icmp"),
        row(echo_request(Family::V6, 1)?, 37, None, "drop", "policy", "other", "icmpv6"),
        row(cut, 41, None, "drop", "truncated_network", "other", "other"),
    ];
    let (network, foobar) = running()?;
    network.introduce()?;
    let before = foobar.scrape()?;
    let socket = PacketSocket::new(&network.client, CLIENT)?;
    let mut expected = BTreeMap::new();
    for row in &table {
        socket.send_times(&row.frame, row.times)?;
        row.add_to(&mut expected)?;
    }
    settle();
    let after = foobar.scrape()?;
    for (Series { name, labels }, expected) in &expected {
        let labels: Vec<_> = labels.iter().map(|(label, value)| (*label, value.as_str())).collect();
        let counted = after.count(name, &labels) - before.count(name, &labels);
        assert_eq!(counted, *expected, "{name}{labels:?}");
    }
    // And nothing else was counted.
    let sent: u64 = table.iter().map(|row| row.times).sum();
    for name in ["foobar_firewall_packets_total", "foobar_packets_total"] {
        let came_in = [("direction", "in")];
        assert_eq!(after.count(name, &came_in) - before.count(name, &came_in), sent, "{name}");
    }
    Ok(())
}

/// Some frames of one kind, and where they are counted.
struct Row {
    frame: Vec<u8>,
    times: u64,
    rule: Option<&'static str>,
    verdict: &'static str,
    reason: &'static str,
    port: &'static str,
    l4: &'static str,
}

/// A metric and some of its labels.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    name: &'static str,
    labels: Vec<(&'static str, String)>,
}

impl Row {
    fn add_to(&self, expected: &mut BTreeMap<Series, u64>) -> Result<()> {
        let bytes = u64::try_from(self.frame.len())? * self.times;
        let mut add = |name, labels: &[(&'static str, &str)], count| {
            let labels = labels.iter().map(|(label, value)| (*label, (*value).to_owned())).collect();
            *expected.entry(Series { name, labels }).or_default() += count;
        };
        let verdict =
            [("iface", SERVER), ("direction", "in"), ("action", self.verdict), ("reason", self.reason)];
        add("foobar_firewall_packets_total", &verdict, self.times);
        add("foobar_firewall_bytes_total", &verdict, bytes);
        let port = [("iface", SERVER), ("direction", "in"), ("port", self.port), ("l4", self.l4)];
        add("foobar_packets_total", &port, self.times);
        add("foobar_bytes_total", &port, bytes);
        if let Some(rule) = self.rule {
            add("foobar_firewall_rule_hits_total", &[("rule", rule)], self.times);
        }
        Ok(())
    }
}

#[test]
fn the_state_of_the_daemon_is_there() -> Result<()> {
    let (_network, foobar) = running()?;
    let metrics = foobar.scrape()?;
    let one = |name: &str, labels: &[(&str, &str)]| -> Result<()> {
        ensure!((metrics.value(name, labels)? - 1.0).abs() < f64::EPSILON, "{name}{labels:?} is not 1");
        Ok(())
    };
    one("foobar_up", &[])?;
    one("foobar_build_info", &[])?;
    one("foobar_config_reload_success", &[])?;
    one("foobar_program_attached", &[("iface", SERVER), ("program", "ingress")])?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let loaded = metrics.value("foobar_rules_loaded_timestamp_seconds", &[])?;
    ensure!((now - 60.0..=now).contains(&loaded), "rules loaded at {loaded}, it is {now}");
    let maps = metrics.select("foobar_map_max_entries", &[]).count();
    ensure!(maps >= 3, "{maps} maps");
    for sample in metrics.select("foobar_map_entries", &[]) {
        let map = sample.labels.get("map").context("a map without name")?;
        let room = metrics.value("foobar_map_max_entries", &[("map", map)])?;
        ensure!(sample.value <= room, "{map} holds {} of {room}", sample.value);
    }
    Ok(())
}

#[test]
fn health_and_readiness_are_told() -> Result<()> {
    let (_network, foobar) = running()?;
    assert_eq!(foobar.get("/healthz")?.status, 200);
    assert_eq!(foobar.get("/readyz")?.status, 200);
    assert_eq!(foobar.get("/none")?.status, 404);
    Ok(())
}

#[test]
fn every_metric_is_documented() -> Result<()> {
    let (_network, foobar) = running()?;
    let metrics = foobar.scrape()?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../METRICS.md");
    let document = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let missing: Vec<_> =
        metrics.types().keys().filter(|name| !document.contains(&format!("`{name}`"))).collect();
    ensure!(missing.is_empty(), "not in METRICS.md: {missing:?}; cargo xtask generate writes it");
    ensure!(metrics.types().len() >= 10, "only {} metrics", metrics.types().len());
    ensure!(metrics.types().keys().all(|name| name.starts_with("foobar_")), "{:?}", metrics.types());
    Ok(())
}

#[test]
fn traffic_makes_no_new_series_per_address_or_port() -> Result<()> {
    let (network, foobar) = running()?;
    let socket = PacketSocket::new(&network.client, CLIENT)?;
    let send = |ports: std::ops::Range<u16>| -> Result<BTreeSet<String>> {
        for port in ports {
            socket.send(&udp(Family::V4, port, b"x")?)?;
            socket.send(&tcp_syn(Family::V6, port)?)?;
        }
        settle();
        Ok(series(&foobar.scrape()?))
    };
    // From 2,000 on there are no ports that a rule or a service names.
    send(1_000..1_100)?;
    let some = send(2_000..2_100)?;
    let more = send(3_000..4_000)?;
    assert_eq!(some, more);
    ensure!(more.len() < 500, "{} series", more.len());
    Ok(())
}

#[test]
fn a_client_that_says_nothing_keeps_nobody_waiting() -> Result<()> {
    let (network, foobar) = running()?;
    let silent: Vec<TcpStream> = network.server.enter(|| {
        (0..20)
            .map(|_| {
                let mut stream = TcpStream::connect_timeout(&LISTEN, Duration::from_secs(2))?;
                stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:")?;
                Ok(stream)
            })
            .collect()
    })?;
    assert_eq!(foobar.get("/healthz")?.status, 200);
    assert_eq!(foobar.get("/metrics")?.status, 200);
    drop(silent);
    Ok(())
}

fn running() -> Result<(Network, Foobar)> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], &[CLOSED, ACCEPTED, NOISE].concat())?;
    foobar.start()?;
    Ok((network, foobar))
}

fn series(metrics: &Metrics) -> BTreeSet<String> {
    metrics.samples().iter().map(foobar_tests::metrics::Sample::series).collect()
}
