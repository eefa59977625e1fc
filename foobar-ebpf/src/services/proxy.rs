//! What a proxy says before the client does.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use foobar_common::{
    counters::SERVICE_SLOTS,
    frame::within,
    proxy::{self, LOOKED_AT, ProxyCounters, ProxyHeader},
};

use super::{
    configured,
    segment::{Packet, Place, Segment},
};

#[btf_map]
static PROXY_HEADERS: PerCpuArray<ProxyCounters, { SERVICE_SLOTS as usize }> = PerCpuArray::new();
/// The beginning of a segment, while it is looked at.
#[btf_map]
static PROXY_READINGS: PerCpuArray<[u8; LOOKED_AT as usize], 1> = PerCpuArray::new();

/// The sequence number from which on the client speaks in a connection to this service, given those of the next byte to
/// be read and of the first one; `None` if that cannot be told.
#[inline(always)]
pub(super) fn client_begins<P: Packet>(
    segment: &Segment,
    service: u32,
    next: u32,
    first: u32,
    packet: &P,
) -> Option<u32> {
    if next != first || configured::of(service).is_none_or(|settings| settings.proxy == 0) {
        return Some(next);
    }
    let Place::Next(before) = segment.place(first) else { return Some(next) };
    let there = segment.length.wrapping_sub(before);
    if there == 0 {
        return Some(next);
    }
    let (kind, length) = read(segment.offset.wrapping_add(before), there, packet)?;
    if let Some(counters) = PROXY_HEADERS.get_ptr_mut(service) {
        // SAFETY: the map gave the pointer, and an entry of a per-CPU array is this processor's alone while the program
        // runs.
        let counters = unsafe { &mut *counters };
        let place = within::<{ ProxyHeader::COUNT - 1 }>(kind.number()) as usize;
        if let Some(count) = counters.headers.get_mut(place) {
            *count = count.wrapping_add(1);
        }
    }
    (!matches!(kind, ProxyHeader::Cut)).then_some(first.wrapping_add(length))
}

/// Looks at so many bytes of a packet, or the first of them.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "no packet is 4 GiB long")]
fn read<P: Packet>(offset: u64, there: u64, packet: &P) -> Option<(ProxyHeader, u32)> {
    let bytes = PROXY_READINGS.get_ptr_mut(0)?;
    // SAFETY: the map gave the pointer, and programs of one direction do not interrupt each other on a processor.
    let bytes = unsafe { &mut *bytes };
    let wanted = if there < u64::from(LOOKED_AT) { there } else { u64::from(LOOKED_AT) };
    // Verifiers up to at least Linux 6.1 learn nothing from a comparison with zero.
    let length = within::<{ LOOKED_AT - 1 }>(wanted.wrapping_sub(1) as u32).wrapping_add(1);
    // SAFETY: the context is the packet's, and there is room for so many bytes.
    if unsafe { P::load(packet.context(), offset as u32, bytes.as_mut_ptr().cast(), length) } != 0 {
        return None;
    }
    Some(proxy::header(bytes, length))
}
