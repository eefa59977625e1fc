//! HTTP/2 in the clear: requests that come in, responses that go out, on connections that have gone on in it. Those that
//! have not, or not yet, are read as HTTP/1.x is.

mod connections;

use aya_ebpf::{
    helpers::bpf_ktime_get_ns,
    programs::{TcContext, XdpContext},
};
use foobar_common::{
    connection::ConnectionKey,
    flow::Direction,
    http2::{Client, Messages, Server},
    service::{FirstBytes, HttpCounters, Loss, Protocol, Ticks},
    stream::Followed,
};

pub(crate) use self::connections::Kept;
use super::{
    SERVICES_IN, SERVICES_OUT, http1, lock,
    passage::Passage,
    peers,
    segment::{Segment, WINDOW_MAX},
    stream::follow,
};

/// Where one side of a connection goes on in HTTP/2.
pub(super) struct Beginning {
    pub(super) direction: Direction,
    /// Sequence number of the client's first byte on the connection.
    pub(super) first: u32,
    /// Sequence number of the side's first byte of HTTP/2.
    pub(super) next: u32,
    /// What is kept of bytes that came before others: as [`Followed`] has it.
    pub(super) ahead: u32,
    /// Whether the client asked for it in a request, to which the first stream belongs then (RFC 7540 section 3.2).
    pub(super) is_upgrade: bool,
}

/// Reads the requests in a segment that comes in.
#[inline(always)]
pub(crate) fn requests(context: &XdpContext) -> Option<()> {
    let segment = Segment::of(context, Direction::In)?;
    let connection = match connections::find(&segment.key) {
        Some(connection) if connection.has_begun(Direction::In) && !segment.is_first() => connection,
        _ => {
            // SAFETY: nothing here waits to be dropped.
            unsafe { SERVICES_IN.tail_call(context, Protocol::Http1.number()) };
            return Some(());
        }
    };
    if segment.is_reset() || segment.length == 0 {
        return Some(());
    }
    let counters = counters(Direction::In)?;
    with_lock(&segment, connection, Direction::In, counters, |followed, counters| {
        let (side, shared) = (connection.side(Direction::In), connection.shared());
        let messages = Messages { side, shared, counters, now: now(), role: Client };
        follow(&segment, connection.first(), followed, messages, context);
    })
}

/// Reads the responses in a segment that goes out.
#[inline(always)]
pub(crate) fn responses(context: &TcContext) -> Option<()> {
    let segment = Segment::of(context, Direction::Out)?;
    let connection = match connections::find(&segment.key) {
        Some(connection) if connection.has_begun(Direction::Out) && !segment.is_first() => connection,
        found => {
            // The ends are those of a connection that is over, unless this is sent again.
            if segment.is_first()
                && found.is_some_and(|connection| connection.first() != segment.acknowledged())
            {
                connections::forget(&segment.key);
            }
            // SAFETY: nothing here waits to be dropped.
            unsafe { SERVICES_OUT.tail_call(context, Protocol::Http1.number()) };
            return Some(());
        }
    };
    if segment.is_reset() {
        return Some(());
    }
    let counters = counters(Direction::Out)?;
    note_accepted(connection, counters, segment.acknowledged());
    with_lock(&segment, connection, Direction::Out, counters, |followed, counters| {
        let (side, shared) = (connection.side(Direction::Out), connection.shared());
        let messages = Messages { side, shared, counters, now: now(), role: Server };
        follow(&segment, connection.first(), followed, messages, context);
    })
}

/// One side of a connection goes on in HTTP/2. The caller has the lock of that side of the connection as one of HTTP/1.x.
/// `None` if there is no room for it.
#[inline(always)]
pub(super) fn begin(key: &ConnectionKey, beginning: &Beginning, counters: &mut HttpCounters) -> Option<()> {
    let Beginning { direction, first, next, ahead, is_upgrade } = beginning;
    let connection = connections::keep(key, *direction, *first)?;
    let followed = connection.followed(*direction);
    followed.next.set(*next);
    followed.ahead.set(*ahead);
    match direction {
        Direction::In => {
            connection.side(Direction::In).highest = u32::from(*is_upgrade);
            peers::begun(FirstBytes::H2c, &mut counters.http2_connections, Direction::In);
        }
        Direction::Out => {}
    }
    connection.begin(*direction);
    Some(())
}

/// Whether one side of a connection has gone on in HTTP/2, and has not been forgotten since.
#[inline(always)]
pub(super) fn has_begun(key: &ConnectionKey, direction: Direction) -> bool {
    connections::find(key).is_some_and(|connection| connection.has_begun(direction))
}

/// Does something with one side of a connection that no other processor does at the same time.
#[inline(always)]
fn with_lock(
    segment: &Segment,
    connection: Kept,
    direction: Direction,
    counters: &'static mut HttpCounters,
    body: impl FnOnce(&'static Followed, &'static mut HttpCounters),
) -> Option<()> {
    let followed = connection.followed(direction);
    if !lock::take(&followed.lock) {
        counters.lost.count(direction, Loss::Busy);
        Passage::lose(direction, segment.length);
        return None;
    }
    body(followed, counters);
    lock::give_back(&followed.lock);
    Some(())
}

/// The server says what it has accepted. If that is more than came by, requests can have been missed.
#[inline(always)]
fn note_accepted(connection: Kept, counters: &mut HttpCounters, acknowledged: u32) {
    let missed = acknowledged.wrapping_sub(connection.followed(Direction::In).next.get());
    let unseen = &connection.shared().unseen;
    // A FIN counts as one byte, which nobody reads.
    if missed > 1
        && missed < WINDOW_MAX
        && connection.has_begun(Direction::In)
        && unseen.get() == 0
        && !connection.client_can_miss(u64::from(missed))
    {
        unseen.set(1);
        counters.lost.count(Direction::In, Loss::Unseen);
    }
}

/// The counters of the packet's service.
#[inline(always)]
fn counters(direction: Direction) -> Option<&'static mut HttpCounters> {
    http1::counters_of(Passage::service(direction)?)
}

#[inline(always)]
fn now() -> Ticks {
    // SAFETY: a helper that only reads a clock (Linux 4.1).
    Ticks::from_nanoseconds(unsafe { bpf_ktime_get_ns() })
}
