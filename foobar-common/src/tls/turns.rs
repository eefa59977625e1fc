//! Turns of a connection: the client says something that is secret, and the server answers.
//!
//! What is said cannot be told, so these are no requests: several that are sent before the first answer are one turn, and
//! so is what both sides still say to agree. Each side's part is written by the program of one direction alone.

use core::cell::Cell;

use crate::service::Ticks;

/// The turns of a connection, since both hellos were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Turns {
    /// Sequence number behind the last byte of the client.
    asked: Cell<u32>,
    /// Sequence number behind the last byte of the server.
    answered: Cell<u32>,
    /// How many have begun; written by what comes in.
    begun: Cell<u32>,
    /// When the last one did.
    started: Cell<Ticks>,
    /// How many have been answered; written by what goes out.
    ended: Cell<u32>,
    /// 1 once both hellos have been read.
    is_open: Cell<u8>,
    /// 1 if the first turn is still one of the handshake.
    is_handshake: Cell<u8>,
    /// Always zero.
    padding: Cell<u16>,
}

impl Turns {
    /// Of a connection on which nothing was said.
    pub const fn new() -> Self {
        Self {
            asked: Cell::new(0),
            answered: Cell::new(0),
            begun: Cell::new(0),
            started: Cell::new(Ticks(0)),
            ended: Cell::new(0),
            is_open: Cell::new(0),
            is_handshake: Cell::new(0),
            padding: Cell::new(0),
        }
    }

    /// The client's hello reaches up to this sequence number.
    #[inline(always)]
    pub fn offered(&self, behind: u32) {
        self.asked.set(behind);
    }

    /// The server's hello has ended in a segment that reaches up to this sequence number. Before TLS 1.3, the client's next
    /// words are its part of the handshake (RFC 5246 section 7.3); since then, a request comes with them.
    #[inline(always)]
    pub fn open(&self, behind: u32, is_handshake_next: bool) {
        self.answered.set(behind);
        self.is_handshake.set(u8::from(is_handshake_next));
        self.is_open.set(1);
    }

    /// Whether a segment of the client that reaches up to this sequence number begins a turn.
    #[inline(always)]
    pub fn asks(&self, behind: u32) -> bool {
        self.is_open.get() != 0 && is_new(&self.asked, behind) && self.begun.get() == self.ended.get()
    }

    /// A turn begins.
    #[inline(always)]
    pub fn begin(&self, now: Ticks) {
        self.started.set(now);
        self.begun.set(self.begun.get().wrapping_add(1));
    }

    /// Whether a segment of the server that reaches up to this sequence number ends a turn.
    #[inline(always)]
    pub fn answers(&self, behind: u32) -> bool {
        self.is_open.get() != 0 && is_new(&self.answered, behind) && self.begun.get() != self.ended.get()
    }

    /// A turn ends. How long it took, unless it was one of the handshake.
    #[inline(always)]
    pub fn end(&self, now: Ticks) -> Option<Ticks> {
        self.ended.set(self.begun.get());
        if self.is_handshake.get() != 0 {
            self.is_handshake.set(0);
            return None;
        }
        Some(now.since(self.started.get()))
    }
}

/// Whether there are bytes before this sequence number that have not been sent before; they have from now on.
#[inline(always)]
fn is_new(last: &Cell<u32>, behind: u32) -> bool {
    let more = behind.wrapping_sub(last.get());
    // Of two sequence numbers, one is before the other if it is less than half of all numbers away.
    let is_new = more > 0 && more <= u32::MAX / 2;
    if is_new {
        last.set(behind);
    }
    is_new
}
