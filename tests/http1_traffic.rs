//! A real nginx, and clients that ask it in every way: foobar counts what nginx counts, to the last request.

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Result, ensure};
use foobar_tests::{
    command::succeed,
    daemon::Foobar,
    figures::say,
    frames::Family,
    http1_client::{self, ALL_KINDS, Kind, Scenario, Stream, load},
    metrics::Metrics,
    network::{CLIENT, Network, SERVER},
    tap::settle,
    wait,
    web_server::WebServer,
    wire::{Disturbance, Wire},
};

const PORT: u16 = 8080;
const RULES: &str = "schema = 1\n[[service]]\nname = \"www\"\nport = [\"tcp/8080\"]\nprotocol = \"http1\"\n";
const SCENARIOS: [Scenario; 6] = [
    Scenario {
        name: "keep-alive",
        connections: 50,
        requests: 100,
        pipelined: 1,
        piece: usize::MAX,
        kinds: &[Kind::Get],
    },
    Scenario {
        name: "16 pipelined",
        connections: 8,
        requests: 640,
        pipelined: 16,
        piece: usize::MAX,
        kinds: &[Kind::Get],
    },
    Scenario {
        name: "one byte a segment",
        connections: 8,
        requests: 16,
        pipelined: 4,
        piece: 1,
        kinds: ALL_KINDS,
    },
    Scenario {
        name: "every kind, cut anywhere",
        connections: 16,
        requests: 200,
        pipelined: 5,
        piece: 1000,
        kinds: ALL_KINDS,
    },
    Scenario {
        name: "large answers",
        connections: 2,
        requests: 2,
        pipelined: 1,
        piece: usize::MAX,
        kinds: &[Kind::Large],
    },
    Scenario {
        name: "a connection for each",
        connections: 300,
        requests: 1,
        pipelined: 1,
        piece: usize::MAX,
        kinds: ALL_KINDS,
    },
];

/// What goes over a bad cable.
const DISTURBED: [Scenario; 3] = [
    Scenario {
        name: "one after the other",
        connections: 24,
        requests: 30,
        pipelined: 1,
        piece: usize::MAX,
        kinds: ALL_KINDS,
    },
    Scenario {
        name: "pipelined and cut",
        connections: 24,
        requests: 60,
        pipelined: 6,
        piece: 700,
        kinds: ALL_KINDS,
    },
    Scenario {
        name: "large answers",
        connections: 1,
        requests: 2,
        pipelined: 1,
        piece: usize::MAX,
        kinds: &[Kind::Large],
    },
];

/// Starts an nginx that has what the requests ask for.
fn serve(network: &Network) -> Result<WebServer> {
    let server = WebServer::serving(&network.server, &[PORT], &http1_client::locations())?;
    http1_client::put_files(&server)?;
    Ok(server)
}

/// By IPv4 and IPv6 in turn.
fn connect(number: usize) -> Result<Box<dyn Stream>> {
    let family = if number.is_multiple_of(2) { Family::V4 } else { Family::V6 };
    let stream = TcpStream::connect(SocketAddr::new(family.server(), PORT))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(Box::new(stream))
}

#[test]
fn native_without_offload() -> Result<()> {
    counts_what_nginx_counts("native", "off", 1500)
}

#[test]
fn native_with_offload() -> Result<()> {
    counts_what_nginx_counts("native", "on", 1500)
}

#[test]
fn generic_without_offload() -> Result<()> {
    counts_what_nginx_counts("generic", "off", 1500)
}

#[test]
fn generic_with_offload() -> Result<()> {
    counts_what_nginx_counts("generic", "on", 1500)
}

/// Frames of several buffers.
#[test]
fn native_with_large_frames() -> Result<()> {
    counts_what_nginx_counts("native", "on", 9000)
}

fn counts_what_nginx_counts(mode: &str, offload: &str, mtu: u32) -> Result<()> {
    let network = Network::with_mtu(mtu)?;
    for (namespace, interface) in [(&network.server, SERVER), (&network.client, CLIENT)] {
        let words = ["-K", interface, "tx", offload, "tso", offload, "gso", offload, "gro", offload];
        succeed(namespace.command("ethtool").args(words))?;
    }
    let server = serve(&network)?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?.with_options(&["--mode", mode]);
    foobar.start()?;
    for scenario in &SCENARIOS {
        let name = scenario.name;
        let (before, served_before) = (foobar.scrape()?, server.requests(&network.server)?);
        network.client.enter(|| load(scenario, &connect))?;
        settle();
        let (after, served_after) = (foobar.scrape()?, server.requests(&network.server)?);
        let grown = |metric: &str, labels: &[(&str, &str)]| {
            after.count(metric, labels) - before.count(metric, labels)
        };
        let sent = scenario.sent();
        let served = served_after - served_before;
        let counted = grown("foobar_http_requests_total", &[]);
        let responses = grown("foobar_http_responses_total", &[]);
        let timed = grown("foobar_http_request_duration_seconds_count", &[]);
        let lost = grown("foobar_l7_framing_lost_total", &[]);
        say(&format!("{mode}, offload {offload}, {name}: {sent} sent, {served} served, {counted} counted"));
        ensure!(
            (served, counted, responses, timed, lost) == (sent, sent, sent, sent, 0),
            "{mode}, offload {offload}, {name}: {sent} sent, {served} served, {counted} counted, {responses} answered, \
             {timed} timed, {lost} connections lost: {:?}",
            losses(&after)
        );
    }
    let after = foobar.scrape()?;
    let framed = after.count("foobar_l7_bytes_total", &[("state", "framed")]);
    let lost = after.count("foobar_l7_bytes_total", &[("state", "lost")]);
    let carried = after.count("foobar_bytes_total", &[("port", "8080")]);
    ensure!(framed + lost == carried, "{framed} bytes framed and {lost} lost of {carried}");
    ensure!(lost == 0, "{lost} bytes lost");
    Ok(())
}

/// Where bytes of a header go missing or come in another order, nothing is counted that was not sent, and what is
/// missing was declared lost.
#[test]
fn what_a_bad_cable_hides_is_declared_lost() -> Result<()> {
    for (seed, mode) in [(1, "native"), (2, "generic")] {
        let network = Network::new()?;
        let disturbance = Disturbance { lost: 2, doubled: 2, delayed: 2, cut: 5, repeated: 5 };
        let wire = Wire::between(&network, disturbance, seed)?;
        let server = serve(&network)?;
        let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?.with_options(&["--mode", mode]);
        foobar.start()?;
        for scenario in &DISTURBED {
            let sent = scenario.sent();
            let (before, served_before) = (foobar.scrape()?, server.requests(&network.server)?);
            network.client.enter(|| load(scenario, &connect))?;
            settle();
            let (after, served_after) = (foobar.scrape()?, server.requests(&network.server)?);
            let grown = |metric: &str| after.count(metric, &[]) - before.count(metric, &[]);
            let (requests, responses) =
                (grown("foobar_http_requests_total"), grown("foobar_http_responses_total"));
            let lost = grown("foobar_l7_framing_lost_total");
            let text = format!(
                "{mode}, {}: {sent} sent, {} served, {requests} requests and {responses} responses counted, {lost} times lost",
                scenario.name,
                served_after - served_before
            );
            say(&text);
            ensure!(served_after - served_before == sent, "{text}");
            ensure!(requests <= sent && responses <= sent, "more than there were: {text}");
            ensure!(
                (requests == sent && responses == sent) || lost > 0,
                "undeclared: {text}: {:?}",
                losses(&after)
            );
        }
        let metrics = foobar.scrape()?;
        let framed = metrics.count("foobar_l7_bytes_total", &[]);
        let carried = metrics.count("foobar_bytes_total", &[("port", "8080")]);
        ensure!(framed == carried, "{framed} bytes framed or lost of {carried}");
        ensure!(wire.stop()? > 100, "the cable disturbed hardly anything");
    }
    Ok(())
}

/// One connection is followed through all that can happen to the filter.
#[test]
fn connections_outlive_rulesets_and_daemons() -> Result<()> {
    let network = Network::new()?;
    let _server = WebServer::start(&network.server, &[PORT])?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    foobar.start()?;
    let mut client = network.client.enter(|| Client::connect(Family::V4.server()))?;
    client.ask_for_page()?;
    // A swap, in which the service becomes another one.
    foobar.apply(&RULES.replace("www", "pages"))?;
    client.ask_for_page()?;
    // Nobody is there, and the programs go on.
    foobar.kill()?;
    client.ask_for_page()?;
    foobar.start()?;
    client.ask_for_page()?;
    foobar.apply(RULES)?;
    client.ask_for_page()?;
    expect_counted(&foobar, 5)?;
    let status = foobar.status()?;
    let service = &status["services"][0];
    let told = [&service["service"], &service["port"], &service["protocol"], &service["what"]];
    ensure!(told == ["www", "tcp/8080", "http1", "requests"], "{service}");
    ensure!(service["total"] == 5 && service["framing_lost"] == 0, "{service}");
    client.ask_for_page()?;
    wait::until("requests are told per second", Duration::from_secs(10), || {
        let rates = &foobar.status()?["services"][0]["per_second"];
        Ok(rates.as_array().is_some_and(|rates| rates[2].as_f64().is_some_and(|rate| rate > 0.0)))
    })?;
    // Without the service, the connection is not followed.
    foobar.apply("schema = 1")?;
    client.ask_for_page()?;
    foobar.apply(RULES)?;
    client.ask_for_page()?;
    let metrics = foobar.scrape()?;
    let lost = metrics.count("foobar_l7_framing_lost_total", &[]);
    ensure!(
        metrics.count("foobar_http_requests_total", &[]) < 8 && lost > 0,
        "what nobody read was lost: {:?}",
        losses(&metrics)
    );
    Ok(())
}

/// What is pinned only for moments is handed over all the same.
#[test]
fn connections_outlive_rulesets_of_an_ephemeral_filter() -> Result<()> {
    let network = Network::new()?;
    let _server = WebServer::start(&network.server, &[PORT])?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], "schema = 1")?.with_options(&["--ephemeral"]);
    foobar.start()?;
    // Nothing has needed the maps of services up to here.
    foobar.apply(RULES)?;
    let mut client = network.client.enter(|| Client::connect(Family::V6.server()))?;
    client.ask_for_page()?;
    foobar.apply(&RULES.replace("www", "pages"))?;
    client.ask_for_page()?;
    expect_counted(&foobar, 2)
}

/// A connection that stays.
struct Client {
    stream: TcpStream,
}

impl Client {
    fn connect(server: IpAddr) -> Result<Self> {
        let stream = TcpStream::connect(SocketAddr::new(server, PORT))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self { stream })
    }

    fn ask_for_page(&mut self) -> Result<()> {
        self.stream.write_all(Kind::Get.request(0).as_bytes())?;
        Kind::Get.read_answer(&mut self.stream, &mut Vec::new())
    }
}

fn expect_counted(foobar: &Foobar, pages: u64) -> Result<()> {
    settle();
    let metrics = foobar.scrape()?;
    let requests = metrics.count("foobar_http_requests_total", &[]);
    let responses = metrics.count("foobar_http_responses_total", &[]);
    ensure!(
        (requests, responses, losses(&metrics)) == (pages, pages, Vec::new()),
        "{pages} pages, {requests} requests and {responses} responses: {:?}",
        losses(&metrics)
    );
    Ok(())
}

/// The reasons that are not zero.
fn losses(metrics: &Metrics) -> Vec<String> {
    let lost = metrics.select("foobar_l7_framing_lost_total", &[]);
    lost.filter(|sample| sample.value > 0.0).map(|sample| format!("{sample:?}")).collect()
}
