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
use foobar_common::{
    flow::{Direction, Flow},
    frame::Frame,
    parse,
    verdict::{Reason, Verdict},
};

use crate::decide::Decision;

/// Judges every packet that arrives on a network card, before the kernel spends anything on it.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn ingress(context: XdpContext) -> u32 {
    let frame = window::of(&context);
    let interface = interface::of(&context);
    let decision = match headers(&frame) {
        Ok(flow) => Decision::of(flow, &interface),
        Err(reason) => Decision::without_flow(reason),
    };
    match count::decision(&decision, &interface, Direction::In, frame.length()) {
        Verdict::Accept => XDP_PASS,
        Verdict::Drop => XDP_DROP,
    }
}

/// What [`foobar_common::parse::parse`] does, in steps that the verifier can follow.
#[inline(always)]
fn headers(frame: &Frame<'_>) -> Result<&'static Flow, Reason> {
    let network = scratch::keep_network(&parse::network(frame)?).ok_or(Reason::Internal)?;
    scratch::keep_flow(&parse::transport(frame, network)?).ok_or(Reason::Internal)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 4] = *b"GPL\0";
