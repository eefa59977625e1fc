//! What the daemon serves: `/metrics`, `/healthz` and `/readyz`.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    net::TcpStream,
    path::Path,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    command::{stderr, stdout, with_input},
    daemon::{Foobar, LISTEN},
    frames::{Family, echo_request, tcp_syn, udp},
    metrics::Metrics,
    network::{CLIENT, Network, SERVER},
    sender::PacketSocket,
    tap::settle,
};

const RULES: &str = r#"
schema = 1
[policy]
in = "drop"

[failsafe]
ports = ["tcp/22"]

[[service]]
name = "web"
port = ["tcp/80", "tcp/443"]
protocol = "raw"

[[rule]]
id = "web"
action = "accept"
protocol = "tcp"
destination_port = [80, 443]

[[rule]]
id = "noise"
action = "drop"
protocol = "udp"
destination_port = ["1000-1999"]
"#;

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
    let (network, foobar) = running()?;
    let before = foobar.scrape()?;
    let socket = PacketSocket::new(&network.client, CLIENT)?;
    // Frame, how many, rule, verdict, reason, port, protocol.
    let mut broken = udp(Family::V4, 1000, b"longer than it is")?;
    broken.truncate(30);
    let table = [
        (tcp_syn(Family::V4, 80)?, 11, Some("web"), "accept", "rule", "80", "tcp"),
        (tcp_syn(Family::V6, 443)?, 13, Some("web"), "accept", "rule", "443", "tcp"),
        (tcp_syn(Family::V6, 22)?, 17, None, "accept", "failsafe", "other", "tcp"),
        (tcp_syn(Family::V4, 23)?, 19, None, "drop", "policy", "other", "tcp"),
        (udp(Family::V4, 1500, b"12345")?, 23, Some("noise"), "drop", "rule", "other", "udp"),
        (udp(Family::V6, 80, b"")?, 29, None, "drop", "policy", "other", "udp"),
        (echo_request(Family::V4, 1)?, 31, None, "drop", "policy", "other", "icmp"),
        (echo_request(Family::V6, 1)?, 37, None, "drop", "policy", "other", "icmpv6"),
        (broken, 41, None, "drop", "truncated_network", "other", "other"),
    ];
    for (frame, times, ..) in &table {
        socket.send_times(frame, *times)?;
    }
    settle();
    let after = foobar.scrape()?;

    let check = |name: &str, labels: &[(&str, &str)], expected: u64| {
        let counted = after.count(name, labels) - before.count(name, labels);
        assert_eq!(counted, expected, "{name}{labels:?}");
    };
    for (_, _, rule, verdict, reason, port, l4) in &table {
        let sum = |same: &dyn Fn(&Row) -> bool, bytes: bool| {
            table
                .iter()
                .filter(|row| same(row))
                .map(|row| if bytes { row.0.len() as u64 * row.1 } else { row.1 })
                .sum()
        };
        let verdicts = [("iface", SERVER), ("action", *verdict), ("reason", *reason)];
        let same_verdict = |row: &Row| (row.3, row.4) == (*verdict, *reason);
        check("foobar_firewall_packets_total", &verdicts, sum(&same_verdict, false));
        check("foobar_firewall_bytes_total", &verdicts, sum(&same_verdict, true));
        let ports = [("iface", SERVER), ("direction", "in"), ("port", *port), ("l4", *l4)];
        let same_port = |row: &Row| (row.5, row.6) == (*port, *l4);
        check("foobar_packets_total", &ports, sum(&same_port, false));
        check("foobar_bytes_total", &ports, sum(&same_port, true));
        if let Some(rule) = rule {
            check(
                "foobar_firewall_rule_hits_total",
                &[("rule", rule)],
                sum(&|row| row.2 == Some(*rule), false),
            );
        }
    }
    let all = table.iter().map(|row| row.1).sum();
    check("foobar_firewall_packets_total", &[("iface", SERVER)], all);
    check("foobar_packets_total", &[("iface", SERVER)], all);
    Ok(())
}

/// Frame, how many, rule, verdict, reason, port, protocol.
type Row<'a> = (Vec<u8>, u64, Option<&'a str>, &'a str, &'a str, &'a str, &'a str);

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
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    foobar.start()?;
    Ok((network, foobar))
}

fn series(metrics: &Metrics) -> BTreeSet<String> {
    metrics.samples().iter().map(foobar_tests::metrics::Sample::series).collect()
}
