//! The two ways of a connection, and what is different about them.

use foobar_common::{
    connection::{Connection, Cursor},
    flow::Direction,
    http1,
    http2::{Client, Messages, Server, Shared, Side},
    service::{HttpCounters, Ticks},
    stream::Reader,
};

/// What is read of a connection.
pub(super) trait Way {
    /// What becomes of it, in HTTP/1.x.
    type Side<'a>: http1::Side;
    /// And in HTTP/2.
    type Http2<'a>: Reader;

    const DIRECTION: Direction;
    /// How many bytes are read at first: the headers are there mostly.
    const FIRST_PORTION: u64;

    fn cursor(connection: &Connection) -> &Cursor;
    fn side<'a>(connection: &'a Connection, counters: &'a mut HttpCounters, now: Ticks) -> Self::Side<'a>;
    fn http2<'a>(
        side: &'a mut Side,
        shared: &'a Shared,
        counters: &'a mut HttpCounters,
        now: Ticks,
    ) -> Self::Http2<'a>;
}

/// What the library has decrypted.
pub(super) struct Requests;

impl Way for Requests {
    type Side<'a> = http1::Requests<'a>;
    type Http2<'a> = Messages<'a, Client>;

    const DIRECTION: Direction = Direction::In;
    const FIRST_PORTION: u64 = 2048;

    #[inline(always)]
    fn cursor(connection: &Connection) -> &Cursor {
        &connection.inbound.cursor
    }

    #[inline(always)]
    fn side<'a>(connection: &'a Connection, counters: &'a mut HttpCounters, now: Ticks) -> Self::Side<'a> {
        let Connection { inbound, outbound, .. } = connection;
        http1::Requests { inbound, outbound, counters, now, may_be_http2: true }
    }

    #[inline(always)]
    fn http2<'a>(
        side: &'a mut Side,
        shared: &'a Shared,
        counters: &'a mut HttpCounters,
        now: Ticks,
    ) -> Self::Http2<'a> {
        Messages { side, shared, counters, now, role: Client }
    }
}

/// What it has encrypted.
pub(super) struct Responses;

impl Way for Responses {
    type Side<'a> = http1::Responses<'a>;
    type Http2<'a> = Messages<'a, Server>;

    const DIRECTION: Direction = Direction::Out;
    const FIRST_PORTION: u64 = 512;

    #[inline(always)]
    fn cursor(connection: &Connection) -> &Cursor {
        &connection.outbound.cursor
    }

    #[inline(always)]
    fn side<'a>(connection: &'a Connection, counters: &'a mut HttpCounters, now: Ticks) -> Self::Side<'a> {
        let Connection { inbound, outbound, .. } = connection;
        http1::Responses { inbound, outbound, counters, now, may_be_http2: true }
    }

    #[inline(always)]
    fn http2<'a>(
        side: &'a mut Side,
        shared: &'a Shared,
        counters: &'a mut HttpCounters,
        now: Ticks,
    ) -> Self::Http2<'a> {
        Messages { side, shared, counters, now, role: Server }
    }
}
