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
use crate::{portion::Portion, services::segment::Packet};

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
    /// When the packet came, in nanoseconds.
    now: u64,
    /// The number of the [`Loss`] why it was given up, or [`NO_LOSS`].
    loss: u64,
    /// The query that is being asked or answered.
    key: QueryKey,
    portion: Portion<{ PORTION - 1 }, { PORTION as usize }>,
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
    reading.portion.begin(offset, length);
    reading.loss = NO_LOSS;
    // SAFETY: a helper that only reads a clock (Linux 4.1).
    reading.now = unsafe { bpf_ktime_get_ns() };
    let mut turn = Turn { reading, messages, counters, context: packet.context() };
    let callback: unsafe extern "C" fn(u32, *mut Turn<'_>) -> i64 = one_turn::<P>;
    // SAFETY: the callback has the signature that the helper asks for (Linux 5.17), and its argument outlives the call.
    unsafe { bpf_loop(TURNS, callback as *mut c_void, (&raw mut turn).cast(), 0) };
    let Reading { portion, loss, .. } = turn.reading;
    let unread = portion.left().wrapping_add(portion.there());
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
        if reading.portion.is_used_up() {
            if reading.portion.left() == 0 {
                return true;
            }
            let passed = messages.pass(reading.portion.left() as u32);
            if passed > 0 {
                reading.portion.skip(u64::from(passed));
                return false;
            }
            let is_there = reading.portion.fill::<P>(*context);
            if !is_there {
                reading.loss = Loss::Internal as u64;
                messages.end();
            }
            return !is_there;
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
        let passed = messages.pass(self.portion.there() as u32);
        self.portion.step(u64::from(passed));
        if self.portion.is_used_up() { Finding::Nothing } else { messages.read(self.portion.next_byte()) }
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
}

#[inline(always)]
fn count(counter: Option<&mut u64>) {
    if let Some(counter) = counter {
        *counter = counter.wrapping_add(1);
    }
}
