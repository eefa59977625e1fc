//! The programs of foobar: the way of a packet, and the only XDP codes.
#![no_std]
#![no_main]
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::host_endian_bytes)]

mod classify;
mod count;
mod decide;
mod infrastructure;
mod interface;
mod scratch;
mod settings;
mod window;

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    macros::xdp,
    programs::XdpContext,
};
use foobar_common::{flow::Direction, parse::parse, verdict::{Reason, Verdict}};

use crate::decide::Decision;

/// Judges every packet that arrives on a network card, before the kernel spends anything on it.
#[xdp(frags)]
pub fn ingress(context: XdpContext) -> u32 {
    let frame = window::of(&context);
    let interface = interface::of(&context);
    let decision = match parse(&frame) {
        Ok(flow) => match scratch::keep(&flow) {
            Some(flow) => Decision::of(flow, &interface),
            None => Decision::without_flow(Reason::Internal),
        },
        Err(reason) => Decision::without_flow(reason),
    };
    match count::decision(&decision, &interface, Direction::In, frame.length()) {
        Verdict::Accept => XDP_PASS,
        Verdict::Drop => XDP_DROP,
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 4] = *b"GPL\0";
