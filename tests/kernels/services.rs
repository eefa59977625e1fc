//! Connections to services by `BPF_PROG_TEST_RUN`.

use anyhow::{Context as _, Result, bail, ensure};
use foobar_common::{
    dns::{QueryType, ResponseCode},
    flow::Direction,
    peers::PeerConnections,
    raw::RawCounters,
    service::{HttpCounters, Loss, Method},
    tls::{Alpn, TlsVersion},
    verdict::Reason,
};
use foobar_daemon::{
    dataplane::{
        counters::{ProtocolCounters, ServiceCounters},
        load::LoadedRuleset,
        programs::ProgramFacts,
        test_runs::TestRuns,
    },
    rules::model::{PortProtocol, ServicePort},
    slots::Slots,
};
use foobar_tests::{
    frames::Family,
    packets::{self, flag},
    segments::Connection,
};

use crate::{
    machine::FILTERED,
    report::Report,
    rulesets::{self, Ruleset},
};

/// Loads rules with a service of each protocol, and sends it connections: without groups of peers, and with some.
pub(crate) fn run(report: &mut Report) {
    if let Some(mut runs) = talk(report, &rulesets::SERVICES) {
        report.check(rulesets::SERVICES.name, "everybody is somebody else", &nobody_has_a_name(&mut runs));
    }
    if let Some(mut runs) = talk(report, &rulesets::SERVICES_BY_GROUP) {
        report.check(
            rulesets::SERVICES_BY_GROUP.name,
            "each connection is in one group",
            &by_group(&mut runs),
        );
    }
}

/// What was counted is the same with groups and without.
fn talk(report: &mut Report, ruleset: &Ruleset) -> Option<TestRuns> {
    let section = ruleset.name;
    let loaded = ruleset
        .compile(&mut Slots::default())
        .and_then(|compiled| LoadedRuleset::for_test_runs(&compiled, FILTERED));
    let mut runs = match loaded {
        Ok(runs) => runs,
        Err(error) => {
            report.check(section, "load", &Err(error));
            return None;
        }
    };
    report.check(section, "load", &Ok(String::new()));
    let of_services = |facts: Vec<ProgramFacts>| {
        let mut programs = facts.iter();
        let programs =
            programs.by_ref().filter(|program| !["ingress", "egress"].contains(&program.program.as_str()));
        programs.filter_map(|program| program.verified_instructions).max()
    };
    Report::instructions(section, runs.facts().ok().and_then(of_services));
    report.check(section, "requests and responses in pieces", &exchange(&mut runs));
    report.check(section, "requests and responses of HTTP/2 in pieces", &http2(&mut runs));
    report.check(section, "a handshake of TLS, and none where one has to be", &handshake(&mut runs));
    report.check(section, "requests whose last segment comes first", &backwards(&mut runs));
    report.check(section, "queries as text and prepared, and their answers", &queries(&mut runs));
    report.check(section, "a connection that is older than the filter", &preexisting(&mut runs));
    report.check(section, "queries and answers of DNS, as datagrams and in pieces", &dns(&mut runs));
    report.check(section, "connections of which nothing is read", &connections(&mut runs));
    Some(runs)
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
    let before = counters(runs, 80)?;
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
    let after = counters(runs, 80)?;
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

/// Requests, the last segment first, over the end of sequence numbers.
fn backwards(runs: &mut TestRuns) -> Result<String> {
    const REQUESTS: usize = 300;
    let connection = Connection { client_port: 40_007, ..Connection::to(80) };
    let asked = b"GET / HTTP/1.1\r\n\r\n".repeat(REQUESTS);
    let before = counters(runs, 80)?;
    runs.judge(&connection.syn_ack(), Direction::Out)?;
    for (number, piece) in asked.chunks(50).enumerate().collect::<Vec<_>>().into_iter().rev() {
        runs.judge(&connection.asked(number * 50, piece), Direction::In)?;
    }
    let after = counters(runs, 80)?;
    let requests = after.requests.iter().sum::<u64>() - before.requests.iter().sum::<u64>();
    ensure!(
        requests == REQUESTS as u64 && after.lost == before.lost,
        "{requests} requests, and lost: {:?}",
        after.lost
    );
    Ok(String::new())
}

/// A connection that begins with HTTP/2, and one that goes on in it after a request.
fn http2(runs: &mut TestRuns) -> Result<String> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    // GET with a window update before it, and PUT with fields in two frames and a body.
    let asked = [
        SETTINGS,
        b"\0\0\x04\x08\0\0\0\0\0\0\0\xff\xff\0\0\x03\x01\x05\0\0\0\x03\x82\x86\x84",
        b"\0\0\x03\x01\0\0\0\0\x05\x42\x03P\0\0\x02\x09\x04\0\0\0\x05UT\0\0\x05\0\x01\0\0\0\x05\0\0\0\x01\x01",
    ]
    .concat();
    let answered =
        [SETTINGS, b"\0\0\x01\x01\x05\0\0\0\x05\x88\0\0\x01\x01\x04\0\0\0\x03\x8d\0\0\x01\0\x01\0\0\0\x03x"]
            .concat();
    let upgrade =
        b"GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings:\r\n\r\n";
    let switched = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    let before = counters(runs, 8_081)?;
    for (client_port, first, answer) in [(40_000, &b""[..], &b""[..]), (40_001, upgrade, switched)] {
        let connection = Connection { client_port, ..Connection::to(8_081) };
        runs.judge(&connection.syn_ack(), Direction::Out)?;
        runs.judge(&connection.asked(0, first), Direction::In)?;
        // The server's first frame comes with the end of HTTP/1.x.
        let (head, rest) = answered.split_at(12);
        let answer = [answer, head].concat();
        runs.judge(&connection.answered(0, first.len(), &answer), Direction::Out)?;
        for (number, piece) in [PREFACE, &asked].concat().chunks(11).enumerate() {
            runs.judge(&connection.asked(first.len() + number * 11, piece), Direction::In)?;
        }
        for (number, piece) in rest.chunks(5).enumerate() {
            let end = first.len() + PREFACE.len() + asked.len();
            runs.judge(&connection.answered(answer.len() + number * 5, end, piece), Direction::Out)?;
        }
    }
    let after = counters(runs, 8_081)?;
    let requests = [Method::Get, Method::Put]
        .map(|method| after.requests[method as usize] - before.requests[method as usize]);
    let connections =
        [after.connections - before.connections, after.http2_connections - before.http2_connections];
    ensure!(
        requests == [3, 2]
            && after.responses == [1, 2, 0, 2, 0, 0]
            && connections == [1, 2]
            && after.lost == before.lost,
        "{connections:?} connections, {requests:?} requests, responses {:?}, lost {:?}",
        after.responses,
        after.lost
    );
    Ok(String::new())
}

fn preexisting(runs: &mut TestRuns) -> Result<String> {
    let connection = Connection { client_port: 40_001, ..Connection::to(80) };
    let (before, lost_before) = (counters(runs, 80)?, service(runs, 80)?.bytes.lost);
    runs.judge(&connection.asked(0, b"GET / HTTP/1.1\r\n\r\n"), Direction::In)?;
    runs.judge(&connection.answered(0, 18, b"HTTP/1.1 200 OK\r\n\r\n"), Direction::Out)?;
    runs.judge(&connection.asked(18, b"GET / HTTP/1.1\r\n\r\n"), Direction::In)?;
    let after = counters(runs, 80)?;
    let bytes = service(runs, 80)?.bytes.lost - lost_before;
    let reason = Loss::Preexisting as usize;
    let lost = [0, 1].map(|way| after.lost.0[way][reason] - before.lost.0[way][reason]);
    ensure!(
        bytes == 18 + 19 + 18 && lost == [1, 1] && after.requests == before.requests,
        "lost {bytes} bytes and {lost:?} times, requests {:?}",
        after.requests
    );
    Ok(String::new())
}

fn counters(runs: &TestRuns, port: u16) -> Result<HttpCounters> {
    match service(runs, port)?.of_protocol {
        ProtocolCounters::Http1(counters) | ProtocolCounters::H2c(counters) => Ok(counters),
        ProtocolCounters::Raw(_)
        | ProtocolCounters::Http1Requests(_)
        | ProtocolCounters::Tls(_)
        | ProtocolCounters::Mysql(..)
        | ProtocolCounters::Dns(_) => {
            bail!("port {port} does not speak HTTP")
        }
    }
}

/// The counters of a port.
fn service(runs: &TestRuns, port: u16) -> Result<ServiceCounters> {
    let port = ServicePort { protocol: PortProtocol::Tcp, port };
    runs.counters()?.services.remove(&port).context("no counters of a service")
}

/// A handshake in pieces, and what is none.
fn handshake(runs: &mut TestRuns) -> Result<String> {
    let connection = Connection::to(443);
    runs.judge(&connection.syn_ack(), Direction::Out)?;
    let asked = hello(1, &CLIENT_EXTENSIONS, &[0, 2, 0x13, 1, 1, 0]);
    for (number, piece) in asked.chunks(11).enumerate() {
        let judged = runs.judge(&connection.asked(number * 11, piece), Direction::In)?;
        ensure!(judged.reason == Reason::Policy, "piece {number} of the hello: {}", judged.reason.label());
    }
    let answered = hello(2, &SERVER_EXTENSIONS, &[0x13, 1, 0]);
    for (number, piece) in answered.chunks(13).enumerate() {
        runs.judge(&connection.answered(number * 13, asked.len(), piece), Direction::Out)?;
    }
    let plain = Connection { client_port: 40_001, ..connection };
    runs.judge(&plain.syn_ack(), Direction::Out)?;
    let refused = runs.judge(&plain.asked(0, b"GET / HTTP/1.1\r\n\r\n"), Direction::In)?.reason;
    let services = runs.counters()?.services;
    let counters = services.values().find_map(|service| match &service.of_protocol {
        ProtocolCounters::Tls(counters) => Some(*counters),
        ProtocolCounters::Raw(_)
        | ProtocolCounters::Http1(_)
        | ProtocolCounters::Http1Requests(_)
        | ProtocolCounters::H2c(_)
        | ProtocolCounters::Mysql(..)
        | ProtocolCounters::Dns(_) => None,
    });
    let counters = counters.context("no counters of TLS")?;
    let seen = counters.handshakes[TlsVersion::Tls13 as usize][Alpn::Http2 as usize];
    ensure!(seen == 1 && refused == Reason::NotTls, "{}: {counters:?}", refused.label());
    let names = runs.names()?;
    let names: Vec<&str> = names.values().flatten().map(|(name, _)| name.as_str()).collect();
    ensure!(names == ["www.foobar.com"], "{names:?}");
    Ok(String::new())
}

/// A session in pieces: a query, and a statement that is prepared, executed and fails.
fn queries(runs: &mut TestRuns) -> Result<String> {
    const GREETING: &[u8] =
        b"\x0a5.5.5-10.11.6-MariaDB\0\x01\0\0\0abcdefgh\0\xfe\xf7\x2d\x02\0\xff\x81\x15\0";
    const LOGIN: [u8; 33] = *b"\x85\xa2\x9e\0\0\0\0\x01\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let turns = [
        (Vec::new(), packet(0, GREETING)),
        (packet(1, &LOGIN), packet(2, b"\0\0\0\x02\0\0\0")),
        (packet(0, b"\x03/**/SELECT 1"), [packet(1, b"\x01"), packet(2, b"\xfe\0\0\x02\0")].concat()),
        (packet(0, b"\x16DELETE FROM t"), packet(1, b"\0\x07\0\0\0\0\0\0\0\0\0\0")),
        (packet(0, b"\x17\x07\0\0\0\0\x01\0\0\0"), packet(1, b"\xff\x15\x04#42000no")),
    ];
    let connection = Connection::to(3306);
    runs.judge(&connection.syn_ack(), Direction::Out)?;
    let (mut asked, mut answered) = (0, 0);
    for (question, answer) in turns {
        for piece in question.chunks(5) {
            runs.judge(&connection.asked(asked, piece), Direction::In)?;
            asked += piece.len();
        }
        for piece in answer.chunks(9) {
            runs.judge(&connection.answered(answered, asked, piece), Direction::Out)?;
            answered += piece.len();
        }
    }
    let services = runs.counters()?.services;
    let counters = services.values().find_map(|service| match &service.of_protocol {
        ProtocolCounters::Mysql(counters, _) => Some(counters),
        ProtocolCounters::Raw(_)
        | ProtocolCounters::Http1(_)
        | ProtocolCounters::Http1Requests(_)
        | ProtocolCounters::H2c(_)
        | ProtocolCounters::Tls(_)
        | ProtocolCounters::Dns(_) => None,
    });
    let counters = counters.context("no counters of MySQL")?;
    ensure!(
        (counters.sessions, counters.queries, counters.errors, counters.lost.total())
            == ([1, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0], 1, 0),
        "{counters:?}"
    );
    Ok(String::new())
}

/// A packet of MySQL with this number.
fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap_or(u8::MAX);
    [&[length, 0, 0, sequence], payload].concat()
}

/// `server_name`, `supported_versions` with 1.3 and 1.2, ALPN with h2.
const CLIENT_EXTENSIONS: [u8; 41] =
    *b"\0\0\0\x13\0\x11\0\0\x0ewww.foobar.com\0\x2b\0\x05\x04\x03\x04\x03\x03\0\x10\0\x05\0\x03\x02h2";
/// `supported_versions` with 1.3.
const SERVER_EXTENSIONS: [u8; 6] = *b"\0\x2b\0\x02\x03\x04";

/// A record with a hello of this type.
fn hello(kind: u8, extensions: &[u8], ciphers: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| u8::try_from(bytes).unwrap_or(u8::MAX);
    let mut body =
        [&[3, 3][..], &[7; 32], &[0], ciphers, &[0, length(extensions.len())], extensions].concat();
    body.splice(..0, [kind, 0, 0, length(body.len())]);
    body.splice(..0, [22, 3, 1, 0, length(body.len())]);
    body
}

/// A query and its answer as datagrams, two on a connection in pieces, and what is neither.
fn dns(runs: &mut TestRuns) -> Result<String> {
    let (client, server) = (("192.0.2.2", 40_000), ("192.0.2.1", 53));
    for (direction, bytes) in
        [(Direction::In, &QUERY[..]), (Direction::Out, &answer()), (Direction::In, b"no message of DNS")]
    {
        let (source, destination) =
            if direction == Direction::In { (client, server) } else { (server, client) };
        let length = u16::try_from(8 + bytes.len())?;
        let payload = [&packets::udp_header(source.1, destination.1, length)[..], bytes].concat();
        runs.judge(&packets::packet(source.0, destination.0, 17, payload).frame(), direction)?;
    }
    let connection = Connection::to(53);
    runs.judge(&connection.syn_ack(), Direction::Out)?;
    let twice = |message: &[u8]| -> Result<Vec<u8>> {
        let one = [&u16::try_from(message.len())?.to_be_bytes()[..], message].concat();
        // The second one has another id.
        let mut both = [&one[..], &one].concat();
        both[one.len() + 2] = 8;
        Ok(both)
    };
    let (asked, answered) = (twice(&QUERY)?, twice(&answer())?);
    for (number, piece) in asked.chunks(9).enumerate() {
        runs.judge(&connection.asked(number * 9, piece), Direction::In)?;
    }
    for (number, piece) in answered.chunks(13).enumerate() {
        runs.judge(&connection.answered(number * 13, asked.len(), piece), Direction::Out)?;
    }
    for (protocol, expected) in [(PortProtocol::Udp, 1), (PortProtocol::Tcp, 2)] {
        let services = runs.counters()?.services;
        let service = services.get(&ServicePort { protocol, port: 53 }).context("no counters of DNS")?;
        let ProtocolCounters::Dns(counters) = service.of_protocol else {
            bail!("port 53 speaks something else")
        };
        let asked = counters.queries[QueryType::Aaaa as usize];
        let answered = counters.answers[ResponseCode::NxDomain as usize];
        let timed = counters.duration.buckets.iter().sum::<u64>();
        let not_dns = counters.lost.0[0][Loss::NotDns as usize];
        ensure!(
            [asked, answered, timed] == [expected; 3] && not_dns == u64::from(protocol == PortProtocol::Udp),
            "{protocol:?}: {counters:?}"
        );
    }
    Ok(String::new())
}

/// A connection that is opened twice and reset by both sides, one that is older, and one that is refused.
fn connections(runs: &mut TestRuns) -> Result<String> {
    let ends = Connection::to(25);
    let reset = flag::RST | flag::ACK;
    let again = Connection { client_first: 7, ..ends };
    let old = Connection { family: Family::V6, ..ends };
    for (frame, direction) in [
        (ends.syn_ack(), Direction::Out),
        (ends.syn_ack(), Direction::Out),
        (ends.from_client(reset, ends.client_first, &[]), Direction::In),
        (ends.from_client(reset, ends.client_first, &[]), Direction::In),
        (again.syn_ack(), Direction::Out),
        (again.from_server(reset, again.server_first, 7, &[]), Direction::Out),
        (old.from_client(flag::RST, old.client_first, &[]), Direction::In),
        (old.from_server(reset, 0, old.client_first, &[]), Direction::Out),
    ] {
        runs.judge(&frame, direction)?;
    }
    let port = ServicePort { protocol: PortProtocol::Tcp, port: 25 };
    let service = runs.counters()?.services.remove(&port).context("no counters of port 25")?;
    let ProtocolCounters::Raw(counters) = service.of_protocol else { bail!("port 25 is read") };
    ensure!(counters == RawCounters { opened: 2, resets: [2, 1], refused: 1 }, "{counters:?}");
    Ok(String::new())
}

/// What each group of peers has opened of a port: sessions of MySQL, connections that began with something, and others.
fn opened(runs: &TestRuns, port: u16) -> Result<Vec<(String, u64)>> {
    let service = service(runs, port)?;
    let sum = |counted: &PeerConnections| {
        let PeerConnections { first_bytes, sessions, opened } = counted;
        first_bytes.iter().chain(sessions).sum::<u64>() + opened
    };
    Ok(service.peers.by_name().map(|(name, counted)| (name.to_owned(), sum(counted))).collect())
}

fn nobody_has_a_name(runs: &mut TestRuns) -> Result<String> {
    for (port, number) in OPENED {
        let found = opened(runs, port)?;
        ensure!(found == [("other".to_owned(), number)], "port {port}: {found:?}");
    }
    Ok(String::new())
}

/// How many connections were opened, all by the same address, before those of [`by_group`].
const OPENED: [(u16, u64); 5] = [(80, 2), (8_081, 3), (443, 2), (3_306, 1), (25, 2)];

fn by_group(runs: &mut TestRuns) -> Result<String> {
    let other = Connection { family: Family::V6, client_port: 50_000, ..Connection::to(25) };
    runs.judge(&other.syn_ack(), Direction::Out)?;
    for (port, number) in OPENED {
        let found = opened(runs, port)?;
        let of_family = u64::from(port == 25);
        let expected = [("other", 0), ("lb", number), ("monitoring", of_family)];
        let expected = expected.map(|(name, number)| (name.to_owned(), number));
        ensure!(found == expected, "port {port}: {found:?}");
    }
    Ok(String::new())
}

/// For addresses of IPv6 of `a.foobar.com`.
const QUERY: [u8; 30] = *b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x06foobar\x03com\0\0\x1c\0\x01";

/// That there is no such name.
fn answer() -> Vec<u8> {
    let mut answer = QUERY.to_vec();
    answer[2] |= 0x80;
    answer[3] |= 3;
    answer
}
