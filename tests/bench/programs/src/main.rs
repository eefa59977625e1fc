//! A test run repeats one frame, which would keep a single path of the tables in the nearest cache. `vary` puts
//! another frame in its place each time before it hands over to the program that is measured.
#![no_std]
#![no_main]

#[path = "../../../../foobar-ebpf/src/headers.rs"]
mod headers;
#[path = "../../../../foobar-ebpf/src/received.rs"]
mod received;
#[path = "../../../../foobar-ebpf/src/scratch.rs"]
mod scratch;

/// The parser alone is measured here: no flow is noted.
mod track {
    use foobar_common::{flow::Direction, frame::Frame, parse::Headers};

    #[inline(always)]
    pub(crate) fn note(_frame: &Frame<'_>, _headers: Option<&Headers>, _direction: Direction) {}
}

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_TX},
    btf_maps::{Array, ProgramArray},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use foobar_bench_programs::{Cursor, FRAMES_MAX, Frame, SEQUENCE_AT, Stream, Target};

use crate::headers::Headers;

#[btf_map]
static FRAMES: Array<Frame, { FRAMES_MAX as usize }> = Array::new();
#[btf_map]
static CURSOR: Array<Cursor, 1> = Array::new();
#[btf_map]
static STREAM: Array<Stream, 1> = Array::new();
#[btf_map]
static TARGETS: ProgramArray<{ Target::COUNT }> = ProgramArray::new();

/// The least that a program can do.
#[xdp(frags)]
fn bare(_context: XdpContext) -> u32 {
    XDP_DROP
}

/// What every packet costs before any rule is looked at.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn parse_only(context: XdpContext) -> u32 {
    let (Headers { parsed }, size) = received::headers(&context);
    if parsed.is_ok() && size.packets > 0 && size.bytes > 0 { XDP_DROP } else { XDP_ABORTED }
}

/// Another frame, then the target that the cursor names.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn vary(context: XdpContext) -> u32 {
    if let Some(target) = write_next(&context) {
        // SAFETY: nothing here waits to be dropped. The array is only written between runs.
        unsafe { TARGETS.tail_call(&context, target) };
    }
    XDP_ABORTED
}

/// The next segment of a connection, with the same payload, then the target.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn carry_on(context: XdpContext) -> u32 {
    if let Some(target) = write_sequence(&context) {
        // SAFETY: as above.
        unsafe { TARGETS.tail_call(&context, target) };
    }
    XDP_ABORTED
}

/// Another frame, on its way to the other end of the cable.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the signature of aya's macro")]
fn send(context: XdpContext) -> u32 {
    if write_next(&context).is_some() { XDP_TX } else { XDP_ABORTED }
}

/// Overwrites the frame with the next one and gives the target; `None` if the frame is shorter than that.
#[inline(always)]
fn write_next(context: &XdpContext) -> Option<u32> {
    let cursor = CURSOR.get_ptr_mut(0)?;
    // SAFETY: the map gave the pointer, and the benchmark runs on one processor.
    let cursor = unsafe { &mut *cursor };
    let number = cursor.first.wrapping_add(cursor.next & cursor.mask);
    cursor.next = cursor.next.wrapping_add(1);
    let frame = FRAMES.get(number)?;
    let place = context.data();
    if place + size_of::<Frame>() > context.data_end() {
        return None;
    }
    // SAFETY: the packet is at least as long as a frame. It begins at the start of a cache line.
    unsafe { (place as *mut Frame).write(*frame) };
    Some(cursor.target)
}

/// Writes the next sequence number and gives the target; `None` if the frame is too short for one.
#[inline(always)]
fn write_sequence(context: &XdpContext) -> Option<u32> {
    let stream = STREAM.get_ptr_mut(0)?;
    // SAFETY: the map gave the pointer, and the benchmark runs on one processor.
    let stream = unsafe { &mut *stream };
    let sequence = stream.next.to_be();
    stream.next = stream.next.wrapping_add(stream.length);
    let place = context.data() + SEQUENCE_AT;
    if place + size_of::<u32>() > context.data_end() {
        return None;
    }
    // SAFETY: the packet goes on behind the number.
    unsafe { (place as *mut u32).write_unaligned(sequence) };
    Some(stream.target)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 4] = *b"GPL\0";
