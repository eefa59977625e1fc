//! Services of which requests alone are read: counted as nginx counts them, with nothing said of responses.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use foobar_common::{
    flow::Direction,
    service::{HttpCounters, Loss},
};
use foobar_daemon::dataplane::counters::ProtocolCounters;
use foobar_tests::{
    daemon::Foobar,
    frames::Family,
    http1_client::{self, ALL_KINDS, Kind, Scenario, Stream, load},
    network::{Network, SERVER},
    segments::Connection,
    service::Service,
    tap::settle,
    web_server::WebServer,
};

const PORT: u16 = 8080;
const RULES: &str =
    "schema = 1\n[[service]]\nname = \"www\"\nport = \"tcp/8080\"\nprotocol = \"http1\"\nresponses = false\n";
const SCENARIOS: [Scenario; 3] = [
    Scenario {
        name: "16 pipelined",
        connections: 8,
        requests: 640,
        pipelined: 16,
        piece: usize::MAX,
        kinds: &[Kind::Get],
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
];
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n";

#[test]
fn nginx_counts_the_same() -> Result<()> {
    for mode in ["native", "generic"] {
        let network = Network::new()?;
        let server = WebServer::serving(&network.server, &[PORT], &http1_client::locations())?;
        http1_client::put_files(&server)?;
        let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?.with_options(&["--mode", mode]);
        let mut older = network.client.enter(|| client(0))?;
        answer(&mut older)?;
        foobar.start()?;
        for scenario in &SCENARIOS {
            let (before, served_before) = (foobar.scrape()?, server.requests(&network.server)?);
            network.client.enter(|| load(scenario, &connect))?;
            settle();
            let (after, served_after) = (foobar.scrape()?, server.requests(&network.server)?);
            let grown = |metric: &str| after.count(metric, &[]) - before.count(metric, &[]);
            let found = (
                served_after - served_before,
                grown("foobar_http_requests_total"),
                grown("foobar_l7_framing_lost_total"),
            );
            let sent = scenario.sent();
            ensure!(found == (sent, sent, 0), "{mode}, {}: {found:?} of {sent}", scenario.name);
        }
        let metrics = foobar.scrape()?;
        ensure!(metrics.count("foobar_l7_bytes_total", &[("state", "lost")]) == 0, "{mode}: lost bytes");
        let framed = metrics.count("foobar_l7_bytes_total", &[("state", "framed")]);
        let came = metrics.count("foobar_bytes_total", &[("port", "8080"), ("direction", "in")]);
        ensure!(framed == came, "{mode}: {framed} bytes framed of {came}");
        for of_responses in [
            "foobar_http_responses_total",
            "foobar_http_request_duration_seconds_count",
            "foobar_http_time_to_first_byte_seconds_count",
            "foobar_http_untimed_responses_total",
            "foobar_http_requests_in_flight",
        ] {
            ensure!(
                metrics.select(of_responses, &[]).next().is_none(),
                "{mode}: {of_responses} tells of what is not read"
            );
        }
        answer(&mut older)?;
        // nginx closes, too.
        older.shutdown(Shutdown::Write)?;
        settle();
        let metrics = foobar.scrape()?;
        let preexisting = metrics.count("foobar_l7_framing_lost_total", &[("reason", "preexisting")]);
        ensure!(preexisting == 1, "{mode}: an older connection was told {preexisting} times");
    }
    Ok(())
}

fn connect(number: usize) -> Result<Box<dyn Stream>> {
    Ok(Box::new(client(number)?))
}

/// By IPv4 and IPv6 in turn.
fn client(number: usize) -> Result<TcpStream> {
    let family = if number.is_multiple_of(2) { Family::V4 } else { Family::V6 };
    let stream = TcpStream::connect(SocketAddr::new(family.server(), PORT))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// Asks for something and has the beginning of the answer.
fn answer(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(GET)?;
    let mut some = [0; 12];
    stream.read_exact(&mut some).context("read an answer")?;
    Ok(())
}

/// The server's last segment tells what it has accepted.
#[test]
fn what_nobody_saw_is_declared_when_the_server_closes() {
    let mut server = Service::new(RULES, PORT);
    let connection = server.connect();
    server.goes_in(&connection.asked(GET.len(), GET));
    server.goes_out(&connection.answered(0, 2 * GET.len(), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(lost(&http(&server)), []);
    server.goes_out(&connection.answered_last(38, 2 * GET.len(), &[]));
    assert_eq!(lost(&http(&server)), [(Direction::In, Loss::Unseen)]);
}

/// Nobody can make that up who is not the server.
#[test]
fn a_connection_without_a_beginning_is_told_once_when_the_server_closes() {
    let mut server = Service::new(RULES, PORT);
    let older = Connection::to(PORT);
    server.goes_out(&older.answered(0, 0, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    for number in 0..3 {
        server.goes_in(&older.asked(number * GET.len(), GET));
    }
    assert_eq!(lost(&http(&server)), []);
    assert_eq!(server.bytes().lost, 3 * GET.len() as u64);
    for _ in 0..2 {
        server.goes_out(&older.answered_last(38, 3 * GET.len(), &[]));
    }
    let counters = http(&server);
    assert_eq!(
        (lost(&counters), counters.requests.iter().sum::<u64>()),
        (vec![(Direction::In, Loss::Preexisting)], 0)
    );
    // Another one with the same ends.
    let connection = Connection { client_first: 7, server_first: 9, ..older };
    server.goes_out(&connection.syn_ack());
    server.goes_in(&connection.asked(0, GET));
    assert_eq!(http(&server).requests.iter().sum::<u64>(), 1);
}

fn http(service: &Service) -> HttpCounters {
    let ProtocolCounters::Http1Requests(counters) = service.spoken() else {
        unreachable!("a service of requests")
    };
    counters
}

/// What was lost, once for each time.
fn lost(counters: &HttpCounters) -> Vec<(Direction, Loss)> {
    let ways = Direction::ALL.iter().zip(counters.lost.0);
    let all = ways.flat_map(|(way, counts)| {
        Loss::ALL.iter().zip(counts).map(move |(loss, count)| (*way, *loss, count))
    });
    all.flat_map(|(way, loss, count)| (0..count).map(move |_| (way, loss))).collect()
}
