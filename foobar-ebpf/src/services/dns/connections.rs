//! TCP connections to services that speak DNS.

use aya_ebpf::{
    btf_maps::{LruHashMap, PerCpuArray},
    macros::btf_map,
};
use foobar_common::{
    connection::{CONNECTIONS_MAX, ConnectionKey},
    dns::DnsConnection,
    flow::Direction,
};

use crate::services::segment::Segment;

#[btf_map]
static DNS_CONNECTIONS: LruHashMap<ConnectionKey, DnsConnection, { CONNECTIONS_MAX as usize }> =
    LruHashMap::new();
/// Where new ones are made: on the stack, the compiler puts words of theirs across those of the verifier ("misaligned
/// stack access", Linux 6.18).
#[btf_map]
static DNS_NEW: PerCpuArray<DnsConnection, 2> = PerCpuArray::new();

/// What is kept of a connection.
#[inline(always)]
pub(super) fn find(key: &ConnectionKey) -> Option<*mut DnsConnection> {
    DNS_CONNECTIONS.get_ptr_mut(key)
}

/// A new connection that this segment of the server belongs to, to be kept; made by what goes this way.
#[inline(always)]
pub(super) fn open(segment: &Segment, direction: Direction) -> Option<&'static mut DnsConnection> {
    let place = DNS_NEW.get_ptr_mut(direction as u32)?;
    // SAFETY: the map gave the pointer, and programs of one direction do not interrupt each other on a processor.
    let connection = unsafe { &mut *place };
    *connection = DnsConnection::opened(segment.sequence(), segment.acknowledged());
    Some(connection)
}

/// Keeps a connection, in the place of an older one with the same ends. Where there is no room, another one is
/// forgotten that was not in use for long.
#[inline(always)]
pub(super) fn keep(key: &ConnectionKey, connection: &DnsConnection) {
    // If it fails, the connection counts as one that is met in the middle.
    let _kept: Result<(), i32> = DNS_CONNECTIONS.insert(key, connection, 0);
}

/// Forgets a connection whose ends open another one.
#[inline(always)]
pub(in crate::services) fn forget(key: &ConnectionKey) {
    if find(key).is_some() {
        // Another processor may have been faster.
        let _there: Result<(), i32> = DNS_CONNECTIONS.remove(key);
    }
}
