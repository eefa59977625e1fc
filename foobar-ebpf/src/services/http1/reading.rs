//! From the bytes of a segment to what they say, in turns of one loop.

use core::ffi::c_void;

use aya_ebpf::{
    btf_maps::PerCpuArray,
    helpers::{bpf_ktime_get_ns, bpf_loop},
    macros::btf_map,
};
use foobar_common::{
    connection::{Connection, ConnectionKey},
    frame::within,
    http1::{Block, Side, State, Stream},
    service::{HttpCounters, Loss, Ticks},
};

use super::way::{Moment, Way};
use crate::services::{
    ahead::{Ahead, Kept},
    passage::Passage,
    segment::{Packet, Place, Segment, WINDOW_MAX},
};

#[btf_map]
static HTTP1_READINGS: PerCpuArray<Reading, 2> = PerCpuArray::new();

/// A segment has at most 64 KiB or, as BIG TCP, 512 KiB; each turn reads at least a byte.
const TURNS: u32 = 1 << 20;

/// Steps of a turn: each turn costs a call.
const STEPS: usize = 3;

/// Bytes of a segment, while they are read. In a map, since the verifier follows what changes on the stack turn by
/// turn.
#[repr(C)]
struct Reading {
    /// Where the next bytes lie in the packet.
    offset: u64,
    /// How many are left there.
    left: u64,
    /// How many are put into the block next, at most.
    portion: u64,
    /// Sequence number of the byte behind all that has been read or is about to be.
    next: u32,
    /// When the segment came.
    now: Ticks,
    stream: Stream,
}

/// What a turn is given: pointers, which keep their types on the stack, and what never changes.
#[repr(C)]
struct Turn {
    reading: &'static mut Reading,
    connection: &'static Connection,
    counters: &'static mut HttpCounters,
    context: *mut c_void,
    kept: Option<Kept>,
    may_be_http2: bool,
}

/// Reads what a segment has that was not read before, and moves the cursor on: to the first byte of HTTP/2, where the side
/// goes on in that.
#[inline(always)]
pub(super) fn read<W: Way>(
    segment: &Segment,
    connection: &'static Connection,
    counters: &'static mut HttpCounters,
    context: *mut c_void,
    may_be_http2: bool,
) -> Option<()> {
    let cursor = W::cursor(connection);
    let reading = HTTP1_READINGS.get_ptr_mut(W::DIRECTION as u32)?;
    // SAFETY: the map gave the pointer, and programs of one direction do not interrupt each other on a processor.
    let reading = unsafe { &mut *reading };
    // SAFETY: a helper that only reads a clock (Linux 4.1).
    reading.now = Ticks::from_nanoseconds(unsafe { bpf_ktime_get_ns() });
    reading.stream.take_up(cursor);
    let kept = match ahead::<W>(connection, &segment.key) {
        Some(ahead) => Some(ahead.kept()?),
        None => None,
    };
    let mut turn = Turn { reading, connection, counters, context, kept, may_be_http2 };
    let next = cursor.next.get();
    let read_before = match segment.place(next) {
        Place::Next(read) => read,
        // It has been read, or would have been if that had not been given up before.
        Place::Old => {
            if matches!(cursor.state.get(), State::Lost) {
                Passage::lose(W::DIRECTION, segment.length);
            }
            return Some(());
        }
        // It is none of this connection.
        Place::Ahead(missing) if missing > u64::from(WINDOW_MAX) => return Some(()),
        Place::Ahead(missing) => {
            if !turn.pass_over::<W>(missing) {
                if let Some(ahead) = ahead::<W>(connection, &segment.key) {
                    // Without room for it, it is as if it had not come by: what the server then says that it has
                    // accepted tells whether anything was missed.
                    let _kept: Option<()> = ahead.keep::<W::Packet>(segment, next, context);
                    return Some(());
                }
                turn.lose::<W>(Loss::Gap);
            }
            0
        }
    };
    turn.reading.offset = segment.offset.wrapping_add(read_before);
    turn.reading.left = segment.length.wrapping_sub(read_before);
    turn.reading.portion = W::FIRST_PORTION;
    turn.reading.next = segment.next();
    let callback: unsafe extern "C" fn(u32, *mut Turn) -> i64 = one_turn::<W>;
    // SAFETY: the callback has the signature that the helper asks for (Linux 5.17), and its argument outlives the call.
    unsafe { bpf_loop(TURNS, callback as *mut c_void, (&raw mut turn).cast(), 0) };
    if segment.is_last() {
        let (reading, mut side) = turn.sides::<W>();
        reading.stream.close(&mut side);
    }
    let reading = turn.reading;
    reading.stream.put_down(cursor);
    cursor.next.set(reading.next.wrapping_sub(reading.unread()));
    if let Some(ahead) = ahead::<W>(connection, &segment.key) {
        ahead.forget_before(cursor.next.get());
    }
    Passage::lose(W::DIRECTION, reading.stream.lost_bytes());
    Some(())
}

/// What is kept of the connection's bytes that came before others, where any can.
#[inline(always)]
fn ahead<'k, W: Way>(connection: &'static Connection, key: &'k ConnectionKey) -> Option<Ahead<'k>> {
    let window = W::ahead(connection)?;
    Some(Ahead { connection: key, first: connection.first.get(), window })
}

/// A turn of the loop; 1 ends it.
unsafe extern "C" fn one_turn<W: Way>(_number: u32, turn: *mut Turn) -> i64 {
    // SAFETY: the argument that was given to the helper.
    i64::from(unsafe { &mut *turn }.run::<W>())
}

impl Turn {
    /// Reads on; true at the end.
    #[inline(always)]
    fn run<W: Way>(&mut self) -> bool {
        let Self { reading, connection, counters, context, kept, may_be_http2 } = self;
        if reading.stream.is_http2() {
            return true;
        }
        let moment = Moment { now: reading.now, may_be_http2: *may_be_http2 };
        let mut side = W::side(connection, counters, moment);
        if reading.stream.is_used_up() {
            if reading.left == 0 {
                return !reading.take_ahead(kept);
            }
            reading.refill::<W::Packet, _>(*context, &mut side);
        }
        for _ in 0..STEPS {
            if reading.stream.is_used_up() {
                break;
            }
            reading.stream.step(&mut side);
        }
        false
    }

    /// So many bytes did not come by, or have not yet; whether it can go on behind them.
    #[inline(always)]
    fn pass_over<W: Way>(&mut self, missing: u64) -> bool {
        let (reading, mut side) = self.sides::<W>();
        reading.stream.skip(missing, &mut side)
    }

    #[inline(always)]
    fn lose<W: Way>(&mut self, loss: Loss) {
        let (reading, mut side) = self.sides::<W>();
        reading.stream.lose(loss, &mut side);
    }

    /// What is read, and what becomes of it.
    #[inline(always)]
    fn sides<W: Way>(&mut self) -> (&mut Reading, W::Side<'_>) {
        let Self { reading, connection, counters, may_be_http2, .. } = self;
        let moment = Moment { now: reading.now, may_be_http2: *may_be_http2 };
        (reading, W::side(connection, counters, moment))
    }
}

impl Reading {
    /// Bytes that are not read, since they are of HTTP/2.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no packet is 4 GiB long")]
    fn unread(&self) -> u32 {
        if self.stream.is_http2() { self.stream.left().wrapping_add(self.left) as u32 } else { 0 }
    }

    /// Puts bytes into the block that came before what has just been read; false if there are none.
    #[inline(always)]
    fn take_ahead(&mut self, kept: &mut Option<Kept>) -> bool {
        let Some(kept) = kept else { return false };
        let length = kept.take(self.next, self.stream.block().as_mut_ptr());
        self.next = self.next.wrapping_add(length);
        self.stream.filled(u64::from(length));
        length > 0
    }

    /// Passes over what needs no look, or puts the next bytes into the block.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no packet is 4 GiB long")]
    fn refill<P: Packet, S: Side>(&mut self, context: *mut c_void, side: &mut S) {
        let passed = self.stream.pass(self.left, side);
        if passed > 0 {
            self.advance(passed);
            return;
        }
        let portion = self.portion;
        self.portion = u64::from(Block::LENGTH);
        let wanted = if self.left < portion { self.left } else { portion };
        // Verifiers up to at least Linux 6.1 learn nothing from a comparison with zero.
        let length = within::<{ Block::LENGTH - 1 }>(wanted.wrapping_sub(1) as u32).wrapping_add(1);
        let place = self.stream.block().as_mut_ptr();
        // SAFETY: the context is the packet's, and the block has room for so many bytes.
        if unsafe { P::load(context, self.offset as u32, place.cast(), length) } != 0 {
            self.stream.lose(Loss::Internal, side);
            return;
        }
        self.advance(u64::from(length));
        self.stream.filled(u64::from(length));
    }

    #[inline(always)]
    fn advance(&mut self, bytes: u64) {
        self.offset = self.offset.wrapping_add(bytes);
        self.left = self.left.wrapping_sub(bytes);
    }
}
