//! Per-packet cost of what comes in to a service that speaks HTTP/1.x, or DNS.

use anyhow::{Context as _, Result, ensure};
use foobar_bench_programs::Target;
use foobar_daemon::{
    dataplane::{load::LoadedRuleset, timed_runs::TimedRuns},
    rules::{bundle::Bundle, compile::compile},
    slots::Slots,
};
use foobar_tests::{
    packets::{self, flag},
    segments::Connection,
};

use crate::{
    driver::Driver,
    figures::{Figure, Spread},
    plan::Plan,
    report::{Report, Row},
};

const RULES: &str = "schema = 1\n[[service]]\nname = \"www\"\nport = \"tcp/80\"\nprotocol = \"http1\"\n";
const DNS_RULES: &str = "schema = 1\n[[service]]\nname = \"dns\"\nport = \"udp/53\"\nprotocol = \"dns\"\n";
/// Segments in a sample.
const RUNS: u32 = 1 << 16;

/// Measures all of them.
pub(crate) fn run(driver: &mut Driver, report: &mut Report, plan: &Plan) -> Result<()> {
    requests(driver, report, plan)?;
    queries(driver, report, plan)
}

/// Queries of DNS in datagrams. No answer goes out: each is kept, or is one that is.
fn queries(driver: &mut Driver, report: &mut Report, plan: &Plan) -> Result<()> {
    let ruleset = Bundle::of_text("rules", DNS_RULES).parse().context("read the rules")?;
    let slots = Slots::for_once(&ruleset, &["eth0".to_owned()])?;
    let runs = LoadedRuleset::for_timed_runs(&compile(&ruleset, &slots)?, "eth0")?;
    driver.aim(runs.ingress_fd()?)?;
    for (name, ids) in
        [("the same query of DNS", 1), ("256 queries of DNS", 256), ("65,536 queries of DNS", 65_536)]
    {
        report.say(&format!("services: {name}"));
        let frames: Vec<Vec<u8>> = (0..=u16::MAX).take(ids).map(query).collect();
        driver.feed(&frames)?;
        let before = counted(&runs)?;
        let (mut over_parse, mut parse) = (Vec::new(), Vec::new());
        for sample in 0..=plan.effort.samples {
            let baseline = driver.time(Target::Bare, RUNS)?;
            let parsed = driver.time(Target::ParseOnly, RUNS)?;
            let read = driver.time(Target::Subject, RUNS)?;
            // The first one fills the caches and is not counted.
            if sample > 0 {
                over_parse.push(read - parsed);
                parse.push(parsed - baseline);
            }
        }
        let sent = u64::from(RUNS) * u64::from(plan.effort.samples + 1);
        let counted = counted(&runs)? - before;
        ensure!(counted == sent, "{name}: {counted} queries were counted of {sent}");
        report.add(
            Row::new("services", name)
                .with("bytes", Figure::Count(QUESTION.len() as u64 + 2))
                .with("over parse", Figure::Nanoseconds(Spread::of(over_parse)))
                .with("parse only", Figure::Nanoseconds(Spread::of(parse))),
        );
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

/// Segments with requests of HTTP/1.x.
fn requests(driver: &mut Driver, report: &mut Report, plan: &Plan) -> Result<()> {
    let ruleset = Bundle::of_text("rules", RULES).parse().context("read the rules")?;
    let slots = Slots::for_once(&ruleset, &["eth0".to_owned()])?;
    let runs = LoadedRuleset::for_timed_runs(&compile(&ruleset, &slots)?, "eth0")?;
    driver.aim(runs.ingress_fd()?)?;
    let post = [&request("POST", 200, "Content-Length: 1000\r\n", 60)[..], &[b'x'; 1000]].concat();
    let cases = [
        ("no payload", Vec::new(), 0),
        ("GET of 80 bytes", request("GET", 80, "", 60), 1),
        ("GET of 300 bytes", request("GET", 300, "", 60), 1),
        ("GET of 1,000 bytes", request("GET", 1_000, "", 60), 1),
        ("GET of 1,460 bytes", request("GET", 1_460, "", 60), 1),
        ("the same in lines of 20", request("GET", 1_460, "", 20), 1),
        ("POST, 200 bytes and 1,000 of body", post, 1),
        ("8 GETs of 80 bytes", request("GET", 80, "", 60).repeat(8), 8),
    ];
    for (number, (name, payload, requests)) in (0..).zip(cases) {
        report.say(&format!("services: {name}"));
        // One of its own, which begins where the numbers do.
        let connection = Connection { client_port: 10_000 + number, client_first: 0, ..Connection::to(80) };
        runs.goes_out(&connection.syn_ack())?;
        driver.begin_stream(0)?;
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
        report.add(
            Row::new("services", name)
                .with("bytes", Figure::Count(payload.len() as u64))
                .with("over parse", Figure::Nanoseconds(Spread::of(over_parse)))
                .with("parse only", Figure::Nanoseconds(Spread::of(parse))),
        );
    }
    Ok(())
}

fn counted(runs: &TimedRuns) -> Result<u64> {
    let counters = runs.counters()?;
    Ok(counters.services.values().map(foobar_daemon::dataplane::counters::ServiceCounters::requests).sum())
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
