//! The two ways of a connection, and what is different about them.

use core::cell::Cell;

use aya_ebpf::programs::{TcContext, XdpContext};
use foobar_common::{
    connection::{Connection, Cursor},
    flow::Direction,
    http1::{Requests, Responses, Side},
    service::{HttpCounters, Ticks},
};

use crate::services::segment::Packet;

/// What is the same for all bytes of a segment.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// When it came.
    pub(super) now: Ticks,
    /// Whether connections to its service may go on in HTTP/2.
    pub(super) may_be_http2: bool,
}

/// What is read of a connection.
pub(super) trait Way {
    /// As what the kernel gives it.
    type Packet: Packet;
    /// What becomes of it.
    type Side<'a>: Side;

    const DIRECTION: Direction;
    /// How many bytes are read at first: the headers are there mostly.
    const FIRST_PORTION: u64;

    /// What is kept of bytes that came before others, where any can: as [`foobar_common::stream::Followed`] has it.
    fn ahead(connection: &Connection) -> Option<&Cell<u32>>;
    fn cursor(connection: &Connection) -> &Cursor;
    fn lock(connection: &Connection) -> &Cell<u64>;
    fn side<'a>(connection: &'a Connection, counters: &'a mut HttpCounters, moment: Moment)
    -> Self::Side<'a>;
}

/// Requests.
pub(super) struct Inbound;

impl Way for Inbound {
    type Packet = XdpContext;
    type Side<'a> = Requests<'a>;

    const DIRECTION: Direction = Direction::In;
    const FIRST_PORTION: u64 = 2048;

    #[inline(always)]
    fn ahead(connection: &Connection) -> Option<&Cell<u32>> {
        Some(&connection.inbound.ahead)
    }

    #[inline(always)]
    fn cursor(connection: &Connection) -> &Cursor {
        &connection.inbound.cursor
    }

    #[inline(always)]
    fn lock(connection: &Connection) -> &Cell<u64> {
        &connection.inbound.lock
    }

    #[inline(always)]
    fn side<'a>(connection: &'a Connection, counters: &'a mut HttpCounters, moment: Moment) -> Requests<'a> {
        let Connection { inbound, outbound, .. } = connection;
        let Moment { now, may_be_http2 } = moment;
        Requests { inbound, outbound, counters, now, may_be_http2 }
    }
}

/// Responses.
pub(super) struct Outbound;

impl Way for Outbound {
    type Packet = TcContext;
    type Side<'a> = Responses<'a>;

    const DIRECTION: Direction = Direction::Out;
    const FIRST_PORTION: u64 = 512;

    /// The kernel sends in order.
    #[inline(always)]
    fn ahead(_connection: &Connection) -> Option<&Cell<u32>> {
        None
    }

    #[inline(always)]
    fn cursor(connection: &Connection) -> &Cursor {
        &connection.outbound.cursor
    }

    #[inline(always)]
    fn lock(connection: &Connection) -> &Cell<u64> {
        &connection.outbound.lock
    }

    #[inline(always)]
    fn side<'a>(connection: &'a Connection, counters: &'a mut HttpCounters, moment: Moment) -> Responses<'a> {
        let Connection { inbound, outbound, .. } = connection;
        let Moment { now, may_be_http2 } = moment;
        Responses { inbound, outbound, counters, now, may_be_http2 }
    }
}
