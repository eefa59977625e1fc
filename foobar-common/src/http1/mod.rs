//! HTTP/1.0 and HTTP/1.1 (RFC 9112) as a stream of bytes: where messages begin and end, and what they are.
//!
//! A [`Stream`] reads one direction of a connection, block by block and byte for byte in order, whatever segments the
//! bytes come in. It keeps nothing of them but what tells where the next message begins. What cannot be framed for
//! certain is lost, with the reason, and so is all that follows: it never guesses.
//!
//! Whoever drives it has it [`take_up`](Stream::take_up) a cursor, and then, for the bytes of a segment: have as many
//! as it likes [`pass`](Stream::pass) without a look, put the next ones into its [`Block`] and call
//! [`step`](Stream::step) until they are [used up](Stream::is_used_up), until none are left. The kernel does so in
//! `bpf_loop`, so each step is short and all that a step changes lies in the stream, whose fields the verifier does not
//! follow.

mod block;
mod body;
mod first_line;
mod headers;
mod lines;
mod pairing;

pub use self::{
    block::Block,
    pairing::{Requests, Responses},
};
use crate::{connection::Cursor, service::Loss};

/// What the next byte of a stream is part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// The first line of a message begins, or an empty line before it.
    #[default]
    Start,
    /// The method of a request, or version and status of a response.
    Token,
    /// The rest of the first line of a request.
    RequestLine,
    /// A header line begins.
    LineStart,
    /// The name of a header, as long as it can be one that matters.
    Name,
    /// The value of Content-Length.
    Length,
    /// The value of Transfer-Encoding.
    Encoding,
    /// The rest of a line that does not matter.
    Line,
    /// The line feed that ends the headers.
    HeadersEnd,
    /// The size of a chunk.
    ChunkSize,
    /// The rest of its line.
    ChunkLine,
    /// The line end behind the data of a chunk.
    ChunkEnd,
    /// A line of the trailer begins.
    TrailerStart,
    /// The rest of a line of the trailer.
    TrailerLine,
    /// The line feed that ends the trailer.
    TrailerEnd,
    /// A body of known length.
    Body,
    /// The data of a chunk.
    ChunkData,
    /// A body that ends with the connection.
    UntilClose,
    /// Both sides have agreed on another protocol.
    Tunnel,
    /// The side goes on in HTTP/2 (RFC 9113), which [`crate::http2`] reads: a client behind the first line of its preface,
    /// a server from its first frame on.
    Http2,
    /// Something could not be read, or did not come by.
    Lost,
}

impl State {
    /// Whether so many bytes can be missed without losing what follows them, where this belongs to a cursor with that
    /// number.
    #[inline(always)]
    pub const fn can_miss(self, number: u64, bytes: u64) -> bool {
        let is_counted = matches!(self, Self::Body | Self::ChunkData);
        self.is_opaque() && (!is_counted || number >= bytes)
    }

    /// Whether a message has begun whose headers are over, and has not ended.
    pub(crate) const fn is_behind_headers(self) -> bool {
        match self {
            Self::ChunkSize
            | Self::ChunkLine
            | Self::ChunkEnd
            | Self::TrailerStart
            | Self::TrailerLine
            | Self::TrailerEnd
            | Self::Body
            | Self::ChunkData
            | Self::UntilClose => true,
            Self::Start
            | Self::Token
            | Self::RequestLine
            | Self::LineStart
            | Self::Name
            | Self::Length
            | Self::Encoding
            | Self::Line
            | Self::HeadersEnd
            | Self::Tunnel
            | Self::Http2
            | Self::Lost => false,
        }
    }

    /// Whether bytes are just counted off, however many of them there are.
    #[inline(always)]
    const fn is_opaque(self) -> bool {
        matches!(
            self,
            Self::Body | Self::ChunkData | Self::UntilClose | Self::Tunnel | Self::Http2 | Self::Lost
        )
    }
}

/// What is known of a message whose headers are being read.
pub mod flag {
    /// It has a Content-Length.
    pub const LENGTH: u64 = 1;
    /// It has a Transfer-Encoding, which is chunked.
    pub const CHUNKED: u64 = 1 << 1;
    /// Its status says that it has no body (204, 304).
    pub const BODILESS: u64 = 1 << 2;
    /// It is an interim response (1xx).
    pub const INTERIM: u64 = 1 << 3;
    /// It is the response that ends HTTP on the connection (101).
    pub const SWITCHING: u64 = 1 << 4;
    /// Its status is one of success (2xx).
    pub const SUCCESS: u64 = 1 << 5;
    /// The name that is being read can be Transfer-Encoding; otherwise Content-Length.
    pub const NAME_IS_ENCODING: u64 = 1 << 6;
}

/// How the body of a message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// As its headers say.
    ByHeaders,
    /// There is none, and what follows is no HTTP.
    Tunnel,
    /// It cannot be told.
    Lost(Loss),
}

/// What becomes of what is read.
pub trait Side {
    /// Whether messages are responses.
    const RESPONSES: bool;

    /// The first byte of a message has come.
    fn begun(&self);
    /// The first line of a request has been read. `method` is a number of [`crate::service::Method`].
    fn requested(&mut self, method: u64);
    /// The status of a response has been read: from 100 to 599.
    fn answered(&mut self, status: u64, flags: u64);
    /// The headers of a message have been read.
    fn framing(&self, flags: u64) -> Framing;
    /// A message has ended whose headers have been read.
    fn ended(&mut self);
    /// Whether what follows is no HTTP/1.x.
    fn is_switched(&self) -> bool;
    /// Whether it may be HTTP/2.
    fn may_be_http2(&self) -> bool;
    /// What follows cannot be read.
    fn lost(&mut self, loss: Loss);
}

/// One direction of a connection, while some of its bytes are read.
///
/// Fields that are set to zero together do not stand side by side: the compiler would call its runtime for them, which
/// writes byte by byte, and whoever reads a word of eight bytes that were just written one by one has to wait for all.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Stream {
    /// How much of the block has been read.
    position: u64,
    index: u64,
    /// How much is in the block.
    end: u64,
    flags: u64,
    /// Bytes since the cursor was taken up that were not read.
    lost: u64,
    number: u64,
    state: State,
    /// The bytes.
    block: Block,
}

impl Stream {
    /// One that has read nothing.
    pub const fn new() -> Self {
        let block = Block::new();
        Self { position: 0, index: 0, end: 0, flags: 0, lost: 0, number: 0, state: State::Start, block }
    }

    /// Goes on where a cursor stands.
    #[inline(always)]
    pub fn take_up(&mut self, cursor: &Cursor) {
        self.position = 0;
        self.end = 0;
        self.state = cursor.state.get();
        self.index = u64::from(cursor.index.get());
        self.flags = u64::from(cursor.flags.get());
        self.number = cursor.number.get();
        self.lost = 0;
        if matches!(self.state, State::RequestLine) {
            self.block.set_last(self.number);
        }
    }

    /// Leaves a cursor where this stream stands.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "both are small")]
    pub fn put_down(&self, cursor: &Cursor) {
        let number =
            if matches!(self.state, State::RequestLine) { self.block.before(self.end) } else { self.number };
        cursor.state.set(self.state);
        cursor.index.set(self.index as u8);
        cursor.flags.set(self.flags as u8);
        cursor.number.set(number);
    }

    /// Whether all of the block has been read.
    #[inline(always)]
    pub fn is_used_up(&self) -> bool {
        self.position >= self.end
    }

    /// Whether the side goes on in HTTP/2, from the byte on that the stream stands at.
    #[inline(always)]
    pub fn is_http2(&self) -> bool {
        matches!(self.state, State::Http2)
    }

    /// Takes note of as many of the next `bytes` as need no look, and says how many: zero if the next one needs one.
    #[inline(always)]
    pub fn pass<S: Side>(&mut self, bytes: u64, side: &mut S) -> u64 {
        if self.state.is_opaque() { self.count_off(bytes, side) } else { 0 }
    }

    /// Where the next bytes go.
    #[inline(always)]
    pub fn block(&mut self) -> &mut Block {
        if matches!(self.state, State::RequestLine) {
            self.block.keep_last(self.end);
        }
        &mut self.block
    }

    /// Tells that `bytes` have been put into the block, at most [`Block::LENGTH`].
    #[inline(always)]
    pub fn filled(&mut self, bytes: u64) {
        self.position = 0;
        self.end = bytes;
    }

    /// Reads on in the block: a stretch of a line, or a byte; nothing of HTTP/2.
    #[inline(always)]
    pub fn step<S: Side>(&mut self, side: &mut S) {
        match self.state {
            State::Line | State::RequestLine | State::ChunkLine | State::TrailerLine => self.line(side),
            State::Body | State::ChunkData | State::UntilClose | State::Tunnel | State::Lost => {
                let passed = self.count_off(self.left(), side);
                self.advance(passed);
            }
            State::Http2 => {}
            State::Start | State::Token => self.first_line(side),
            State::LineStart | State::Name | State::Length | State::Encoding | State::HeadersEnd => {
                self.header(side);
            }
            State::ChunkSize | State::ChunkEnd | State::TrailerStart | State::TrailerEnd => {
                self.between_chunks(side);
            }
        }
    }

    /// The peer has said that it sends no more, and all that it sent was read.
    #[inline(always)]
    pub fn close<S: Side>(&mut self, side: &mut S) {
        if matches!(self.state, State::UntilClose) {
            self.state = State::Start;
            side.ended();
        }
    }

    /// `bytes` did not come by. Whether the stream can go on behind them.
    #[inline(always)]
    pub fn skip<S: Side>(&mut self, bytes: u64, side: &mut S) -> bool {
        let is_inside = self.state.can_miss(self.number, bytes);
        if is_inside {
            let before = self.lost;
            self.count_off(bytes, side);
            self.lost = before;
        }
        is_inside
    }

    /// How many bytes went by since the cursor was taken up that were not read.
    #[inline(always)]
    pub fn lost_bytes(&self) -> u64 {
        self.lost
    }

    /// Gives up.
    #[inline(always)]
    pub fn lose<S: Side>(&mut self, loss: Loss, side: &mut S) {
        self.state = State::Lost;
        side.lost(loss);
    }

    /// Bytes of the block that are left.
    #[inline(always)]
    pub fn left(&self) -> u64 {
        self.end.wrapping_sub(self.position)
    }

    #[inline(always)]
    fn advance(&mut self, bytes: u64) {
        self.position = self.position.wrapping_add(bytes);
    }
}

impl Default for Stream {
    fn default() -> Self {
        Self::new()
    }
}
