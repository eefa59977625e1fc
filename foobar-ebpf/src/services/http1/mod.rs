//! HTTP/1.x: requests that come in, responses that go out.

mod connections;
mod reading;
mod way;

use core::ffi::c_void;

use aya_ebpf::{
    btf_maps::PerCpuArray,
    macros::btf_map,
    programs::{TcContext, XdpContext},
};
use foobar_common::{
    connection::{Connection, Cursor},
    counters::SERVICE_SLOTS,
    flow::Direction,
    http1::State,
    service::{FirstBytes, HttpCounters, Loss, Protocol},
};

pub(super) use self::connections::forget;
use self::{
    reading::read,
    way::{Inbound, Outbound, Way},
};
use super::{
    SERVICES_IN, SERVICES_OUT,
    http2::{self, Beginning},
    lock,
    passage::Passage,
    peers,
    proxy::{self, Begins},
    segment::{Belongs, Packet as _, Place, Segment, WINDOW_MAX},
};

/// Those of services of TLS count what probes read.
#[btf_map]
static HTTP_COUNTERS: PerCpuArray<HttpCounters, { SERVICE_SLOTS as usize }> = PerCpuArray::new();

/// Reads the requests in a segment that comes in.
#[inline(always)]
pub(crate) fn requests(context: &XdpContext) -> Option<()> {
    let segment = Segment::of(context, Direction::In)?;
    let counters = counters(Direction::In)?;
    if segment.brings_cookie(|| connections::find(&segment.key).is_some(), context) {
        connections::open(&segment.answered(), Direction::In);
    }
    if segment.is_reset() || segment.length == 0 {
        return Some(());
    }
    if segment.is_first() {
        counters.lost.count(Direction::In, Loss::SynData);
        Passage::lose(Direction::In, segment.length);
        return Some(());
    }
    let Some(connection) = connections::find(&segment.key) else {
        Passage::lose(Direction::In, segment.length);
        return Some(());
    };
    let may_be_http2 = Passage::is_of(Direction::In, Protocol::H2c);
    let Connection { first, inbound, outbound, .. } = connection;
    with_lock::<Inbound>(connection, &segment, counters, |counters| {
        if outbound.unseen.get() != 0 {
            inbound.cursor.state.set(State::Lost);
        }
        let is_at_first = inbound.cursor.next.get() == first.get();
        let is_beginning =
            is_at_first && matches!(segment.place(first.get()), Place::Next(read) if read < segment.length);
        let Cursor { next, state, .. } = &inbound.cursor;
        let service = Passage::service(Direction::In)?;
        let begins = proxy::client_begins(&segment, service, next.get(), first.get(), context);
        if matches!(begins, Begins::Refused) {
            return None;
        }
        if is_beginning && !may_be_http2 {
            peers::begun(FirstBytes::Http1, &mut counters.connections, Direction::In);
        }
        let Begins::At(begin) = begins else {
            state.set(State::Lost);
            counters.lost.count(Direction::In, Loss::Proxy);
            next.set(segment.next());
            Passage::lose(Direction::In, segment.length);
            return None;
        };
        next.set(begin);
        let asked = inbound.asked.get();
        read_on::<Inbound>(&segment, connection, counters, context.context(), may_be_http2)?;
        // Whether it goes on in HTTP/2 from its beginning is known only now. Looked up again, since a number that is kept
        // until here has the verifier walk all between twice (107,000 instead of 87,000 instructions, Linux 6.18).
        if Passage::is_of(Direction::In, Protocol::H2c) && asked == 0 && inbound.asked.get() != 0 {
            let counters = counters_of(service)?;
            peers::begun(FirstBytes::Http1, &mut counters.connections, Direction::In);
        }
        Some(())
    })?;
    if matches!(inbound.cursor.state.get(), State::Http2) {
        // SAFETY: nothing here waits to be dropped.
        unsafe { SERVICES_IN.tail_call(context, Protocol::H2c.number()) };
    }
    Some(())
}

/// Reads the responses in a segment that goes out.
#[inline(always)]
pub(crate) fn responses(context: &TcContext) -> Option<()> {
    let segment = Segment::of(context, Direction::Out)?;
    let counters = counters(Direction::Out)?;
    if segment.is_reset() {
        return Some(());
    }
    let is_of_requests = Passage::is_of_requests(Direction::Out);
    let connection = match segment.belongs_to(connections::find(&segment.key), |found| found.first.get()) {
        Belongs::Known(connection) => connection,
        Belongs::Opens => {
            proxy::forget_client(&segment);
            connections::open(&segment, Direction::Out);
            return Some(());
        }
        Belongs::Preexisting => {
            preexisting(&segment, counters, &Direction::ALL);
            return Some(());
        }
        // Where only flags of the server are looked at, its last segment tells.
        Belongs::Nowhere if is_of_requests && segment.is_last() => {
            preexisting(&segment, counters, &[Direction::In]);
            return Some(());
        }
        Belongs::Nowhere => return Some(()),
    };
    note_accepted(connection, counters, segment.acknowledged());
    if is_of_requests {
        return Some(());
    }
    let may_be_http2 = Passage::is_of(Direction::Out, Protocol::H2c);
    with_lock::<Outbound>(connection, &segment, counters, |counters| {
        read_on::<Outbound>(&segment, connection, counters, context.context(), may_be_http2)
    })?;
    if matches!(connection.outbound.cursor.state.get(), State::Http2) {
        // SAFETY: nothing here waits to be dropped.
        unsafe { SERVICES_OUT.tail_call(context, Protocol::H2c.number()) };
    }
    Some(())
}

/// Takes note of a connection that is met in the middle.
#[inline(always)]
fn preexisting(segment: &Segment, counters: &mut HttpCounters, directions: &[Direction]) {
    let connection = Connection::preexisting(segment.next(), segment.acknowledged());
    connections::keep(&segment.key, &connection);
    for direction in directions {
        counters.lost.count(*direction, Loss::Preexisting);
    }
    Passage::lose(Direction::Out, segment.length);
}

/// Reads on, up to where the side goes on in HTTP/2, if it does.
#[inline(always)]
fn read_on<W: Way>(
    segment: &Segment,
    connection: &'static Connection,
    counters: &'static mut HttpCounters,
    context: *mut c_void,
    may_be_http2: bool,
) -> Option<()> {
    let cursor = W::cursor(connection);
    if !matches!(cursor.state.get(), State::Http2) {
        read::<W>(segment, connection, counters, context, may_be_http2)?;
        if !matches!(cursor.state.get(), State::Http2) {
            return Some(());
        }
        let ahead = match W::ahead(connection) {
            Some(ahead) => ahead.replace(0),
            None => 0,
        };
        let (first, next) = (connection.first.get(), cursor.next.get());
        let is_upgrade = connection.inbound.asked.get() > 0;
        let beginning = Beginning { direction: W::DIRECTION, first, next, ahead, is_upgrade };
        http2::begin(&segment.key, &beginning, counters_of(Passage::service(W::DIRECTION)?)?);
    }
    if !http2::has_begun(&segment.key, W::DIRECTION) {
        // There was no room for it, or it was forgotten since.
        cursor.state.set(State::Lost);
        let counters = counters_of(Passage::service(W::DIRECTION)?)?;
        counters.lost.count(W::DIRECTION, Loss::Preexisting);
        Passage::lose(W::DIRECTION, segment.length);
    }
    Some(())
}

/// Does something with the connection that no other processor does at the same time.
#[inline(always)]
fn with_lock<W: Way>(
    connection: &Connection,
    segment: &Segment,
    counters: &'static mut HttpCounters,
    body: impl FnOnce(&'static mut HttpCounters) -> Option<()>,
) -> Option<()> {
    if !lock::take(W::lock(connection)) {
        counters.lost.count(W::DIRECTION, Loss::Busy);
        Passage::lose(W::DIRECTION, segment.length);
        return None;
    }
    let done = body(counters);
    lock::give_back(W::lock(connection));
    done
}

/// The counters of the packet's service.
#[inline(always)]
fn counters(direction: Direction) -> Option<&'static mut HttpCounters> {
    counters_of(Passage::service(direction)?)
}

/// The counters of a service, by its slot.
#[inline(always)]
pub(crate) fn counters_of(service: u32) -> Option<&'static mut HttpCounters> {
    let place = HTTP_COUNTERS.get_ptr_mut(service)?;
    // SAFETY: the map gave the pointer, and an entry of a per-CPU array is this processor's alone while the program
    // runs, but for a program of the other direction that interrupts it and counts elsewhere in it. Probes count in
    // those of other services, and hold a lock.
    Some(unsafe { &mut *place })
}

/// The server says what it has accepted. If that is more than came by, requests can have been missed.
#[inline(always)]
fn note_accepted(connection: &Connection, counters: &mut HttpCounters, acknowledged: u32) {
    let Connection { inbound, outbound, .. } = connection;
    let Cursor { next, state, number, .. } = &inbound.cursor;
    let missed = acknowledged.wrapping_sub(next.get());
    // A FIN counts as one byte, which no cursor reads. In a body, nothing that counts has been missed.
    if missed > 1
        && missed < WINDOW_MAX
        && !state.get().can_miss(number.get(), u64::from(missed))
        && outbound.unseen.get() == 0
    {
        outbound.unseen.set(1);
        counters.lost.count(Direction::In, Loss::Unseen);
    }
}
