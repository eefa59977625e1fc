//! From the context of a program to the bytes of its packet.

use aya_ebpf::{helpers::bpf_xdp_get_buff_len, programs::XdpContext};
use foobar_common::frame::Frame;

/// The first buffer of the packet, and the length of all buffers together (Linux 5.18).
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "no frame is 4 GiB long")]
pub(crate) fn of(context: &XdpContext) -> Frame<'_> {
    // SAFETY: the context is the one that the kernel gave.
    let length = unsafe { bpf_xdp_get_buff_len(context.ctx) } as u32;
    // SAFETY: the verifier allows reads between `data` and `data_end` as long as the program runs.
    unsafe { Frame::new(context.data() as *const u8, context.data_end() as *const u8, length) }
}
