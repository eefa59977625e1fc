//! Handshakes of TLS through the programs, made ones in any segments and those of a real OpenSSL.

#[path = "../../foobar-common/tests/tls/hellos.rs"]
mod hellos;
mod openssl;

use std::cell::RefCell;

use foobar_common::{
    service::{FirstBytes, Loss, TlsCounters},
    tls::TlsVersion,
    verdict::{Reason, Verdict},
};
use foobar_daemon::dataplane::{counters::ProtocolCounters, test_runs::Judgement};
use foobar_tests::{
    random::Random,
    service::{Service, deliveries},
};
use hellos::{Said, record, records, said};
use proptest::{
    prelude::{ProptestConfig, any, prop_assert_eq},
    test_runner::TestRunner,
};

/// Bytes of segments.
const LONGEST: &[usize] = &[1, 50, 1448, 3000];
const RULES: &str = "schema = 1\n[[service]]\nname = \"www\"\nport = [\"tcp/443\"]\nprotocol = \"tls\"\n";

#[test]
fn hellos_are_counted_in_any_segments() {
    let config = ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    let server = RefCell::new(service(RULES));
    TestRunner::new(config)
        .run(&(said(), said(), any::<u64>()), |(client, chosen, seed)| {
            let mut server = server.borrow_mut();
            let mut random = Random::new(seed);
            let connection = server.connect();
            let before = tls(&server);
            let longest = 1 + random.index(3_000);
            let asked = records(&client.client_hello(), longest);
            for (start, end) in deliveries(asked.len(), LONGEST, &mut random) {
                server.goes_in(&connection.asked(start, &asked[start..end]));
            }
            let answered = [records(&chosen.server_hello(false), longest), record(22, &[11; 700])].concat();
            for (start, end) in deliveries(answered.len(), LONGEST, &mut random) {
                server.goes_out(&connection.answered(start, asked.len(), &answered[start..end]));
            }
            let after = tls(&server);
            let handshakes = |counters: &TlsCounters, version: TlsVersion| -> u64 {
                counters.handshakes[version as usize].iter().sum()
            };
            let (offered, chosen) = (client.newest(), chosen.chosen());
            prop_assert_eq!(after.offered[offered as usize], before.offered[offered as usize] + 1);
            prop_assert_eq!(handshakes(&after, chosen), handshakes(&before, chosen) + 1);
            prop_assert_eq!(after.lost, before.lost);
            prop_assert_eq!(after.failures, before.failures);
            if let Some(name) = &client.name {
                let shown: String = name.chars().take(64).collect();
                let names = server.runs.names().unwrap();
                // There is room for a thousand.
                assert!(names.values().flatten().any(|(known, _)| *known == shown), "{shown}");
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn turns_begin_behind_the_handshake_and_count_once() {
    let mut server = service(RULES);
    for (versions, of_handshake) in [(None, 0), (Some(vec![0x0304]), 1)] {
        let connection = server.connect();
        let before = tls(&server).turns.buckets.iter().sum::<u64>();
        let said = Said { versions, ..Said::plain(0x0303) };
        let (hello, answer) =
            (records(&said.client_hello(), 1_000), records(&said.server_hello(false), 1_000));
        server.goes_in(&connection.asked(0, &hello));
        server.goes_out(&connection.answered(0, hello.len(), &answer));
        // The rest of the server's part of the handshake begins no turn.
        server.goes_out(&connection.answered(answer.len(), hello.len(), &[0x16; 900]));
        let (mut asked, mut answered) = (hello.len(), answer.len() + 900);
        for turn in 0..5_u64 {
            for _ in 0..2 {
                // In two segments, each of them twice.
                server.goes_in(&connection.asked(asked, &[0x17; 100]));
                server.goes_in(&connection.asked(asked, &[0x17; 100]));
                asked += 100;
            }
            for _ in 0..2 {
                server.goes_out(&connection.answered(answered, asked, &[0x17; 300]));
                server.goes_out(&connection.answered(answered, asked, &[0x17; 300]));
                answered += 300;
            }
            // What comes again after the answer is no new turn.
            server.goes_in(&connection.asked(asked - 100, &[0x17; 100]));
            let turns = tls(&server).turns.buckets.iter().sum::<u64>() - before;
            assert_eq!(turns, turn + of_handshake, "{:?}", said.versions);
        }
    }
    // Nothing is known of a connection that is no TLS.
    let before = tls(&server).turns;
    let connection = server.connect();
    server.goes_in(&connection.asked(0, b"GET / HTTP/1.1\r\n\r\n"));
    server.goes_out(&connection.answered(0, 18, b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    assert_eq!(tls(&server).turns, before);
}

#[test]
fn what_is_no_tls_is_refused_only_where_tls_is_required() {
    for (rules, reason) in
        [(RULES.to_owned(), Reason::Policy), (format!("{RULES}require_tls = true\n"), Reason::NotTls)]
    {
        let mut server = service(&rules);
        for (class, bytes) in [
            (FirstBytes::Http1, &b"GET / HTTP/1.1\r\n\r\n"[..]),
            (FirstBytes::Other, b"SSH-2.0-OpenSSH_9.2\r\n"),
            (FirstBytes::Other, b"\x16\x03\x01\x00\x05\x02"),
        ] {
            let connection = server.connect();
            let before = tls(&server);
            assert_eq!(why(&server.goes_in(&connection.asked(0, bytes))), reason, "{class:?}");
            // And so is all that follows, even if that is TLS.
            let hello = records(&Said::plain(0x0303).client_hello(), 1_000);
            assert_eq!(why(&server.goes_in(&connection.asked(bytes.len(), &hello))), reason, "{class:?}");
            let after = tls(&server);
            assert_eq!(after.connections[class as usize], before.connections[class as usize] + 1);
            assert_eq!(after.offered, before.offered);
        }
        let connection = server.connect();
        let hello = records(&Said::plain(0x0301).client_hello(), 1_000);
        assert_eq!(why(&server.goes_in(&connection.asked(0, &hello))), Reason::Policy);
    }
}

#[test]
fn versions_that_are_too_old_are_refused_at_the_end_of_their_hello() {
    let mut server = service(&format!("{RULES}min_tls = \"1.2\"\n"));
    for (newest, is_refused) in [(0x0300, true), (0x0301, true), (0x0302, true), (0x0303, false)] {
        let connection = server.connect();
        let hello = records(&Said::plain(newest).client_hello(), 1_000);
        let (first, last) = hello.split_at(30);
        assert_eq!(why(&server.goes_in(&connection.asked(0, first))), Reason::Policy);
        let reason = if is_refused { Reason::OldTls } else { Reason::Policy };
        assert_eq!(why(&server.goes_in(&connection.asked(30, last))), reason, "{newest:04x}");
        assert_eq!(why(&server.goes_in(&connection.asked(hello.len(), b"more"))), reason, "{newest:04x}");
    }
    // No TLS is not old TLS.
    let connection = server.connect();
    assert_eq!(why(&server.goes_in(&connection.asked(0, b"GET / HTTP/1.1\r\n\r\n"))), Reason::Policy);
}

#[test]
fn nothing_slips_past_before_the_hello_it_belongs_behind() {
    let hello = records(&Said::plain(0x0303).client_hello(), 1_000);
    let (first, last) = hello.split_at(40);
    let mut strict = service(&format!("{RULES}require_tls = true\n"));
    let connection = strict.connect();
    assert_eq!(why(&strict.goes_in(&connection.asked(40, last))), Reason::TlsOrder);
    assert_eq!(why(&strict.goes_in(&connection.asked(0, first))), Reason::Policy);
    assert_eq!(why(&strict.goes_in(&connection.asked(40, last))), Reason::Policy);
    assert_eq!(tls(&strict).offered[TlsVersion::Tls12 as usize], 1);
    assert_eq!(why(&strict.goes_in(&connection.asked(hello.len() + 100, b"later"))), Reason::Policy);
    // Elsewhere it goes its way, and nothing more is known of the connection.
    let mut server = service(RULES);
    let connection = server.connect();
    assert_eq!(why(&server.goes_in(&connection.asked(40, last))), Reason::Policy);
    assert_eq!(why(&server.goes_in(&connection.asked(0, first))), Reason::Policy);
    assert_eq!(tls(&server).lost.0[0][Loss::Gap as usize], 1);
}

fn service(rules: &str) -> Service {
    Service::new(rules, 443)
}

/// Why it goes its way, or does not.
fn why(Judgement { verdict, reason, rule }: &Judgement) -> Reason {
    assert_eq!((*verdict == Verdict::Drop, rule), (*reason != Reason::Policy, &None));
    *reason
}

fn tls(service: &Service) -> TlsCounters {
    let ProtocolCounters::Tls(counters) = service.spoken() else { unreachable!("a service of TLS") };
    counters
}
