//! The two ways of a connection, and what is different about them.

use foobar_common::{
    connection::{Connection, Cursor},
    flow::Direction,
    http1,
    service::{HttpCounters, Ticks},
};

/// What is read of a connection.
pub(super) trait Way {
    /// What becomes of it.
    type Side<'a>: http1::Side;

    const DIRECTION: Direction;
    /// How many bytes are read at first: the headers are there mostly.
    const FIRST_PORTION: u64;

    fn cursor(connection: &Connection) -> &Cursor;
    fn side<'a>(connection: &'a Connection, counters: &'a mut HttpCounters, now: Ticks) -> Self::Side<'a>;
}

/// What the library has decrypted.
pub(super) struct Requests;

impl Way for Requests {
    type Side<'a> = http1::Requests<'a>;

    const DIRECTION: Direction = Direction::In;
    const FIRST_PORTION: u64 = 2048;

    #[inline(always)]
    fn cursor(connection: &Connection) -> &Cursor {
        &connection.inbound.cursor
    }

    #[inline(always)]
    fn side<'a>(connection: &'a Connection, counters: &'a mut HttpCounters, now: Ticks) -> Self::Side<'a> {
        let Connection { inbound, outbound, .. } = connection;
        http1::Requests { inbound, outbound, counters, now, may_be_http2: false }
    }
}

/// What it has encrypted.
pub(super) struct Responses;

impl Way for Responses {
    type Side<'a> = http1::Responses<'a>;

    const DIRECTION: Direction = Direction::Out;
    const FIRST_PORTION: u64 = 512;

    #[inline(always)]
    fn cursor(connection: &Connection) -> &Cursor {
        &connection.outbound.cursor
    }

    #[inline(always)]
    fn side<'a>(connection: &'a Connection, counters: &'a mut HttpCounters, now: Ticks) -> Self::Side<'a> {
        let Connection { inbound, outbound, .. } = connection;
        http1::Responses { inbound, outbound, counters, now, may_be_http2: false }
    }
}
