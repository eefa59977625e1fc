//! Connections to services of which nothing is read: what is kept of them, and what is counted.

use core::cell::Cell;

use crate::{
    flow::Direction,
    service::{add, add_all},
};

/// A connection whose handshake was seen, or of which nothing was seen before its reset.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct RawConnection {
    /// As in [`crate::connection::Connection`]: zero if the handshake was not seen.
    pub first: u32,
    /// Always zero.
    pub padding: u32,
    /// 1 once either side has reset it.
    pub reset: Cell<u64>,
}

impl RawConnection {
    /// A connection whose SYN-ACK acknowledges this number.
    #[inline(always)]
    pub const fn opened(acknowledged: u32) -> Self {
        Self { first: acknowledged, padding: 0, reset: Cell::new(0) }
    }

    /// A connection that is reset before anything else is seen of it.
    #[inline(always)]
    pub const fn reset() -> Self {
        Self { first: 0, padding: 0, reset: Cell::new(1) }
    }
}

/// What is counted of a TCP port of such a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RawCounters {
    /// Connections that the server has answered with a SYN-ACK. Without those of [`crate::peers`].
    pub opened: u64,
    /// Connections that ended by a RST, by the [`Direction`] of the first one.
    pub resets: [u64; 2],
    /// Segments that the server has answered with a RST because nobody listens: a RST with the sequence number zero
    /// (RFC 9293 section 3.10.7.1).
    pub refused: u64,
}

impl RawCounters {
    /// Counts a connection that ended by a RST which goes this way.
    #[inline(always)]
    pub fn reset(&mut self, direction: Direction) {
        let [inbound, outbound] = &mut self.resets;
        let count = match direction {
            Direction::In => inbound,
            Direction::Out => outbound,
        };
        *count = count.wrapping_add(1);
    }

    /// Adds another processor's, or another port's.
    pub fn add(&mut self, other: &Self) {
        let Self { opened, resets, refused } = other;
        add(&mut self.opened, *opened);
        add_all(&mut self.resets, resets);
        add(&mut self.refused, *refused);
    }
}
