//! Real servers of TLS, and clients that ask in every way: foobar counts what servers count, to the last request.

mod library;
mod servers;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use foobar_common::maps;
use foobar_tests::{
    command::succeed,
    daemon::Foobar,
    figures::say,
    frames::Family,
    http1_client::{self, ALL_KINDS, Kind, Scenario, Stream, load},
    metrics::Metrics,
    namespace::Namespace,
    network::{Network, SERVER},
    tap::settle,
    tls::TlsStream,
    wait,
    web_server::WebServer,
};
use tempfile::TempDir;

use self::servers::{Python, TlsProxy, Unit};

const PORT: u16 = 443;
const OTHER_PORT: u16 = 8443;
const RULES: &str = "schema = 1\n[[service]]\nname = \"www\"\nport = \"tcp/443\"\nprotocol = \"tls\"\ndecrypt_by = \"uprobe\"\n";
/// How long a process may stay unfound.
const FOUND_WITHIN: Duration = Duration::from_secs(15);

const SCENARIOS: [Scenario; 5] = [
    Scenario {
        name: "keep-alive",
        connections: 12,
        requests: 100,
        pipelined: 1,
        piece: usize::MAX,
        kinds: &[Kind::Get],
    },
    Scenario {
        name: "16 pipelined",
        connections: 4,
        requests: 320,
        pipelined: 16,
        piece: usize::MAX,
        kinds: &[Kind::Get, Kind::Head, Kind::Missing],
    },
    Scenario {
        name: "every kind, cut anywhere",
        connections: 8,
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
        connections: 80,
        requests: 1,
        pipelined: 1,
        piece: usize::MAX,
        kinds: ALL_KINDS,
    },
];

/// Some requests of each kind.
const SOME: Scenario =
    Scenario { name: "some", connections: 4, requests: 40, pipelined: 3, piece: 500, kinds: ALL_KINDS };

#[test]
fn counts_what_nginx_counts() -> Result<()> {
    let network = Network::new()?;
    let server = serve(&network)?;
    let foobar = watch(&network, RULES)?;
    expect_watched(&foobar, "www", server.pid())?;
    for scenario in &SCENARIOS {
        expect_exact(&network, &server, &foobar, scenario)?;
    }
    expect_cheap(&foobar)?;
    // Rules change, and a connection that is open goes on: it is no part of them.
    let mut client = connect(&network.client, PORT, 0)?;
    ask(&mut *client, Kind::Get)?;
    foobar.apply(&RULES.replace("www", "pages"))?;
    expect_watched(&foobar, "pages", server.pid())?;
    let before = requests(&foobar.scrape()?, PORT);
    ask(&mut *client, Kind::Get)?;
    settle();
    let metrics = foobar.scrape()?;
    ensure!(requests(&metrics, PORT) == before + 1, "{:?}", losses(&metrics));
    ensure!(lost(&metrics, PORT) == 0, "{:?}", losses(&metrics));
    // Without it nothing is counted, and nothing is told.
    foobar.apply(&RULES.replace("decrypt_by = \"uprobe\"\n", ""))?;
    ask(&mut *client, Kind::Get)?;
    settle();
    ensure!(requests(&foobar.scrape()?, PORT) == 0);
    ensure!(foobar.status()?["decryption"] == serde_json::json!([]));
    Ok(())
}

#[test]
fn processes_that_come_later_are_found() -> Result<()> {
    let network = Network::new()?;
    let server = serve(&network)?;
    let foobar = watch(&network, RULES)?;
    expect_watched(&foobar, "www", server.pid())?;
    // The workers that answer from here on are made by one that is watched: the kernel tells at once.
    server.reload()?;
    for _ in 0..3 {
        expect_exact(&network, &server, &foobar, &SOME)?;
    }
    let missed = |foobar: &Foobar| -> Result<u64> {
        Ok(foobar.scrape()?.count("foobar_decrypt_missed_connections_total", &[("port", "443")]))
    };
    ensure!(missed(&foobar)? == 0, "connections were missed");
    // A restart.
    drop(server);
    wait::until("it is told that nobody serves", FOUND_WITHIN, || {
        let complete = foobar.scrape()?.count("foobar_decrypt_complete", &[("port", "443")]);
        Ok(complete == 0)
    })?;
    ensure!(
        foobar.succeed(&["status"])?.contains("no process that listens"),
        "{}",
        foobar.succeed(&["status"])?
    );
    let server = serve(&network)?;
    let before = requests(&foobar.scrape()?, PORT);
    for number in 0..3 {
        ask(&mut *connect(&network.client, PORT, number)?, Kind::Get)?;
    }
    expect_watched(&foobar, "www", server.pid())?;
    settle();
    let counted = requests(&foobar.scrape()?, PORT) - before;
    say(&format!("of the first 3 connections to the restarted server {counted} were counted"));
    ensure!(counted + missed(&foobar)? == 3, "{counted} counted and {} missed", missed(&foobar)?);
    expect_exact(&network, &server, &foobar, &SOME)?;
    // And the daemon: a connection that is older than its probes is declared lost.
    let mut foobar = foobar;
    let mut client = connect(&network.client, PORT, 0)?;
    ask(&mut *client, Kind::Get)?;
    foobar.kill()?;
    ask(&mut *client, Kind::Get)?;
    foobar.start()?;
    expect_watched(&foobar, "www", server.pid())?;
    let before = foobar.scrape()?;
    ask(&mut *client, Kind::Get)?;
    settle();
    let after = foobar.scrape()?;
    ensure!(requests(&after, PORT) == requests(&before, PORT), "what is older was counted");
    ensure!(lost(&after, PORT) == lost(&before, PORT) + 2, "{:?}", losses(&after));
    expect_exact(&network, &server, &foobar, &SOME)
}

#[test]
fn services_and_other_processes_are_told_apart() -> Result<()> {
    let network = Network::new()?;
    let server = serve(&network)?;
    let python = Python::start(&network.server, OTHER_PORT)?;
    // It has the same library, and is of no service.
    let stranger = Python::start(&network.server, 9443)?;
    let rules = format!(
        "{RULES}[[service]]\nname = \"api\"\nport = \"tcp/8443\"\nprotocol = \"tls\"\ndecrypt_by = \"uprobe\"\n"
    );
    let foobar = watch(&network, &rules)?;
    expect_watched(&foobar, "www", server.pid())?;
    expect_watched(&foobar, "api", python.child.id())?;
    for (requests_of_each, port) in [(7, OTHER_PORT), (5, 9443), (3, PORT)] {
        for number in 0..2 {
            let mut client = connect(&network.client, port, number)?;
            for _ in 0..requests_of_each {
                ask(&mut *client, Kind::Get)?;
            }
        }
    }
    settle();
    let metrics = foobar.scrape()?;
    let counted = [PORT, OTHER_PORT, 9443].map(|port| requests(&metrics, port));
    ensure!(counted == [6, 14, 0], "{counted:?}, {:?}", losses(&metrics));
    ensure!(metrics.count("foobar_http_responses_total", &[("port", "8443"), ("class", "2xx")]) == 14);
    ensure!(lost(&metrics, OTHER_PORT) + lost(&metrics, PORT) == 0, "{:?}", losses(&metrics));
    drop(stranger);
    // By path, the interpreter is meant, with all that it runs: both of them.
    let program = fs::read_link(format!("/proc/{}/exe", python.child.id()))?;
    let by_path = format!("{RULES}decrypt_from = {{ path = {:?} }}\n", program.display().to_string());
    foobar.apply(&by_path)?;
    expect_watched(&foobar, "www", python.child.id())?;
    let watched = foobar.status()?["decryption"][0]["processes"].to_string();
    ensure!(!watched.contains("nginx"), "what listens is watched still: {watched}");
    // Of two services at once, it is counted in neither.
    let rest = by_path.trim_start_matches("schema = 1\n");
    let both = format!("{by_path}{}", rest.replace("www", "api").replace("443", "8443"));
    foobar.apply(&both)?;
    for facts in foobar.status()?["decryption"].as_array().context("no list")? {
        ensure!(facts["problems"].to_string().contains("cannot be told apart"), "{facts}");
        ensure!(facts["processes"] == serde_json::json!([]), "{facts}");
    }
    Ok(())
}

/// A server that asks another one is a client there, by the same library.
#[test]
fn what_a_server_asks_of_others_is_none_of_its_requests() -> Result<()> {
    let network = Network::new()?;
    let _other = Python::start(&network.server, OTHER_PORT)?;
    let lines = format!("location / {{ proxy_pass https://127.0.0.1:{OTHER_PORT}; }}");
    let server = WebServer::serving_tls(&network.server, &[PORT], &lines, false)?;
    let foobar = watch(&network, RULES)?;
    expect_watched(&foobar, "www", server.pid())?;
    let mut client = connect(&network.client, PORT, 0)?;
    for _ in 0..10 {
        ask(&mut *client, Kind::Get)?;
    }
    settle();
    let metrics = foobar.scrape()?;
    let counted = (requests(&metrics, PORT), lost(&metrics, PORT));
    ensure!(counted == (10, 0), "{counted:?}: {:?}", losses(&metrics));
    Ok(())
}

#[test]
fn processes_are_known_by_their_unit() -> Result<()> {
    let network = Network::new()?;
    let server = serve(&network)?;
    let unit = Unit::new()?;
    let rules = format!("{RULES}decrypt_from = {{ unit = {:?} }}\n", unit.name);
    let foobar = watch(&network, &rules)?;
    let told = foobar.status()?["decryption"][0]["problems"].to_string();
    ensure!(told.contains(&format!("no process that is in the unit {}", unit.name)), "{told}");
    unit.add(server.pid())?;
    // The processes that answer are made anew, there.
    server.reload()?;
    expect_watched(&foobar, "www", server.pid())?;
    wait::until("the processes that answer are watched", FOUND_WITHIN, || {
        let status = foobar.status()?;
        let processes = status["decryption"][0]["processes"].as_array().context("no list")?;
        Ok(processes.len() == 3)
    })?;
    expect_exact(&network, &server, &foobar, &SOME)
}

#[test]
fn haproxy_is_counted() -> Result<()> {
    let network = Network::new()?;
    let server = WebServer::serving(&network.server, &[8080], &http1_client::locations())?;
    http1_client::put_files(&server)?;
    let proxy = TlsProxy::start(&network.server)?;
    let foobar = watch(&network, RULES)?;
    expect_watched(&foobar, "www", proxy.haproxy.pid())?;
    for kinds in
        [&[Kind::Get, Kind::Head, Kind::Missing, Kind::Medium, Kind::Post, Kind::Chunked][..], &[Kind::Large]]
    {
        let requests = if kinds.len() == 1 { 2 } else { 60 };
        let scenario =
            Scenario { name: "haproxy", connections: 6, requests, pipelined: 1, piece: usize::MAX, kinds };
        expect_exact(&network, &server, &foobar, &scenario)?;
    }
    Ok(())
}

/// HTTP/2 on the same port, beside HTTP/1.x: any number of streams, bodies that look like frames, large answers.
#[test]
fn http2_is_counted_as_nginx_counts() -> Result<()> {
    let network = Network::new()?;
    let server = WebServer::serving_tls(&network.server, &[PORT], &http1_client::locations(), true)?;
    http1_client::put_files(&server)?;
    let foobar = watch(&network, RULES)?;
    expect_watched(&foobar, "www", server.pid())?;
    expect_cheap(&foobar)?;
    let folder = TempDir::new()?;
    let body = folder.path().join("body");
    fs::write(&body, b"\0\0\x01\x01\x05\0\0\0\x7f\x82".repeat(3_000))?;
    let url = format!("https://{}/", SocketAddr::new(Family::V4.server(), PORT));
    let data = ["-d", body.to_str().context("a path")?];
    for (name, requests, connections, streams, options) in [
        ("one stream", 1_000, 10, 1, &[][..]),
        ("100 streams", 4_000, 5, 100, &[]),
        ("bodies of 30 kB", 100, 2, 5, &data),
        ("another method", 500, 5, 10, &["-H", ":method: DELETE"]),
        ("HTTP/1.1", 500, 5, 1, &["--h1"]),
    ] {
        let (before, served_before) = (foobar.scrape()?, server.requests(&network.server)?);
        let mut h2load = network.client.command("h2load");
        h2load.args([
            "-n",
            &requests.to_string(),
            "-c",
            &connections.to_string(),
            "-m",
            &streams.to_string(),
        ]);
        let output = succeed(h2load.args(options).arg(&url))?;
        settle();
        let (after, served_after) = (foobar.scrape()?, server.requests(&network.server)?);
        let grown = |metric: &str| {
            let labels = [("proto", "https")];
            after.count(metric, &labels) - before.count(metric, &labels)
        };
        let counted = [
            served_after - served_before,
            grown("foobar_http_requests_total"),
            after.count("foobar_http_responses_total", &[])
                - before.count("foobar_http_responses_total", &[]),
            grown("foobar_http_request_duration_seconds_count"),
            grown("foobar_l7_framing_lost_total"),
        ];
        say(&format!("{name}: {requests} sent, {counted:?}"));
        ensure!(
            counted == [requests, requests, requests, requests, 0],
            "{name}: {requests} sent, served, counted, answered, timed and lost are {counted:?}: {:?}; {output}",
            losses(&after)
        );
    }
    let metrics = foobar.scrape()?;
    for (method, expected) in [("POST", 100), ("DELETE", 500), ("unknown", 0)] {
        let counted = metrics.count("foobar_http_requests_total", &[("method", method)]);
        ensure!(counted == expected, "{counted} of {method}, not {expected}");
    }
    Ok(())
}

/// Whatever prevents it, the filter is in force, and it is told why nothing is counted.
#[test]
fn what_cannot_be_watched_is_told_and_stops_nothing() -> Result<()> {
    let network = Network::new()?;
    let listener =
        network.server.enter(|| Ok(std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?))?;
    let without = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", "--"];
    for (wrapper, word) in [(&without[..], "CAP_SYS_ADMIN"), (&[][..], "no libssl")] {
        let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?.with_wrapper(wrapper);
        foobar.start()?;
        let told = foobar.status()?["decryption"][0]["problems"].to_string();
        ensure!(told.contains(word), "{told}");
        ensure!(foobar.log()?.contains(word), "{}", foobar.log()?);
        let metrics = foobar.scrape()?;
        ensure!(metrics.count("foobar_up", &[]) == 1);
        ensure!(metrics.count("foobar_decrypt_complete", &[]) == 0);
        // Others need no such right.
        foobar.apply("schema = 1\n")?;
        ensure!(foobar.status()?["decryption"] == serde_json::json!([]));
        ensure!(foobar.scrape()?.select("foobar_decrypt_complete", &[]).next().is_none());
        foobar.succeed(&["detach"])?;
        foobar.wait()?;
    }
    drop(listener);
    Ok(())
}

/// Starts an nginx that has what the requests ask for.
fn serve(network: &Network) -> Result<WebServer> {
    let server = WebServer::serving_tls(&network.server, &[PORT], &http1_client::locations(), false)?;
    http1_client::put_files(&server)?;
    Ok(server)
}

fn watch(network: &Network, rules: &str) -> Result<Foobar> {
    let mut foobar = Foobar::new(&network.server, &[SERVER], rules)?;
    foobar.start()?;
    Ok(foobar)
}

/// Waits until a process is watched for a service.
fn expect_watched(foobar: &Foobar, service: &str, pid: u32) -> Result<()> {
    wait::until("the process is watched", FOUND_WITHIN, || {
        let status = foobar.status()?;
        let services = status["decryption"].as_array().context("no list")?;
        let service = services.iter().find(|facts| facts["service"] == service).context("no such service")?;
        let processes = service["processes"].as_array().context("no list")?;
        Ok(processes.iter().any(|process| process["pid"] == pid))
    })
    .with_context(|| foobar.status().map(|status| status["decryption"].to_string()).unwrap_or_default())
}

/// Whatever verifiers of other kernels walk, half of their million stays free for them.
fn expect_cheap(foobar: &Foobar) -> Result<()> {
    let status = foobar.status()?;
    let programs = status["programs"].as_array().context("no list")?;
    for name in [maps::TLS_CALLED, maps::TLS_READ, maps::TLS_WRITTEN, maps::PROCESS_FORKED] {
        let program = programs.iter().find(|program| program["program"] == name).context("not told")?;
        let walked = program["verified_instructions"].as_u64().context("not told how many")?;
        say(&format!("{name}: {walked} verified instructions"));
        ensure!(walked < 500_000, "{name}: {walked} verified instructions");
    }
    Ok(())
}

/// Runs a scenario and compares with what nginx has counted.
fn expect_exact(network: &Network, server: &WebServer, foobar: &Foobar, scenario: &Scenario) -> Result<()> {
    let name = scenario.name;
    let (before, served_before) = (foobar.scrape()?, server.requests(&network.server)?);
    load(scenario, &|number| connect(&network.client, PORT, number))?;
    settle();
    let (after, served_after) = (foobar.scrape()?, server.requests(&network.server)?);
    let grown =
        |metric: &str, labels: &[(&str, &str)]| after.count(metric, labels) - before.count(metric, labels);
    let (sent, served) = (scenario.sent(), served_after - served_before);
    let counted = grown("foobar_http_requests_total", &[("proto", "https")]);
    let responses = grown("foobar_http_responses_total", &[]);
    let timed = grown("foobar_http_request_duration_seconds_count", &[("proto", "https")]);
    let lost = lost(&after, PORT) - lost(&before, PORT);
    say(&format!("{name}: {sent} sent, {served} served, {counted} counted"));
    ensure!(
        (served, counted, responses, timed, lost) == (sent, sent, sent, sent, 0),
        "{name}: {sent} sent, {served} served, {counted} counted, {responses} answered, {timed} timed, {lost} lost: {:?}",
        losses(&after)
    );
    Ok(())
}

fn connect(client: &Namespace, port: u16, number: usize) -> Result<Box<dyn Stream>> {
    let family = if number.is_multiple_of(2) || port != PORT { Family::V4 } else { Family::V6 };
    Ok(Box::new(TlsStream::connect(client, SocketAddr::new(family.server(), port))?))
}

fn ask(client: &mut dyn Stream, kind: Kind) -> Result<()> {
    client.write_all(kind.request(0).as_bytes())?;
    client.flush()?;
    kind.read_answer(client, &mut Vec::new())
}

/// Requests inside of TLS.
fn requests(metrics: &Metrics, port: u16) -> u64 {
    metrics.count("foobar_http_requests_total", &[("proto", "https"), ("port", &port.to_string())])
}

fn lost(metrics: &Metrics, port: u16) -> u64 {
    metrics.count("foobar_l7_framing_lost_total", &[("proto", "https"), ("port", &port.to_string())])
}

/// The reasons that are not zero.
fn losses(metrics: &Metrics) -> Vec<String> {
    let lost = metrics.select("foobar_l7_framing_lost_total", &[]);
    lost.filter(|sample| sample.value > 0.0).map(|sample| format!("{sample:?}")).collect()
}
