//! From a packet to its answer, in the same place.

use aya_ebpf::{btf_maps::PerCpuArray, helpers::bpf_csum_diff, macros::btf_map};
use foobar_common::{
    checksum::Sum,
    flow::{Direction, Family, protocol},
    frame::without_history,
    parse::Headers,
    reject::{
        FRAME_MIN, ICMP_HEADER, IPV4_HEADER, IPV6_HEADER, LinkHeader, Outcome, Reset, TCP_HEADER, answer_to,
        icmp_header, ipv4_header, ipv6_header, quote_length,
    },
};

use super::{carrier::Carrier, is_within_rate};
use crate::{scratch, services::Passage, settings};

/// Bytes of a packet that are summed at a time: the kernel takes no more, up to Linux 6.11.
const PORTION: u32 = 512;
/// So many are in the longest quote.
const PORTIONS: u32 = 3;
/// Where sequence and acknowledgment numbers lie in a TCP header (RFC 9293 section 3.1).
const NUMBERS_AT: u32 = 4;

/// Words of a packet that are summed. One more than there are, since verifiers do not see that the number of bytes that is
/// rounded up to words is 512 at most, and not 514.
#[repr(C)]
struct Words([u32; PORTION as usize / 4 + 1]);

#[btf_map]
static QUOTED: PerCpuArray<Words, 2> = PerCpuArray::new();

/// Makes an answer of the present packet, if it may have one. `card` is the address of the card that it came in through, if
/// that matters and is known. What came of it: the packet is no longer what it was if that is an answer, or
/// [`Outcome::Failed`].
#[inline(always)]
pub(super) fn to<C: Carrier>(packet: &C, card: Option<[u16; 3]>, direction: Direction) -> Outcome {
    let (Some(headers), Some(link)) = (scratch::headers(direction), packet.read(0)) else {
        return Outcome::Failed;
    };
    // The headers are those of a packet before.
    if Passage::is_without_flow(direction) {
        return Outcome::NotAllowed;
    }
    let link = LinkHeader(link);
    let outcome = answer_to(&headers.flow, &link, card);
    if outcome.is_answer() && !is_within_rate(direction) {
        return Outcome::Rate;
    }
    let made = match outcome {
        Outcome::Reset => reset(packet, headers, &link),
        Outcome::Icmp | Outcome::Icmpv6 => icmp(packet, headers, &link, direction),
        Outcome::NotAllowed | Outcome::Rate | Outcome::Failed => return outcome,
    };
    if made.is_some() { outcome } else { Outcome::Failed }
}

/// A segment that resets, in place of one that is at least as long.
#[inline(always)]
fn reset<C: Carrier>(packet: &C, headers: &Headers, link: &LinkHeader) -> Option<()> {
    let Headers { flow, transport, .. } = headers;
    let network = without_history::<31>(link.length());
    let numbers_at = without_history::<0x7fff>(*transport).wrapping_add(NUMBERS_AT);
    let [sequence, acknowledged] = packet.read::<[u32; 2]>(numbers_at)?.map(u32::from_be);
    let reset = Reset::of(sequence, acknowledged, flow.tcp_flags, headers.payload_length());
    packet.store(0, &back::<C>(link).0)?;
    let segment_at = network.wrapping_add(store_ip(packet, headers, network, protocol::TCP, TCP_HEADER)?);
    packet.store(segment_at, &reset.header(flow))?;
    let mut end = segment_at.wrapping_add(TCP_HEADER);
    if C::IS_SENT && end < FRAME_MIN && packet.length() >= FRAME_MIN {
        // Six bytes are left at most, and two at least.
        packet.store(FRAME_MIN.wrapping_sub(2), &[0_u8; 2])?;
        if end < FRAME_MIN.wrapping_sub(2) {
            packet.store(end, &[0_u8; 4])?;
        }
        end = FRAME_MIN;
    }
    packet.cut(end)
}

/// An ICMP message, in front of the first bytes of the packet.
#[inline(always)]
fn icmp<C: Carrier>(packet: &C, headers: &Headers, link: &LinkHeader, direction: Direction) -> Option<()> {
    let Headers { flow, transport, left, .. } = headers;
    let network = without_history::<31>(link.length());
    let length = transport.wrapping_add(*left).wrapping_sub(network);
    let quoted = without_history::<0x7ff>(quote_length(flow.family, length));
    let sum = sum(packet, network, quoted, direction)?;
    packet.cut(network.wrapping_add(quoted))?;
    let (protocol, header) = match flow.family {
        Family::V4 => (protocol::ICMP, IPV4_HEADER),
        Family::V6 => (protocol::ICMPV6, IPV6_HEADER),
    };
    packet.extend(header.wrapping_add(ICMP_HEADER))?;
    packet.store(0, &back::<C>(link).0)?;
    let message = ICMP_HEADER.wrapping_add(quoted);
    let message_at = network.wrapping_add(store_ip(packet, headers, network, protocol, message)?);
    packet.store(message_at, &icmp_header(flow, sum, quoted))
}

/// The link-layer header of the answer.
#[inline(always)]
fn back<C: Carrier>(link: &LinkHeader) -> LinkHeader {
    match settings::answer_card() {
        Some(card) if !C::IS_SENT => link.back().from(card),
        _ => link.back(),
    }
}

/// Writes the IP header of an answer with `length` bytes of this protocol, and says how long it is.
#[inline(always)]
fn store_ip<C: Carrier>(
    packet: &C,
    headers: &Headers,
    network: u32,
    protocol: u8,
    length: u32,
) -> Option<u32> {
    match headers.flow.family {
        Family::V4 => {
            packet.store(network, &ipv4_header(&headers.flow, protocol, length))?;
            Some(IPV4_HEADER)
        }
        Family::V6 => {
            packet.store(network, &ipv6_header(&headers.flow, protocol, length))?;
            Some(IPV6_HEADER)
        }
    }
}

/// The sum of so many bytes of the packet, which are followed by zeros.
#[inline(always)]
fn sum<C: Carrier>(packet: &C, offset: u32, length: u32, direction: Direction) -> Option<Sum> {
    let mut sum = Sum::NONE;
    for portion in 0..PORTIONS {
        let before = portion.wrapping_mul(PORTION);
        if before >= length {
            break;
        }
        let left = length.wrapping_sub(before);
        let left = if left < PORTION { left } else { PORTION };
        sum = sum.word(sum_portion(packet, offset.wrapping_add(before), left, direction)?);
    }
    Some(sum)
}

/// The same of one portion, as a word to be added.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a sum of 32 bits")]
fn sum_portion<C: Carrier>(packet: &C, offset: u32, length: u32, direction: Direction) -> Option<u32> {
    let place = QUOTED.get_ptr_mut(direction as u32)?;
    // In words that tell the verifier that it is not zero (before Linux 6.8 it learns nothing from a comparison with one).
    let last = without_history::<{ PORTION - 1 }>(length.wrapping_sub(1));
    let length = last.wrapping_add(1);
    // SAFETY: the map gave the pointer, and programs of one direction do not interrupt each other on a processor.
    let words = unsafe { &mut *place };
    *words.0.get_mut((last >> 2) as usize)? = 0;
    // SAFETY: the context stands for this packet, and there is room for as many bytes.
    let failed = unsafe { C::load(packet.context(), offset, place.cast(), length) };
    if failed != 0 {
        return None;
    }
    let whole = last.wrapping_add(4) & !3;
    // SAFETY: reads as many bytes of the map as there is room for (Linux 4.6).
    let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, place.cast(), whole, 0) };
    if sum < 0 { None } else { Some(sum.cast_unsigned() as u32) }
}
