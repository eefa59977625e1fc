//! Connections of HTTP/1.x through the programs, in segments as networks deliver them, against a plain reading of the
//! whole.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../foobar-common/tests/http1/messages.rs"]
mod messages;
#[path = "../../foobar-common/tests/http1/plain.rs"]
mod plain;

use std::cell::RefCell;

use foobar_common::service::{HttpCounters, Loss, Method};
use foobar_daemon::dataplane::counters::ProtocolCounters;
use foobar_tests::{
    frames::Family,
    packets::flag,
    random::Random,
    segments::Connection,
    service::{Service, deliveries},
};
use proptest::{
    collection::vec,
    prelude::{ProptestConfig, any, prop_assert_eq},
    test_runner::TestRunner,
};

/// Bytes of segments.
const LONGEST: &[usize] = &[1, 7, 100, 1448, 3000];
const RULES: &str = "schema = 1\n[[service]]\nname = \"www\"\nport = [\"tcp/80\"]\nprotocol = \"http1\"\n";

/// How much more or less than a plain reading the programs counted, in any way that segments come.
#[test]
fn segments_read_as_the_whole() {
    let long = std::env::var_os("FOOBAR_LONG").is_some();
    let config = ProptestConfig {
        cases: if long { 20_000 } else { 400 },
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let server = RefCell::new(service());
    let cases = (vec(messages::request(), 0..12), vec(messages::response(), 0..12), any::<u64>());
    TestRunner::new(config)
        .run(&cases, |(asked, answered, seed)| {
            let (asked, answered) = (asked.concat(), answered.concat());
            let mut server = server.borrow_mut();
            let connection = server.connect();
            let before = http(&server);
            let mut random = Random::new(seed);
            let mut deliveries_in = deliveries(asked.len(), LONGEST, &mut random);
            let reach = random.pick(&[7, 70, usize::MAX]);
            for some in deliveries_in.chunks_mut(reach) {
                if random.percent(30) {
                    random.shuffle(some);
                }
            }
            for (start, end) in deliveries_in {
                server.goes_in(&connection.asked(start, &asked[start..end]));
            }
            for (start, end) in deliveries(answered.len(), LONGEST, &mut random) {
                server.goes_out(&connection.answered(start, asked.len(), &answered[start..end]));
            }
            let requests = plain::requests(&asked);
            let responses = plain::responses(&answered, &requests, false);
            let counted = since(&server, &before);
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().to_string();
            prop_assert_eq!(counted.requests, methods(&requests.messages), "{}", text(&asked));
            prop_assert_eq!(counted.responses, classes(&responses.messages), "{}", text(&answered));
            prop_assert_eq!(counted.lost, [requests.loss, responses.loss], "{}", text(&answered));
            server.assert_bytes_add_up();
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_gap_in_a_header_is_closed_and_one_in_a_body_is_passed_over() {
    let mut server = service();
    let connection = server.connect();
    let before = http(&server);
    let post = b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n";
    server.goes_in(&connection.asked(0, post));
    // 600 bytes of the body do not come by, and come later.
    server.goes_in(&connection.asked(post.len() + 600, &[b'x'; 400]));
    server.goes_in(&connection.asked(post.len(), &[b'x'; 600]));
    server.goes_in(&connection.asked(post.len() + 1000, b"GET / HTTP/1.1\r\n"));
    let counted = since(&server, &before);
    assert_eq!((total(&counted.requests), counted.lost), (2, [None, None]));
    // Two bytes of a header.
    let end = post.len() + 1016;
    for number in 0..18 {
        server.goes_in(&connection.asked(end + 2 + 18 * number, b"GET / HTTP/1.1\r\n\r\n"));
    }
    server.goes_in(&connection.asked(end, b"\r\n"));
    let counted = since(&server, &before);
    assert_eq!((total(&counted.requests), counted.lost), (2 + 18, [None, None]));
    // The server has more.
    server.goes_out(&connection.answered(0, end + 2 + 18 * 19, b"HTTP/1.1 200 OK\r\n\r\n"));
    server.goes_in(&connection.asked(end + 2 + 18 * 19, b"GET / HTTP/1.1\r\n\r\n"));
    let counted = since(&server, &before);
    assert_eq!((total(&counted.requests), counted.lost), (2 + 18, [Some(Loss::Unseen), None]));
    assert_eq!(server.bytes().lost, 18);
    server.assert_bytes_add_up();
}

#[test]
fn what_the_server_accepted_and_nobody_saw_is_lost() {
    let mut server = service();
    let connection = server.connect();
    let before = http(&server);
    server.goes_out(&connection.answered(0, 18, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    server.goes_in(&connection.asked(18, b"GET / HTTP/1.1\r\n\r\n"));
    let counted = since(&server, &before);
    assert_eq!(total(&counted.requests), 0);
    assert_eq!(counted.lost, [Some(Loss::Unseen), Some(Loss::Unpaired)]);
}

#[test]
fn a_handshake_is_the_beginning_and_sent_again_it_is_not() {
    let mut server = service();
    let connection = server.connect();
    let before = http(&server);
    server.goes_in(&connection.asked(0, b"GET / HT"));
    server.goes_out(&connection.syn_ack());
    server.goes_in(&connection.asked(8, b"TP/1.1\r\n\r\n"));
    assert_eq!(total(&since(&server, &before).requests), 1);
    // The same ends meet again.
    let again = Connection { client_first: 7, server_first: 9, ..connection };
    server.goes_out(&again.syn_ack());
    server.goes_in(&again.asked(0, b"GET / HTTP/1.1\r\n\r\n"));
    let counted = since(&server, &before);
    assert_eq!((total(&counted.requests), counted.lost), (2, [None, None]));
    // Nobody saw how this one began.
    let older = Connection { client_port: 1, ..connection };
    server.goes_in(&older.asked(0, b"GET / HTTP/1.1\r\n\r\n"));
    server.goes_out(&older.answered(0, 18, b"HTTP/1.1 200 OK\r\n\r\n"));
    server.goes_in(&older.asked(18, b"GET / HTTP/1.1\r\n\r\n"));
    let counted = since(&server, &before);
    assert_eq!(counted.lost, [Some(Loss::Preexisting), Some(Loss::Preexisting)]);
    assert_eq!((total(&counted.requests), server.bytes().lost), (2, 18 + 19 + 18));
}

#[test]
fn data_of_the_first_segment_is_lost_and_keepalives_are_nothing() {
    let mut server = service();
    let connection = server.connect();
    let before = http(&server);
    let first = connection.client_first;
    server.goes_in(&connection.from_client(flag::SYN, first.wrapping_sub(1), b"GET / HTTP/1.1\r\n\r\n"));
    // One byte that was sent before.
    server.goes_in(&connection.from_client(flag::ACK, first.wrapping_sub(1), b"\0"));
    server.goes_in(&connection.from_client(flag::ACK, first.wrapping_sub(1), b""));
    server.goes_in(&connection.from_client(flag::RST, first, b"GET / HTTP/1.1\r\n\r\n"));
    // None of this connection: further ahead than any window.
    server.goes_in(&connection.from_client(flag::ACK, first.wrapping_add(0x6000_0000), b"spoofed"));
    server.goes_in(&connection.asked(0, b"GET / HTTP/1.1\r\n\r\n"));
    let counted = since(&server, &before);
    assert_eq!((total(&counted.requests), counted.lost), (1, [Some(Loss::SynData), None]));
}

#[test]
fn a_body_that_ends_with_the_connection_is_timed_to_its_end() {
    let mut server = service();
    let connection = Connection { family: Family::V6, ..server.connect() };
    server.goes_out(&connection.syn_ack());
    let before = http(&server);
    server.goes_in(&connection.asked(0, b"GET / HTTP/1.0\r\n\r\n"));
    server.goes_out(&connection.answered(0, 18, b"HTTP/1.0 200 OK\r\n\r\nsome"));
    let timed = |server: &Service| {
        let counters = http(server);
        let sum = |buckets: [u64; 20]| buckets.iter().sum::<u64>();
        [
            sum(counters.first_byte.buckets) - sum(before.first_byte.buckets),
            sum(counters.last_byte.buckets) - sum(before.last_byte.buckets),
        ]
    };
    assert_eq!(timed(&server), [1, 0]);
    server.goes_out(&connection.answered_last(23, 18, b" more"));
    assert_eq!(timed(&server), [1, 1]);
    server.goes_out(&connection.answered_last(23, 18, b" more"));
    assert_eq!(timed(&server), [1, 1]);
}

/// What was counted.
#[derive(Debug, PartialEq, Eq)]
struct Counted {
    requests: [u64; Method::COUNT as usize],
    responses: [u64; 6],
    lost: [Option<Loss>; 2],
}

fn methods(names: &[String]) -> [u64; Method::COUNT as usize] {
    let mut counts = [0; Method::COUNT as usize];
    for name in names {
        let method = Method::ALL.iter().find(|method| method.label() == name).unwrap_or(&Method::Other);
        counts[*method as usize] += 1;
    }
    counts
}

fn classes(statuses: &[String]) -> [u64; 6] {
    let mut counts = [0; 6];
    for status in statuses {
        counts[usize::from(status.as_bytes()[0] - b'1')] += 1;
    }
    counts
}

fn total(counts: &[u64]) -> u64 {
    counts.iter().sum()
}

fn service() -> Service {
    Service::new(RULES, 80)
}

fn http(service: &Service) -> HttpCounters {
    let ProtocolCounters::Http1(counters) = service.spoken() else { unreachable!("a service of HTTP/1.x") };
    counters
}

fn since(service: &Service, before: &HttpCounters) -> Counted {
    let after = http(service);
    let difference = |after: &[u64], before: &[u64]| -> Vec<u64> {
        after.iter().zip(before).map(|(after, before)| after - before).collect()
    };
    let lost = [0, 1].map(|way| {
        let counts = difference(&after.lost.0[way], &before.lost.0[way]);
        let mut reasons = Loss::ALL.iter().filter(|loss| counts[**loss as usize] > 0);
        let reason = reasons.next().copied();
        assert_eq!(reasons.next(), None, "{counts:?}");
        reason
    });
    Counted {
        requests: difference(&after.requests, &before.requests).try_into().unwrap(),
        responses: difference(&after.responses, &before.responses).try_into().unwrap(),
        lost,
    }
}
