//! From the bytes of a segment to what they say, in turns of one loop, for protocols that are read word by word.

use core::{cell::Cell, ffi::c_void};

use aya_ebpf::{btf_maps::PerCpuArray, helpers::bpf_loop, macros::btf_map};
use foobar_common::{
    connection::ConnectionKey,
    flow::Direction,
    frame::within,
    service::Loss,
    stream::{Followed, Reader},
};

use super::{
    passage::Passage,
    pieces,
    segment::{Packet, Place, Segment, WINDOW_MAX},
};

#[btf_map]
static STREAM_READINGS: PerCpuArray<Reading, 2> = PerCpuArray::new();

/// Bytes that are loaded at once, a power of two.
const PORTION: u32 = pieces::LENGTH;
/// Bytes that are given to be read at a time, at most.
const WORD: usize = 8;
/// A segment has at most 64 KiB or, as BIG TCP, 512 KiB; each turn reads at least a byte.
const TURNS: u32 = 1 << 20;
/// Steps of a turn: each turn costs a call.
const STEPS: usize = 3;

/// Bytes of a segment, while they are read.
#[repr(C)]
struct Reading {
    /// Where the next bytes lie in the packet.
    offset: u64,
    /// How many are left there.
    left: u64,
    /// How far the portion has been read.
    position: u64,
    /// How much is in it.
    end: u64,
    /// Sequence number of the byte behind all that has been read or is about to be.
    next: u64,
    /// Behind the portion are bytes that a word at its end reaches into, and that do not count.
    bytes: [u8; PORTION as usize + WORD],
}

/// What a turn is given: pointers, which keep their types on the stack, and what never changes.
#[repr(C)]
struct Turn<R> {
    reading: &'static mut Reading,
    reader: R,
    context: *mut c_void,
    /// Pieces that are kept of segments that came before others; none of what goes out.
    stored: Option<&'static Cell<u32>>,
    key: ConnectionKey,
}

/// Reads what a segment has that was not read before.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "what is left of a packet is no longer than 16 MiB")]
pub(super) fn follow<P: Packet, R: Reader>(
    segment: &Segment,
    followed: &'static Followed,
    mut reader: R,
    packet: &P,
) {
    reader.notice();
    if reader.is_lost() {
        return Passage::lose(R::DIRECTION, segment.length);
    }
    let before = match segment.place(followed.next.get()) {
        Place::Next(before) => before,
        Place::Old => return,
        // It is none of this connection.
        Place::Ahead(missing) if missing > u64::from(WINDOW_MAX) => return,
        Place::Ahead(missing) if reader.can_miss(missing) => {
            reader.pass(missing as u32);
            0
        }
        Place::Ahead(_) if matches!(R::DIRECTION, Direction::In) => {
            // Without room for it, it is as if it had not come by: what the server then says that it has accepted tells
            // whether anything was missed.
            let _kept: Option<()> = pieces::keep::<P>(segment, &followed.stored, packet.context());
            return;
        }
        Place::Ahead(_) => {
            reader.lose(Loss::Gap);
            return Passage::lose(R::DIRECTION, segment.length);
        }
    };
    Passage::lose(R::DIRECTION, read(segment, before, followed, reader, packet));
}

/// Reads a segment but for its first bytes, and what was kept of those behind it, and moves the cursor on. How many bytes
/// could not be read.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a number of 32 bits")]
fn read<P: Packet, R: Reader>(
    segment: &Segment,
    before: u64,
    followed: &'static Followed,
    reader: R,
    packet: &P,
) -> u64 {
    let Some(reading) = STREAM_READINGS.get_ptr_mut(R::DIRECTION as u32) else { return segment.length };
    // SAFETY: the map gave the pointer, and programs of one direction do not interrupt each other on a processor.
    let reading = unsafe { &mut *reading };
    reading.offset = segment.offset.wrapping_add(before);
    reading.position = 0;
    reading.left = segment.length.wrapping_sub(before);
    reading.end = 0;
    reading.next = u64::from(segment.next());
    // The kernel sends in order.
    let stored = matches!(R::DIRECTION, Direction::In).then_some(&followed.stored);
    let mut turn = Turn { reading, reader, context: packet.context(), stored, key: segment.key };
    let callback: unsafe extern "C" fn(u32, *mut Turn<R>) -> i64 = one_turn::<P, R>;
    // SAFETY: the callback has the signature that the helper asks for (Linux 5.17), and its argument outlives the call.
    unsafe { bpf_loop(TURNS, callback as *mut c_void, (&raw mut turn).cast(), 0) };
    followed.next.set(turn.reading.next as u32);
    if turn.reader.is_lost() { turn.reading.in_portion().wrapping_add(turn.reading.left) } else { 0 }
}

/// A turn of the loop; 1 ends it.
unsafe extern "C" fn one_turn<P: Packet, R: Reader>(_number: u32, turn: *mut Turn<R>) -> i64 {
    // SAFETY: the argument that was given to the helper.
    i64::from(unsafe { &mut *turn }.run::<P>())
}

impl<R: Reader> Turn<R> {
    /// Reads on; true at the end.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no packet is 4 GiB long")]
    fn run<P: Packet>(&mut self) -> bool {
        let Self { reading, reader, context, stored, key } = self;
        if reader.is_lost() {
            return true;
        }
        if reading.in_portion() == 0 {
            if reading.left == 0 {
                return !stored.is_some_and(|stored| reading.take_piece(key, stored));
            }
            let passed = reader.pass(reading.left as u32);
            if passed > 0 {
                reading.advance(u64::from(passed));
            } else if !reading.fill::<P>(*context) {
                reader.lose(Loss::Internal);
            }
            return false;
        }
        for _ in 0..STEPS {
            let there = reading.in_portion();
            if there == 0 {
                break;
            }
            let passed = reader.pass(there.wrapping_add(reading.left) as u32);
            if passed > 0 {
                reading.pass(u64::from(passed), there);
            } else {
                let bytes = if there < WORD as u64 { there as u32 } else { WORD as u32 };
                let read = reader.read(reading.word(), bytes);
                reading.position = reading.position.wrapping_add(u64::from(read));
            }
        }
        false
    }
}

impl Reading {
    /// Bytes of the portion that have not been read.
    #[inline(always)]
    fn in_portion(&self) -> u64 {
        self.end.wrapping_sub(self.position)
    }

    /// The next bytes, the first one lowest.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a position in a portion")]
    fn word(&self) -> u64 {
        let place = within::<{ PORTION - 1 }>(self.position as u32) as usize;
        let start = self.bytes.as_ptr().wrapping_add(place).cast::<[u8; WORD]>();
        // SAFETY: the place is in the portion, behind which there are so many bytes.
        u64::from_le_bytes(unsafe { start.read() })
    }

    /// Passes over bytes, of which so many are in the portion.
    #[inline(always)]
    fn pass(&mut self, bytes: u64, there: u64) {
        if bytes < there {
            self.position = self.position.wrapping_add(bytes);
        } else {
            self.position = self.end;
            self.advance(bytes.wrapping_sub(there));
        }
    }

    /// Puts a segment into the portion that came before what has just been read; false if there is none.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a number of 32 bits")]
    fn take_piece(&mut self, key: &ConnectionKey, stored: &Cell<u32>) -> bool {
        let length = pieces::take(key, stored, self.next as u32, self.bytes.as_mut_ptr());
        self.next = u64::from((self.next as u32).wrapping_add(length));
        self.position = 0;
        self.end = u64::from(length);
        length > 0
    }

    /// Loads the next bytes; false if they cannot be read.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no packet is 4 GiB long")]
    fn fill<P: Packet>(&mut self, context: *mut c_void) -> bool {
        let wanted = if self.left < u64::from(PORTION) { self.left } else { u64::from(PORTION) };
        // Verifiers up to at least Linux 6.1 learn nothing from a comparison with zero.
        let length = within::<{ PORTION - 1 }>(wanted.wrapping_sub(1) as u32).wrapping_add(1);
        // SAFETY: the context is the packet's, and there is room for so many bytes.
        if unsafe { P::load(context, self.offset as u32, self.bytes.as_mut_ptr().cast(), length) } != 0 {
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
