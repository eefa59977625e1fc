//! Lines of which nothing but the end matters.

use super::{Block, Framing, Side, State, Stream, first_line::PREFACE, flag};
use crate::service::{Loss, Method};

/// The eight bytes before the line feed that ends the first line of a request.
const VERSION: u64 = u64::from_le_bytes(*b"HTTP/1.0");
const VERSION_AND_RETURN: u64 = u64::from_le_bytes(*b"TTP/1.0\r");
/// The same of the preface of HTTP/2.
const VERSION_2: u64 = u64::from_le_bytes(*b"TTP/2.0\r");
/// The last digit of the version is any digit.
const MINOR: u64 = 0x0f << 56;
const MINOR_AND_RETURN: u64 = 0x0f << 48;

/// The beginnings of names that matter, in lower case.
pub(super) const CONTENT: u64 = u64::from_le_bytes(*b"content-");
pub(super) const LENGTH: u64 = u64::from_le_bytes(*b"length:\0");
pub(super) const TRANSFER: u64 = u64::from_le_bytes(*b"transfer");
pub(super) const ENCODING: u64 = u64::from_le_bytes(*b"-encodin");
pub(super) const ENCODING_END: u64 = u64::from_le_bytes(*b"g:\0\0\0\0\0\0");
/// The bytes of [`LENGTH`] without and with the colon.
const NAME: u64 = 0xffff_ffff_ffff;
const NAME_AND_COLON: u64 = 0xff_ffff_ffff_ffff;
/// Makes letters small; a hyphen stays what it is.
const SMALL: u64 = 0x2020_2020_2020_2020;
/// A carriage return would become a hyphen.
const SMALL_BUT_LAST: u64 = SMALL & !(0xff << 56);

/// How many lines that do not matter are read in one step.
const PLAIN_LINES: u32 = 4;

impl Stream {
    /// Reads on to the end of the line, as far as one search goes.
    #[inline(always)]
    pub(super) fn line<S: Side>(&mut self, side: &mut S) {
        let mut distance = self.block.line_feed(self.position);
        if matches!(self.state, State::Line) {
            distance = self.plain_lines(distance);
        }
        let left = self.left();
        if distance >= left {
            self.position = self.end;
            return;
        }
        if distance == Block::STRETCH {
            self.advance(Block::STRETCH);
            return;
        }
        let line_feed = self.position.wrapping_add(distance);
        if matches!(self.state, State::ChunkLine | State::TrailerLine) {
            let is_last = matches!(self.state, State::TrailerLine) || self.number == 0;
            self.state = if is_last { State::TrailerStart } else { State::ChunkData };
            self.position = line_feed.wrapping_add(1);
            return;
        }
        if matches!(self.state, State::RequestLine) {
            let version = self.block.before(line_feed);
            if self.index == PREFACE {
                if version == VERSION_2 {
                    self.position = line_feed.wrapping_add(1);
                    self.state = State::Http2;
                    return;
                }
                if side.is_switched() {
                    self.state = State::Tunnel;
                    return;
                }
                self.index = u64::from(Method::Other.number());
            }
            if !is_version(version) {
                self.lose(Loss::NotHttp, side);
                return;
            }
            side.requested(self.index);
            (self.index, self.number, self.flags) = (0, 0, 0);
        }
        self.line_start(distance, side);
    }

    /// Reads on over lines that do not matter, from one that does not to the last line feed that was found; gives how far
    /// behind the position that one is. Everything in registers: most of what headers are is read here.
    #[inline(always)]
    fn plain_lines(&mut self, mut distance: u64) -> u64 {
        let (mut position, end) = (self.position, self.end);
        for _ in 0..PLAIN_LINES {
            let next = position.wrapping_add(distance).wrapping_add(1);
            if distance == Block::STRETCH
                || next.wrapping_add(8) > end
                || !is_plain(self.block.at(position).behind(distance).word(0))
            {
                break;
            }
            position = next;
            distance = self.block.line_feed(position);
        }
        self.position = position;
        distance
    }

    /// A header line begins behind the line feed that is `distance` from here: most say by their first word that they
    /// do not matter.
    #[inline(always)]
    fn line_start<S: Side>(&mut self, distance: u64, side: &mut S) {
        let place = self.block.at(self.position).behind(distance);
        let (word, second, value) = (place.word(0), place.word(8), place.word(15));
        self.advance(distance.wrapping_add(1));
        let left = self.left();
        if left < 8 {
            self.state = State::LineStart;
            return;
        }
        let first = (word & 0xff) as u8;
        if word & 0xffff == 0x0a0d {
            self.advance(2);
            self.headers_ended(side);
            return;
        }
        if first <= b' ' {
            self.state = State::LineStart;
            return;
        }
        self.state = State::Line;
        if word | SMALL_BUT_LAST == CONTENT {
            let rest = second | (SMALL >> 16);
            if left < 16 {
                self.name_begins(8, 0);
            } else if rest & NAME_AND_COLON == LENGTH {
                self.length_begins(15, side);
                if left >= 24 {
                    self.short_length(value);
                }
            } else if rest & NAME == LENGTH & NAME {
                self.name_begins(8, 0);
            }
        } else if word | SMALL == TRANSFER {
            self.name_begins(8, flag::NAME_IS_ENCODING);
        }
    }

    /// Most lengths are a few digits behind a space, and their line ends there; others are read byte for byte.
    #[inline(always)]
    fn short_length(&mut self, value: u64) {
        if !matches!(self.state, State::Length) {
            return;
        }
        let has_space = value & 0xff == 0x20;
        let (mut rest, mut bytes) = if has_space { (value >> 8, 1) } else { (value, 0) };
        let (mut number, mut digits) = (0_u64, 0_u64);
        // With the space and the end of the line, eight bytes.
        for _ in 0..5 {
            let digit = (rest & 0xff).wrapping_sub(0x30);
            if digit > 9 {
                break;
            }
            number = number.wrapping_mul(10).wrapping_add(digit);
            digits = digits.wrapping_add(1);
            rest >>= 8;
        }
        if digits == 0 || rest & 0xffff != 0x0a0d {
            return;
        }
        bytes = digits.wrapping_add(bytes);
        self.flags |= flag::LENGTH;
        self.number = number;
        self.state = State::Line;
        self.advance(bytes);
    }

    /// So many bytes of a name that can matter have been read.
    #[inline(always)]
    pub(super) fn name_begins(&mut self, bytes: u64, flag: u64) {
        self.advance(bytes);
        self.state = State::Name;
        self.index = bytes;
        self.flags = self.flags & !flag::NAME_IS_ENCODING | flag;
    }

    /// The value of a Content-Length begins after so many bytes.
    #[inline(always)]
    pub(super) fn length_begins<S: Side>(&mut self, bytes: u64, side: &mut S) {
        if self.flags & flag::LENGTH != 0 {
            self.lose(Loss::ContentLength, side);
            return;
        }
        self.advance(bytes);
        (self.state, self.index, self.number) = (State::Length, 0, 0);
    }

    /// The headers have ended: what follows is a body or the next message.
    #[inline(always)]
    pub(super) fn headers_ended<S: Side>(&mut self, side: &mut S) {
        let (flags, length) = (self.flags, self.number);
        (self.index, self.flags, self.number) = (0, 0, 0);
        match side.framing(flags) {
            Framing::None => {
                self.state = State::Start;
                if flags & flag::INTERIM == 0 {
                    side.ended();
                }
            }
            Framing::Tunnel => {
                // What follows 101 tells by its first byte what it is.
                let is_open = flags & flag::SWITCHING != 0 && side.may_be_http2();
                self.state = if is_open { State::Start } else { State::Tunnel };
                side.ended();
            }
            Framing::Lost(loss) => self.lose(loss, side),
            Framing::ByHeaders => match (flags & flag::LENGTH != 0, flags & flag::CHUNKED != 0) {
                (true, true) => self.lose(Loss::TwoLengths, side),
                (false, true) => self.state = State::ChunkSize,
                (true, false) if length > 0 => {
                    self.number = length;
                    self.state = State::Body;
                }
                (false, false) if S::RESPONSES => self.state = State::UntilClose,
                (true | false, false) => {
                    self.state = State::Start;
                    side.ended();
                }
            },
        }
    }
}

/// Whether a line of headers that begins with these bytes goes on with none of the names that matter, and is neither the end
/// of the headers nor part of the line before it.
#[inline(always)]
const fn is_plain(word: u64) -> bool {
    (word & 0xff) > b' ' as u64 && word | SMALL_BUT_LAST != CONTENT && word | SMALL != TRANSFER
}

/// Whether a request line ends with these bytes and a line feed.
#[inline(always)]
const fn is_version(word: u64) -> bool {
    (word & !MINOR == VERSION && (word >> 56) & 0x0f <= 9)
        || (word & !MINOR_AND_RETURN == VERSION_AND_RETURN && (word >> 48) & 0x0f <= 9)
}
