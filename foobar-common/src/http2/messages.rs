//! Requests and responses in the frames of one direction.

use super::{
    Shared, Side,
    frames::{Progress, kind},
    meaning::{INTERIM, Meaning, OfRequest, OfResponse, UNKNOWN},
};
use crate::{
    flow::Direction,
    service::{HttpCounters, Loss, Method, Ticks},
    stream::Reader,
};

/// Reads one side of a connection.
#[derive(Debug)]
pub struct Messages<'a, R> {
    /// What is kept of it.
    pub side: &'a mut Side,
    /// What the other side reads.
    pub shared: &'a Shared,
    /// Where it is counted.
    pub counters: &'a mut HttpCounters,
    /// When the bytes came.
    pub now: Ticks,
    /// Which side it is.
    pub role: R,
}

/// Sends requests.
#[derive(Clone, Copy, Debug)]
pub struct Client;

/// Sends responses.
#[derive(Clone, Copy, Debug)]
pub struct Server;

/// What is different about the sides.
trait Role: Sized {
    const DIRECTION: Direction;
    /// The header field that is looked for.
    type Meaning: Meaning;

    /// Header fields begin on a stream; whether they can.
    fn fields_began(messages: &mut Messages<'_, Self>, stream: u32) -> bool;
    /// They have ended, and the field was found that is looked for, or was not.
    fn fields_ended(messages: &mut Messages<'_, Self>, found: Option<u8>);
    /// Nothing more comes on a stream.
    fn stream_ended(messages: &mut Messages<'_, Self>, stream: u32);
}

impl Role for Client {
    const DIRECTION: Direction = Direction::In;
    type Meaning = OfRequest;

    /// A client opens streams in rising order, with odd numbers (RFC 9113 section 5.1.1); on a lower one it sends a
    /// trailer.
    #[inline(always)]
    fn fields_began(messages: &mut Messages<'_, Self>, stream: u32) -> bool {
        let Messages { side, shared, now, .. } = messages;
        side.is_request = stream > side.highest;
        if side.is_request {
            side.highest = stream;
            shared.start(stream, *now);
        }
        stream & 1 == 1
    }

    #[inline(always)]
    fn fields_ended(messages: &mut Messages<'_, Self>, found: Option<u8>) {
        let Messages { side, counters, .. } = messages;
        if !side.is_request {
            return;
        }
        let method = found.map_or(Method::Unknown.number(), u32::from);
        count(counters.requests.get_mut(method as usize));
    }

    #[inline(always)]
    fn stream_ended(_messages: &mut Messages<'_, Self>, _stream: u32) {}
}

impl Role for Server {
    const DIRECTION: Direction = Direction::Out;
    type Meaning = OfResponse;

    #[inline(always)]
    fn fields_began(_messages: &mut Messages<'_, Self>, _stream: u32) -> bool {
        true
    }

    #[inline(always)]
    fn fields_ended(messages: &mut Messages<'_, Self>, found: Option<u8>) {
        let Messages { side, shared, counters, now, .. } = messages;
        let (stream, ends_stream) = (side.stream, side.ends_stream);
        // Only a server opens streams of even numbers: what it promised, which nobody asked for.
        if stream & 1 == 0 {
            return;
        }
        // What has no status and is the last of its stream is a trailer.
        if let Some(class) = found.or((!ends_stream).then_some(UNKNOWN)) {
            count(counters.responses.get_mut(usize::from(class)));
            if class == INTERIM {
                return;
            }
            match shared.started(stream) {
                Some(started) => counters.first_byte.observe(now.since(started)),
                None => count(Some(&mut counters.untimed)),
            }
        }
        if ends_stream {
            Self::stream_ended(messages, stream);
        }
    }

    #[inline(always)]
    fn stream_ended(messages: &mut Messages<'_, Self>, stream: u32) {
        let Messages { shared, counters, now, .. } = messages;
        if let Some(started) = shared.started(stream) {
            counters.last_byte.observe(now.since(started));
        }
    }
}

impl<R: Role> Reader for Messages<'_, R> {
    const DIRECTION: Direction = R::DIRECTION;

    #[inline(always)]
    fn notice(&mut self) {
        // It has been counted where it was seen.
        if matches!(R::DIRECTION, Direction::In) && self.shared.unseen.get() != 0 {
            self.side.is_lost = true;
        }
    }

    #[inline(always)]
    fn is_lost(&self) -> bool {
        self.side.is_lost
    }

    #[inline(always)]
    fn lose(&mut self, loss: Loss) {
        self.side.is_lost = true;
        self.counters.lost.count(R::DIRECTION, loss);
    }

    #[inline(always)]
    fn can_miss(&self, bytes: u64) -> bool {
        self.side.can_miss(bytes)
    }

    #[inline(always)]
    fn pass(&mut self, bytes: u32) -> u32 {
        let Side { frames, fields, .. } = &mut *self.side;
        let passed = if frames.is_in_fields() {
            let passed = fields.pass(least(frames.left(), bytes));
            if passed > 0 {
                fields.settle::<R::Meaning>();
                frames.took(passed);
            }
            passed
        } else {
            frames.pass(bytes)
        };
        if passed > 0 && !self.settle() {
            self.lose(Loss::NotHttp);
        }
        passed
    }

    #[inline(always)]
    fn read(&mut self, word: u64, bytes: u32) -> u32 {
        let Side { frames, fields, .. } = &mut *self.side;
        let (taken, is_valid) = if frames.is_in_fields() {
            let taken = fields.read::<R::Meaning>(word, least(frames.left(), bytes));
            fields.settle::<R::Meaning>();
            frames.took(taken);
            (taken, taken > 0)
        } else {
            match frames.read(word, bytes) {
                (taken, Progress::Nothing) => (taken, true),
                (taken, Progress::Header) => (taken, self.frame_began()),
                (taken, Progress::Broken) => (taken, false),
            }
        };
        if !is_valid || !self.settle() {
            self.lose(Loss::NotHttp);
        }
        taken
    }
}

#[expect(private_bounds, reason = "nothing of it is public")]
impl<R: Role> Messages<'_, R> {
    /// The header of a frame has been read; whether the frame can stand here.
    #[inline(always)]
    fn frame_began(&mut self) -> bool {
        let side = &mut *self.side;
        let (kind, stream) = (side.frames.kind(), side.frames.stream());
        // Nothing stands between header fields and those that continue them (RFC 9113 section 6.10).
        if side.is_in_fields != (kind == kind::CONTINUATION) {
            return false;
        }
        match kind {
            kind::HEADERS => {
                side.stream = stream;
                side.ends_stream = side.frames.ends_stream();
            }
            // The fields that come with it are read for the table's sake.
            kind::PUSH_PROMISE => {
                side.stream = 0;
                side.ends_stream = false;
            }
            kind::CONTINUATION => return side.frames.has_fields(),
            kind::DATA => return stream != 0,
            _ => return true,
        }
        side.is_in_fields = true;
        let has_fields = side.frames.has_fields();
        has_fields && stream != 0 && (kind == kind::PUSH_PROMISE || R::fields_began(self, stream))
    }

    /// Goes over from one part of a frame to the next; whether that is right so.
    #[inline(always)]
    fn settle(&mut self) -> bool {
        let side = &mut *self.side;
        if side.frames.fields_ended() && side.frames.ends_headers() {
            side.is_in_fields = false;
            let Ok(found) = side.fields.end() else { return false };
            if side.stream != 0 {
                R::fields_ended(self, found);
            }
        }
        let frames = &mut self.side.frames;
        if frames.ended() && frames.kind() == kind::DATA && frames.ends_stream() {
            let stream = frames.stream();
            R::stream_ended(self, stream);
        }
        true
    }
}

#[inline(always)]
const fn least(one: u32, other: u32) -> u32 {
    if one < other { one } else { other }
}

#[inline(always)]
fn count(counter: Option<&mut u64>) {
    if let Some(counter) = counter {
        *counter = counter.wrapping_add(1);
    }
}
