//! Bodies: bytes that are counted off, and what stands between chunks (RFC 9112 section 7.1).

use super::{Side, State, Stream};
use crate::service::Loss;

/// Digits of a chunk's size.
const SIZE_DIGITS: u64 = 13;

impl Stream {
    /// Takes note of as many of the next `bytes` as belong to the same part, and says how many.
    #[inline(always)]
    pub(super) fn count_off<S: Side>(&mut self, bytes: u64, side: &mut S) -> u64 {
        if matches!(self.state, State::Lost) {
            self.lost = self.lost.wrapping_add(bytes);
        }
        if !matches!(self.state, State::Body | State::ChunkData) {
            return bytes;
        }
        let left = self.number;
        if left > bytes {
            self.number = left.wrapping_sub(bytes);
            return bytes;
        }
        self.number = 0;
        if matches!(self.state, State::Body) {
            self.state = State::Start;
            side.ended();
        } else {
            self.state = State::ChunkEnd;
        }
        left
    }

    /// One byte of what is between chunks, or of the trailer.
    #[inline(always)]
    pub(super) fn between_chunks<S: Side>(&mut self, side: &mut S) {
        let byte = self.block.at(self.position).byte(0);
        self.advance(1);
        match (self.state, byte) {
            (State::ChunkSize, _) => self.chunk_size(byte, side),
            // The index is 1 behind a carriage return.
            (State::ChunkEnd, b'\n') => (self.state, self.index, self.number) = (State::ChunkSize, 0, 0),
            (State::ChunkEnd, b'\r') if self.index == 0 => self.index = 1,
            (State::TrailerStart, b'\r') => self.state = State::TrailerEnd,
            (State::TrailerStart | State::TrailerEnd, b'\n') => {
                self.state = State::Start;
                side.ended();
            }
            (State::TrailerStart, _) => self.state = State::TrailerLine,
            _ => self.lose(Loss::Chunk, side),
        }
    }

    /// The index counts the digits.
    #[inline(always)]
    fn chunk_size<S: Side>(&mut self, byte: u8, side: &mut S) {
        let index = self.index;
        let digit = match byte {
            b'0'..=b'9' => byte.wrapping_sub(b'0'),
            b'a'..=b'f' | b'A'..=b'F' => (byte | 0x20).wrapping_sub(b'a').wrapping_add(10),
            b'\r' | b'\n' | b';' | b' ' | b'\t' if index > 0 => {
                self.index = 0;
                self.state = match (byte, self.number) {
                    (b'\n', 0) => State::TrailerStart,
                    (b'\n', _) => State::ChunkData,
                    _ => State::ChunkLine,
                };
                return;
            }
            _ => return self.lose(Loss::Chunk, side),
        };
        if index >= SIZE_DIGITS {
            return self.lose(Loss::Chunk, side);
        }
        self.number = self.number << 4 | u64::from(digit);
        self.index = index.wrapping_add(1);
    }
}
