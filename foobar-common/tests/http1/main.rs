//! HTTP/1.x in pieces of any size against a plain reading of the whole.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod messages;
mod plain;

use foobar_common::{
    connection::Connection,
    flow::Direction,
    http1::{Block, Requests, Responses, Side, Stream},
    service::{DURATION_BUCKETS, Histogram, HttpCounters, Loss, Method, Ticks},
};
use plain::Reading;
use proptest::{
    collection::vec,
    prelude::{ProptestConfig, any, prop_assert_eq, proptest},
};

fn cases() -> ProptestConfig {
    let long = std::env::var_os("FOOBAR_LONG").is_some();
    ProptestConfig { cases: if long { 1_000_000 } else { 4_000 }, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn pieces_read_as_the_whole(
        asked in vec(messages::request(), 0..12),
        answered in vec(messages::response(), 0..12),
        pieces in vec(1_usize..300, 1..20),
        seed in any::<usize>(),
    ) {
        let (asked, answered) = (asked.concat(), answered.concat());
        // Sometimes all of it byte for byte, sometimes at once.
        let pieces = match seed % 4 {
            0 => vec![1],
            1 => vec![usize::MAX],
            _ => pieces,
        };
        let mut exchange = Exchange { may_be_http2: seed % 3 == 0, ..Exchange::default() };
        exchange.ask(&asked, &pieces);
        exchange.answer(&answered, &pieces);
        let requests = plain::requests(&asked);
        let responses = plain::responses(&answered, &requests, exchange.may_be_http2);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().to_string();
        prop_assert_eq!(exchange.requests(), requests.counted(), "{}", text(&asked));
        prop_assert_eq!(
            exchange.answers().counted(), responses.counted(), "{} to {:?}", text(&answered), requests
        );
    }
}

#[test]
fn a_response_ends_where_its_request_says() {
    let mut exchange = Exchange::default();
    exchange.ask(b"HEAD / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\nCONNECT a:1 HTTP/1.1\r\n\r\n", &[7]);
    exchange.answer(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 404 No\r\ncontent-length:5\r\n\r\nHTTP/\
          HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 500 is no response in a tunnel",
        &[3],
    );
    exchange.ask(b"GET / HTTP/1.1\r\n\r\n", &[4]);
    assert_eq!(exchange.counters.responses, [0, 2, 0, 1, 0, 0]);
    assert_eq!(exchange.counters.requests.iter().sum::<u64>(), 3);
    assert_eq!(exchange.lost(Direction::In), None);
    assert_eq!(exchange.lost(Direction::Out), None);
}

#[test]
fn a_connect_that_is_refused_is_followed_by_requests() {
    let mut exchange = Exchange::default();
    exchange.ask(b"CONNECT a:1 HTTP/1.1\r\n\r\n", &[100]);
    exchange.answer(b"HTTP/1.1 405 No\r\nContent-Length: 2\r\n\r\nno", &[100]);
    exchange.ask(b"GET / HTTP/1.1\r\n\r\n", &[100]);
    assert_eq!(exchange.counters.requests.iter().sum::<u64>(), 2);
    assert_eq!(exchange.lost(Direction::In), None);
}

#[test]
fn time_runs_from_the_first_byte_of_the_request() {
    let mut exchange = Exchange::default();
    let at = |milliseconds: u64| Ticks::from_nanoseconds(milliseconds * 1_000_000);
    exchange.now = at(1_000);
    exchange.ask(b"GET / HT", &[100]);
    exchange.now = at(1_001);
    exchange.ask(b"TP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n", &[100]);
    exchange.now = at(1_020);
    exchange.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", &[100]);
    exchange.now = at(1_300);
    exchange.answer(b"backHTTP/1.1 200 OK\r\n\r\nuntil close", &[100]);
    exchange.now = at(3_001);
    exchange.close();
    let HttpCounters { first_byte, last_byte, untimed, .. } = &exchange.counters;
    assert_eq!(filled(first_byte), [(8, 1), (12, 1)], "20 ms and 299 ms");
    assert_eq!(filled(last_byte), [(12, 1), (14, 1)], "300 ms and 2 s");
    assert_eq!(*untimed, 0);
    let sum = last_byte.sum * Ticks::NANOSECONDS / 1_000_000;
    assert!((2_299..=2_300).contains(&sum), "{sum} ms");
}

#[test]
fn requests_beyond_those_that_are_timed_are_counted_as_such() {
    let mut exchange = Exchange::default();
    exchange.ask(&b"GET / HTTP/1.1\r\n\r\n".repeat(40), &[9]);
    exchange.answer(&b"HTTP/1.1 204 No\r\n\r\n".repeat(40), &[9]);
    assert_eq!(exchange.counters.responses[1], 40);
    assert_eq!(exchange.counters.untimed, 24);
    assert_eq!(exchange.counters.last_byte.buckets.iter().sum::<u64>(), 16);
    // Once they are answered, the next ones are timed again.
    exchange.ask(&b"GET / HTTP/1.1\r\n\r\n".repeat(16), &[9]);
    exchange.answer(&b"HTTP/1.1 204 No\r\n\r\n".repeat(16), &[9]);
    assert_eq!(exchange.counters.untimed, 24);
}

#[test]
fn too_many_waiting_requests_lose_responses_only_if_it_matters() {
    for (last, is_lost) in [("GET", false), ("HEAD", true)] {
        let mut exchange = Exchange::default();
        exchange.ask(&b"GET / HTTP/1.1\r\n\r\n".repeat(70), &[1000]);
        exchange.ask(format!("{last} / HTTP/1.1\r\n\r\n").as_bytes(), &[1000]);
        exchange.answer(&b"HTTP/1.1 204 No\r\n\r\n".repeat(3), &[1000]);
        assert_eq!(exchange.lost(Direction::Out), is_lost.then_some(Loss::Pipeline), "{last}");
        assert_eq!(exchange.counters.requests.iter().sum::<u64>(), 71);
    }
}

#[test]
fn a_request_is_in_flight_until_the_last_byte_of_its_response() {
    let mut exchange = Exchange::default();
    for (direction, said, in_flight) in [
        // The first line is not over.
        (Direction::In, "POST / HT", 0),
        (Direction::In, "TP/1.1\r\nContent-Length: 3\r\n\r\n12", 1),
        (Direction::In, "3GET / HTTP/1.1\r\n\r\nHEAD / HTTP/1.1\r\n\r\n", 3),
        (Direction::Out, "HTTP/1.1 100 Continue\r\n\r\n", 3),
        (Direction::Out, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r", 3),
        (Direction::Out, "\n", 3),
        (Direction::Out, "ab", 3),
        (Direction::Out, "c", 2),
        (Direction::Out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 2),
        (Direction::Out, "1\r", 2),
        (Direction::Out, "\nx", 2),
        (Direction::Out, "\r\n0\r\n", 2),
        (Direction::Out, "a: b", 2),
        (Direction::Out, "\r\n\r", 2),
        (Direction::Out, "\n", 1),
        // The answer to HEAD has no body.
        (Direction::Out, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 0),
        (Direction::In, "GET / HTTP/1.1\r\n\r\n", 1),
        (Direction::Out, "HTTP/1.1 200 OK\r\n\r\nuntil close", 1),
    ] {
        match direction {
            Direction::In => exchange.ask(said.as_bytes(), &[usize::MAX]),
            Direction::Out => exchange.answer(said.as_bytes(), &[usize::MAX]),
        }
        assert_eq!(exchange.connection.in_flight(), Some(in_flight), "after {said:?}");
    }
    exchange.close();
    assert_eq!(exchange.connection.in_flight(), Some(0));
    exchange.ask(b"no message\n", &[usize::MAX]);
    assert_eq!(exchange.connection.in_flight(), None, "nobody can tell");
}

#[test]
fn nothing_is_in_flight_in_a_tunnel() {
    let mut exchange = Exchange::default();
    exchange.ask(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", &[100]);
    assert_eq!(exchange.connection.in_flight(), Some(1));
    exchange.answer(b"HTTP/1.1 101 Switching\r\n\r\nwhatever", &[100]);
    assert_eq!(exchange.connection.in_flight(), Some(0));
}

#[test]
fn bytes_that_did_not_come_by_matter_only_outside_of_bodies() {
    let mut exchange = Exchange::default();
    exchange.ask(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n12", &[100]);
    assert!(!exchange.skip(9), "one of the next message");
    assert!(exchange.skip(8));
    exchange.ask(b"GET / HTTP/1.1\r\n", &[100]);
    assert_eq!(exchange.counters.requests.iter().sum::<u64>(), 2);
    assert!(!exchange.skip(1));
}

/// A connection, both of whose sides are read.
#[derive(Default)]
struct Exchange {
    connection: Connection,
    counters: HttpCounters,
    now: Ticks,
    /// Makes no difference to what is none.
    may_be_http2: bool,
}

impl Exchange {
    fn ask(&mut self, bytes: &[u8], pieces: &[usize]) {
        let Self { connection: Connection { inbound, outbound, .. }, counters, now, may_be_http2 } = self;
        let mut side = Requests { inbound, outbound, counters, now: *now, may_be_http2: *may_be_http2 };
        for piece in cut(bytes, pieces) {
            let mut stream = Stream::new();
            stream.take_up(&inbound.cursor);
            read(&mut stream, piece, &mut side);
            stream.put_down(&inbound.cursor);
        }
    }

    fn answer(&mut self, bytes: &[u8], pieces: &[usize]) {
        let Self { connection: Connection { inbound, outbound, .. }, counters, now, may_be_http2 } = self;
        let mut side = Responses { inbound, outbound, counters, now: *now, may_be_http2: *may_be_http2 };
        for piece in cut(bytes, pieces) {
            let mut stream = Stream::new();
            stream.take_up(&outbound.cursor);
            read(&mut stream, piece, &mut side);
            stream.put_down(&outbound.cursor);
        }
    }

    fn close(&mut self) {
        let Self { connection: Connection { inbound, outbound, .. }, counters, now, may_be_http2 } = self;
        let mut side = Responses { inbound, outbound, counters, now: *now, may_be_http2: *may_be_http2 };
        let mut stream = Stream::new();
        stream.take_up(&outbound.cursor);
        stream.close(&mut side);
        stream.put_down(&outbound.cursor);
    }

    fn skip(&mut self, bytes: u64) -> bool {
        let Self { connection: Connection { inbound, outbound, .. }, counters, now, may_be_http2 } = self;
        let mut side = Requests { inbound, outbound, counters, now: *now, may_be_http2: *may_be_http2 };
        let mut stream = Stream::new();
        stream.take_up(&inbound.cursor);
        let skipped = stream.skip(bytes, &mut side);
        stream.put_down(&inbound.cursor);
        skipped
    }

    fn lost(&self, direction: Direction) -> Option<Loss> {
        let lost = self.counters.lost.0[direction as usize];
        let mut reasons = Loss::ALL.iter().filter(|loss| lost[loss.number() as usize] > 0);
        let reason = reasons.next().copied();
        assert_eq!(reasons.next(), None, "one reason at most");
        reason
    }

    fn requests(&self) -> Counted {
        (self.counters.requests.to_vec(), self.lost(Direction::In))
    }

    fn answers(&self) -> Reading {
        let classes = (1..).zip(self.counters.responses);
        let messages =
            classes.flat_map(|(class, count)| (0..count).map(move |_| format!("{class}00"))).collect();
        Reading { messages, loss: self.lost(Direction::Out) }
    }
}

/// Messages by method or class, and the loss.
type Counted = (Vec<u64>, Option<Loss>);

impl Reading {
    fn counted(&self) -> Counted {
        let is_status = |message: &&String| message.as_bytes()[0].is_ascii_digit();
        let (statuses, methods): (Vec<_>, Vec<_>) = self.messages.iter().partition(is_status);
        if statuses.is_empty() {
            let mut counts = vec![0; Method::ALL.len()];
            for method in methods {
                let known = Method::ALL.iter().find(|known| known.label() == method);
                counts[*known.unwrap_or(&Method::Other) as usize] += 1;
            }
            (counts, self.loss)
        } else {
            let mut counts = vec![0; 5];
            for status in statuses {
                counts[usize::from(status.as_bytes()[0] - b'1')] += 1;
            }
            (counts, self.loss)
        }
    }
}

fn read<S: Side>(stream: &mut Stream, mut bytes: &[u8], side: &mut S) {
    while !bytes.is_empty() {
        let passed = usize::try_from(stream.pass(bytes.len() as u64, side)).unwrap();
        bytes = &bytes[passed..];
        if passed == 0 {
            let filled = stream.block().fill(bytes);
            assert!(filled <= Block::LENGTH as usize);
            stream.filled(filled as u64);
            bytes = &bytes[filled..];
            while !stream.is_used_up() {
                if stream.is_http2() {
                    // What is made here has no frames, so it is nothing of HTTP.
                    stream.lose(Loss::NotHttp, side);
                }
                stream.step(side);
            }
        }
    }
}

/// Cuts bytes into pieces of these lengths, in turn.
fn cut<'a>(mut bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for length in lengths.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at((*length).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

fn filled(histogram: &Histogram) -> Vec<(usize, u64)> {
    (0..DURATION_BUCKETS).map(|bucket| (bucket, histogram.buckets[bucket])).filter(|(_, n)| *n > 0).collect()
}
