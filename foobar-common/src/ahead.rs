//! What is kept of bytes that came before others that belong in front of them, until those come.
//!
//! The sequence numbers of a direction are cut into blocks. A block is kept from the first of its bytes on, with a bit for
//! each byte that has come. So it makes no difference how bytes were cut into segments, how often each came and in which
//! order, and what comes next is looked up by its number: nothing is searched.

use crate::{
    connection::ConnectionKey,
    frame::{mask_if_highest, within},
};

/// How many blocks one connection can have at most of what there is for all of them.
pub const SPAN: u32 = (1 << LENGTH_BITS) - 1;
/// How many blocks are kept of all connections; those that were longest without use are forgotten.
pub const BLOCKS_MAX: u32 = 6_656;

/// How many blocks all sequence numbers are.
const NUMBERS: u32 = 1 << (u32::BITS - LENGTH_BITS);
/// So many bits of a sequence number are a place in a block.
const LENGTH_BITS: u32 = Block::LENGTH.ilog2();
const WORDS: usize = Block::LENGTH as usize / u64::BITS as usize;

/// Which block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct BlockKey {
    /// Of which connection's client.
    pub connection: ConnectionKey,
    /// Sequence number of the client's first byte: what is left of another connection with the same ends is not this one's.
    pub first: u32,
    /// Its [`number`].
    pub number: u32,
}

/// Bytes of a connection from one multiple of [`Block::LENGTH`] to the next, as far as they have come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Block {
    /// Bit `n % 64` of word `n / 64`: byte `n` is there.
    there: [u64; WORDS],
    bytes: [u8; Self::LENGTH as usize],
}

/// The number of the block with the byte of this sequence number.
#[inline(always)]
pub const fn number(sequence: u32) -> u32 {
    sequence / Block::LENGTH
}

/// Where in its block the byte with this sequence number lies.
#[inline(always)]
pub fn place(sequence: u32) -> u32 {
    within::<{ Block::LENGTH - 1 }>(sequence)
}

/// Between which numbers blocks are kept of a connection, as its record has it: a word that is zero if there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The number of the first block that may be kept.
    pub begin: u32,
    /// How many there may be from that on, at most [`SPAN`].
    pub length: u32,
}

impl Window {
    /// The one that a word stands for.
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        Self { begin: word >> LENGTH_BITS, length: word & SPAN }
    }

    /// As a word.
    #[inline(always)]
    pub const fn word(self) -> u32 {
        if self.length == 0 { 0 } else { self.begin << LENGTH_BITS | self.length }
    }

    /// How many bytes there is room for from a sequence number on, to which the window is made longer if it has to be.
    #[inline(always)]
    pub const fn room(self, sequence: u32) -> u32 {
        let end = self.begin.wrapping_add(SPAN) << LENGTH_BITS;
        let room = end.wrapping_sub(sequence);
        if room <= SPAN << LENGTH_BITS { room } else { 0 }
    }

    /// The window with the block of the byte with this sequence number, for which there is room.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, sequence: u32) -> Self {
        let length = numbers_behind(number(sequence), self.begin).wrapping_add(1);
        Self { length: if length > self.length { length } else { self.length }, ..self }
    }

    /// How many of its blocks lie before the one of the byte with this sequence number.
    #[inline(always)]
    pub const fn passed(self, next: u32) -> u32 {
        let passed = numbers_behind(number(next), self.begin);
        if passed > NUMBERS / 2 {
            0
        } else if passed < self.length {
            passed
        } else {
            self.length
        }
    }

    /// What is left of it behind so many blocks.
    #[inline(always)]
    #[must_use]
    pub const fn behind(self, blocks: u32) -> Self {
        let begin = self.begin.wrapping_add(blocks) % NUMBERS;
        Self { begin, length: self.length.wrapping_sub(blocks) }
    }
}

/// How far a number is behind another one.
#[inline(always)]
const fn numbers_behind(number: u32, other: u32) -> u32 {
    number.wrapping_sub(other) % NUMBERS
}

impl Block {
    /// Bytes of a block, a power of two.
    pub const LENGTH: u32 = 1024;
    /// Bytes of this record.
    pub const SIZE: u32 = Self::LENGTH / u8::BITS + Self::LENGTH;

    /// One of which nothing has come.
    pub const fn new() -> Self {
        Self { there: [0; WORDS], bytes: [0; Self::LENGTH as usize] }
    }

    /// Where its bytes are.
    #[inline(always)]
    pub fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    /// Where its bytes go.
    #[inline(always)]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }

    /// Notes that bytes from place `start` on are there now, up to the one before `end`. `old` is all bits set if those
    /// that have been noted before are there, too, and none if the block is another one now.
    #[inline(always)]
    pub fn note(&mut self, start: u32, end: u32, old: u64) {
        let mut first: u64 = 0;
        for word in &mut self.there {
            *word = (*word & old) | (bits_from(start, first) & !bits_from(end, first));
            first = first.wrapping_add(64);
        }
    }

    /// How many bytes are there from this place on without a hole.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a place in a block")]
    pub fn run(&self, start: u32) -> u32 {
        // The first hole: behind the block, if there is none before.
        let (mut end, mut hole) = (u64::from(Self::LENGTH), 1);
        let mut first = end;
        for word in self.there.iter().rev() {
            first = first.wrapping_sub(64);
            let holes = !word & bits_from(start, first);
            let any = mask_if_any(holes);
            end = (first & any) | (end & !any);
            hole = (holes & any) | (hole & !any);
        }
        end.wrapping_add(lowest(hole)).wrapping_sub(u64::from(start)) as u32
    }
}

impl Default for Block {
    fn default() -> Self {
        Self::new()
    }
}

/// The bits for the bytes from this place on, in the word whose first bit is for the byte at `first`.
#[inline(always)]
fn bits_from(place: u32, first: u64) -> u64 {
    // Below zero if it lies before the word.
    let distance = u64::from(place).wrapping_sub(first);
    let is_before = mask_if_highest(distance);
    let is_inside_or_before = mask_if_highest(distance.wrapping_sub(64));
    is_before | (is_inside_or_before & (u64::MAX << (distance & 63)))
}

/// The number of the lowest bit that is set. There is no instruction for that.
#[inline(always)]
fn lowest(word: u64) -> u64 {
    let bit = word & word.wrapping_neg();
    let digit = |mask: u64, digit: u64| mask_if_any(bit & mask) & digit;
    digit(0xaaaa_aaaa_aaaa_aaaa, 1)
        | digit(0xcccc_cccc_cccc_cccc, 2)
        | digit(0xf0f0_f0f0_f0f0_f0f0, 4)
        | digit(0xff00_ff00_ff00_ff00, 8)
        | digit(0xffff_0000_ffff_0000, 16)
        | digit(0xffff_ffff_0000_0000, 32)
}

/// All bits set if any bit of `word` is, otherwise none.
#[inline(always)]
fn mask_if_any(word: u64) -> u64 {
    mask_if_highest(word | word.wrapping_neg())
}
