//! Messages of DNS through the programs, as datagrams and on connections, against a plain reading; and a real server.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../foobar-common/tests/dns/messages.rs"]
mod messages;
mod traffic;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use foobar_common::{
    counters::Counter,
    dns::{DnsCounters, QueryType, ResponseCode},
    service::{Loss, ServiceBytes},
    verdict::Verdict,
};
use foobar_daemon::{
    dataplane::counters::{Port, ProtocolCounters},
    rules::model::{PortProtocol, ServicePort},
};
use foobar_tests::{
    frames::Family,
    packets::{self, Packet},
    random::Random,
    segments::Connection,
    service::{Service, deliveries},
};
use messages::{Plain, Said, TRUNCATED, code_label, plain, said, type_label, with_length};
use proptest::{
    collection::vec,
    prelude::{ProptestConfig, any, prop_assert_eq},
    test_runner::TestRunner,
};

const RULES: &str =
    "schema = 1\n[[service]]\nname = \"dns\"\nport = [\"udp/53\", \"tcp/53\"]\nprotocol = \"dns\"\n";
/// Bytes of segments.
const LONGEST: &[usize] = &[1, 50, 1448, 3000];
const UDP: ServicePort = ServicePort { protocol: PortProtocol::Udp, port: 53 };
const TCP: ServicePort = ServicePort { protocol: PortProtocol::Tcp, port: 53 };

fn cases() -> ProptestConfig {
    let long = std::env::var_os("FOOBAR_LONG").is_some();
    ProptestConfig {
        cases: if long { 20_000 } else { 300 },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

#[test]
fn datagrams_read_as_they_say() {
    let server = RefCell::new(Server::new());
    let exchange = vec((any::<bool>(), said(false), said(true), any::<u8>()), 0..20);
    TestRunner::new(cases())
        .run(&(exchange, any::<u64>()), |(exchange, seed)| {
            let mut server = server.borrow_mut();
            let mut random = Random::new(seed);
            let client = server.client(random.pick(&Family::BOTH));
            let before = server.counters(UDP);
            let mut expected = Expected::default();
            for (of_server, asked, answered, id) in exchange {
                let said = if of_server { answered } else { asked };
                // Few ids, so that queries meet their answers.
                let mut message = Said { id: (id % 4).into(), ..said }.bytes();
                if random.percent(20) {
                    message.truncate(random.index(40));
                }
                expected.add(&message, of_server);
                server.send(&client.datagram(&message, of_server), of_server);
            }
            prop_assert_eq!(server.counters(UDP).since(&before), expected);
            Ok(())
        })
        .unwrap();
    let server = server.into_inner();
    server.check_bytes(UDP);
    assert_eq!(server.counters(TCP), Expected::default());
}

#[test]
fn streams_read_as_the_whole() {
    let server = RefCell::new(Server::new());
    let sides = (vec((said(false), any::<u8>()), 0..12), vec((said(true), any::<u8>()), 0..12));
    TestRunner::new(cases())
        .run(&(sides, any::<u64>()), |((asked, answered), seed)| {
            let mut server = server.borrow_mut();
            let mut random = Random::new(seed);
            let connection = server.connect();
            let before = server.counters(TCP);
            let mut expected = Expected::default();
            let mut streams = Vec::new();
            for (of_server, messages) in [(false, asked), (true, answered)] {
                let messages: Vec<_> = messages
                    .into_iter()
                    .map(|(said, id)| Said { id: (id % 16).into(), ..said }.bytes())
                    .collect();
                for message in &messages {
                    if !expected.add(message, of_server) {
                        // Nothing behind it is read.
                        break;
                    }
                }
                streams.push(messages.iter().flat_map(|message| with_length(message)).collect::<Vec<_>>());
            }
            for (start, end) in deliveries(streams[0].len(), LONGEST, &mut random) {
                server.send(&connection.asked(start, &streams[0][start..end]), false);
            }
            for (start, end) in deliveries(streams[1].len(), LONGEST, &mut random) {
                server.send(&connection.answered(start, streams[0].len(), &streams[1][start..end]), true);
            }
            prop_assert_eq!(server.counters(TCP).since(&before), expected);
            Ok(())
        })
        .unwrap();
    server.into_inner().check_bytes(TCP);
}

#[test]
fn a_query_that_is_sent_again_and_an_answer_that_is_doubled_are_timed_once() {
    let mut server = Server::new();
    let client = server.client(Family::V6);
    let query = Said::query(7, 28);
    for (said, of_server) in [
        (&query, false),
        (&query, false),
        (&query.answer(0), true),
        (&query.answer(0), true),
        // The id begins anew.
        (&query, false),
        (&Said::query(8, 1), false),
    ] {
        server.send(&client.datagram(&said.bytes(), of_server), of_server);
    }
    // Another client has the same id.
    let other = server.client(Family::V6);
    server.send(&other.datagram(&query.answer(3).bytes(), true), true);
    let counters = server.dns(UDP);
    assert_eq!(counters.queries[QueryType::Aaaa as usize], 3);
    assert_eq!(counters.queries[QueryType::A as usize], 1);
    assert_eq!(counters.answers[ResponseCode::NoError as usize], 2);
    assert_eq!(counters.answers[ResponseCode::NxDomain as usize], 1);
    assert_eq!((counters.repeated, counters.unasked, counters.unanswered()), (1, 2, 2));
    assert_eq!(counters.duration.buckets.iter().sum::<u64>(), 1);
    assert_eq!(counters.lost.total(), 0);
}

#[test]
fn of_a_datagram_in_fragments_the_first_is_read() {
    let mut server = Server::new();
    let client = server.client(Family::V4);
    let answer = Said { rest: vec![7; 2_000], ..Said::query(7, 16).answer(0) }.bytes();
    let of_server = |bytes: &[u8]| client.packet(bytes, true);
    // Header and question are in the first fragment, and the length is that of all of them.
    let first = Packet::fragment(of_server(&answer[..1_000]), 0, true);
    server.send(&first.clone().set(4, 0x08).frame(), true);
    assert_eq!(server.dns(UDP).answers[ResponseCode::NoError as usize], 1);
    let later =
        packets::packet("192.0.2.1", "192.0.2.2", 17, answer[1_000..].to_vec()).fragment(1_008, false);
    server.send(&later.frame(), true);
    // Of this one, half of the header.
    let half = client.packet(&Said::query(7, 16).bytes()[..8], false).set(5, 40).fragment(0, true);
    server.send(&half.frame(), false);
    // And of this one, nothing.
    let nothing = client.packet(&[], false).set(5, 40).fragment(0, true);
    server.send(&nothing.frame(), false);
    let counters = server.dns(UDP);
    assert_eq!(counters.queries.iter().sum::<u64>(), 0);
    assert_eq!(counters.answers.iter().sum::<u64>(), 1);
    assert_eq!(counters.lost.0[0][Loss::Gap as usize], 2);
    assert_eq!(server.bytes(UDP).lost, 8);
    server.check_bytes(UDP);
}

#[test]
fn what_lies_behind_a_datagram_is_not_part_of_it() {
    let mut server = Server::new();
    let client = server.client(Family::V4);
    let query = Said::query(7, 1).bytes();
    // The datagram says that it ends within the question.
    let short = client.packet(&query, false).set(5, 8 + 20);
    server.send(&short.frame(), false);
    let counters = server.dns(UDP);
    assert_eq!(counters.queries.iter().sum::<u64>(), 0);
    assert_eq!(counters.lost.0[0][Loss::NotDns as usize], 1);
}

#[test]
fn a_gap_is_stepped_over_only_where_nothing_is_read() {
    let mut server = Server::new();
    let query = Said { rest: vec![7; 1_000], ..Said::query(7, 1) };
    let stream = [with_length(&query.bytes()), with_length(&Said::query(8, 1).bytes())].concat();
    // Records are passed over.
    let connection = server.connect();
    server.send(&connection.asked(0, &stream[..200]), false);
    server.send(&connection.asked(900, &stream[900..]), false);
    server.send(&connection.asked(200, &stream[200..900]), false);
    server.send(&connection.asked(stream.len(), &with_length(&Said::query(9, 1).bytes())), false);
    let counters = server.dns(TCP);
    assert_eq!(counters.queries.iter().sum::<u64>(), 3);
    assert_eq!(server.bytes(TCP).lost, 0);
    // The next message begins in what is missing.
    let connection = server.connect();
    server.send(&connection.asked(0, &stream[..200]), false);
    server.send(&connection.asked(stream.len() - 10, &stream[stream.len() - 10..]), false);
    server.send(&connection.asked(stream.len(), &stream), false);
    let counters = server.dns(TCP);
    assert_eq!(counters.queries.iter().sum::<u64>(), 4);
    assert_eq!(counters.lost.0[0][Loss::Gap as usize], 1);
    assert_eq!(server.bytes(TCP).lost, 10 + stream.len() as u64);
    server.check_bytes(TCP);
}

#[test]
fn what_no_handshake_was_seen_of_is_declared() {
    let mut server = Server::new();
    let query = with_length(&Said::query(7, 1).bytes());
    let old = Connection { client_port: 50_000, ..Connection::to(53) };
    server.send(&old.asked(0, &query), false);
    server.send(&old.answered(0, query.len(), &with_length(&Said::query(7, 1).answer(0).bytes())), true);
    server.send(&old.asked(query.len(), &query), false);
    let counters = server.dns(TCP);
    assert_eq!(counters.queries.iter().sum::<u64>() + counters.answers.iter().sum::<u64>(), 0);
    for direction in [0, 1] {
        assert_eq!(counters.lost.0[direction][Loss::Preexisting as usize], 1);
    }
    assert_eq!(server.bytes(TCP).lost, 3 * query.len() as u64 + 16);
    // Data in the first segment.
    let open = Connection { client_port: 50_001, ..old };
    let first = open.client_first.wrapping_sub(1);
    server.send(&open.from_client(packets::flag::SYN, first, &query), false);
    assert_eq!(server.dns(TCP).lost.0[0][Loss::SynData as usize], 1);
    server.check_bytes(TCP);
}

/// What is counted, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Expected {
    queries: BTreeMap<String, u64>,
    answers: BTreeMap<String, u64>,
    truncated: u64,
    repeated: u64,
    unasked: u64,
    timed: u64,
    not_dns: u64,
    other_losses: u64,
    /// Ids that wait.
    waiting: BTreeSet<u16>,
}

impl Expected {
    /// Adds a message; false if it is none.
    fn add(&mut self, message: &[u8], of_server: bool) -> bool {
        match plain(message, of_server) {
            Plain::Query(id, query_type) => {
                *self.queries.entry(type_label(query_type).to_owned()).or_default() += 1;
                self.repeated += u64::from(!self.waiting.insert(id));
            }
            Plain::Answer(id, code, truncated) => {
                *self.answers.entry(code_label(code).to_owned()).or_default() += 1;
                self.truncated += u64::from(truncated);
                let is_known = self.waiting.remove(&id);
                self.timed += u64::from(is_known);
                self.unasked += u64::from(!is_known);
            }
            Plain::Nothing => {
                self.not_dns += 1;
                return false;
            }
        }
        true
    }

    /// What came since; who waits is not told by counters.
    fn since(self, before: &Self) -> Since {
        Since { after: self, before: before.clone() }
    }
}

/// Two looks at the counters.
#[derive(Clone, Debug)]
struct Since {
    after: Expected,
    before: Expected,
}

impl PartialEq<Expected> for Since {
    fn eq(&self, expected: &Expected) -> bool {
        let grown =
            |after: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>| -> BTreeMap<String, u64> {
                let more =
                    after.iter().map(|(word, count)| (word.clone(), count - before.get(word).unwrap_or(&0)));
                more.filter(|(_, count)| *count > 0).collect()
            };
        let Self { after, before } = self;
        let grown = Expected {
            queries: grown(&after.queries, &before.queries),
            answers: grown(&after.answers, &before.answers),
            truncated: after.truncated - before.truncated,
            repeated: after.repeated - before.repeated,
            unasked: after.unasked - before.unasked,
            timed: after.timed - before.timed,
            not_dns: after.not_dns - before.not_dns,
            other_losses: after.other_losses - before.other_losses,
            waiting: expected.waiting.clone(),
        };
        grown == *expected
    }
}

/// Who sends datagrams.
struct Client {
    family: Family,
    port: u16,
}

impl Client {
    fn packet(&self, message: &[u8], of_server: bool) -> Packet {
        let Self { family, port } = self;
        let ports = if of_server { (53, *port) } else { (*port, 53) };
        let (client, server) = (family.client().to_string(), family.server().to_string());
        let (source, destination) = if of_server { (&server, &client) } else { (&client, &server) };
        let length = u16::try_from(8 + message.len()).unwrap();
        let payload = [&packets::udp_header(ports.0, ports.1, length)[..], message].concat();
        packets::packet(source, destination, 17, payload)
    }

    fn datagram(&self, message: &[u8], of_server: bool) -> Vec<u8> {
        self.packet(message, of_server).frame()
    }
}

/// A service over both transports, and who asks it.
struct Server {
    service: Service,
    clients: u16,
}

impl Server {
    fn new() -> Self {
        Self { service: Service::new(RULES, 53), clients: 0 }
    }

    fn client(&mut self, family: Family) -> Client {
        self.clients += 1;
        Client { family, port: 1024 + self.clients }
    }

    fn connect(&mut self) -> Connection {
        self.service.connect()
    }

    fn send(&mut self, frame: &[u8], of_server: bool) {
        let judgement = if of_server { self.service.goes_out(frame) } else { self.service.goes_in(frame) };
        assert_eq!(judgement.verdict, Verdict::Accept);
    }

    fn dns(&self, port: ServicePort) -> DnsCounters {
        let ProtocolCounters::Dns(counters) = self.service.counters().services[&port].of_protocol else {
            unreachable!("a service of DNS")
        };
        counters
    }

    fn counters(&self, port: ServicePort) -> Expected {
        let DnsCounters { queries, repeated, answers, truncated, unasked, lost, duration } = self.dns(port);
        let words = |labels: Vec<&str>, counts: &[u64]| {
            let words = labels.into_iter().zip(counts).filter(|(_, count)| **count > 0);
            words.map(|(label, count)| (label.to_owned(), *count)).collect()
        };
        let not_dns = lost.0[0][Loss::NotDns as usize] + lost.0[1][Loss::NotDns as usize];
        Expected {
            queries: words(QueryType::ALL.iter().map(|one| one.label()).collect(), &queries),
            answers: words(ResponseCode::ALL.iter().map(|one| one.label()).collect(), &answers),
            truncated,
            repeated,
            unasked,
            timed: duration.buckets.iter().sum(),
            not_dns,
            other_losses: lost.total() - not_dns,
            waiting: BTreeSet::new(),
        }
    }

    fn bytes(&self, port: ServicePort) -> ServiceBytes {
        self.service.counters().services[&port].bytes
    }

    /// What was followed and what was not are all bytes of the port.
    fn check_bytes(&self, port: ServicePort) {
        let counters = self.service.counters();
        let of_port = counters.ports.iter().filter(|((_, _, of), _)| *of == Port::Service(port));
        let all: u64 = of_port.map(|(_, Counter { bytes, .. })| bytes).sum();
        let ServiceBytes { framed, lost } = counters.services[&port].bytes;
        assert_eq!(framed + lost, all);
    }
}

#[test]
fn what_does_not_fit_is_counted_as_truncated() {
    let mut server = Server::new();
    let client = server.client(Family::V4);
    let query = Said::query(7, 16);
    server.send(&client.datagram(&query.bytes(), false), false);
    let answer = query.answer(0);
    let answer = Said { flags: answer.flags | TRUNCATED, ..answer };
    server.send(&client.datagram(&answer.bytes(), true), true);
    assert_eq!((server.dns(UDP).truncated, server.dns(UDP).unanswered()), (1, 0));
}
