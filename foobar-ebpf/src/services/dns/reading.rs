//! From the bytes of a packet to queries and answers, in turns of one loop.

use core::ffi::c_void;

use aya_ebpf::{
    btf_maps::PerCpuArray,
    helpers::{bpf_ktime_get_ns, bpf_loop},
    macros::btf_map,
};
use foobar_common::{
    connection::ConnectionKey,
    dns::{DnsCounters, Finding, Messages, QUERY_TYPES_ROOM, QueryKey, RESPONSE_CODES_ROOM},
    flow::Direction,
    frame::within,
    service::Loss,
};

use super::pending;
use crate::services::segment::Packet;

#[btf_map]
static DNS_READINGS: PerCpuArray<Reading, 2> = PerCpuArray::new();
/// What is read of datagrams.
#[btf_map]
static DNS_MESSAGES: PerCpuArray<Messages, 2> = PerCpuArray::new();

/// Bytes that are loaded at once, a power of two: most questions end within so many.
const PORTION: u32 = 64;
/// A segment has at most 64 KiB or, as BIG TCP, 512 KiB; each turn reads at least a byte.
const TURNS: u32 = 1 << 20;
/// Bytes that are read in a turn, at most: each turn costs a call.
const STEPS: usize = 4;
/// There is no [`Loss`] of this number.
const NO_LOSS: u64 = u64::MAX;

/// Bytes of a packet, while they are read.
#[repr(C)]
pub(super) struct Reading {
    /// Where the next bytes lie in the packet.
    offset: u64,
    /// How many are left there.
    left: u64,
    /// How far the portion has been read.
    position: u64,
    /// How much is in it.
    end: u64,
    /// When the packet came, in nanoseconds.
    now: u64,
    /// The number of the [`Loss`] why it was given up, or [`NO_LOSS`].
    loss: u64,
    /// The query that is being asked or answered.
    key: QueryKey,
    bytes: [u8; PORTION as usize],
}

/// What a packet carries.
#[derive(Clone, Copy)]
pub(super) struct Payload {
    /// Where it begins in the packet.
    pub(super) offset: u64,
    /// Bytes of it.
    pub(super) length: u64,
}

/// What a turn is given: pointers alone, which keep their types on the stack.
#[repr(C)]
struct Turn<'a> {
    reading: &'a mut Reading,
    messages: &'a mut Messages,
    counters: &'a mut DnsCounters,
    context: *mut c_void,
}

impl Reading {
    /// For the present packet, which has these ends and came by this protocol.
    #[inline(always)]
    pub(super) fn of(direction: Direction, ends: &ConnectionKey, protocol: u8) -> Option<&'static mut Self> {
        let place = DNS_READINGS.get_ptr_mut(direction as u32)?;
        // SAFETY: the map gave the pointer, and programs of one direction do not interrupt each other on a processor.
        let reading = unsafe { &mut *place };
        reading.key.ends = *ends;
        reading.key.protocol = u32::from(protocol);
        Some(reading)
    }
}

/// Where the message of a datagram is read.
#[inline(always)]
pub(super) fn message(direction: Direction) -> Option<&'static mut Messages> {
    let place = DNS_MESSAGES.get_ptr_mut(direction as u32)?;
    // SAFETY: as for readings; any bytes that were written there are those of messages, and all begin as zeros, which are
    // valid, too.
    Some(unsafe { &mut *place })
}

/// Reads messages and counts them. Why that was given up, if it was, and how many bytes were not read then.
#[inline(always)]
pub(super) fn read<P: Packet>(
    payload: Payload,
    reading: &mut Reading,
    messages: &mut Messages,
    counters: &mut DnsCounters,
    packet: &P,
) -> Option<(Loss, u64)> {
    let Payload { offset, length } = payload;
    reading.offset = offset;
    reading.left = length;
    reading.position = 0;
    reading.loss = NO_LOSS;
    reading.end = 0;
    // SAFETY: a helper that only reads a clock (Linux 4.1).
    reading.now = unsafe { bpf_ktime_get_ns() };
    let mut turn = Turn { reading, messages, counters, context: packet.context() };
    let callback: unsafe extern "C" fn(u32, *mut Turn<'_>) -> i64 = one_turn::<P>;
    // SAFETY: the callback has the signature that the helper asks for (Linux 5.17), and its argument outlives the call.
    unsafe { bpf_loop(TURNS, callback as *mut c_void, (&raw mut turn).cast(), 0) };
    let Reading { left, position, end, loss, .. } = turn.reading;
    let unread = left.wrapping_add(end.wrapping_sub(*position));
    match *loss {
        NO_LOSS => None,
        loss if loss == Loss::NotDns as u64 => Some((Loss::NotDns, unread)),
        _ => Some((Loss::Internal, unread)),
    }
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
        let Self { reading, messages, counters, context } = self;
        if messages.is_over() {
            return true;
        }
        if reading.position >= reading.end {
            if reading.left == 0 {
                return true;
            }
            let passed = messages.pass(reading.left as u32);
            if passed > 0 {
                reading.advance(u64::from(passed));
                return false;
            }
            return !reading.fill::<P>(messages, *context);
        }
        let mut finding = Finding::Nothing;
        for _ in 0..STEPS {
            finding = reading.step(messages);
            if !matches!(finding, Finding::Nothing) {
                break;
            }
        }
        reading.note(finding, messages, counters);
        false
    }
}

impl Reading {
    /// Reads a byte of the portion, behind those that need no look.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a position in a portion")]
    fn step(&mut self, messages: &mut Messages) -> Finding {
        let passed = messages.pass(self.end.wrapping_sub(self.position) as u32);
        self.position = self.position.wrapping_add(u64::from(passed));
        if self.position >= self.end {
            return Finding::Nothing;
        }
        let place = within::<{ PORTION - 1 }>(self.position as u32) as usize;
        self.position = self.position.wrapping_add(1);
        messages.read(self.bytes.get(place).copied().unwrap_or(0))
    }

    /// Counts what has been found.
    #[inline(always)]
    fn note(&mut self, finding: Finding, messages: &Messages, counters: &mut DnsCounters) {
        self.key.id = u32::from(messages.id());
        match finding {
            Finding::Nothing => {}
            Finding::Query => {
                let place = within::<{ QUERY_TYPES_ROOM - 1 }>(messages.query_type().number()) as usize;
                count(counters.queries.get_mut(place));
                if pending::ask(&self.key, self.now) {
                    count(Some(&mut counters.repeated));
                }
            }
            Finding::Answer => {
                let place = within::<{ RESPONSE_CODES_ROOM - 1 }>(messages.response_code().number()) as usize;
                count(counters.answers.get_mut(place));
                if messages.is_truncated() {
                    count(Some(&mut counters.truncated));
                }
                match pending::answer(&self.key, self.now) {
                    Some(waited) => counters.duration.observe(waited),
                    None => count(Some(&mut counters.unasked)),
                }
            }
            Finding::NotDns => self.loss = Loss::NotDns as u64,
        }
    }

    /// Loads the next bytes; false if they cannot be read.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no packet is 4 GiB long")]
    fn fill<P: Packet>(&mut self, messages: &mut Messages, context: *mut c_void) -> bool {
        let wanted = if self.left < u64::from(PORTION) { self.left } else { u64::from(PORTION) };
        // Verifiers up to at least Linux 6.1 learn nothing from a comparison with zero.
        let length = within::<{ PORTION - 1 }>(wanted.wrapping_sub(1) as u32).wrapping_add(1);
        // SAFETY: the context is the packet's, and there is room for so many bytes.
        if unsafe { P::load(context, self.offset as u32, self.bytes.as_mut_ptr().cast(), length) } != 0 {
            self.loss = Loss::Internal as u64;
            messages.end();
            return false;
        }
        self.advance(u64::from(length));
        self.position = 0;
        self.end = u64::from(length);
        true
    }

    #[inline(always)]
    fn advance(&mut self, bytes: u64) {
        self.offset = self.offset.wrapping_add(bytes);
        self.left = self.left.wrapping_sub(bytes);
    }
}

#[inline(always)]
fn count(counter: Option<&mut u64>) {
    if let Some(counter) = counter {
        *counter = counter.wrapping_add(1);
    }
}
