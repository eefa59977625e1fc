//! Per-packet cost of what comes in to services.

use anyhow::{Result, ensure};
use foobar_bench_programs::Target;
use foobar_common::service::Losses;
use foobar_daemon::dataplane::{counters::ServiceCounters, timed_runs::TimedRuns};
use foobar_tests::{
    packets::{self, flag},
    segments::Connection,
};

use crate::{
    driver::Driver,
    figures::{Figure, Spread},
    plan::Plan,
    report::{Report, Row},
    samples::{RUNS, Samples, aim},
};

const RULES: &str = "schema = 1\n[[service]]\nname = \"www\"\nport = \"tcp/80\"\nprotocol = \"http1\"\n";
const H2C_RULES: &str = "schema = 1\n[[service]]\nname = \"www\"\nport = \"tcp/80\"\nprotocol = \"h2c\"\n";
const MYSQL_RULES: &str =
    "schema = 1\n[[service]]\nname = \"db\"\nport = \"tcp/3306\"\nprotocol = \"mysql\"\n";
const DNS_RULES: &str = "schema = 1\n[[service]]\nname = \"dns\"\nport = \"udp/53\"\nprotocol = \"dns\"\n";

/// Measures all of them.
pub(crate) fn run(driver: &mut Driver, report: &mut Report, plan: &Plan) -> Result<()> {
    for talk in [unread(), http1(), http2(), mysql()] {
        requests(driver, report, plan, talk)?;
    }
    queries(driver, report, plan)
}

/// Queries of DNS in datagrams. No answer goes out: each is kept, or is one that is.
fn queries(driver: &mut Driver, report: &mut Report, plan: &Plan) -> Result<()> {
    let runs = aim(driver, DNS_RULES)?;
    for (name, ids) in
        [("the same query of DNS", 1), ("256 queries of DNS", 256), ("65,536 queries of DNS", 65_536)]
    {
        report.say(&format!("services: {name}"));
        let frames: Vec<Vec<u8>> = (0..=u16::MAX).take(ids).map(query).collect();
        driver.feed(&frames)?;
        let before = counted(&runs)?;
        let samples = Samples::take(driver, plan.effort.samples)?;
        let counted = counted(&runs)? - before;
        ensure!(counted == samples.sent, "{name}: {counted} queries were counted of {}", samples.sent);
        let row = Row::new("services", name).with("bytes", Figure::Count(QUESTION.len() as u64 + 2));
        report.add(samples.show(row));
    }
    Ok(())
}

/// For addresses of `www.foobar.com`, without an id.
const QUESTION: &[u8] = b"\x01\0\0\x01\0\0\0\0\0\0\x03www\x06foobar\x03com\0\0\x01\0\x01";

/// A datagram with a query.
fn query(id: u16) -> Vec<u8> {
    let message = [&id.to_be_bytes()[..], QUESTION].concat();
    let header = packets::udp_header(40_000, 53, 40);
    packets::packet("192.0.2.2", "192.0.2.1", 17, [header, message].concat()).frame()
}

/// What a connection says before it is measured, by turns.
struct Opening {
    rules: &'static str,
    port: u16,
    asked: Vec<u8>,
    answered: Vec<u8>,
    /// What the client says after that, if it is to.
    asked_then: Vec<u8>,
    answered_then: Vec<u8>,
}

impl Opening {
    /// None but the handshake.
    fn silent(rules: &'static str) -> Self {
        let [asked, answered, asked_then, answered_then] = [const { Vec::new() }; 4];
        Self { rules, port: 80, asked, answered, asked_then, answered_then }
    }
}

/// What a segment has, and how many requests these are.
type Case = (&'static str, Vec<u8>, u64);

/// Segments to no service: what the filter costs by itself.
fn unread() -> (Opening, Vec<Case>) {
    let cases = vec![
        ("no payload, to no service", Vec::new(), 0),
        ("GET of 300 bytes, to no service", request("GET", 300, "", 60), 0),
    ];
    (Opening::silent("schema = 1\n"), cases)
}

/// Segments with requests of HTTP/1.x.
fn http1() -> (Opening, Vec<Case>) {
    let opening = Opening::silent(RULES);
    let post = [&request("POST", 200, "Content-Length: 1000\r\n", 60)[..], &[b'x'; 1000]].concat();
    let cases = vec![
        ("no payload", Vec::new(), 0),
        ("GET of 80 bytes", request("GET", 80, "", 60), 1),
        ("GET of 300 bytes", request("GET", 300, "", 60), 1),
        ("GET of 1,000 bytes", request("GET", 1_000, "", 60), 1),
        ("GET of 1,460 bytes", request("GET", 1_460, "", 60), 1),
        ("the same in lines of 20", request("GET", 1_460, "", 20), 1),
        ("POST, 200 bytes and 1,000 of body", post, 1),
        ("8 GETs of 80 bytes", request("GET", 80, "", 60).repeat(8), 8),
    ];
    (opening, cases)
}

/// Header fields of HTTP/2 on one stream: all but the first are read as a trailer is, which is as a request is but for the
/// count.
fn http2() -> (Opening, Vec<Case>) {
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    let headers = |block: &[u8]| {
        let length = u8::try_from(block.len()).unwrap_or(u8::MAX);
        [&[0, 0, length, 1, 5, 0, 0, 0, 1], block].concat()
    };
    let opening = Opening {
        rules: H2C_RULES,
        port: 80,
        asked: [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", SETTINGS, &headers(b"\x82")].concat(),
        answered: SETTINGS.to_vec(),
        asked_then: Vec::new(),
        answered_then: Vec::new(),
    };
    // :method, :scheme, :path, a literal :authority, and ten fields by number, as browsers send them again.
    let short = headers(b"\x82\x86\x84\x41\x0ewww.foobar.com");
    let repeated = headers(b"\x82\x86\x84\xc8\xc7\xc6\xc5\xc4\xc3\xc2\xc1\xc0\xbf");
    let cases = vec![
        ("HEADERS of HTTP/2 with 4 fields", short.clone(), 0),
        ("HEADERS of HTTP/2 with 13 fields", repeated, 0),
        ("8 HEADERS of HTTP/2 with 4 fields", short.repeat(8), 0),
    ];
    (opening, cases)
}

/// Queries of MySQL.
fn mysql() -> (Opening, Vec<Case>) {
    const GREETING: &[u8] =
        b"\x0a5.5.5-10.11.6-MariaDB\0\x01\0\0\0abcdefgh\0\xfe\xf7\x2d\x02\0\xff\x81\x15\0";
    const LOGIN: &[u8] = b"\x85\xa2\x9e\0\0\0\0\x01\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let packet = |sequence: u8, payload: &[u8]| {
        let [first, second, ..] = u32::try_from(payload.len()).unwrap_or(0).to_le_bytes();
        [&[first, second, 0, sequence], payload].concat()
    };
    let opening = Opening {
        rules: MYSQL_RULES,
        port: 3306,
        asked: Vec::new(),
        answered: packet(0, GREETING),
        asked_then: packet(1, LOGIN),
        answered_then: packet(2, b"\0\0\0\x02\0\0\0"),
    };
    let query = |length: usize| {
        let text = format!("SELECT name FROM users WHERE id = 1 AND note = '{}'", "n".repeat(length - 50));
        packet(0, &[&[3], text.as_bytes()].concat())
    };
    let cases = vec![
        ("query of MySQL of 100 bytes", query(100), 1),
        ("query of MySQL of 1,000 bytes", query(1_000), 1),
        ("execution of a prepared statement", packet(0, b"\x17\x01\0\0\0\0\x01\0\0\0"), 1),
    ];
    (opening, cases)
}

/// Segments of connections that have been opened.
fn requests(
    driver: &mut Driver,
    report: &mut Report,
    plan: &Plan,
    (opening, cases): (Opening, Vec<Case>),
) -> Result<()> {
    let runs = aim(driver, opening.rules)?;
    for (number, (name, payload, requests)) in (0..).zip(cases) {
        report.say(&format!("services: {name}"));
        // One of its own, which begins where the numbers do.
        let connection =
            Connection { client_port: 10_000 + number, client_first: 0, ..Connection::to(opening.port) };
        let begun = open(&runs, &connection, &opening)?;
        driver.begin_stream(u32::try_from(begun)?)?;
        let frame = connection.from_client(flag::PSH | flag::ACK, 0, &payload);
        let length = u32::try_from(payload.len())?;
        let before = counted(&runs)?;
        let (mut over_parse, mut parse) = (Vec::new(), Vec::new());
        for sample in 0..=plan.effort.samples {
            let baseline = driver.time_segments(Target::Bare, &frame, length, RUNS)?;
            let parsed = driver.time_segments(Target::ParseOnly, &frame, length, RUNS)?;
            let read = driver.time_segments(Target::Subject, &frame, length, RUNS)?;
            // The first one fills the caches and is not counted.
            if sample > 0 {
                over_parse.push(read - parsed);
                parse.push(parsed - baseline);
            }
        }
        let sent = u64::from(RUNS) * u64::from(plan.effort.samples + 1) * requests;
        let counted = counted(&runs)? - before;
        ensure!(counted == sent, "{name}: {counted} requests were counted of {sent}");
        let lost: u64 =
            runs.counters()?.services.values().filter_map(ServiceCounters::losses).map(Losses::total).sum();
        ensure!(lost == 0, "{name}: {lost} connections could not be followed");
        report.add(
            Row::new("services", name)
                .with("bytes", Figure::Count(payload.len() as u64))
                .with("over parse", Figure::Nanoseconds(Spread::of(over_parse)))
                .with("parse only", Figure::Nanoseconds(Spread::of(parse))),
        );
    }
    Ok(())
}

/// Opens a connection. How many bytes the client has sent then.
fn open(runs: &TimedRuns, connection: &Connection, opening: &Opening) -> Result<usize> {
    runs.goes_out(&connection.syn_ack())?;
    let (mut asked, mut answered) = (0, 0);
    for (question, answer) in
        [(&opening.asked, &opening.answered), (&opening.asked_then, &opening.answered_then)]
    {
        if !question.is_empty() {
            runs.goes_in(&connection.asked(asked, question))?;
            asked += question.len();
        }
        if !answer.is_empty() {
            runs.goes_out(&connection.answered(answered, asked, answer))?;
            answered += answer.len();
        }
    }
    Ok(asked)
}

fn counted(runs: &TimedRuns) -> Result<u64> {
    let counters = runs.counters()?;
    Ok(counters.services.values().map(ServiceCounters::requests).sum())
}

/// A request whose headers have this length, in lines of about `line` bytes.
fn request(method: &str, length: usize, header: &str, line: usize) -> Vec<u8> {
    const NAMES: [&str; 4] = ["Accept", "X-Forwarded-For", "Cookie", "User-Agent"];
    let mut text = format!("{method} / HTTP/1.1\r\nHost: www.foobar.com\r\n{header}");
    for name in NAMES.iter().cycle() {
        let left = length.saturating_sub(text.len() + "\r\n".len());
        let around = name.len() + ": \r\n".len();
        if left <= around {
            break;
        }
        let value =
            if left < line + around + 20 { left - around } else { line.saturating_sub(around).max(1) };
        text = format!("{text}{name}: {}\r\n", "v".repeat(value));
    }
    text.push_str("\r\n");
    text.into_bytes()
}
