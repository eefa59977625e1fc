//! Connections to services that speak HTTP/1.x.

use aya_ebpf::{btf_maps::LruHashMap, macros::btf_map};
use foobar_common::connection::{CONNECTIONS_MAX, Connection, ConnectionKey};

#[btf_map]
static CONNECTIONS: LruHashMap<ConnectionKey, Connection, { CONNECTIONS_MAX as usize }> = LruHashMap::new();

/// What is kept of a connection.
#[inline(always)]
pub(super) fn find(key: &ConnectionKey) -> Option<&'static Connection> {
    let place = CONNECTIONS.get_ptr(key)?;
    // SAFETY: the map gave the pointer, every word of the record is a valid one at any time, and none of them changes
    // but by programs of the direction that owns it.
    Some(unsafe { &*place })
}

/// Keeps a connection, in the place of an older one with the same ends. Where there is no room, another one is
/// forgotten that was not in use for long.
#[inline(always)]
pub(super) fn keep(key: &ConnectionKey, connection: &Connection) {
    // It fails if every entry is about to be used by another processor; the connection then counts as one that is met
    // in the middle.
    let _kept: Result<(), i32> = CONNECTIONS.insert(key, connection, 0);
}
