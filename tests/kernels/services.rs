//! Connections to services by `BPF_PROG_TEST_RUN`.

use anyhow::{Context as _, Result, ensure};
use foobar_common::{
    flow::Direction,
    service::{HttpCounters, Loss},
};
use foobar_daemon::{
    dataplane::{
        counters::{ProtocolCounters, ServiceCounters},
        filter::ProgramFacts,
        load::LoadedRuleset,
        test_runs::TestRuns,
    },
    slots::Slots,
};
use foobar_tests::segments::Connection;

use crate::{machine::FILTERED, report::Report, rulesets};

const SECTION: &str = "http1";

/// Loads rules with a service of HTTP/1.x, and sends it connections.
pub(crate) fn run(report: &mut Report) {
    let loaded = rulesets::SERVICES
        .compile(&mut Slots::default())
        .and_then(|compiled| LoadedRuleset::for_test_runs(&compiled, FILTERED));
    let mut runs = match loaded {
        Ok(runs) => runs,
        Err(error) => {
            report.check(SECTION, "load", &Err(error));
            return;
        }
    };
    report.check(SECTION, "load", &Ok(String::new()));
    let of_services = |facts: Vec<ProgramFacts>| {
        let programs = facts.iter().filter(|program| program.program.starts_with("http1"));
        programs.filter_map(|program| program.verified_instructions).max()
    };
    Report::instructions(SECTION, runs.facts().ok().and_then(of_services));
    report.check(SECTION, "requests and responses in pieces", &exchange(&mut runs));
    report.check(SECTION, "a connection that is older than the filter", &preexisting(&mut runs));
}

fn exchange(runs: &mut TestRuns) -> Result<String> {
    let connection = Connection::to(80);
    let asked =
        b"POST /a HTTP/1.1\r\nHost: www.foobar.com\r\nContent-Length: 5\r\n\r\nGET /GET /b HTTP/1.1\r\n\r\n";
    let answered = [
        &b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHTTP/\r\n0\r\n\r\n"[..],
        &b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"[..],
        &[b'x'; 1000],
    ]
    .concat();
    let before = counters(runs)?;
    runs.judge(&connection.syn_ack(), Direction::Out)?;
    // Each piece also has the end of the one before.
    for (number, piece) in asked.chunks(7).enumerate() {
        let start = number * 7;
        runs.judge(&connection.asked(start, piece), Direction::In)?;
        let overlap = start.saturating_sub(3);
        let end = (start + 9).min(asked.len());
        runs.judge(&connection.asked(overlap, &asked[overlap..end]), Direction::In)?;
    }
    for (number, piece) in answered.chunks(300).enumerate() {
        runs.judge(&connection.answered(number * 300, asked.len(), piece), Direction::Out)?;
    }
    let after = counters(runs)?;
    let requests = after.requests.iter().sum::<u64>() - before.requests.iter().sum::<u64>();
    let responses = after.responses.iter().sum::<u64>() - before.responses.iter().sum::<u64>();
    let timed = after.last_byte.buckets.iter().sum::<u64>() - before.last_byte.buckets.iter().sum::<u64>();
    ensure!(
        (requests, responses, timed) == (2, 2, 2) && after.lost == before.lost,
        "{requests} requests, {responses} responses, {timed} of them timed, and lost: {:?}",
        after.lost
    );
    Ok(String::new())
}

fn preexisting(runs: &mut TestRuns) -> Result<String> {
    let connection = Connection { client_port: 40_001, ..Connection::to(80) };
    let (before, lost_before) = (counters(runs)?, service(runs)?.bytes.lost);
    runs.judge(&connection.asked(0, b"GET / HTTP/1.1\r\n\r\n"), Direction::In)?;
    runs.judge(&connection.answered(0, 18, b"HTTP/1.1 200 OK\r\n\r\n"), Direction::Out)?;
    runs.judge(&connection.asked(18, b"GET / HTTP/1.1\r\n\r\n"), Direction::In)?;
    let after = counters(runs)?;
    let bytes = service(runs)?.bytes.lost - lost_before;
    let reason = Loss::Preexisting as usize;
    let lost = [0, 1].map(|way| after.lost[way][reason] - before.lost[way][reason]);
    ensure!(
        bytes == 18 + 19 + 18 && lost == [1, 1] && after.requests == before.requests,
        "lost {bytes} bytes and {lost:?} times, requests {:?}",
        after.requests
    );
    Ok(String::new())
}

fn counters(runs: &TestRuns) -> Result<HttpCounters> {
    let ProtocolCounters::Http1(counters) = service(runs)?.of_protocol;
    Ok(counters)
}

/// The counters of port 80.
fn service(runs: &TestRuns) -> Result<ServiceCounters> {
    runs.counters()?.services.into_values().next().context("no counters of a service")
}
