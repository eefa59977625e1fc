//! From bytes to what they say, in turns of one loop, for protocols that are read word by word.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_loop;
use foobar_common::{frame::within, service::Loss, stream::Reader};

/// Bytes that are loaded at once, a power of two.
pub(crate) const PORTION: u32 = 2048;
/// Bytes that are given to be read at a time, at most.
const WORD: usize = 8;
/// A segment has at most 64 KiB or, as BIG TCP, 512 KiB; each turn reads at least a byte.
const TURNS: u32 = 1 << 20;
/// Steps of a turn: each turn costs a call.
const STEPS: usize = 3;

/// Where bytes come from.
pub(crate) trait Source {
    /// Why bytes are lost that cannot be read.
    const UNREADABLE: Loss;

    /// Copies bytes that lie `offset` behind its beginning to `place`, which has room for `length` of them; zero if it
    /// went well.
    ///
    /// # Safety
    /// `context` must be what stands for the source, and `place` must be valid for writes of so many bytes.
    unsafe fn load(context: *mut c_void, offset: u32, place: *mut c_void, length: u32) -> i64;
}

/// What came too early and may follow.
pub(crate) trait Ahead {
    /// Copies what begins with the byte of the sequence number `next` to `place`, which has room for [`PORTION`] bytes. How
    /// many bytes that are; zero if there are none.
    fn take(&mut self, next: u32, place: *mut u8) -> u32;
}

/// Nothing comes too early.
pub(crate) struct InOrder;

impl Ahead for InOrder {
    #[inline(always)]
    fn take(&mut self, _next: u32, _place: *mut u8) -> u32 {
        0
    }
}

/// Bytes, while they are read. In a map, since the verifier follows what changes on the stack turn by turn.
#[repr(C)]
pub(crate) struct Reading {
    /// Where the next bytes lie in their source.
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

/// Bytes that are to be read.
#[derive(Clone, Copy)]
pub(crate) struct Bytes {
    /// Where they lie in their source.
    pub(crate) offset: u64,
    /// How many there are.
    pub(crate) length: u64,
    /// Sequence number of the byte behind them.
    pub(crate) next: u32,
}

/// What has become of them.
#[derive(Clone, Copy)]
pub(crate) struct Outcome {
    /// Sequence number of the byte behind all that has been read.
    pub(crate) next: u32,
    /// How many bytes were not.
    pub(crate) unread: u64,
}

/// What a turn is given: pointers, which keep their types on the stack, and what never changes.
#[repr(C)]
struct Turn<R, A> {
    reading: &'static mut Reading,
    reader: R,
    context: *mut c_void,
    ahead: A,
}

/// Reads bytes, and what came before that belongs behind them.
///
/// # Safety
/// `context` must be what stands for the source.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a number of 32 bits")]
pub(crate) unsafe fn read<S: Source, R: Reader, A: Ahead>(
    reading: &'static mut Reading,
    bytes: Bytes,
    reader: R,
    ahead: A,
    context: *mut c_void,
) -> Outcome {
    reading.offset = bytes.offset;
    reading.position = 0;
    reading.left = bytes.length;
    reading.end = 0;
    reading.next = u64::from(bytes.next);
    let mut turn = Turn { reading, reader, context, ahead };
    let callback: unsafe extern "C" fn(u32, *mut Turn<R, A>) -> i64 = one_turn::<S, R, A>;
    // SAFETY: the callback has the signature that the helper asks for (Linux 5.17), and its argument outlives the call.
    unsafe { bpf_loop(TURNS, callback as *mut c_void, (&raw mut turn).cast(), 0) };
    let Turn { reading, .. } = turn;
    Outcome { next: reading.next as u32, unread: reading.in_portion().wrapping_add(reading.left) }
}

/// A turn of the loop; 1 ends it.
unsafe extern "C" fn one_turn<S: Source, R: Reader, A: Ahead>(_number: u32, turn: *mut Turn<R, A>) -> i64 {
    // SAFETY: the argument that was given to the helper.
    i64::from(unsafe { &mut *turn }.run::<S>())
}

impl<R: Reader, A: Ahead> Turn<R, A> {
    /// Reads on; true at the end.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "nothing that is read at once is 4 GiB long")]
    fn run<S: Source>(&mut self) -> bool {
        let Self { reading, reader, context, ahead } = self;
        if reader.is_lost() {
            return true;
        }
        if reading.in_portion() == 0 {
            if reading.left == 0 {
                return !reading.take_ahead(ahead);
            }
            let passed = reader.pass(reading.left as u32);
            if passed > 0 {
                reading.advance(u64::from(passed));
            } else if !reading.fill::<S>(*context) {
                reader.lose(S::UNREADABLE);
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

    /// Puts bytes into the portion that came before what has just been read; false if there are none.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a number of 32 bits")]
    fn take_ahead<A: Ahead>(&mut self, ahead: &mut A) -> bool {
        let length = ahead.take(self.next as u32, self.bytes.as_mut_ptr());
        self.next = u64::from((self.next as u32).wrapping_add(length));
        self.position = 0;
        self.end = u64::from(length);
        length > 0
    }

    /// Loads the next bytes; false if they cannot be read.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "nothing that is read at once is 4 GiB long")]
    fn fill<S: Source>(&mut self, context: *mut c_void) -> bool {
        let wanted = if self.left < u64::from(PORTION) { self.left } else { u64::from(PORTION) };
        // Verifiers up to at least Linux 6.1 learn nothing from a comparison with zero.
        let length = within::<{ PORTION - 1 }>(wanted.wrapping_sub(1) as u32).wrapping_add(1);
        // SAFETY: the context is the one that was given, and there is room for so many bytes.
        if unsafe { S::load(context, self.offset as u32, self.bytes.as_mut_ptr().cast(), length) } != 0 {
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
