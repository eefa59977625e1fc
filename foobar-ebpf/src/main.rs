//! The programs of foobar: the way of a packet, and the only XDP codes.
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::host_endian_bytes)]

mod addresses;
mod branchless;
mod classify;
mod clauses;
mod count;
mod decide;
mod headers;
mod infrastructure;
mod interface;
mod maps;
mod scratch;
mod sets;
mod settings;
mod tables;
mod window;

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    macros::xdp,
    programs::XdpContext,
};
use foobar_common::{flow::Direction, verdict::Verdict};

use crate::{decide::Decision, headers::Headers};

/// Judges every packet that arrives on a network card, before the kernel spends anything on it.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn ingress(context: XdpContext) -> u32 {
    let interface = interface::of(&context);
    let Headers { length, flow } = Headers::of(&context);
    let decision = match flow {
        Ok(flow) => Decision::of(flow, &interface),
        Err(reason) => Decision::without_flow(reason),
    };
    match count::decision(&decision, &interface, Direction::In, length) {
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
