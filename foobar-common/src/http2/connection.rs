//! What is kept of a connection that has gone on in HTTP/2.
//!
//! As of a [`crate::connection::Connection`], each side is written by the program of one direction alone, under its
//! lock; what the other reads of it lies in cells.

use core::cell::Cell;

use super::{Fields, Frames};
use crate::{service::Ticks, stream::Followed};

/// How many connections are kept: those that were in use last.
pub const HTTP2_CONNECTIONS_MAX: u32 = 8_192;
/// How many requests of a connection are timed at once: as many streams as servers mostly allow.
pub const STREAMS_TIMED: u32 = 128;

/// A connection that has gone on in HTTP/2.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Http2Connection {
    /// Sequence number of the client's first byte, as in [`crate::connection::Connection`].
    pub first: u32,
    /// Always zero.
    pub padding: u32,
    /// How far what comes in has been read.
    pub inbound: Followed,
    /// How far what goes out has been read.
    pub outbound: Followed,
    /// Written by what comes in.
    pub client: Side,
    /// Written by what goes out.
    pub server: Side,
    /// What both sides read.
    pub shared: Shared,
}

/// One side of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Side {
    /// Where it is in its frames.
    pub frames: Frames,
    /// Its header fields.
    pub fields: Fields,
    /// The stream whose header fields are being read or were read last; zero for those of a promise.
    pub stream: u32,
    /// The highest stream so far; only of the client's side.
    pub highest: u32,
    /// Whether header fields are being read.
    pub is_in_fields: bool,
    /// Whether these are the last of their stream.
    pub ends_stream: bool,
    /// Whether they begin a request.
    pub is_request: bool,
    /// Whether it is no longer followed.
    pub is_lost: bool,
    /// Always zero.
    pub padding: [u8; 4],
}

/// What each side reads of the other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Shared {
    /// 1 once the client's side goes on in HTTP/2.
    pub client_begun: Cell<u32>,
    /// 1 once the server's side does.
    pub server_begun: Cell<u32>,
    /// 1 once the server has accepted bytes of the client that never came by.
    pub unseen: Cell<u32>,
    /// Always zero.
    pub padding: Cell<u32>,
    /// When requests began, by half of the number of their streams.
    pub started: [Cell<Ticks>; STREAMS_TIMED as usize],
    /// Which streams those are.
    pub streams: [Cell<u32>; STREAMS_TIMED as usize],
}

impl Http2Connection {
    /// One that nothing is known of.
    pub const fn new() -> Self {
        let shared = Shared {
            client_begun: Cell::new(0),
            server_begun: Cell::new(0),
            unseen: Cell::new(0),
            padding: Cell::new(0),
            started: [const { Cell::new(Ticks(0)) }; STREAMS_TIMED as usize],
            streams: [const { Cell::new(0) }; STREAMS_TIMED as usize],
        };
        Self {
            first: 0,
            padding: 0,
            inbound: Followed::new(),
            outbound: Followed::new(),
            client: Side::new(Frames::behind_first_line()),
            server: Side::new(Frames::new()),
            shared,
        }
    }

    /// Makes it one of which neither side has gone on in HTTP/2, where none has been read; `first` is the number of the
    /// client's first byte.
    #[inline(always)]
    pub fn begin(&mut self, first: u32) {
        self.first = first;
        self.client = Side::new(Frames::behind_first_line());
        self.server = Side::new(Frames::new());
    }
}

impl Default for Http2Connection {
    fn default() -> Self {
        Self::new()
    }
}

impl Side {
    #[inline(always)]
    const fn new(frames: Frames) -> Self {
        Self {
            frames,
            fields: Fields::new(),
            stream: 0,
            highest: 0,
            is_in_fields: false,
            ends_stream: false,
            is_request: false,
            is_lost: false,
            padding: [0; 4],
        }
    }

    /// Whether nothing that counts is in as many of the next bytes.
    #[inline(always)]
    pub fn can_miss(&self, bytes: u64) -> bool {
        self.is_lost || self.frames.can_miss(bytes)
    }
}

impl Shared {
    /// A request began on a stream.
    #[inline(always)]
    pub(super) fn start(&self, stream: u32, now: Ticks) {
        let place = place(stream);
        if let (Some(started), Some(kept)) = (self.started.get(place), self.streams.get(place)) {
            started.set(now);
            kept.set(stream);
        }
    }

    /// When the request of a stream began, if that is known.
    #[inline(always)]
    pub(super) fn started(&self, stream: u32) -> Option<Ticks> {
        let place = place(stream);
        let is_known = self.streams.get(place)?.get() == stream;
        is_known.then_some(self.started.get(place)?.get())
    }
}

/// Where a request is timed: those of clients have odd numbers (RFC 9113 section 5.1.1).
#[inline(always)]
fn place(stream: u32) -> usize {
    crate::frame::within::<{ STREAMS_TIMED - 1 }>(stream >> 1) as usize
}
