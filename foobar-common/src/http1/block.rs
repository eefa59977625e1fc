//! Bytes of a stream that are being read.

use crate::frame::within;

/// Bytes before the block that can be looked back at.
const LAST: usize = 8;
/// One less than a power of two: no byte further into a block is ever read.
const REACH: u32 = 0x1fff;
/// How far a search for the end of a line goes.
const STRETCH: u32 = 128;
/// Bytes behind a place that can be read from there.
const AHEAD: usize = STRETCH as usize + 32;

/// A part of a stream, and the eight bytes before it.
///
/// Reads never fail: behind the end are bytes of earlier blocks, which the reader has to tell by the length.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Block {
    bytes: [u8; LAST + REACH as usize + 1 + AHEAD],
}

/// A byte of a block, from which a bounded number of others can be read.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    block: &'a Block,
    /// The index of the byte in the array.
    index: usize,
}

impl Block {
    /// The most bytes that fit it.
    pub const LENGTH: u32 = 4096;
    /// How far a search for the end of a line goes.
    pub(super) const STRETCH: u64 = STRETCH as u64;

    pub(super) const fn new() -> Self {
        Self { bytes: [0; LAST + REACH as usize + 1 + AHEAD] }
    }

    /// Where to put bytes, at most [`Block::LENGTH`] of them.
    #[inline(always)]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr().wrapping_add(LAST)
    }

    /// Puts bytes there and says how many: what fits.
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        let places = self.bytes.iter_mut().skip(LAST).take(Self::LENGTH as usize);
        places.zip(bytes).map(|(place, byte)| *place = *byte).count()
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no block is so long")]
    pub(super) fn at(&self, position: u64) -> Place<'_> {
        Place { block: self, index: (within::<REACH>(position as u32) as usize).wrapping_add(LAST) }
    }

    /// The last eight bytes before a position, the first of them lowest.
    #[inline(always)]
    pub(super) fn before(&self, position: u64) -> u64 {
        let place = self.at(position);
        Place { index: place.index.wrapping_sub(LAST), ..place }.word(0)
    }

    /// Says what came before the block.
    #[inline(always)]
    pub(super) fn set_last(&mut self, word: u64) {
        // SAFETY: the array begins with so many bytes.
        unsafe { self.bytes.as_mut_ptr().cast::<[u8; 8]>().write(word.to_le_bytes()) };
    }

    /// Keeps the last bytes before a position: what follows is to be put in the place of the block.
    #[inline(always)]
    pub(super) fn keep_last(&mut self, position: u64) {
        self.set_last(self.before(position));
    }

    /// How far behind a position the next line feed is; [`Block::STRETCH`] if it is not among so many bytes.
    #[inline(always)]
    pub(super) fn line_feed(&self, position: u64) -> u64 {
        let place = self.at(position);
        let mut stride: usize = 0;
        while stride < STRETCH as usize {
            let marks = [0, 8, 16, 24].map(|more| line_feeds(place.word(stride.wrapping_add(more))));
            let [first, second, third, fourth] = marks;
            if first | second | third | fourth != 0 {
                let inside = if first != 0 {
                    lowest(first)
                } else if second != 0 {
                    lowest(second).wrapping_add(8)
                } else if third != 0 {
                    lowest(third).wrapping_add(16)
                } else {
                    lowest(fourth).wrapping_add(24)
                };
                return (stride as u64).wrapping_add(inside);
            }
            stride = stride.wrapping_add(32);
        }
        Self::STRETCH
    }
}

impl Place<'_> {
    /// The byte so much further on.
    #[inline(always)]
    pub(super) fn byte(self, ahead: usize) -> u8 {
        debug_assert!(ahead < AHEAD, "{ahead}");
        let place = self.start().wrapping_add(ahead);
        // SAFETY: `index` is at most `LAST` and `REACH`, and callers look no further than `AHEAD`.
        unsafe { place.read() }
    }

    /// Eight bytes from so much further on, the first of them lowest.
    #[inline(always)]
    pub(super) fn word(self, ahead: usize) -> u64 {
        debug_assert!(ahead.wrapping_add(8) <= AHEAD, "{ahead}");
        let place = self.start().wrapping_add(ahead).cast::<[u8; 8]>();
        // SAFETY: as above.
        u64::from_le_bytes(unsafe { place.read() })
    }

    /// The place behind a line feed that [`Block::line_feed`] found, less than [`Block::STRETCH`] further on.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no block is so long")]
    pub(super) fn behind(self, distance: u64) -> Self {
        let distance = within::<{ STRETCH - 1 }>(distance as u32) as usize;
        Self { index: self.index.wrapping_add(distance).wrapping_add(1), ..self }
    }

    #[inline(always)]
    fn start(self) -> *const u8 {
        self.block.bytes.as_ptr().wrapping_add(self.index)
    }
}

/// A word of eight times the same byte.
const fn repeated(byte: u8) -> u64 {
    (byte as u64).wrapping_mul(0x0101_0101_0101_0101)
}

/// Marks bytes that are line feeds with their highest bit; above the lowest mark there can be false ones.
#[inline(always)]
const fn line_feeds(word: u64) -> u64 {
    let differences = word ^ repeated(b'\n');
    differences.wrapping_sub(repeated(1)) & !differences & repeated(0x80)
}

/// The number of the lowest byte with a mark. There is no instruction for that; the product shifts a table of the
/// eight answers to where the one that is wanted is on top.
#[inline(always)]
const fn lowest(marks: u64) -> u64 {
    let lowest = (marks & marks.wrapping_neg()) >> 7;
    lowest.wrapping_mul(0x0001_0203_0405_0607) >> 56
}
