//! Bytes of a source that are read one portion after the other.

use core::ffi::c_void;

use foobar_common::frame::within;

use crate::stream::Source;

/// A portion of up to `LAST + 1` bytes, a power of two, with room for `ROOM`, and what is left in the source behind it.
#[repr(C)]
pub(crate) struct Portion<const LAST: u32, const ROOM: usize> {
    /// Where the next bytes lie in the source.
    offset: u64,
    /// How many are left there.
    left: u64,
    /// How far the portion has been read.
    position: u64,
    /// How much is in it.
    end: u64,
    bytes: [u8; ROOM],
}

impl<const LAST: u32, const ROOM: usize> Portion<LAST, ROOM> {
    /// Begins with nothing in the portion, and so many bytes from `offset` of the source on.
    #[inline(always)]
    pub(crate) fn begin(&mut self, offset: u64, length: u64) {
        self.offset = offset;
        self.left = length;
        self.position = 0;
        self.end = 0;
    }

    /// How many bytes of the portion have not been read.
    #[inline(always)]
    pub(crate) fn there(&self) -> u64 {
        self.end.wrapping_sub(self.position)
    }

    /// How many bytes are in the source behind the portion.
    #[inline(always)]
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Whether all of the portion has been read.
    #[inline(always)]
    pub(crate) fn is_used_up(&self) -> bool {
        self.position >= self.end
    }

    /// Where the portion has to be written by who fills it otherwise; then [`Self::filled`].
    #[inline(always)]
    pub(crate) fn place(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }

    /// Begins with so many bytes that are in the portion.
    #[inline(always)]
    pub(crate) fn filled(&mut self, length: u64) {
        self.position = 0;
        self.end = length;
    }

    /// Loads the next bytes; false if they cannot be read. There must be some left.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "nothing that is read at once is 4 GiB long")]
    pub(crate) fn fill<S: Source>(&mut self, context: *mut c_void) -> bool {
        let size = u64::from(LAST).wrapping_add(1);
        let wanted = if self.left < size { self.left } else { size };
        // Verifiers up to at least Linux 6.1 learn nothing from a comparison with zero.
        let length = within::<LAST>(wanted.wrapping_sub(1) as u32).wrapping_add(1);
        // SAFETY: the context is the one that was given, and there is room for so many bytes.
        if unsafe { S::load(context, self.offset as u32, self.bytes.as_mut_ptr().cast(), length) } != 0 {
            return false;
        }
        self.skip(u64::from(length));
        self.filled(u64::from(length));
        true
    }

    /// Passes over bytes of the source behind the portion.
    #[inline(always)]
    pub(crate) fn skip(&mut self, bytes: u64) {
        self.offset = self.offset.wrapping_add(bytes);
        self.left = self.left.wrapping_sub(bytes);
    }

    /// Passes over bytes that are in the portion.
    #[inline(always)]
    pub(crate) fn step(&mut self, bytes: u64) {
        self.position = self.position.wrapping_add(bytes);
    }

    /// Passes over bytes, of which so many are in the portion.
    #[inline(always)]
    pub(crate) fn pass(&mut self, bytes: u64, there: u64) {
        if bytes < there {
            self.step(bytes);
        } else {
            self.position = self.end;
            self.skip(bytes.wrapping_sub(there));
        }
    }

    /// Where the next byte lies in the portion.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a position in a portion")]
    pub(crate) fn next_place(&self) -> usize {
        within::<LAST>(self.position as u32) as usize
    }

    /// The next byte, which is passed.
    #[inline(always)]
    pub(crate) fn next_byte(&mut self) -> u8 {
        let place = self.next_place();
        self.step(1);
        self.bytes.get(place).copied().unwrap_or(0)
    }
}
