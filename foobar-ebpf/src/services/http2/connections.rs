//! Connections that have gone on in HTTP/2.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    btf_maps::{LruHashMap, PerCpuArray},
    macros::btf_map,
};
use foobar_common::{
    connection::ConnectionKey,
    flow::Direction,
    http2::{HTTP2_CONNECTIONS_MAX, Http2Connection, Shared, Side},
    stream::Followed,
};

#[btf_map]
static HTTP2_CONNECTIONS: LruHashMap<ConnectionKey, Http2Connection, { HTTP2_CONNECTIONS_MAX as usize }> =
    LruHashMap::new();
/// Where new ones are made: they are too large for the stack.
#[btf_map]
static HTTP2_NEW: PerCpuArray<Http2Connection, 2> = PerCpuArray::new();

/// A connection that is kept.
#[derive(Clone, Copy)]
pub(crate) struct Kept(*mut Http2Connection);

/// What is kept of a connection.
#[inline(always)]
pub(super) fn find(key: &ConnectionKey) -> Option<Kept> {
    Some(Kept::at(HTTP2_CONNECTIONS.get_ptr_mut(key)?))
}

/// What is kept of a connection from now on, unless it was before; `first` is the number of the client's first byte.
/// Where there is no room, another one is forgotten that was not in use for long.
#[inline(always)]
pub(super) fn keep(key: &ConnectionKey, direction: Direction, first: u32) -> Option<Kept> {
    if let Some(kept) = find(key)
        && kept.first() == first
    {
        return Some(kept);
    }
    let place = HTTP2_NEW.get_ptr_mut(direction as u32)?;
    // SAFETY: the map gave the pointer, and programs of one direction do not interrupt each other on a processor.
    let connection = unsafe { &mut *place };
    connection.begin(first);
    // If the other direction was faster, its is the one.
    let _kept: Result<(), i32> = HTTP2_CONNECTIONS.insert(key, connection, u64::from(BPF_NOEXIST));
    find(key)
}

/// Forgets a connection, in the place of which another one begins.
#[inline(always)]
pub(super) fn forget(key: &ConnectionKey) {
    // The other direction may have been faster.
    let _there: Result<(), i32> = HTTP2_CONNECTIONS.remove(key);
}

impl Kept {
    /// The one that a map has here.
    #[inline(always)]
    pub(crate) fn at(place: *mut Http2Connection) -> Self {
        Self(place)
    }

    /// One side goes on in HTTP/2.
    #[inline(always)]
    pub(crate) fn begin(self, direction: Direction) {
        let Shared { client_begun, server_begun, .. } = self.shared();
        match direction {
            Direction::In => client_begun.set(1),
            Direction::Out => server_begun.set(1),
        }
    }

    /// Sequence number of the client's first byte.
    #[inline(always)]
    pub(super) fn first(self) -> u32 {
        // SAFETY: the map gave the pointer, and the number never changes.
        unsafe { (*self.0).first }
    }

    /// What both sides read.
    #[inline(always)]
    pub(crate) fn shared(self) -> &'static Shared {
        // SAFETY: the map gave the pointer, and all bytes of the cells are valid at any time.
        unsafe { &(*self.0).shared }
    }

    /// Whether one side has begun.
    #[inline(always)]
    pub(crate) fn has_begun(self, direction: Direction) -> bool {
        let Shared { client_begun, server_begun, .. } = self.shared();
        match direction {
            Direction::In => client_begun.get() != 0,
            Direction::Out => server_begun.get() != 0,
        }
    }

    /// How far one direction has been read.
    #[inline(always)]
    pub(super) fn followed(self, direction: Direction) -> &'static Followed {
        match direction {
            // SAFETY: the map gave the pointer, and all bytes of the cells are valid at any time.
            Direction::In => unsafe { &(*self.0).inbound },
            // SAFETY: as above.
            Direction::Out => unsafe { &(*self.0).outbound },
        }
    }

    /// One side, to be read on by one processor at a time: under the lock of [`Kept::followed`], if it is a connection's
    /// of packets.
    #[inline(always)]
    pub(crate) fn side(self, direction: Direction) -> &'static mut Side {
        match direction {
            // SAFETY: the map gave the pointer. This half is written by its direction alone, under its lock.
            Direction::In => unsafe { &mut (*self.0).client },
            // SAFETY: as above.
            Direction::Out => unsafe { &mut (*self.0).server },
        }
    }

    /// Whether nothing that counts is in as many of the client's next bytes.
    #[inline(always)]
    pub(super) fn client_can_miss(self, bytes: u64) -> bool {
        // SAFETY: the map gave the pointer. All bytes of it are valid at any time, and it is only looked at.
        let client = unsafe { &(*self.0).client };
        client.can_miss(bytes)
    }
}
