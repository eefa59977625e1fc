//! Bytes that came before others that belong in front of them, until those come.
//!
//! An entry of the map can be given to another connection at any time. So nothing is ever written to one that is in the
//! map, and what was read from one counts only if it is still there under its key: nobody but the reader, who has the
//! lock of the connection, can have put it there again.

use core::{cell::Cell, ffi::c_void};

use aya_ebpf::{
    btf_maps::{LruHashMap, PerCpuArray},
    helpers::{bpf_loop, generated::bpf_probe_read_kernel},
    macros::btf_map,
};
use foobar_common::{
    ahead::{BLOCKS_MAX, Block, BlockKey, SPAN, Window, number, place},
    connection::ConnectionKey,
    frame::within,
};

use super::segment::{Packet, Segment};

#[btf_map]
static SEGMENTS_AHEAD: LruHashMap<BlockKey, Block, { BLOCKS_MAX as usize }> = LruHashMap::new();
/// Where blocks are made and changed: they are too large for the stack.
#[btf_map]
static BLOCK_CHANGES: PerCpuArray<Change, 1> = PerCpuArray::new();

/// How many blocks are forgotten at once: what a segment of 64 KiB passes over, and as many that are left to do.
const FORGOTTEN: u32 = 128;

/// What is kept of a connection whose lock the caller has.
#[derive(Clone, Copy)]
pub(super) struct Ahead<'a> {
    /// Which one.
    pub(super) connection: &'a ConnectionKey,
    /// Sequence number of its client's first byte.
    pub(super) first: u32,
    /// The [`Window`] of what is kept.
    pub(super) window: &'static Cell<u32>,
}

/// The same while bytes of the connection are read. Its key takes more of the stack than is left for that.
pub(super) struct Kept {
    change: &'static mut Change,
    window: &'static Cell<u32>,
}

/// Bytes of a segment while they are put into blocks, and the key of those that are looked up.
#[repr(C)]
struct Change {
    key: BlockKey,
    /// Where the next bytes lie in the packet.
    offset: u64,
    /// Sequence number of the first of them.
    sequence: u32,
    /// How many are left.
    left: u32,
    block: Block,
    /// Behind the block is room for as many bytes: the verifier does not see that place and length fit together.
    room: [u8; Block::LENGTH as usize],
}

/// What a turn of a loop over blocks is given.
#[repr(C)]
struct Turn {
    change: &'static mut Change,
    context: *mut c_void,
}

impl Ahead<'_> {
    /// Keeps a segment until those before it have come; `None` if there is no room for all of it. `next` is the sequence
    /// number of the byte that is to be read next, which comes before the segment.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no packet is 4 GiB long")]
    pub(super) fn keep<P: Packet>(self, segment: &Segment, next: u32, context: *mut c_void) -> Option<()> {
        let change = change()?;
        let (sequence, whole) = (segment.sequence(), segment.length as u32);
        let window = match self.window.get() {
            0 => Window { begin: number(next), length: 0 },
            word => Window::from_word(word),
        };
        let room = window.room(sequence);
        let wanted = if whole < room { whole } else { room };
        if wanted == 0 {
            return None;
        }
        change.key = self.key();
        change.offset = segment.offset;
        change.sequence = sequence;
        change.left = wanted;
        let mut turn = Turn { change, context };
        let callback: unsafe extern "C" fn(u32, *mut Turn) -> i64 = keep_some::<P>;
        // SAFETY: the callback has the signature that the helper asks for (Linux 5.17), and its argument outlives the call.
        unsafe { bpf_loop(SPAN, callback as *mut c_void, (&raw mut turn).cast(), 0) };
        // What there was room for is kept, and is to be taken.
        self.window.set(window.with(sequence.wrapping_add(wanted).wrapping_sub(1)).word());
        (turn.change.left == 0 && wanted == whole).then_some(())
    }

    /// What is kept, to be taken while bytes are read.
    #[inline(always)]
    pub(super) fn kept(self) -> Option<Kept> {
        let change = change()?;
        if self.window.get() != 0 {
            change.key = self.key();
        }
        Some(Kept { change, window: self.window })
    }

    /// Forgets what is of no more use, since the byte that is to be read next is the one with this sequence number.
    #[inline(always)]
    pub(super) fn forget_before(self, next: u32) {
        let word = self.window.get();
        if word == 0 {
            return;
        }
        let window = Window::from_word(word);
        let passed = window.passed(next);
        let blocks = if passed < FORGOTTEN { passed } else { FORGOTTEN };
        let Some(change) = change() else { return };
        change.key = self.key();
        change.sequence = window.begin.wrapping_mul(Block::LENGTH);
        let mut turn = Turn { change, context: core::ptr::null_mut() };
        let callback: unsafe extern "C" fn(u32, *mut Turn) -> i64 = forget_one;
        // SAFETY: as in `keep`.
        unsafe { bpf_loop(blocks, callback as *mut c_void, (&raw mut turn).cast(), 0) };
        self.window.set(window.behind(blocks).word());
    }

    /// The key of its blocks, but for their number.
    #[inline(always)]
    fn key(self) -> BlockKey {
        BlockKey { connection: *self.connection, first: self.first, number: 0 }
    }
}

impl Kept {
    /// Copies what was kept from the byte with the sequence number `next` on to `block`, which has room for
    /// [`Block::LENGTH`] bytes. How many bytes that are; zero if nobody has it.
    #[inline(always)]
    pub(super) fn take(&mut self, next: u32, block: *mut u8) -> u32 {
        if self.window.get() == 0 {
            return 0;
        }
        self.change.key.number = number(next);
        let key = &self.change.key;
        let Some(found) = SEGMENTS_AHEAD.get_ptr(key) else { return 0 };
        // SAFETY: the map gave the pointer. Whatever happens to the entry, it has bytes.
        let kept = unsafe { &*found };
        let start = place(next);
        let there = kept.run(start);
        if there == 0 {
            return 0;
        }
        let length = within::<{ Block::LENGTH - 1 }>(there.wrapping_sub(1)).wrapping_add(1);
        let from = kept.as_ptr().wrapping_add(start as usize);
        // SAFETY: the target has room for a block, and the helper takes any address of the kernel (Linux 5.5).
        let is_read = unsafe { bpf_probe_read_kernel(block.cast(), length, from.cast()) } == 0;
        if is_read && is_there(key, found) { length } else { 0 }
    }
}

/// Where blocks are changed.
#[inline(always)]
fn change() -> Option<&'static mut Change> {
    let change = BLOCK_CHANGES.get_ptr_mut(0)?;
    // SAFETY: the map gave the pointer, programs of one direction do not interrupt each other on a processor, and each
    // reference is out of use when the next one is made.
    Some(unsafe { &mut *change })
}

/// Whether an entry is still the one with this key.
#[inline(always)]
fn is_there(key: &BlockKey, found: *const Block) -> bool {
    SEGMENTS_AHEAD.get_ptr(key) == Some(found)
}

/// Puts bytes into the next block; 1 ends the loop.
unsafe extern "C" fn keep_some<P: Packet>(_number: u32, turn: *mut Turn) -> i64 {
    // SAFETY: the argument that was given to the helper.
    let Turn { change, context } = unsafe { &mut *turn };
    if change.left == 0 { 1 } else { i64::from(change.keep_some::<P>(*context).is_none()) }
}

/// Forgets the next block; 1 would end the loop.
unsafe extern "C" fn forget_one(_number: u32, turn: *mut Turn) -> i64 {
    // SAFETY: the argument that was given to the helper.
    let Turn { change, .. } = unsafe { &mut *turn };
    change.key.number = number(change.sequence);
    let key = &change.key;
    // Most of them nobody has kept.
    let _there: Result<(), i32> = SEGMENTS_AHEAD.remove(key);
    change.sequence = change.sequence.wrapping_add(Block::LENGTH);
    0
}

impl Change {
    /// Puts bytes into the block that they begin in; `None` if there is no room.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no packet is 4 GiB long")]
    fn keep_some<P: Packet>(&mut self, context: *mut c_void) -> Option<()> {
        self.key.number = number(self.sequence);
        let start = place(self.sequence);
        let room = Block::LENGTH.wrapping_sub(start);
        let wanted = if self.left < room { self.left } else { room };
        // Verifiers up to at least Linux 6.1 learn nothing from a comparison with zero.
        let length = within::<{ Block::LENGTH - 1 }>(wanted.wrapping_sub(1)).wrapping_add(1);
        let old = self.copy();
        self.block.note(start, start.wrapping_add(length), old);
        let to = self.block.as_mut_ptr().wrapping_add(start as usize);
        // SAFETY: the context is the packet's, and there is room for a block behind the last place of this one.
        if unsafe { P::load(context, self.offset as u32, to.cast(), length) } != 0 {
            return None;
        }
        let Self { key, block, .. } = &*self;
        SEGMENTS_AHEAD.insert(key, block, 0).ok()?;
        self.offset = self.offset.wrapping_add(u64::from(length));
        self.sequence = self.sequence.wrapping_add(length);
        self.left = self.left.wrapping_sub(length);
        Some(())
    }

    /// Copies the block, if it is kept; all bits set if it was.
    #[inline(always)]
    fn copy(&mut self) -> u64 {
        let key = &self.key;
        let Some(found) = SEGMENTS_AHEAD.get_ptr(key) else { return 0 };
        let to = (&raw mut self.block).cast();
        // SAFETY: the target is a block, and the helper takes any address of the kernel (Linux 5.5).
        let is_read = unsafe { bpf_probe_read_kernel(to, Block::SIZE, found.cast()) } == 0;
        if is_read && is_there(key, found) { u64::MAX } else { 0 }
    }
}
