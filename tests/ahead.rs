//! Segments that come before others that belong in front of them, through the programs.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;

use anyhow::{Result, ensure};
use foobar_common::{
    ahead::{BLOCKS_MAX, Block, SPAN, place},
    service::{HttpCounters, Loss, Losses},
};
use foobar_daemon::dataplane::counters::ProtocolCounters;
use foobar_tests::{
    daemon::Foobar,
    network::{CLIENT, Network, SERVER},
    random::Random,
    segments::Connection,
    sender::PacketSocket,
    service::{Service, deliveries},
    tap::settle,
};
use proptest::{
    prelude::{ProptestConfig, any, prop_assert_eq},
    test_runner::TestRunner,
};

const RULES: &str = "schema = 1\n[[service]]\nname = \"www\"\nport = [\"tcp/80\"]\nprotocol = \"http1\"\n";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
/// Bytes of an Ethernet segment.
const SEGMENT: usize = 1448;

/// What a client sends, and where it is on its connection.
struct Client {
    connection: Connection,
    asked: Vec<u8>,
}

impl Client {
    /// One whose requests are as many bytes or a few more.
    fn of(service: &mut Service, length: usize) -> Self {
        Self { connection: service.connect(), asked: REQUEST.repeat(length.div_ceil(REQUEST.len())) }
    }

    fn requests(&self) -> u64 {
        u64::try_from(self.asked.len() / REQUEST.len()).unwrap()
    }

    /// Sends these of its bytes, or as many of them as there are.
    fn sends(&self, service: &mut Service, start: usize, end: usize) {
        let [start, end] = [start, end].map(|place| place.min(self.asked.len()));
        service.goes_in(&self.connection.asked(start, &self.asked[start..end]));
    }

    /// Sends all that follows a byte, segment by segment.
    fn sends_from(&self, service: &mut Service, start: usize) {
        for start in (start..self.asked.len()).step_by(SEGMENT) {
            self.sends(service, start, start + SEGMENT);
        }
    }

    /// The server has all of it.
    fn is_answered(&self, service: &mut Service) {
        service.goes_out(&self.connection.answered(0, self.asked.len(), RESPONSE));
    }
}

#[test]
fn sixty_segments_and_more_wait_for_the_first_one() {
    for segments in [2, 16, 17, 60, 90, 700] {
        let mut service = Service::new(RULES, 80);
        let client = Client::of(&mut service, segments * SEGMENT);
        client.sends_from(&mut service, SEGMENT);
        assert_eq!(counted(&service), (0, 0));
        client.sends(&mut service, 0, SEGMENT);
        assert_eq!(counted(&service), (client.requests(), 0), "{segments} segments");
        client.is_answered(&mut service);
        client.sends_from(&mut service, 0);
        assert_eq!(counted(&service), (client.requests(), 0), "{segments} segments, again");
        service.assert_bytes_add_up();
    }
}

#[test]
fn the_last_segment_comes_first_and_the_first_one_last() {
    let mut service = Service::new(RULES, 80);
    for length in [1, 22, 100, SEGMENT, 3_000] {
        let before = counted(&service).0;
        let client = Client::of(&mut service, (length * 600).min(100_000));
        for start in (0..client.asked.len()).step_by(length).rev() {
            client.sends(&mut service, start, start + length);
        }
        assert_eq!(counted(&service), (before + client.requests(), 0), "segments of {length} bytes");
    }
    service.assert_bytes_add_up();
}

/// The hole is closed by a segment that also has the end of what came before it and the beginning of what came behind it.
#[test]
fn a_hole_is_closed_by_a_segment_that_is_cut_elsewhere() {
    for (begin, end) in
        [(0, 3_000), (900, 2_100), (1_000, 2_500), (999, 2_001), (500, 70_000), (1_000, 60_000)]
    {
        let mut service = Service::new(RULES, 80);
        let client = Client::of(&mut service, 60_000);
        client.sends(&mut service, 0, 1_000);
        client.sends_from(&mut service, 2_000);
        client.sends(&mut service, begin, end);
        assert_eq!(counted(&service), (client.requests(), 0), "{begin} to {end}");
        client.is_answered(&mut service);
        assert_eq!(counted(&service).1, 0);
    }
}

/// What is kept comes again, the same and cut in other ways.
#[test]
fn what_is_kept_counts_once() {
    let mut service = Service::new(RULES, 80);
    let client = Client::of(&mut service, 50_000);
    for length in [SEGMENT, 1_000, 3_000, 7_777] {
        for start in (500..client.asked.len()).step_by(length) {
            client.sends(&mut service, start, start + length);
        }
    }
    assert_eq!(counted(&service), (0, 0));
    client.sends(&mut service, 0, 400);
    client.sends(&mut service, 0, 500);
    assert_eq!(counted(&service), (client.requests(), 0));
    client.sends_from(&mut service, 0);
    client.sends(&mut service, 100, 49_000);
    assert_eq!(counted(&service), (client.requests(), 0));
    service.assert_bytes_add_up();
}

/// Any part of a window in any order.
#[test]
fn the_order_makes_no_difference() {
    let config = ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() };
    let service = RefCell::new(Service::new(RULES, 80));
    TestRunner::new(config)
        .run(&(1_usize..300_000, any::<u64>()), |(length, seed)| {
            let mut service = service.borrow_mut();
            let before = counted(&service).0;
            let client = Client::of(&mut service, length);
            // Sequence numbers begin anew at any place.
            let wrap = u32::MAX - u32::try_from(length / 2).unwrap();
            let client =
                Client { connection: Connection { client_first: wrap, ..client.connection }, ..client };
            service.goes_out(&client.connection.syn_ack());
            let mut random = Random::new(seed);
            let mut deliveries = deliveries(client.asked.len(), &[100, SEGMENT, 9_000, 60_000], &mut random);
            random.shuffle(&mut deliveries);
            for (start, end) in deliveries {
                client.sends(&mut service, start, end);
            }
            client.is_answered(&mut service);
            prop_assert_eq!(counted(&service), (before + client.requests(), 0));
            service.assert_bytes_add_up();
            Ok(())
        })
        .unwrap();
}

/// What comes further ahead than is kept is as if it had not come.
#[test]
fn more_than_is_kept_is_declared_and_reading_stays_ended() {
    let mut service = Service::new(RULES, 80);
    let connection = service.connect();
    let span = usize::try_from(SPAN * Block::LENGTH - place(connection.client_first)).unwrap();
    let client = Client { connection, ..Client::of(&mut service, span + 40_000) };
    client.sends_from(&mut service, SEGMENT);
    client.sends(&mut service, 0, SEGMENT);
    let kept = counted(&service);
    assert_eq!(kept, (begun(span), 0));
    // It comes again, and all is well.
    client.sends(&mut service, span - 5_000, span + 10_000);
    client.sends_from(&mut service, span);
    assert_eq!(counted(&service), (client.requests(), 0));
    client.is_answered(&mut service);
    assert_eq!(counted(&service), (client.requests(), 0));
    // The server has it without that.
    let mut service = Service::new(RULES, 80);
    let client = Client::of(&mut service, span + 40_000);
    client.sends_from(&mut service, SEGMENT);
    client.sends(&mut service, 0, SEGMENT);
    client.is_answered(&mut service);
    client.sends_from(&mut service, span - SEGMENT);
    client.sends_from(&mut service, 0);
    assert_eq!(counted(&service), (kept.0, 1));
    assert_eq!(http(&service).lost.0[0][Loss::Unseen as usize], 1);
    service.assert_bytes_add_up();
}

/// As many connections as there is room for, and then twice as many: what is forgotten is declared, and nothing else is
/// counted.
#[test]
fn connections_share_what_there_is() {
    let length: usize = 40_000;
    let share = length.div_ceil(usize::try_from(Block::LENGTH).unwrap()) + 1;
    let room = usize::try_from(BLOCKS_MAX).unwrap() / share;
    // Some of what there is lies ready for other processors.
    for (connections, is_all_kept) in [(room / 2, true), (room * 2, false)] {
        let mut service = Service::new(RULES, 80);
        let clients: Vec<_> = (0..connections).map(|_| Client::of(&mut service, length)).collect();
        for start in (SEGMENT..length).step_by(SEGMENT) {
            for client in &clients {
                client.sends(&mut service, start, start + SEGMENT);
            }
        }
        assert_eq!(counted(&service), (0, 0));
        let mut complete = 0;
        for client in &clients {
            let before = counted(&service);
            client.sends(&mut service, 0, SEGMENT);
            client.is_answered(&mut service);
            let (requests, lost) = counted(&service);
            let (requests, lost) = (requests - before.0, lost - before.1);
            assert!(requests <= client.requests());
            assert_eq!(lost, u64::from(requests < client.requests()), "{requests} of {}", client.requests());
            complete += usize::from(lost == 0);
        }
        assert!(complete == connections || !is_all_kept, "{complete} of {connections}");
        assert!(complete < connections || is_all_kept, "there was room for {connections}");
        // What is of no more use makes room.
        let (before, lost) = counted(&service);
        let mut sent = 0;
        for _ in 0..2 * connections {
            let client = Client::of(&mut service, length);
            client.sends_from(&mut service, SEGMENT);
            client.sends(&mut service, 0, SEGMENT);
            client.is_answered(&mut service);
            sent += client.requests();
        }
        assert_eq!(counted(&service), (before + sent, lost));
        service.assert_bytes_add_up();
    }
}

/// One connection that always has something ahead takes nothing from another one, however much goes over it.
#[test]
fn what_was_passed_makes_room() {
    let mut service = Service::new(RULES, 80);
    let patient = Client::of(&mut service, 50_000);
    patient.sends_from(&mut service, SEGMENT);
    let length = 2 * usize::try_from(BLOCKS_MAX * Block::LENGTH).unwrap();
    let busy = Client::of(&mut service, length);
    for start in (0..busy.asked.len()).step_by(60_000) {
        busy.sends(&mut service, start + 30_000, start + 60_000);
        // Of what was ahead, nothing is taken every other time.
        let end = if start % 120_000 == 0 { start + 60_000 } else { start + 30_000 };
        busy.sends(&mut service, start, end);
    }
    assert_eq!(counted(&service), (busy.requests(), 0));
    patient.sends(&mut service, 0, SEGMENT);
    assert_eq!(counted(&service), (busy.requests() + patient.requests(), 0));
}

/// Nothing is left of a connection for the next one between the same ends.
#[test]
fn another_connection_has_bytes_of_its_own() {
    let mut service = Service::new(RULES, 80);
    let first = Client::of(&mut service, 20_000);
    first.sends_from(&mut service, SEGMENT);
    // Nearly the same numbers; where it has not said anything, the other one had.
    let connection =
        Connection { client_first: first.connection.client_first.wrapping_add(1), ..first.connection };
    service.goes_out(&connection.syn_ack());
    let second = Client { connection, asked: first.asked.clone() };
    second.sends(&mut service, 10_000, 12_000);
    second.sends(&mut service, 0, SEGMENT);
    assert_eq!(counted(&service), (begun(SEGMENT), 0));
    second.sends(&mut service, SEGMENT, 10_000);
    assert_eq!(counted(&service), (begun(12_000), 0));
}

/// What came before the rules were swapped or the daemon was killed is there afterwards.
#[test]
fn what_is_kept_outlives_rulesets_and_daemons() -> Result<()> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    foobar.start()?;
    let from_server = PacketSocket::new(&network.server, SERVER)?;
    let from_client = PacketSocket::new(&network.client, CLIENT)?;
    let connection = Connection::to(80);
    from_server.send(&connection.syn_ack())?;
    let asked = REQUEST.repeat(100);
    let parts: Vec<_> = asked.chunks(1_000).enumerate().collect();
    let send = |parts: &[(usize, &[u8])]| -> Result<()> {
        for (number, bytes) in parts {
            from_client.send(&connection.asked(number * 1_000, bytes))?;
        }
        settle();
        Ok(())
    };
    send(&parts[1..2])?;
    foobar.apply(&RULES.replace("www", "pages"))?;
    send(&parts[2..3])?;
    foobar.kill()?;
    send(&parts[3..])?;
    foobar.start()?;
    send(&parts[..1])?;
    let metrics = foobar.scrape()?;
    let requests = metrics.count("foobar_http_requests_total", &[]);
    let lost = metrics.count("foobar_l7_framing_lost_total", &[]);
    ensure!((requests, lost) == (100, 0), "{requests} requests, {lost} lost");
    Ok(())
}

/// How many requests count of which so many bytes have come: those with a whole first line.
fn begun(bytes: usize) -> u64 {
    let rest = REQUEST.len() - b"GET / HTTP/1.1\r\n".len();
    u64::try_from((bytes + rest) / REQUEST.len()).unwrap()
}

/// Requests, and how often they could not be followed.
fn counted(service: &Service) -> (u64, u64) {
    let HttpCounters { requests, lost: Losses([asked, _]), .. } = http(service);
    (requests.iter().sum(), asked.iter().sum())
}

fn http(service: &Service) -> HttpCounters {
    let ProtocolCounters::Http1(counters) = service.spoken() else { unreachable!("a service of HTTP/1.x") };
    counters
}
