//! Connections to services of which nothing is read.

use aya_ebpf::{bindings::BPF_NOEXIST, btf_maps::LruHashMap, macros::btf_map};
use foobar_common::{
    connection::{CONNECTIONS_MAX, ConnectionKey},
    raw::RawConnection,
};

#[btf_map]
static RAW_CONNECTIONS: LruHashMap<ConnectionKey, RawConnection, { CONNECTIONS_MAX as usize }> =
    LruHashMap::new();

/// File exists (`include/uapi/asm-generic/errno-base.h`).
const EEXIST: i32 = 17;

/// What is kept of a connection.
#[inline(always)]
pub(super) fn find(key: &ConnectionKey) -> Option<&'static RawConnection> {
    let found = RAW_CONNECTIONS.get_ptr_mut(key)?;
    // SAFETY: the map gave the pointer. What changes is in a cell, and the rest is what it was when it was put there, or
    // what it is of another connection where this one is forgotten meanwhile.
    Some(unsafe { &*found })
}

/// Keeps a connection whose SYN-ACK acknowledges this number, in the place of an older one with the same ends. Where
/// there is no room, another one is forgotten that was not in use for long.
#[inline(always)]
pub(super) fn open(key: &ConnectionKey, acknowledged: u32) {
    // If it fails, a SYN-ACK that is sent again counts again.
    let _kept: Result<(), i32> = RAW_CONNECTIONS.insert(key, RawConnection::opened(acknowledged), 0);
}

/// Keeps a connection of which nothing is known but that it is reset; whether no other processor has done so meanwhile.
#[inline(always)]
pub(super) fn keep_reset(key: &ConnectionKey) -> bool {
    let kept = RAW_CONNECTIONS.insert(key, RawConnection::reset(), u64::from(BPF_NOEXIST));
    // Without room for it, it counts all the same.
    kept != Err(-EEXIST)
}

/// Forgets a connection whose ends open another one.
#[inline(always)]
pub(in crate::services) fn forget(key: &ConnectionKey) {
    if find(key).is_some() {
        // Another processor may have been faster.
        let _there: Result<(), i32> = RAW_CONNECTIONS.remove(key);
    }
}
