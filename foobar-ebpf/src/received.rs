//! A packet that came in, as XDP has it.

use aya_ebpf::{helpers::bpf_xdp_get_buff_len, programs::XdpContext};
use foobar_common::{
    flow::{Direction, UNTAGGED},
    frame::Frame,
};

use crate::headers::{self, Headers, Size};

/// The headers of the packet, and what it counts for.
#[inline(always)]
pub(crate) fn headers(context: &XdpContext) -> (Headers, Size) {
    let (length, read) = headers::split(parse(context));
    (Headers::new(Direction::In, read), Size { packets: 1, bytes: u64::from(length) })
}

/// A function of its own, so that its stack is free again afterwards: 512 bytes are all that there are.
#[inline(never)]
fn parse(context: &XdpContext) -> u64 {
    headers::read(&frame(context), UNTAGGED, Direction::In)
}

/// The first buffer of the packet, and the length of all buffers together (Linux 5.18).
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "no frame is 4 GiB long")]
fn frame(context: &XdpContext) -> Frame<'_> {
    // SAFETY: the context is the one that the kernel gave.
    let length = unsafe { bpf_xdp_get_buff_len(context.ctx) } as u32;
    // SAFETY: the verifier allows reads between `data` and `data_end` as long as the program runs.
    unsafe { Frame::new(context.data() as *const u8, context.data_end() as *const u8, length) }
}
