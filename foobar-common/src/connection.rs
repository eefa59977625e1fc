//! What is kept of a TCP connection to a service port.
//!
//! Each direction has a cursor: the sequence number up to which its bytes have been read, and what they were in the
//! middle of. Each half of the record is written by the program of one direction alone and read by the other, so the
//! two need no lock between them.

use core::{cell::Cell, mem::offset_of, net::SocketAddr};

use crate::{
    address::Address,
    flow::{Direction, Family, Flow},
    http1::State,
    service::Ticks,
    tls::{Hello, Name, Role, Turns},
};

/// How many connections are kept: those that were in use last.
pub const CONNECTIONS_MAX: u32 = 65_536;
/// How many requests can wait for their responses and still be told apart by what their responses are.
pub const PAIRED: u32 = 64;
/// How many of those requests are timed.
pub const TIMED: u32 = 16;

/// Which connection: both ends, this server's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ConnectionKey {
    /// This server's address.
    pub local: Address,
    /// The client's address.
    pub remote: Address,
    /// This server's port, network byte order.
    pub local_port: [u8; 2],
    /// The client's port, network byte order.
    pub remote_port: [u8; 2],
    /// [`Family`] as a number.
    pub family: u32,
}

impl ConnectionKey {
    /// Of a packet that goes this way.
    #[inline(always)]
    pub fn of(flow: &Flow, direction: Direction) -> Self {
        let source = (flow.source, flow.source_port);
        let destination = (flow.destination, flow.destination_port);
        let ((local, local_port), (remote, remote_port)) = match direction {
            Direction::In => (destination, source),
            Direction::Out => (source, destination),
        };
        let family = match flow.family {
            Family::V4 => Family::V4 as u32,
            Family::V6 => Family::V6 as u32,
        };
        Self { local, remote, local_port, remote_port, family }
    }

    /// Between this server's end and the client's, which are of the same family.
    pub fn between(local: SocketAddr, remote: SocketAddr) -> Self {
        let family = if local.is_ipv4() { Family::V4 } else { Family::V6 };
        Self {
            local: local.ip().into(),
            remote: remote.ip().into(),
            local_port: local.port().to_be_bytes(),
            remote_port: remote.port().to_be_bytes(),
            family: family as u32,
        }
    }
}

/// A connection whose handshake was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Connection {
    /// Sequence number of the client's first byte: tells a handshake that is sent again from a new one. Zero if the
    /// handshake was not seen.
    pub first: Cell<u32>,
    /// Always zero.
    pub padding: Cell<u32>,
    /// Written by what comes in.
    pub inbound: Inbound,
    /// Written by what goes out.
    pub outbound: Outbound,
}

impl Connection {
    /// A connection whose SYN-ACK has these numbers.
    #[inline(always)]
    pub fn opened(sequence: u32, acknowledged: u32) -> Self {
        let connection = Self::default();
        connection.first.set(acknowledged);
        connection.inbound.cursor.next.set(acknowledged);
        connection.outbound.accepted.set(acknowledged);
        // The SYN counts as one byte.
        connection.outbound.cursor.next.set(sequence.wrapping_add(1));
        connection
    }

    /// A connection that is met in the middle: neither side can be followed. `sequence` is the number of the server's
    /// next byte, `acknowledged` that of the client's.
    #[inline(always)]
    pub fn preexisting(sequence: u32, acknowledged: u32) -> Self {
        let connection = Self::default();
        connection.inbound.cursor.next.set(acknowledged);
        connection.outbound.cursor.next.set(sequence);
        connection.inbound.cursor.state.set(State::Lost);
        connection.outbound.cursor.state.set(State::Lost);
        connection
    }
}

impl Connection {
    /// Requests whose first line has been read and whose response has not ended; `None` if one side could not be followed,
    /// so that nobody can tell.
    ///
    /// A response that nobody asked for, as one to a client that says nothing for too long, counts until it ends.
    pub fn in_flight(&self) -> Option<u32> {
        let Self { inbound, outbound, .. } = self;
        let is_lost = |cursor: &Cursor| matches!(cursor.state.get(), State::Lost);
        if is_lost(&inbound.cursor) || is_lost(&outbound.cursor) || outbound.unseen.get() != 0 {
            return None;
        }
        // Those that wait for the headers of their response. In a copy that was taken while both changed, there can be
        // one more response than there are requests.
        let waiting = inbound.asked.get().wrapping_sub(outbound.answered.get()).cast_signed().max(0);
        let answered = u32::from(outbound.cursor.state.get().is_behind_headers());
        Some(waiting.cast_unsigned().saturating_add(answered))
    }
}

/// The bytes of a [`Connection`], as user space copies them from a map.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct ConnectionBytes([u8; size_of::<Connection>()]);

impl ConnectionBytes {
    /// The connection; `None` if a byte says that a side is in a state which there is none of.
    pub fn read(&self) -> Option<Connection> {
        let states =
            [offset_of!(Connection, inbound.cursor.state), offset_of!(Connection, outbound.cursor.state)];
        for state in states {
            // Lost is the last one.
            if *self.0.get(state)? > State::Lost as u8 {
                return None;
            }
        }
        // SAFETY: so many bytes are there. A connection is made of integers and two states, which are valid ones.
        Some(unsafe { self.0.as_ptr().cast::<Connection>().read_unaligned() })
    }
}

/// How far one direction has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Cursor {
    /// Sequence number of the next byte.
    pub next: Cell<u32>,
    /// What that byte is part of.
    pub state: Cell<State>,
    /// How far into that; what it counts depends on the state.
    pub index: Cell<u8>,
    /// What is known of the message: bits of [`crate::http1::flag`].
    pub flags: Cell<u8>,
    /// Always zero.
    pub padding: Cell<u8>,
    /// A number that is being read, or bytes of the body that are left; what it is depends on the state.
    pub number: Cell<u64>,
}

/// What the program for what comes in keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Inbound {
    /// Not zero while a processor is at it.
    pub lock: Cell<u64>,
    /// Of the requests.
    pub cursor: Cursor,
    /// Requests that have been counted.
    pub asked: Cell<u32>,
    /// 1 if it can no longer be told of some request what its response is.
    pub overflowed: Cell<u32>,
    /// As in [`crate::stream::Followed`].
    pub ahead: Cell<u32>,
    /// Always zero.
    pub padding: Cell<u32>,
    /// Bit `n % PAIRED`: the response to request `n` has no body, whatever it says (HEAD).
    pub bodiless: Cell<u64>,
    /// The same: if request `n` is agreed to, no more HTTP follows (CONNECT).
    pub tunnels: Cell<u64>,
    /// When request `n` began, at `n % TIMED`.
    pub started: [Cell<Ticks>; TIMED as usize],
    /// Which request that was: `n / TIMED`.
    pub rounds: [Cell<u8>; TIMED as usize],
}

/// What the program for what goes out keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Outbound {
    /// Not zero while a processor is at it.
    pub lock: Cell<u64>,
    /// Of the responses.
    pub cursor: Cursor,
    /// Responses whose headers have been read, interim ones not counted.
    pub answered: Cell<u32>,
    /// The server has accepted all bytes of the client before this sequence number.
    pub accepted: Cell<u32>,
    /// Not zero once both have agreed on another protocol: 1 by CONNECT, 2 by 101.
    pub switched: Cell<u32>,
    /// When the request began whose response is being read.
    pub started: Cell<Ticks>,
    /// 1 if that is known.
    pub timed: Cell<u32>,
    /// 1 once the server has accepted bytes of the client that never came by.
    pub unseen: Cell<u32>,
}

/// A connection to a service that speaks TLS, whose handshake was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct TlsConnection {
    /// As in [`Connection`].
    pub first: u32,
    /// The [`crate::verdict::Reason`] why all that the client sends is dropped, as a number; zero if it is not.
    pub refused: u32,
    /// Written by what comes in.
    pub inbound: TlsSide,
    /// Written by what goes out.
    pub outbound: TlsSide,
    /// What both sides say after that.
    pub turns: Turns,
    /// The server that the client wants; written by what comes in.
    pub name: Name,
}

/// One side of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct TlsSide {
    /// Not zero while a processor is at it.
    pub lock: Cell<u64>,
    /// Sequence number of the next byte.
    pub next: u32,
    /// Bytes of the name that have come; only of the client's side.
    pub name_length: u32,
    /// What has been read.
    pub hello: Hello,
}

impl TlsConnection {
    /// A connection whose SYN-ACK has these numbers.
    #[inline(always)]
    pub const fn opened(sequence: u32, acknowledged: u32) -> Self {
        Self {
            first: acknowledged,
            refused: 0,
            inbound: TlsSide::new(acknowledged, Role::Client),
            // The SYN counts as one byte.
            outbound: TlsSide::new(sequence.wrapping_add(1), Role::Server),
            turns: Turns::new(),
            name: Name::NONE,
        }
    }
}

impl TlsSide {
    const fn new(next: u32, role: Role) -> Self {
        Self { lock: Cell::new(0), next, name_length: 0, hello: Hello::of(role) }
    }
}

/// A name of a server with the service that it was asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct NameKey {
    /// The name.
    pub name: Name,
    /// Counter slot of the service.
    pub service: u64,
}

/// How many names are counted; a name more is not.
pub const NAMES_MAX: u32 = 1_024;
