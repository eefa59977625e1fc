//! What is kept of connections and of queries until their answers come.

use core::cell::Cell;

use super::{Messages, Role};
use crate::connection::ConnectionKey;

/// How many queries are kept until their answers come: those that were asked or asked again last.
pub const QUERIES_MAX: u32 = 65_536;

/// How long the same id from the same client means the same query, in nanoseconds: no client waits so long.
pub const PATIENCE: u64 = 30_000_000_000;

/// Which query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct QueryKey {
    /// Who asks, and of whom.
    pub ends: ConnectionKey,
    /// How it came: a number of [`crate::flow::protocol`].
    pub protocol: u32,
    /// [`Messages::id`].
    pub id: u32,
}

/// A TCP connection to a service of DNS, whose handshake was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct DnsConnection {
    /// As in [`crate::connection::Connection`].
    pub first: u32,
    /// Always zero.
    pub padding: u32,
    /// Written by what comes in.
    pub inbound: DnsSide,
    /// Written by what goes out.
    pub outbound: DnsSide,
}

/// One side of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct DnsSide {
    /// Not zero while a processor is at it.
    pub lock: Cell<u64>,
    /// Sequence number of the next byte.
    pub next: u32,
    /// What that byte is part of.
    pub messages: Messages,
}

impl DnsConnection {
    /// A connection whose SYN-ACK has these numbers.
    #[inline(always)]
    pub const fn opened(sequence: u32, acknowledged: u32) -> Self {
        Self {
            first: acknowledged,
            padding: 0,
            inbound: DnsSide::new(acknowledged, Role::Client),
            // The SYN counts as one byte.
            outbound: DnsSide::new(sequence.wrapping_add(1), Role::Server),
        }
    }
}

impl DnsSide {
    const fn new(next: u32, role: Role) -> Self {
        Self { lock: Cell::new(0), next, messages: Messages::of_stream(role) }
    }
}
