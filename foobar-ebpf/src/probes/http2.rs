//! Connections that go on in HTTP/2 inside of TLS: all of those whose sides have agreed on it (ALPN), from the first byte.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    btf_maps::{LruHashMap, PerCpuArray},
    helpers::generated::bpf_probe_read_user,
    macros::btf_map,
};
use foobar_common::{
    http2::{HTTP2_CONNECTIONS_MAX, Http2Connection},
    plaintext::TlsObject,
    service::{HttpCounters, Loss, Ticks},
    stream::Reader as _,
};

use super::{reading::Bytes, way::Way};
use crate::{
    services::Http2Kept,
    stream::{self, InOrder, Reading, Source},
};

#[btf_map]
static TLS_HTTP2: LruHashMap<TlsObject, Http2Connection, { HTTP2_CONNECTIONS_MAX as usize }> =
    LruHashMap::new();
/// Where new ones are made: they are too large for the stack. Whoever has the lock of
/// [`super::reading::with_reading`] has the entry, as below.
#[btf_map]
static TLS_HTTP2_NEW: PerCpuArray<Http2Connection, 1> = PerCpuArray::new();
#[btf_map]
static TLS_STREAM_READINGS: PerCpuArray<Reading, 1> = PerCpuArray::new();

/// Bytes of the process that runs; their address stands for them.
struct Memory;

impl Source for Memory {
    /// The library has just been at these bytes, so that their pages are there, unless the kernel took one meanwhile.
    const UNREADABLE: Loss = Loss::Unseen;

    #[inline(always)]
    unsafe fn load(context: *mut c_void, offset: u32, place: *mut c_void, length: u32) -> i64 {
        // SAFETY: promised by the caller; the helper takes any address (Linux 5.5).
        unsafe { bpf_probe_read_user(place, length, context.wrapping_byte_add(offset as usize)) }
    }
}

/// One side of a connection goes on in HTTP/2. The caller has the lock of the reading.
#[inline(always)]
pub(super) fn begin<W: Way>(object: &TlsObject) -> Option<()> {
    let connection = match find(object) {
        Some(connection) => connection,
        None => keep(object)?,
    };
    connection.begin(W::DIRECTION);
    Some(())
}

/// Reads what a call has read or written. The caller has the lock of the reading. `None` if the connection is not kept.
#[inline(always)]
pub(super) fn read<W: Way>(
    object: &TlsObject,
    counters: &mut HttpCounters,
    now: Ticks,
    bytes: Bytes,
) -> Option<()> {
    let connection = find(object).filter(|connection| connection.has_begun(W::DIRECTION))?;
    let reading = TLS_STREAM_READINGS.get_ptr_mut(0)?;
    // SAFETY: the map gave the pointer, and the caller has its lock.
    let reading = unsafe { &mut *reading };
    let Bytes { address, length } = bytes;
    let bytes = stream::Bytes { offset: 0, length, next: 0 };
    let reader = W::http2(connection.side(W::DIRECTION), connection.shared(), counters, now);
    // SAFETY: the address stands for the bytes.
    let outcome = unsafe {
        stream::read::<Memory, W::Http2<'_>, InOrder>(reading, bytes, reader, InOrder, address as *mut c_void)
    };
    let mut reader = W::http2(connection.side(W::DIRECTION), connection.shared(), counters, now);
    if outcome.unread > 0 && !reader.is_lost() {
        reader.lose(Loss::Unseen);
    }
    Some(())
}

/// Passes over bytes that nobody has seen. `None` if the connection is not kept.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "no frame is longer than 16 MiB")]
pub(super) fn pass_over<W: Way>(
    object: &TlsObject,
    counters: &mut HttpCounters,
    now: Ticks,
    bytes: u64,
) -> Option<()> {
    let connection = find(object).filter(|connection| connection.has_begun(W::DIRECTION))?;
    let mut reader = W::http2(connection.side(W::DIRECTION), connection.shared(), counters, now);
    if reader.is_lost() {
        return Some(());
    }
    if reader.can_miss(bytes) {
        reader.pass(bytes as u32);
    } else {
        reader.lose(Loss::Gap);
    }
    Some(())
}

/// Forgets a connection: its object is given back, or becomes another one's.
#[inline(always)]
pub(super) fn forget(object: &TlsObject) {
    // Most are none.
    let _there: Result<(), i32> = TLS_HTTP2.remove(object);
}

#[inline(always)]
fn find(object: &TlsObject) -> Option<Http2Kept> {
    Some(Http2Kept::at(TLS_HTTP2.get_ptr_mut(object)?))
}

#[inline(always)]
fn keep(object: &TlsObject) -> Option<Http2Kept> {
    let place = TLS_HTTP2_NEW.get_ptr_mut(0)?;
    // SAFETY: the map gave the pointer, and the caller has the lock of the reading.
    let connection = unsafe { &mut *place };
    connection.begin(0);
    // If it fails, it is not found.
    let _kept: Result<(), i32> = TLS_HTTP2.insert(object, connection, u64::from(BPF_NOEXIST));
    find(object)
}
