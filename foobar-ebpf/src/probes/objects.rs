//! Connections, as the TLS library has them.

use aya_ebpf::{btf_maps::LruHashMap, helpers::bpf_ktime_get_ns, macros::btf_map, programs::ProbeContext};
use foobar_common::{
    connection::{CONNECTIONS_MAX, Connection},
    flow::Direction,
    http1::{Side as _, State},
    plaintext::{TlsObject, WatchedProcess},
    service::{HttpCounters, Loss, Ticks},
};

use super::{
    http2, processes,
    reading::with_counters,
    way::{Responses, Way as _},
};

#[btf_map]
static TLS_OBJECTS: LruHashMap<TlsObject, Connection, { CONNECTIONS_MAX as usize }> = LruHashMap::new();

/// What stands in the place of the first sequence number of a connection of which this process is the server: there are
/// no such numbers here.
const SERVER: u32 = 1;
/// The same of one that this process has made to another server: nothing is read of it.
const CLIENT: u32 = 2;

/// An object becomes the server's side of a new connection. Objects are used again, at the same address or altogether.
#[inline(always)]
pub(crate) fn accepting(context: &ProbeContext) {
    if open(context, SERVER).is_none() {
        processes::count_stranger();
    }
}

/// An object becomes the client's side of a new connection.
#[inline(always)]
pub(crate) fn connecting(context: &ProbeContext) -> Option<()> {
    open(context, CLIENT)
}

/// An object is given back: a response without another end ends here.
#[inline(always)]
pub(crate) fn freed(context: &ProbeContext) -> Option<()> {
    let process = processes::present()?;
    let object = TlsObject { instance: process.instance, address: context.arg(0)? };
    let connection = find(&object)?;
    let outbound = &connection.outbound;
    if is_read(connection) && matches!(outbound.cursor.state.get(), State::UntilClose) {
        // SAFETY: a helper that only reads a clock (Linux 4.1).
        let now = Ticks::from_nanoseconds(unsafe { bpf_ktime_get_ns() });
        with_counters(&process, |counters| Responses::side(connection, counters, now).ended());
    }
    http2::forget(&object);
    // The library may have forgotten it itself.
    let _gone: Result<(), i32> = TLS_OBJECTS.remove(object);
    Some(())
}

/// Whether anything is read of a connection.
#[inline(always)]
pub(super) fn is_read(connection: &Connection) -> bool {
    connection.first.get() != CLIENT
}

/// What is kept of a connection. One whose beginning was not seen is declared lost, once.
#[inline(always)]
pub(super) fn find_or_lose(object: &TlsObject, process: &WatchedProcess) -> Option<&'static Connection> {
    let found = find(object);
    if found.is_none() {
        keep(object, &Connection::preexisting(0, 0));
        with_counters(process, |counters: &mut HttpCounters| {
            for direction in Direction::ALL {
                counters.lost.count(direction, Loss::Preexisting);
            }
        });
    }
    found
}

#[inline(always)]
fn open(context: &ProbeContext, side: u32) -> Option<()> {
    let WatchedProcess { instance, .. } = processes::present()?;
    let object = TlsObject { instance, address: context.arg(0)? };
    http2::forget(&object);
    keep(&object, &Connection::opened(0, side));
    Some(())
}

#[inline(always)]
fn find(object: &TlsObject) -> Option<&'static Connection> {
    let place = TLS_OBJECTS.get_ptr(object)?;
    // SAFETY: the map gave the pointer, and every word of the record is a valid one at any time. Two threads that use one
    // object at once, which the library forbids, spoil the counts of their own connection alone.
    Some(unsafe { &*place })
}

#[inline(always)]
fn keep(object: &TlsObject, connection: &Connection) {
    // It fails if every entry is about to be used by another processor; the connection then counts as one that is met
    // in the middle.
    let _kept: Result<(), i32> = TLS_OBJECTS.insert(object, connection, 0);
}
