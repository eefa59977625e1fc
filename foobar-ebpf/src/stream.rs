//! From bytes to what they say, in turns of one loop, for protocols that are read word by word.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_loop;
use foobar_common::{service::Loss, stream::Reader};

use crate::portion::Portion;

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
    /// Behind it are bytes that a word at its end reaches into, and that do not count.
    portion: Portion<{ PORTION - 1 }, { PORTION as usize + WORD }>,
    /// Sequence number of the byte behind all that has been read or is about to be.
    next: u64,
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
    reading.portion.begin(bytes.offset, bytes.length);
    reading.next = u64::from(bytes.next);
    let mut turn = Turn { reading, reader, context, ahead };
    let callback: unsafe extern "C" fn(u32, *mut Turn<R, A>) -> i64 = one_turn::<S, R, A>;
    // SAFETY: the callback has the signature that the helper asks for (Linux 5.17), and its argument outlives the call.
    unsafe { bpf_loop(TURNS, callback as *mut c_void, (&raw mut turn).cast(), 0) };
    let Turn { reading, .. } = turn;
    Outcome {
        next: reading.next as u32,
        unread: reading.portion.there().wrapping_add(reading.portion.left()),
    }
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
        if reading.portion.there() == 0 {
            if reading.portion.left() == 0 {
                return !reading.take_ahead(ahead);
            }
            let passed = reader.pass(reading.portion.left() as u32);
            if passed > 0 {
                reading.portion.skip(u64::from(passed));
            } else if !reading.portion.fill::<S>(*context) {
                reader.lose(S::UNREADABLE);
            }
            return false;
        }
        for _ in 0..STEPS {
            let there = reading.portion.there();
            if there == 0 {
                break;
            }
            let passed = reader.pass(there.wrapping_add(reading.portion.left()) as u32);
            if passed > 0 {
                reading.portion.pass(u64::from(passed), there);
            } else {
                let bytes = if there < WORD as u64 { there as u32 } else { WORD as u32 };
                let read = reader.read(reading.word(), bytes);
                reading.portion.step(u64::from(read));
            }
        }
        false
    }
}

impl Reading {
    /// The next bytes, the first one lowest.
    #[inline(always)]
    fn word(&mut self) -> u64 {
        let start = self.portion.place().wrapping_add(self.portion.next_place()).cast::<[u8; WORD]>();
        // SAFETY: the place is in the portion, behind which there are so many bytes.
        u64::from_le_bytes(unsafe { start.read() })
    }

    /// Puts bytes into the portion that came before what has just been read; false if there are none.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a number of 32 bits")]
    fn take_ahead<A: Ahead>(&mut self, ahead: &mut A) -> bool {
        let length = ahead.take(self.next as u32, self.portion.place());
        self.next = u64::from((self.next as u32).wrapping_add(length));
        self.portion.filled(u64::from(length));
        length > 0
    }
}
