//! Connections to services that speak TLS, and the names that they ask for.

use core::arch::asm;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    btf_maps::{HashMap, LruHashMap, PerCpuArray},
    macros::btf_map,
};
use foobar_common::{
    connection::{CONNECTIONS_MAX, ConnectionKey, NAMES_MAX, NameKey, TlsConnection},
    flow::Direction,
    tls::Name,
};

use crate::services::segment::Segment;

#[btf_map]
static TLS_CONNECTIONS: LruHashMap<ConnectionKey, TlsConnection, { CONNECTIONS_MAX as usize }> =
    LruHashMap::new();
#[btf_map]
static TLS_NAMES: HashMap<NameKey, u64, { NAMES_MAX as usize }> = HashMap::new();
/// Where new ones are made: they are too large for the stack.
#[btf_map]
static TLS_NEW: PerCpuArray<New, 2> = PerCpuArray::new();

/// What does not fit the stack.
#[repr(C)]
pub(super) struct New {
    connection: TlsConnection,
    key: NameKey,
    /// Where bytes go that nobody wants.
    pub(super) name: Name,
}

/// What is kept of a connection.
#[inline(always)]
pub(super) fn find(key: &ConnectionKey) -> Option<*mut TlsConnection> {
    TLS_CONNECTIONS.get_ptr_mut(key)
}

/// A new connection that this segment of the server belongs to, to be kept; made by what goes this way.
#[inline(always)]
pub(super) fn open(segment: &Segment, direction: Direction) -> Option<&'static mut TlsConnection> {
    let connection = &mut scratch(direction)?.connection;
    *connection = TlsConnection::opened(segment.sequence(), segment.acknowledged());
    Some(connection)
}

/// Keeps a connection, in the place of an older one with the same ends. Where there is no room, another one is
/// forgotten that was not in use for long.
#[inline(always)]
pub(super) fn keep(key: &ConnectionKey, connection: &TlsConnection) {
    // If it fails, the connection counts as one that is met in the middle.
    let _kept: Result<(), i32> = TLS_CONNECTIONS.insert(key, connection, 0);
}

/// Counts a name that a client has asked for. When there is no room for another one, it is not counted.
#[inline(always)]
pub(super) fn count_name(name: &Name, service: u32) {
    let Some(New { key, .. }) = scratch(Direction::In) else { return };
    key.name = *name;
    key.service = u64::from(service);
    let key: &NameKey = key;
    if TLS_NAMES.get_ptr_mut(key).is_none() {
        // Another processor may have been faster.
        let _there: Result<(), i32> = TLS_NAMES.insert(key, 0, u64::from(BPF_NOEXIST));
    }
    if let Some(count) = TLS_NAMES.get_ptr_mut(key) {
        // SAFETY: adds to a word of a map, in one step for all processors.
        unsafe {
            asm!("lock *(u64 *)({count} + 0) += {one}", count = in(reg) count, one = in(reg) 1_u64, options(nostack));
        };
    }
}

#[inline(always)]
pub(super) fn scratch(direction: Direction) -> Option<&'static mut New> {
    let place = TLS_NEW.get_ptr_mut(direction as u32)?;
    // SAFETY: the map gave the pointer, and programs of one direction do not interrupt each other on a processor.
    Some(unsafe { &mut *place })
}

/// Forgets a connection whose ends open another one.
#[inline(always)]
pub(in crate::services) fn forget(key: &ConnectionKey) {
    if find(key).is_some() {
        // Another processor may have been faster.
        let _there: Result<(), i32> = TLS_CONNECTIONS.remove(key);
    }
}
