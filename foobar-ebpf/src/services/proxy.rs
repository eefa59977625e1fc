//! What a proxy says before the client does.

use core::{ffi::c_void, ptr::null_mut};

use aya_ebpf::{btf_maps::PerCpuArray, helpers::bpf_loop, macros::btf_map};
use foobar_common::{
    counters::SERVICE_SLOTS,
    flow::Direction,
    frame::within,
    proxy::{
        self, Client, LOOKED_AT, ProxyCounters, ProxyHeader, TextAddress, V1_ADDRESS_AT, V1_ADDRESS_MAX,
    },
};

use super::{
    configured,
    passage::Passage,
    segment::{Packet, Place, Segment},
};
use crate::clients;

#[btf_map]
static PROXY_HEADERS: PerCpuArray<ProxyCounters, { SERVICE_SLOTS as usize }> = PerCpuArray::new();
#[btf_map]
static PROXY_READINGS: PerCpuArray<Reading, 1> = PerCpuArray::new();

/// What is read of a header.
#[repr(C)]
struct Reading {
    /// The beginning of a segment.
    bytes: [u8; LOOKED_AT as usize],
    /// The client's address, while it is read from text.
    text: TextAddress,
}

/// Where the client speaks in a connection.
pub(super) enum Begins {
    /// From this sequence number on.
    At(u32),
    /// That cannot be told.
    Untold,
    /// Nowhere: the packet has been judged anew, and goes no further.
    Refused,
}

/// Where the client begins to speak in a connection to this service, given the sequence numbers of the next byte to be read
/// and of the first one.
#[inline(always)]
pub(super) fn client_begins<P: Packet>(
    segment: &Segment,
    service: u32,
    next: u32,
    first: u32,
    packet: &P,
) -> Begins {
    if next != first || configured::of(service).is_none_or(|settings| settings.proxy == 0) {
        return Begins::At(next);
    }
    let Place::Next(before) = segment.place(first) else { return Begins::At(next) };
    let there = segment.length.wrapping_sub(before);
    if there == 0 {
        return Begins::At(next);
    }
    let Some((kind, length)) = read(segment.offset.wrapping_add(before), there, packet) else {
        return Begins::Untold;
    };
    note_client(kind.number(), truncated(there), length);
    if clients::refuse_noted() {
        return Begins::Refused;
    }
    if let Some(counters) = PROXY_HEADERS.get_ptr_mut(service) {
        // SAFETY: the map gave the pointer, and an entry of a per-CPU array is this processor's alone while the program
        // runs.
        let counters = unsafe { &mut *counters };
        let place = within::<{ ProxyHeader::COUNT - 1 }>(kind.number()) as usize;
        if let Some(count) = counters.headers.get_mut(place) {
            *count = count.wrapping_add(1);
        }
    }
    if matches!(kind, ProxyHeader::Cut) { Begins::Untold } else { Begins::At(first.wrapping_add(length)) }
}

/// Forgets the client of a connection whose ends open another one, by this segment of a service.
#[inline(always)]
pub(super) fn forget_client(segment: &Segment) {
    if Passage::service(Direction::Out).is_some_and(clients::are_named) {
        clients::forget(&segment.key);
    }
}

/// Looks at so many bytes of a packet, or the first of them.
#[inline(always)]
fn read<P: Packet>(offset: u64, there: u64, packet: &P) -> Option<(ProxyHeader, u32)> {
    let bytes = &mut reading()?.bytes;
    // Verifiers up to at least Linux 6.1 learn nothing from a comparison with zero.
    let length = within::<{ LOOKED_AT - 1 }>(truncated(there).wrapping_sub(1)).wrapping_add(1);
    // SAFETY: the context is the packet's, and there is room for so many bytes.
    if unsafe { P::load(packet.context(), truncated(offset), bytes.as_mut_ptr().cast(), length) } != 0 {
        return None;
    }
    Some(proxy::header(bytes, length))
}

/// A number of bytes of a packet, at most [`LOOKED_AT`] if it is how many there are.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "no packet is 4 GiB long")]
fn truncated(bytes: u64) -> u32 {
    bytes as u32
}

/// Notes whom the header names that has been read; given the number of its [`ProxyHeader`], how many bytes have come from its
/// first one on, and its length. Always zero.
///
/// A global function: the verifier walks it once for each program.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn note_client(kind: u32, there: u32, length: u32) -> u32 {
    let Some(found) = reading() else { return 0 };
    let client = match ProxyHeader::from_number(kind) {
        Some(ProxyHeader::V1) => named_in_text(length),
        Some(ProxyHeader::V2) => Client::of_v2(&found.bytes, there, length),
        _ => Client::NOBODY,
    };
    clients::note(&client);
    0
}

/// Whom a header of version 1 names, of which all bytes have come.
#[inline(always)]
fn named_in_text(length: u32) -> Client {
    let Some(found) = reading() else { return Client::NOBODY };
    let Some(is_v6) = proxy::is_v6(&found.bytes, length) else { return Client::NOBODY };
    found.text = TextAddress::BEGINNING;
    let callback: extern "C" fn(u64, *mut c_void) -> i64 = take_byte;
    // SAFETY: the kernel calls back before it returns, with nothing.
    unsafe { bpf_loop(V1_ADDRESS_MAX, callback as *mut c_void, null_mut(), 0) };
    reading().map_or(Client::NOBODY, |found| found.text.client(is_v6))
}

/// Reads the byte of this number of a text. Ends the loop with 1.
#[expect(clippy::cast_possible_truncation, reason = "less than the address is long")]
extern "C" fn take_byte(number: u64, _: *mut c_void) -> i64 {
    let Some(found) = reading() else { return 1 };
    let place = within::<{ LOOKED_AT - 1 }>((number as u32).wrapping_add(V1_ADDRESS_AT));
    let Some(byte) = found.bytes.get(place as usize) else { return 1 };
    i64::from(!found.text.take(*byte))
}

#[inline(always)]
fn reading() -> Option<&'static mut Reading> {
    let place = PROXY_READINGS.get_ptr_mut(0)?;
    // SAFETY: the map gave the pointer, only programs for what comes in use it, which do not interrupt each other on a
    // processor, and any two references to it are used one after the other.
    Some(unsafe { &mut *place })
}
