//! Connections to services of which nothing is read, segment by segment, against a plain account of them.

mod traffic;

use std::{cell::RefCell, collections::BTreeMap};

use foobar_common::{raw::RawCounters, verdict::Verdict};
use foobar_daemon::{
    dataplane::counters::ProtocolCounters,
    rules::model::{PortProtocol, ServicePort},
};
use foobar_tests::{frames::Family, packets::flag, segments::Connection, service::Service};
use proptest::{
    collection::vec,
    prelude::{Just, ProptestConfig, Strategy as _, prop_assert_eq, prop_oneof},
    test_runner::TestRunner,
};

const RULES: &str = "schema = 1\n[[service]]\nname = \"mail\"\nport = [\"tcp/25\", \"udp/25\"]\n";
const PORT: u16 = 25;

/// What can go over a connection.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A client's SYN.
    Asked,
    /// The server's answer to a client whose first number is this.
    Opened(u32),
    /// A RST of the client.
    ResetIn,
    /// A RST of the server that has a number of the connection.
    ResetOut,
    /// The server's answer to what is part of no connection.
    Refused,
    /// Something that is said, and the end of a side.
    Other,
}

/// What all segments of all connections come to, read as plainly as possible.
#[derive(Default)]
struct Account {
    counters: RawCounters,
    /// The first number of the client, and whether it was reset, by the number of the connection.
    connections: BTreeMap<u16, (Option<u32>, bool)>,
}

impl Account {
    fn take(&mut self, connection: u16, event: Event) {
        let Self { counters, connections } = self;
        let known = connections.get(&connection).copied();
        match event {
            Event::Opened(first) if known.is_none_or(|(of_known, _)| of_known != Some(first)) => {
                connections.insert(connection, (Some(first), false));
                counters.opened += 1;
            }
            Event::ResetIn | Event::ResetOut if known.is_none_or(|(_, is_reset)| !is_reset) => {
                connections.insert(connection, (known.and_then(|(first, _)| first), true));
                counters.resets[usize::from(matches!(event, Event::ResetOut))] += 1;
            }
            Event::Refused => counters.refused += 1,
            Event::Asked | Event::Opened(_) | Event::ResetIn | Event::ResetOut | Event::Other => {}
        }
    }
}

/// Sends what an event is made of.
fn send(service: &mut Service, connection: &Connection, event: Event) {
    let Connection { client_first, server_first, .. } = *connection;
    let opened = |first| Connection { client_first: first, ..*connection }.syn_ack();
    let (frame, goes_out) = match event {
        Event::Asked => (connection.from_client(flag::SYN, client_first.wrapping_sub(1), &[]), false),
        Event::Opened(first) => (opened(first), true),
        Event::ResetIn => (connection.from_client(flag::RST | flag::ACK, client_first, &[]), false),
        Event::ResetOut => {
            (connection.from_server(flag::RST | flag::ACK, server_first, client_first, &[]), true)
        }
        Event::Refused => (connection.from_server(flag::RST | flag::ACK, 0, client_first, &[]), true),
        Event::Other => {
            service.goes_in(&connection.asked(0, b"EHLO"));
            (connection.answered_last(0, 4, b"250"), true)
        }
    };
    let judgement = if goes_out { service.goes_out(&frame) } else { service.goes_in(&frame) };
    assert_eq!(judgement.verdict, Verdict::Accept);
}

fn counted(service: &Service) -> RawCounters {
    let services = service.counters().services;
    // Nothing is counted of datagrams but packets and bytes.
    assert_eq!(services.len(), 1);
    let service = &services[&ServicePort { protocol: PortProtocol::Tcp, port: PORT }];
    let ProtocolCounters::Raw(counters) = service.of_protocol else { unreachable!("a service of raw") };
    counters
}

fn connection(number: u16, family: Family) -> Connection {
    Connection { family, client_port: 1024 + number, ..Connection::to(PORT) }
}

#[test]
fn segments_come_to_what_a_plain_account_says() {
    let event = prop_oneof![
        Just(Event::Asked),
        (1_u32..4).prop_map(Event::Opened),
        Just(Event::ResetIn),
        Just(Event::ResetOut),
        Just(Event::Refused),
        Just(Event::Other),
    ];
    let long = std::env::var_os("FOOBAR_LONG").is_some();
    let cases = if long { 20_000 } else { 400 };
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let (service, used) = (RefCell::new(Service::new(RULES, PORT)), RefCell::new(0_u16));
    TestRunner::new(config)
        .run(&vec((0_u16..4, event), 0..40), |events| {
            let (mut service, mut used) = (service.borrow_mut(), used.borrow_mut());
            let before = counted(&service);
            let mut account = Account { counters: before, ..Account::default() };
            for (number, event) in events {
                let family = if number.is_multiple_of(2) { Family::V4 } else { Family::V6 };
                let ends = connection(*used + number, family);
                send(&mut service, &ends, event);
                account.take(number, event);
            }
            // Other ports for the next case; they come back when what is known of them is long forgotten.
            *used = used.wrapping_add(4) % 60_000;
            prop_assert_eq!(counted(&service), account.counters);
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_connection_is_counted_once_and_again_when_it_is_opened_again() {
    let mut service = Service::new(RULES, PORT);
    for (number, family) in [(0, Family::V4), (1, Family::V6)] {
        let ends = connection(number, family);
        // The SYN-ACK is sent three times, then the client gives up, and its system says so three times.
        for event in [Event::Asked, Event::Opened(7), Event::Opened(7), Event::Opened(7)] {
            send(&mut service, &ends, event);
        }
        for event in [Event::ResetIn, Event::ResetIn, Event::ResetIn, Event::ResetOut] {
            send(&mut service, &ends, event);
        }
        // The same ends meet again, and this time it is the server.
        for event in [Event::Asked, Event::Opened(8), Event::Other, Event::ResetOut, Event::ResetIn] {
            send(&mut service, &ends, event);
        }
    }
    assert_eq!(counted(&service), RawCounters { opened: 4, resets: [2, 2], refused: 0 });
}

#[test]
fn what_is_older_than_the_filter_counts_when_it_is_reset() {
    let mut service = Service::new(RULES, PORT);
    for (number, events) in (0..).zip([
        [Event::Other, Event::ResetIn, Event::ResetIn],
        [Event::Other, Event::ResetOut, Event::ResetIn],
        // Of a SYN to a closed port, there is no connection.
        [Event::Asked, Event::Refused, Event::Other],
    ]) {
        let ends = connection(number, Family::V6);
        for event in events {
            send(&mut service, &ends, event);
        }
    }
    assert_eq!(counted(&service), RawCounters { opened: 0, resets: [1, 1], refused: 1 });
}

#[test]
fn a_rst_without_ack_resets_as_well() {
    let mut service = Service::new(RULES, PORT);
    // As a system answers what comes to a socket that is gone (RFC 9293 section 3.10.7.1).
    let old = connection(0, Family::V4);
    service.goes_out(&old.from_server(flag::RST, old.server_first, 0, &[]));
    let other = connection(1, Family::V4);
    service.goes_in(&other.from_client(flag::RST, 0, &[]));
    assert_eq!(counted(&service), RawCounters { opened: 0, resets: [1, 1], refused: 0 });
}

#[test]
fn what_the_rules_drop_resets_nothing() {
    let rules = format!(
        "{RULES}[[rule]]\nid = \"no-resets\"\naction = \"drop\"\nprotocol = \"tcp\"\ntcp_flags = {{ set = [\"rst\"] }}\n"
    );
    let mut service = Service::new(&rules, PORT);
    let ends = connection(0, Family::V4);
    send(&mut service, &ends, Event::Opened(7));
    let reset = ends.from_client(flag::RST | flag::ACK, ends.client_first, &[]);
    assert_eq!(service.goes_in(&reset).verdict, Verdict::Drop);
    assert_eq!(counted(&service), RawCounters { opened: 1, resets: [0, 0], refused: 0 });
}
