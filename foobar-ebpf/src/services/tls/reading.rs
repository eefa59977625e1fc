//! From the bytes of a segment to what a hello says, in turns of one loop.

use core::ffi::c_void;

use aya_ebpf::{btf_maps::PerCpuArray, helpers::bpf_loop, macros::btf_map};
use foobar_common::{
    connection::TlsSide,
    flow::Direction,
    frame::within,
    tls::{Finding, NAME_MAX, Name},
};

use crate::{
    portion::Portion,
    services::segment::{Packet, Segment},
};

#[btf_map]
static TLS_READINGS: PerCpuArray<Reading, 2> = PerCpuArray::new();

/// Bytes that are loaded at once, a power of two: of a hello, few are looked at.
const PORTION: u32 = 256;
/// A segment has at most 64 KiB or, as BIG TCP, 512 KiB; each turn reads at least a byte.
const TURNS: u32 = 1 << 20;

/// Bytes of a segment, while they are read.
#[repr(C)]
struct Reading {
    findings: Findings,
    portion: Portion<{ PORTION - 1 }, { PORTION as usize }>,
}

/// What was found in a segment.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Findings {
    /// A bit for each [`Finding`].
    bits: u32,
    /// The first byte that was read.
    first: u32,
}

impl Findings {
    const NONE: Self = Self { bits: 0, first: NO_BYTE };

    #[inline(always)]
    pub(super) fn has(self, finding: Finding) -> bool {
        self.bits & bit(finding) != 0
    }

    /// Whether the first byte is one that a method of HTTP begins with.
    #[inline(always)]
    pub(super) fn begins_as_http(self) -> bool {
        matches!(self.first, 0x43 | 0x44 | 0x47 | 0x48 | 0x4f | 0x50 | 0x54)
    }
}

const NO_BYTE: u32 = u32::MAX;

#[inline(always)]
const fn bit(finding: Finding) -> u32 {
    match finding {
        Finding::Nothing | Finding::Name(_) => 0,
        Finding::Complete => 1,
        Finding::Alert => 1 << 1,
        Finding::NotTls => 1 << 2,
    }
}

/// What a turn is given: pointers alone, which keep their types on the stack.
#[repr(C)]
struct Turn<'a> {
    reading: &'static mut Reading,
    side: &'a mut TlsSide,
    name: &'a mut Name,
    context: *mut c_void,
}

/// Reads a segment but for its first bytes.
#[inline(always)]
pub(super) fn read<P: Packet>(
    segment: &Segment,
    before: u64,
    direction: Direction,
    side: &mut TlsSide,
    name: &mut Name,
    packet: &P,
) -> Findings {
    let Some(reading) = TLS_READINGS.get_ptr_mut(direction as u32) else { return Findings::NONE };
    // SAFETY: the map gave the pointer, and programs of one direction do not interrupt each other on a processor.
    let reading = unsafe { &mut *reading };
    reading.portion.begin(segment.offset.wrapping_add(before), segment.length.wrapping_sub(before));
    reading.findings = Findings::NONE;
    let mut turn = Turn { reading, side, name, context: packet.context() };
    let callback: unsafe extern "C" fn(u32, *mut Turn<'_>) -> i64 = one_turn::<P>;
    // SAFETY: the callback has the signature that the helper asks for (Linux 5.17), and its argument outlives the call.
    unsafe { bpf_loop(TURNS, callback as *mut c_void, (&raw mut turn).cast(), 0) };
    turn.reading.findings
}

/// A turn of the loop; 1 ends it.
unsafe extern "C" fn one_turn<P: Packet>(_number: u32, turn: *mut Turn<'_>) -> i64 {
    // SAFETY: the argument that was given to the helper.
    i64::from(unsafe { &mut *turn }.run::<P>())
}

impl Turn<'_> {
    /// Reads on; true at the end.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no packet is 4 GiB long")]
    fn run<P: Packet>(&mut self) -> bool {
        let Self { reading, side, name, context } = self;
        if side.hello.is_over() {
            return true;
        }
        if reading.portion.is_used_up() {
            if reading.portion.left() == 0 {
                return true;
            }
            let passed = side.hello.pass(reading.portion.left() as u32);
            if passed > 0 {
                reading.portion.skip(u64::from(passed));
                reading.note(side.hello.completed());
                return false;
            }
            return !reading.portion.fill::<P>(*context);
        }
        let passed = side.hello.pass(reading.portion.there() as u32);
        if passed > 0 {
            reading.portion.step(u64::from(passed));
        } else {
            let byte = reading.next_byte();
            let finding = side.hello.read(byte);
            if let Finding::Name(byte) = finding {
                let length = side.name_length;
                if length < NAME_MAX as u32 {
                    let place = within::<{ NAME_MAX as u32 - 1 }>(length) as usize;
                    if let Some(place) = name.bytes.get_mut(place) {
                        *place = byte;
                    }
                    side.name_length = length.wrapping_add(1);
                }
            }
            reading.note(finding);
        }
        reading.note(side.hello.completed());
        false
    }
}

impl Reading {
    #[inline(always)]
    fn note(&mut self, finding: Finding) {
        self.findings.bits |= bit(finding);
    }

    #[inline(always)]
    fn next_byte(&mut self) -> u8 {
        let byte = self.portion.next_byte();
        if self.findings.first == NO_BYTE {
            self.findings.first = u32::from(byte);
        }
        byte
    }
}
