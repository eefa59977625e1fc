//! Headers that matter, byte for byte: names that are cut by the end of a block, and the values.

use super::{
    Side, State, Stream, flag,
    lines::{CONTENT, ENCODING, ENCODING_END, LENGTH, TRANSFER},
};
use crate::service::Loss;

/// Bytes of the names before the colon.
const CONTENT_LENGTH: u64 = 14;
const TRANSFER_ENCODING: u64 = 17;
/// No body is longer, in bytes.
const LENGTH_MAX: u64 = 1 << 52;
const CHUNKED: u64 = u64::from_le_bytes(*b"chunked\0");

impl Stream {
    #[inline(always)]
    pub(super) fn header<S: Side>(&mut self, side: &mut S) {
        let byte = self.block.at(self.position).byte(0);
        #[expect(clippy::wildcard_enum_match_arm, reason = "those that begin with a header, and no others")]
        match self.state {
            State::LineStart => self.first_byte(byte, side),
            State::Name => self.name(byte, side),
            State::Length => self.length(byte, side),
            State::Encoding => self.encoding(byte, side),
            _ => self.headers_end(byte, side),
        }
    }

    #[inline(always)]
    fn first_byte<S: Side>(&mut self, byte: u8, side: &mut S) {
        match byte {
            b'\r' => {
                self.advance(1);
                self.state = State::HeadersEnd;
            }
            b'\n' => {
                self.advance(1);
                self.headers_ended(side);
            }
            b' ' | b'\t' => self.lose(Loss::Folded, side),
            b'c' | b'C' => self.name_begins(1, 0),
            b't' | b'T' => self.name_begins(1, flag::NAME_IS_ENCODING),
            _ => self.state = State::Line,
        }
    }

    #[inline(always)]
    fn headers_end<S: Side>(&mut self, byte: u8, side: &mut S) {
        self.advance(1);
        if byte == b'\n' { self.headers_ended(side) } else { self.lose(Loss::Header, side) }
    }

    #[inline(always)]
    fn name<S: Side>(&mut self, byte: u8, side: &mut S) {
        let index = self.index;
        let is_encoding = self.flags & flag::NAME_IS_ENCODING != 0;
        let word = match (is_encoding, index) {
            (true, 0..8) => TRANSFER,
            (true, 8..16) => ENCODING,
            (true, _) => ENCODING_END,
            (false, 0..8) => CONTENT,
            (false, _) => LENGTH,
        };
        let wanted = (word >> (index & 7).wrapping_mul(8) & 0xff) as u8;
        let end = if is_encoding { TRANSFER_ENCODING } else { CONTENT_LENGTH };
        if index == end {
            match byte {
                b':' if is_encoding => {
                    self.advance(1);
                    (self.state, self.index) = (State::Encoding, 0);
                }
                b':' => self.length_begins(1, side),
                // Some servers take the name without the space, some with it (RFC 9112 section 5.1).
                b' ' | b'\t' => self.lose(Loss::Header, side),
                _ => self.state = State::Line,
            }
        } else if byte == wanted || (wanted.is_ascii_lowercase() && byte | 0x20 == wanted) {
            self.advance(1);
            self.index = index.wrapping_add(1);
        } else {
            self.state = State::Line;
        }
    }

    /// The index is 0 before the digits, 1 among them, 2 in the spaces behind, 3 behind a carriage return.
    #[inline(always)]
    fn length<S: Side>(&mut self, byte: u8, side: &mut S) {
        let (index, digit) = (self.index, byte.wrapping_sub(b'0'));
        self.advance(1);
        match byte {
            b'0'..=b'9' if index <= 1 && self.number <= LENGTH_MAX => {
                self.number = self.number.wrapping_mul(10).wrapping_add(u64::from(digit));
                self.index = 1;
            }
            b' ' | b'\t' if index == 0 => {}
            b' ' | b'\t' if index <= 2 => self.index = 2,
            b'\r' if index == 1 || index == 2 => self.index = 3,
            b'\n' if index != 0 => {
                self.flags |= flag::LENGTH;
                (self.state, self.index) = (State::LineStart, 0);
            }
            _ => self.lose(Loss::ContentLength, side),
        }
    }

    /// The index counts the letters of "chunked", and is 8 behind them and 9 behind a carriage return.
    #[inline(always)]
    fn encoding<S: Side>(&mut self, byte: u8, side: &mut S) {
        let index = self.index;
        self.advance(1);
        match byte {
            b' ' | b'\t' if index == 0 => {}
            b' ' | b'\t' if index == 7 || index == 8 => self.index = 8,
            b'\r' if index == 7 || index == 8 => self.index = 9,
            b'\n' if index >= 7 && self.flags & flag::CHUNKED == 0 => {
                self.flags |= flag::CHUNKED;
                (self.state, self.index) = (State::LineStart, 0);
            }
            _ if index < 7 && u64::from(byte | 0x20) == CHUNKED >> index.wrapping_mul(8) & 0xff => {
                self.index = index.wrapping_add(1);
            }
            _ => self.lose(Loss::TransferEncoding, side),
        }
    }
}
