//! A packet on its way out, as tcx and clsact have it.
//!
//! It may stand for several: with segmentation offload the stack hands over up to 64 KiB and more in one piece, which
//! the card or the driver cuts later. They are counted as what goes over the wire.

use aya_ebpf::programs::TcContext;
use foobar_common::{
    flow::{Direction, Family, UNTAGGED},
    frame::Frame,
};

use crate::{
    headers::{self, Headers, Size},
    scratch,
};

/// All headers but those of the longest chains of IPv6 extensions lie within so many bytes.
const HEADERS: u32 = 256;
/// No longer frame says its length in the IPv6 header itself.
const JUMBOGRAM: u64 = 14 + 40 + 65_535;
/// Bytes of a hop-by-hop header with the jumbo payload option (RFC 2675).
const JUMBO_OPTION: u64 = 8;
/// Bytes of an 802.1Q tag.
const TAG: u64 = 4;

/// The headers of the packet.
#[inline(always)]
pub(crate) fn headers(context: &TcContext) -> Headers {
    let (_, read) = headers::split(parse(context));
    Headers::new(Direction::Out, read)
}

/// A function of its own, for its stack.
#[inline(never)]
fn parse(context: &TcContext) -> u64 {
    let mut frame = frame(context);
    let wanted = if frame.length() < HEADERS { frame.length() } else { HEADERS };
    if frame.first_buffer() < wanted as usize {
        // Whether it moves them or not, to the verifier all buffers have moved. If not, the parser finds headers missing.
        let _moved: Result<(), i64> = context.pull_data(wanted);
        frame = self::frame(context);
    }
    headers::read(&frame, tag(context), Direction::Out)
}

/// The first buffer of the packet, and the length of all buffers together.
#[inline(always)]
fn frame(context: &TcContext) -> Frame<'_> {
    // SAFETY: the verifier allows reads between `data` and `data_end` until buffers are moved.
    let frame =
        unsafe { Frame::new(context.data() as *const u8, context.data_end() as *const u8, context.len()) };
    // SAFETY: the context is the one that the kernel gave.
    frame.offloaded(unsafe { (*context.skb.skb).gso_size } != 0)
}

/// The id of a VLAN tag that the card is to add, or [`UNTAGGED`].
#[inline(always)]
fn tag(context: &TcContext) -> u16 {
    // SAFETY: the context is the one that the kernel gave.
    let skb = unsafe { &*context.skb.skb };
    if skb.vlan_present == 0 { UNTAGGED } else { (skb.vlan_tci & 0x0fff) as u16 }
}

/// How many packets the one whose headers were read is on the wire, and how many bytes they have in all: each has its own
/// headers. To be asked when it has been judged, so that nobody has to remember it meanwhile: there is no stack left.
#[inline(always)]
pub(crate) fn size(context: &TcContext) -> Size {
    // SAFETY: as above.
    let skb = unsafe { &*context.skb.skb };
    let (length, segment) = (u64::from(context.len()), u64::from(skb.gso_size));
    let (headers, family) = scratch::headers(Direction::Out)
        .map_or((0, Family::V4), |headers| (u64::from(headers.payload), headers.flow.family));
    let payload = length.saturating_sub(headers);
    // The option that tells the length of a jumbogram stays behind when it is cut (`ipv6_hopopt_jumbo_remove`).
    let is_jumbogram = segment != 0 && matches!(family, Family::V6) && length > JUMBOGRAM;
    let (length, headers) = if is_jumbogram {
        (length.wrapping_sub(JUMBO_OPTION), headers.wrapping_sub(JUMBO_OPTION))
    } else {
        (length, headers)
    };
    let packets = if segment == 0 || payload <= segment { 1 } else { payload.div_ceil(segment) };
    let tag = if skb.vlan_present == 0 { 0 } else { TAG };
    let repeated = packets.wrapping_sub(1).wrapping_mul(headers);
    Size { packets, bytes: length.wrapping_add(repeated).wrapping_add(packets.wrapping_mul(tag)) }
}
