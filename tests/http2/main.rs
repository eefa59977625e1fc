//! Connections of HTTP/2 in the clear through the programs, in segments as networks deliver them, against what they were
//! made of; and through real servers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../foobar-common/tests/http2/made.rs"]
mod made;
mod traffic;

use std::cell::RefCell;

use foobar_common::service::{HttpCounters, Loss, Method, STATUS_CLASSES};
use foobar_daemon::dataplane::counters::ProtocolCounters;
use foobar_tests::{
    random::Random,
    service::{Service, deliveries},
};
use made::{class, client, method, server};
use proptest::{
    prelude::{ProptestConfig, any, prop_assert_eq},
    test_runner::TestRunner,
};

/// Bytes of segments.
const LONGEST: &[usize] = &[3, 60, 600, 1448, 3000];
const RULES: &str = "schema = 1\n[[service]]\nname = \"www\"\nport = [\"tcp/80\"]\nprotocol = \"h2c\"\n";
const FIRST_LINE: &[u8] = b"PRI * HTTP/2.0\r\n";
const UPGRADE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
    HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n";
const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";

#[test]
fn segments_read_as_what_they_were_made_of() {
    let long = std::env::var_os("FOOBAR_LONG").is_some();
    let config = ProptestConfig {
        cases: if long { 10_000 } else { 80 },
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let service = RefCell::new(Service::new(RULES, 80));
    let cases = (made::requests(), made::responses(), any::<bool>(), any::<u64>());
    TestRunner::new(config)
        .run(&cases, |(requests, responses, is_upgraded, seed)| {
            let mut service = service.borrow_mut();
            let mut random = Random::new(seed);
            let connection = service.connect();
            let before = http(&service);
            let responses = &responses[..responses.len().min(requests.len())];
            let (upgrade, switched) = if is_upgraded { (UPGRADE, SWITCHED) } else { (&b""[..], &b""[..]) };
            for (start, end) in deliveries(upgrade.len(), LONGEST, &mut random) {
                service.goes_in(&connection.asked(start, &upgrade[start..end]));
            }
            for (start, end) in deliveries(switched.len(), LONGEST, &mut random) {
                service.goes_out(&connection.answered(start, upgrade.len(), &switched[start..end]));
            }
            let first_stream = if is_upgraded { 3 } else { 1 };
            let asked = [upgrade, FIRST_LINE, &client(&requests, first_stream)].concat();
            let answered = [switched, &server(responses, first_stream)].concat();
            // Also where HTTP/2 begins: what comes before that is kept while HTTP/1.x is read.
            let mut deliveries_in = deliveries(asked.len() - upgrade.len(), LONGEST, &mut random);
            let reach = random.pick(&[7, 70, usize::MAX]);
            for some in deliveries_in.chunks_mut(reach) {
                if random.percent(30) {
                    random.shuffle(some);
                }
            }
            for (start, end) in deliveries_in {
                let (start, end) = (upgrade.len() + start, upgrade.len() + end);
                service.goes_in(&connection.asked(start, &asked[start..end]));
            }
            for (start, end) in deliveries(answered.len() - switched.len(), LONGEST, &mut random) {
                let (start, end) = (switched.len() + start, switched.len() + end);
                service.goes_out(&connection.answered(start, asked.len(), &answered[start..end]));
            }
            let mut expected_requests = [0; Method::COUNT as usize];
            for request in &requests {
                expected_requests[method(request.value()) as usize] += 1;
            }
            let mut expected_responses = [0; STATUS_CLASSES];
            for response in responses {
                expected_responses[class(response.value())] += 1;
            }
            if is_upgraded {
                expected_requests[Method::Get as usize] += 1;
                expected_responses[0] += 1;
            }
            let after = http(&service);
            let lost = after.lost.total() - before.lost.total();
            prop_assert_eq!(lost, 0, "{:?}", after.lost);
            prop_assert_eq!(since(&after.requests, &before.requests), expected_requests);
            prop_assert_eq!(since(&after.responses, &before.responses), expected_responses);
            let connections =
                [after.connections - before.connections, after.http2_connections - before.http2_connections];
            prop_assert_eq!(connections, [u64::from(is_upgraded), 1]);
            service.assert_bytes_add_up();
            Ok(())
        })
        .unwrap();
}

/// What is switched to something else is a tunnel, also where that begins as HTTP/2 nearly does.
#[test]
fn other_protocols_are_tunnels() {
    for (client, server) in [
        (&b"\x81\x05hello"[..], &b"\x81\x05world"[..]),
        (b"POST / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
        (b"PRI * HTTP/1.1\r\n\r\n", b"\x01\x00"),
        (b"PRIVATE", b"\x7f"),
        (b"P\r\n", b"\r\n"),
    ] {
        let mut service = Service::new(RULES, 80);
        let connection = service.connect();
        service.goes_in(&connection.asked(0, UPGRADE));
        service.goes_out(&connection.answered(0, UPGRADE.len(), SWITCHED));
        service.goes_in(&connection.asked(UPGRADE.len(), client));
        service.goes_out(&connection.answered(SWITCHED.len(), UPGRADE.len() + client.len(), server));
        let counters = http(&service);
        assert_eq!(counters.requests.iter().sum::<u64>(), 1, "{client:?}");
        assert_eq!((counters.responses, counters.http2_connections), ([1, 0, 0, 0, 0, 0], 0), "{client:?}");
        assert_eq!(counters.lost.total(), 0, "{client:?}: {:?}", counters.lost);
        service.assert_bytes_add_up();
    }
}

/// A request that asks to go on in HTTP/2, and a server that answers in HTTP/1.1.
#[test]
fn a_connection_can_stay_with_http1() {
    let mut service = Service::new(RULES, 80);
    let connection = service.connect();
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for number in 0..3 {
        let (asked, answered) = (number * UPGRADE.len(), number * answer.len());
        service.goes_in(&connection.asked(asked, UPGRADE));
        service.goes_out(&connection.answered(answered, asked + UPGRADE.len(), answer));
    }
    let counters = http(&service);
    assert_eq!((counters.requests[0], counters.responses[1]), (3, 3));
    assert_eq!((counters.connections, counters.http2_connections, counters.lost.total()), (1, 0, 0));
}

/// The same ends are used again, by a client of the other version.
#[test]
fn ends_are_used_again() {
    let mut service = Service::new(RULES, 80);
    let get = [FIRST_LINE, b"\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x05\0\0\0\x01\x82"].concat();
    let answer = b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x05\0\0\0\x01\x88";
    let first = service.connect();
    for number in 0..4_u32 {
        let connection = foobar_tests::segments::Connection {
            client_first: first.client_first.wrapping_add(number * 100_000),
            server_first: first.server_first.wrapping_add(number * 70_000),
            ..first
        };
        if number > 0 {
            service.goes_out(&connection.syn_ack());
        }
        // Sent again, it changes nothing.
        service.goes_out(&connection.syn_ack());
        if number % 2 == 0 {
            service.goes_in(&connection.asked(0, &get));
            service.goes_out(&connection.syn_ack());
            service.goes_out(&connection.answered(0, get.len(), answer));
        } else {
            service.goes_in(&connection.asked(0, b"GET / HTTP/1.0\r\n\r\n"));
            service.goes_out(&connection.answered_last(0, 18, b"HTTP/1.0 200 OK\r\n\r\n"));
        }
    }
    let counters = http(&service);
    assert_eq!((counters.requests[0], counters.responses[1]), (4, 4), "{:?}", counters.lost);
    assert_eq!((counters.connections, counters.http2_connections, counters.lost.total()), (2, 2, 0));
}

/// What a server has accepted and nobody saw, and holes in what it sends, are declared; holes in bodies are not.
#[test]
fn what_does_not_come_by_is_declared() {
    let mut service = Service::new(RULES, 80);
    let begin = |service: &mut Service| {
        let connection = service.connect();
        let hello = [FIRST_LINE, b"\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"].concat();
        service.goes_in(&connection.asked(0, &hello));
        service.goes_out(&connection.answered(0, hello.len(), b"\0\0\0\x04\0\0\0\0\0"));
        (connection, hello.len())
    };
    let (connection, asked) = begin(&mut service);
    service.goes_out(&connection.answered(9, asked + 10, b"\0\0\x01\x01\x05\0\0\0\x01\x88"));
    service.goes_in(&connection.asked(asked + 10, b"\0\0\x01\x01\x05\0\0\0\x03\x82"));
    let counters = http(&service);
    assert_eq!((counters.requests[0], counters.responses[1]), (0, 1));
    assert_eq!(counters.lost.0[0][Loss::Unseen as usize], 1);
    // In the server's frames, but for the bytes of a body.
    let (connection, asked) = begin(&mut service);
    service
        .goes_in(&connection.asked(asked, b"\0\0\x01\x01\x05\0\0\0\x01\x82\0\0\x01\x01\x05\0\0\0\x03\x82"));
    service.goes_out(&connection.answered(
        9,
        asked + 20,
        b"\0\0\x01\x01\x04\0\0\0\x01\x88\0\x40\0\0\x01\0\0\0\x01",
    ));
    let behind = 9 + 19 + 16_384;
    service.goes_out(&connection.answered(behind, asked + 20, b"\0\0\x01\x01\x05\0\0\0\x03\x8d"));
    let counters = http(&service);
    assert_eq!((counters.requests[0], counters.responses[1], counters.responses[3]), (2, 2, 1));
    service.goes_out(&connection.answered(behind + 20, asked + 20, b"\0\0\x01\x01\x05\0\0\0\x05\x88"));
    let counters = http(&service);
    assert_eq!((counters.responses[1], counters.lost.0[1][Loss::Gap as usize]), (2, 1));
    service.assert_bytes_add_up();
}

fn http(service: &Service) -> HttpCounters {
    let ProtocolCounters::H2c(counters) = service.spoken() else { unreachable!("a service of h2c") };
    counters
}

fn since<const N: usize>(after: &[u64; N], before: &[u64; N]) -> [u64; N] {
    std::array::from_fn(|number| after[number] - before[number])
}
