//! From bytes of a process to what they say, in turns of one loop.

use core::{cell::Cell, ffi::c_void};

use aya_ebpf::{
    btf_maps::PerCpuArray,
    helpers::{bpf_ktime_get_ns, bpf_loop, generated::bpf_probe_read_user},
    macros::btf_map,
};
use foobar_common::{
    connection::{Connection, Cursor},
    frame::within,
    http1::{Block, Side, State, Stream},
    plaintext::{TlsObject, WatchedProcess},
    service::{HttpCounters, Loss, Ticks},
};

use super::{http2, way::Way};
use crate::services::{http_counters, lock};

#[btf_map]
static TLS_PLAINTEXTS: PerCpuArray<Reading, 1> = PerCpuArray::new();

/// Each turn reads at least a byte. What a call has beyond so many is lost: nobody may keep the kernel busy.
const TURNS: u32 = 1 << 20;

/// Steps of a turn: each turn costs a call.
const STEPS: usize = 3;

/// Bytes of the process that runs.
#[derive(Clone, Copy)]
pub(super) struct Bytes {
    pub(super) address: u64,
    pub(super) length: u64,
}

/// Bytes, while they are read. In a map, since the verifier follows what changes on the stack turn by turn.
#[repr(C)]
struct Reading {
    /// Not zero while a probe is at it. Unlike programs for packets, a probe can be made to wait for another thread on
    /// the same processor, where the kernel is preemptible.
    lock: Cell<u64>,
    /// Where the next bytes lie.
    address: u64,
    /// How many are left there.
    left: u64,
    /// How many are put into the block next, at most.
    portion: u64,
    now: Ticks,
    stream: Stream,
}

/// What a turn is given: pointers, which keep their types on the stack.
#[repr(C)]
struct Turn<'a> {
    reading: &'static mut Reading,
    connection: &'static Connection,
    counters: &'a mut HttpCounters,
}

/// Does something with the counters of a service that no other probe does at the same time.
#[inline(always)]
pub(super) fn with_counters(process: &WatchedProcess, body: impl FnOnce(&mut HttpCounters)) {
    let _done: Option<()> = with_reading(process, |_reading, counters| body(counters));
}

/// Reads what a call has read or written, and moves the cursor on.
#[inline(always)]
pub(super) fn read<W: Way>(
    process: &WatchedProcess,
    object: &TlsObject,
    connection: &'static Connection,
    bytes: Bytes,
) {
    let done = with_reading(process, |reading, counters| {
        let now = now();
        let cursor = W::cursor(connection);
        let mut rest = bytes;
        if !is_http2(cursor) {
            rest = read_http1::<W>(reading, connection, &mut *counters, now, bytes);
            if !is_http2(cursor) || http2::begin::<W>(object).is_none() {
                return;
            }
        }
        if http2::read::<W>(object, counters, now, rest).is_none() {
            lose_http2::<W>(cursor, counters);
        }
    });
    if done.is_none() {
        give_up::<W>(process, connection);
    }
}

/// Reads bytes up to where HTTP/2 begins, and gives what comes from there on.
#[inline(always)]
fn read_http1<W: Way>(
    reading: &'static mut Reading,
    connection: &'static Connection,
    counters: &mut HttpCounters,
    now: Ticks,
    Bytes { address, length }: Bytes,
) -> Bytes {
    let cursor = W::cursor(connection);
    reading.now = now;
    reading.stream.take_up(cursor);
    reading.address = address;
    reading.left = length;
    reading.portion = W::FIRST_PORTION;
    let mut turn = Turn { reading, connection, counters };
    let callback: unsafe extern "C" fn(u32, *mut Turn<'_>) -> i64 = one_turn::<W>;
    // SAFETY: the callback has the signature that the helper asks for (Linux 5.17), and its argument outlives the call.
    unsafe { bpf_loop(TURNS, callback as *mut c_void, (&raw mut turn).cast(), 0) };
    let Turn { reading, connection, counters } = turn;
    let in_block = reading.stream.left();
    let rest = Bytes {
        address: reading.address.wrapping_sub(in_block),
        length: reading.left.wrapping_add(in_block),
    };
    if rest.length > 0 && !reading.stream.is_http2() {
        reading.stream.lose(Loss::Unseen, &mut W::side(connection, counters, now));
    }
    reading.stream.put_down(cursor);
    rest
}

/// Moves the cursor over bytes that nobody has seen, which are part of a body or lost.
#[inline(always)]
pub(super) fn pass_over<W: Way>(
    process: &WatchedProcess,
    object: &TlsObject,
    connection: &'static Connection,
    bytes: u64,
) {
    let done = with_reading(process, |reading, counters| {
        let now = now();
        let cursor = W::cursor(connection);
        if is_http2(cursor) {
            if http2::pass_over::<W>(object, counters, now, bytes).is_none() {
                lose_http2::<W>(cursor, counters);
            }
            return;
        }
        let mut side = W::side(connection, counters, now);
        reading.stream.take_up(cursor);
        if !reading.stream.skip(bytes, &mut side) {
            reading.stream.lose(Loss::Gap, &mut side);
        }
        reading.stream.put_down(cursor);
    });
    if done.is_none() {
        give_up::<W>(process, connection);
    }
}

#[inline(always)]
fn is_http2(cursor: &Cursor) -> bool {
    matches!(cursor.state.get(), State::Http2)
}

/// There was no room for a connection of HTTP/2, or it was forgotten since.
#[inline(always)]
fn lose_http2<W: Way>(cursor: &Cursor, counters: &mut HttpCounters) {
    cursor.state.set(State::Lost);
    counters.lost.count(W::DIRECTION, Loss::Preexisting);
}

#[inline(always)]
fn now() -> Ticks {
    // SAFETY: a helper that only reads a clock (Linux 4.1).
    Ticks::from_nanoseconds(unsafe { bpf_ktime_get_ns() })
}

/// Somebody else is at it for too long.
#[inline(always)]
fn give_up<W: Way>(process: &WatchedProcess, connection: &Connection) {
    W::cursor(connection).state.set(State::Lost);
    if let Some(counters) = http_counters(slot(process)) {
        counters.lost.count(W::DIRECTION, Loss::Busy);
    }
}

#[inline(always)]
fn with_reading(
    process: &WatchedProcess,
    body: impl FnOnce(&'static mut Reading, &'static mut HttpCounters),
) -> Option<()> {
    let place = TLS_PLAINTEXTS.get_ptr_mut(0)?;
    let counters = http_counters(slot(process))?;
    // SAFETY: the map gave the pointer, and nothing but the lock is looked at until it is got.
    let lock: &'static Cell<u64> = unsafe { &(*place).lock };
    if !lock::take(lock) {
        return None;
    }
    // SAFETY: whoever has the lock has the entry.
    body(unsafe { &mut *place }, counters);
    lock::give_back(lock);
    Some(())
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "there are few services")]
fn slot(process: &WatchedProcess) -> u32 {
    process.service as u32
}

/// A turn of the loop; 1 ends it.
unsafe extern "C" fn one_turn<W: Way>(_number: u32, turn: *mut Turn<'_>) -> i64 {
    // SAFETY: the argument that was given to the helper.
    i64::from(unsafe { &mut *turn }.run::<W>())
}

impl Turn<'_> {
    /// Reads on; true at the end.
    #[inline(always)]
    fn run<W: Way>(&mut self) -> bool {
        let Self { reading, connection, counters } = self;
        if reading.stream.is_http2() {
            return true;
        }
        let mut side = W::side(connection, counters, reading.now);
        if reading.stream.is_used_up() {
            if reading.left == 0 {
                return true;
            }
            reading.refill(&mut side);
        }
        for _ in 0..STEPS {
            if reading.stream.is_used_up() {
                break;
            }
            reading.stream.step(&mut side);
        }
        false
    }
}

impl Reading {
    /// Passes over what needs no look, or puts the next bytes into the block.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a portion is small")]
    fn refill<S: Side>(&mut self, side: &mut S) {
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
        // The library has just been at these bytes, so that their pages are there, unless the kernel took one meanwhile.
        // SAFETY: the block has room for so many bytes, and the helper takes any address (Linux 5.5).
        if unsafe { bpf_probe_read_user(place.cast(), length, self.address as *const c_void) } != 0 {
            self.stream.lose(Loss::Unseen, side);
            return;
        }
        self.advance(u64::from(length));
        self.stream.filled(u64::from(length));
    }

    #[inline(always)]
    fn advance(&mut self, bytes: u64) {
        self.address = self.address.wrapping_add(bytes);
        self.left = self.left.wrapping_sub(bytes);
    }
}
