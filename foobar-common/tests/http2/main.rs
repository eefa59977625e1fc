//! HTTP/2 in pieces of any size, against what it was made of.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod made;

use foobar_common::{
    flow::Direction,
    http2::{Client, Http2Connection, Messages, STREAMS_TIMED, Server},
    service::{HttpCounters, Loss, Method, Ticks},
    stream::Reader,
};
use made::{Sender, class, client, method, server};
use proptest::{
    prelude::{ProptestConfig, any, prop_assert_eq, proptest},
    sample::Index,
};

fn cases() -> ProptestConfig {
    let long = std::env::var_os("FOOBAR_LONG").is_some();
    ProptestConfig { cases: if long { 100_000 } else { 300 }, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn everything_is_counted_as_it_was_made(
        asked in made::requests(),
        answered in made::responses(),
        piece in 1_usize..3_000,
    ) {
        let mut expected = HttpCounters::default();
        for request in &asked {
            expected.requests[method(request.value()) as usize] += 1;
        }
        let responses = answered.len().min(asked.len());
        for response in &answered[..responses] {
            expected.responses[class(response.value())] += 1;
        }
        let (client, server) = (client(&asked, 1), server(&answered[..responses], 1));
        let mut exchange = Exchange::new();
        exchange.ask(&client, piece);
        exchange.answer(&server, piece);
        let HttpCounters { requests, responses, untimed, lost, first_byte, last_byte, .. } = exchange.counters;
        prop_assert_eq!(lost.total(), 0);
        prop_assert_eq!(requests, expected.requests);
        prop_assert_eq!(responses, expected.responses);
        let finals = responses[1..].iter().sum::<u64>();
        prop_assert_eq!([first_byte, last_byte].map(|times| times.buckets.iter().sum::<u64>()), [finals; 2]);
        prop_assert_eq!(untimed, 0);
    }

    /// Whatever comes, it reads the same in pieces as in one.
    #[test]
    fn noise_reads_the_same_in_any_pieces(
        asked in made::requests(),
        answered in made::responses(),
        changes in proptest::collection::vec((any::<Index>(), any::<u8>()), 0..6),
        piece in 1_usize..100,
    ) {
        let (mut client, mut server) = (client(&asked, 1), server(&answered, 1));
        for (place, byte) in changes {
            for bytes in [&mut client, &mut server] {
                let at = place.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let (mut whole, mut cut) = (Exchange::new(), Exchange::new());
        for (exchange, piece) in [(&mut whole, usize::MAX), (&mut cut, piece)] {
            exchange.ask(&client, piece);
            exchange.answer(&server, piece);
        }
        prop_assert_eq!(whole.counters, cut.counters);
    }
}

/// The examples of RFC 7541 appendix C.3 to C.6, which send what they can by number, in Huffman code and not.
#[test]
fn the_examples_of_the_standard_are_read() {
    let requests = [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ];
    let coded_requests = [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ];
    for examples in [requests, coded_requests] {
        let mut exchange = Exchange::new();
        exchange.ask(&client(&[], 1), 9);
        exchange.ask(&frames(&examples), 1);
        assert_eq!(exchange.counters.requests, [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(exchange.counters.lost.total(), 0);
    }
    // The table of these has 256 bytes: 302 is put out of it by others in the third.
    let responses = [
        "3fe1014803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e17\
         68747470733a2f2f7777772e6578616d706c652e636f6d",
        "4803333037c1c0bf",
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a\
         4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
    ];
    let coded_responses = [
        "3fe101488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8\
         e9ae82ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960\
         d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ];
    for examples in [responses, coded_responses] {
        let mut exchange = Exchange::new();
        exchange.answer(&server(&[], 1), 9);
        exchange.answer(&frames(&examples), 1);
        assert_eq!(exchange.counters.responses, [0, 1, 2, 0, 0, 0]);
        assert_eq!(exchange.counters.lost.total(), 0);
    }
}

/// Header fields in hexadecimal, each on a stream of its own.
fn frames(blocks: &[&str]) -> Vec<u8> {
    let mut sender = Sender::default();
    for (stream, block) in (1..).step_by(2).zip(blocks) {
        let digits: Vec<char> = block.chars().filter(|letter| !letter.is_whitespace()).collect();
        let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
        let block: Vec<u8> = digits.chunks(2).map(byte).collect();
        sender.frame(1, 5, stream, &block);
    }
    sender.bytes
}

/// Names, methods and statuses, spelled out and in Huffman code.
#[test]
fn methods_and_statuses_are_known_in_either_code() {
    for (block, method) in [
        ("42 83 d7c37f", Method::Put),
        ("42 84 c7821bff", Method::Head),
        ("0f00 84 c7821bff", Method::Unknown),
        ("00 85 b9495339e4 03 505554", Method::Put),
        ("00 07 3a6d6574686f64 83 d7c37f", Method::Put),
        ("00 07 3a6d6574686f65 03 505554", Method::Unknown),
        ("42 00", Method::Other),
    ] {
        let mut exchange = Exchange::new();
        exchange.ask(&client(&[], 1), 100);
        exchange.ask(&frames(&[block]), 100);
        let requests = exchange.counters.requests;
        assert_eq!(requests[method as usize], 1, "{block}: {requests:?}");
    }
    for (block, class) in [
        ("48 82 1001", 1),
        ("48 83 640eff", 2),
        ("48 82 6801", 3),
        ("48 83 6c0cff", 4),
        ("48 82 0801", 0),
        ("48 03 393939", 5),
        ("48 04 32303030", 5),
    ] {
        let mut exchange = Exchange::new();
        exchange.answer(&server(&[], 1), 100);
        exchange.answer(&frames(&[block]), 100);
        let responses = exchange.counters.responses;
        assert_eq!(responses[class], 1, "{block}: {responses:?}");
    }
}

/// Kind, flags, stream and payload of some frames.
type Frames<'a> = &'a [(u8, u8, u32, &'a [u8])];

/// A frame of each kind that breaks the rules: what comes behind it is declared, not guessed.
#[test]
fn what_breaks_the_rules_is_declared() {
    let get: &[u8] = &[0x82];
    let cases: [(&str, Frames<'_>); 9] = [
        ("an even stream", &[(1, 4, 2, get)]),
        ("no stream", &[(1, 4, 0, get)]),
        ("data on no stream", &[(0, 0, 0, b"x")]),
        ("padding longer than the frame", &[(1, 12, 1, b"\x05\x82")]),
        ("too short for a priority", &[(1, 36, 1, b"\0\0\0")]),
        ("a continuation of nothing", &[(9, 4, 1, get)]),
        ("something between fields", &[(1, 0, 1, get), (6, 0, 0, b"12345678")]),
        ("fields that end in the middle", &[(1, 4, 1, b"\x42\x03PU")]),
        ("a number that is too long", &[(1, 4, 1, b"\xff\xff\xff\xff\xff\xff\xff")]),
    ];
    for (what, frames) in cases {
        let mut sender = Sender::default();
        for (kind, flags, stream, payload) in frames {
            sender.frame(*kind, *flags, *stream, payload);
        }
        sender.frame(1, 5, 7, get);
        let mut exchange = Exchange::new();
        exchange.ask(&client(&[], 1), 100);
        exchange.ask(&sender.bytes, 3);
        let lost = exchange.counters.lost.0[Direction::In as usize];
        assert_eq!(lost[Loss::NotHttp as usize], 1, "{what}");
        assert_eq!(exchange.counters.requests.iter().sum::<u64>(), 0, "{what}");
    }
    for (what, bytes) in [
        ("another preface", &b"\r\nSM\r\n\r\r\0\0\0\x04\0\0\0\0\0"[..]),
        ("something before the settings", b"\r\nSM\r\n\r\n\0\0\0\x06\0\0\0\0\0"),
        ("an acknowledgment before the settings", b"\r\nSM\r\n\r\n\0\0\0\x04\x01\0\0\0\0"),
        ("settings of a wrong length", b"\r\nSM\r\n\r\n\0\0\x05\x04\0\0\0\0\0"),
    ] {
        let mut exchange = Exchange::new();
        exchange.ask(bytes, 100);
        assert_eq!(exchange.counters.lost.total(), 1, "{what}");
    }
}

#[test]
fn more_streams_than_are_timed_are_counted_as_such() {
    let streams = STREAMS_TIMED + 20;
    let every = |flags: u8| {
        let mut sender = Sender::default();
        (0..streams).for_each(|number| sender.frame(1, flags, number * 2 + 1, &[0x88]));
        sender.bytes
    };
    let mut exchange = Exchange::new();
    exchange.ask(&client(&[], 1), 100);
    exchange.ask(&every(5), 100);
    exchange.answer(&server(&[], 1), 100);
    exchange.answer(&every(5), 100);
    let HttpCounters { requests, responses, untimed, first_byte, last_byte, .. } = exchange.counters;
    assert_eq!(requests[Method::Unknown as usize], u64::from(streams), "none has a method");
    assert_eq!((responses[1], untimed), (u64::from(streams), 20));
    for times in [first_byte, last_byte] {
        assert_eq!(times.buckets.iter().sum::<u64>(), u64::from(STREAMS_TIMED));
    }
}

#[test]
fn bytes_that_did_not_come_by_matter_only_outside_of_what_is_passed_over() {
    let mut exchange = Exchange::new();
    exchange.ask(&client(&[], 1), 100);
    let mut sender = Sender::default();
    sender.frame(1, 4, 1, &[0x83]);
    sender.frame(0, 1, 1, &[0; 1_000]);
    exchange.ask(&sender.bytes[..30], 100);
    let left = u64::try_from(sender.bytes.len() - 30).unwrap();
    assert!(exchange.connection.client.can_miss(left));
    assert!(!exchange.connection.client.can_miss(left + 1));
}

/// A connection, both of whose sides are read.
struct Exchange {
    connection: Box<Http2Connection>,
    counters: HttpCounters,
}

impl Exchange {
    fn new() -> Self {
        let mut connection = Box::new(Http2Connection::new());
        connection.begin(1);
        Self { connection, counters: HttpCounters::default() }
    }

    fn ask(&mut self, bytes: &[u8], piece: usize) {
        let Self { connection, counters } = self;
        let Http2Connection { client: side, shared, .. } = &mut **connection;
        read(bytes, piece, &mut Messages { side, shared, counters, now: Ticks(7), role: Client });
    }

    fn answer(&mut self, bytes: &[u8], piece: usize) {
        let Self { connection, counters } = self;
        let Http2Connection { server: side, shared, .. } = &mut **connection;
        read(bytes, piece, &mut Messages { side, shared, counters, now: Ticks(9), role: Server });
    }
}

/// As the kernel drives it.
fn read(bytes: &[u8], piece: usize, reader: &mut impl Reader) {
    for mut piece in bytes.chunks(piece) {
        while !piece.is_empty() && !reader.is_lost() {
            let passed = reader.pass(u32::try_from(piece.len()).unwrap());
            let taken = if passed > 0 {
                passed
            } else {
                let mut word = [0x5a; 8];
                let length = piece.len().min(8);
                word[..length].copy_from_slice(&piece[..length]);
                reader.read(u64::from_le_bytes(word), u32::try_from(length).unwrap())
            };
            piece = &piece[usize::try_from(taken).unwrap()..];
        }
    }
}
