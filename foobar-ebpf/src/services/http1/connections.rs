//! Connections to services that speak HTTP/1.x.

use aya_ebpf::{
    btf_maps::{LruHashMap, PerCpuArray},
    macros::btf_map,
};
use foobar_common::{
    connection::{CONNECTIONS_MAX, Connection, ConnectionKey},
    flow::Direction,
};

use crate::services::segment::Segment;

#[btf_map]
static CONNECTIONS: LruHashMap<ConnectionKey, Connection, { CONNECTIONS_MAX as usize }> = LruHashMap::new();

/// Where new ones are made, by the direction of what makes them: with one on the stack, the calls for what comes in take more
/// than 512 bytes of it.
#[btf_map]
static HTTP_NEW: PerCpuArray<Connection, 2> = PerCpuArray::new();

/// What is kept of a connection.
#[inline(always)]
pub(super) fn find(key: &ConnectionKey) -> Option<&'static Connection> {
    let place = CONNECTIONS.get_ptr(key)?;
    // SAFETY: the map gave the pointer, every word of the record is a valid one at any time, and none of them changes
    // but by programs of the direction that owns it.
    Some(unsafe { &*place })
}

/// Keeps a connection that begins with this SYN-ACK; made by what goes this way.
#[inline(always)]
pub(super) fn open(segment: &Segment, direction: Direction) {
    let Some(place) = HTTP_NEW.get_ptr_mut(direction as u32) else { return };
    // SAFETY: the map gave the pointer, and programs of one direction do not interrupt each other on a processor.
    let connection = unsafe { &mut *place };
    *connection = Connection::opened(segment.sequence(), segment.acknowledged());
    keep(&segment.key, connection);
}

/// Keeps a connection, in the place of an older one with the same ends. Where there is no room, another one is
/// forgotten that was not in use for long.
#[inline(always)]
pub(super) fn keep(key: &ConnectionKey, connection: &Connection) {
    // It fails if every entry is about to be used by another processor; the connection then counts as one that is met
    // in the middle.
    let _kept: Result<(), i32> = CONNECTIONS.insert(key, connection, 0);
}

/// Forgets a connection whose ends open another one.
#[inline(always)]
pub(in crate::services) fn forget(key: &ConnectionKey) {
    if find(key).is_some() {
        // Another processor may have been faster.
        let _there: Result<(), i32> = CONNECTIONS.remove(key);
    }
}
