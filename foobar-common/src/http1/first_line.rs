//! The beginning of a message: the method of a request, version and status of a response.

use super::{Side, State, Stream, flag};
use crate::service::{Loss, Method};

const VERSION: u64 = u64::from_le_bytes(*b"HTTP/1.0");
/// The last digit is any digit.
const MINOR: u64 = 0x0f << 56;
/// Bytes of version, space and status.
const STATUS_END: u64 = 12;
/// No method is longer.
const METHOD_MAX: u64 = 32;

impl Stream {
    #[inline(always)]
    pub(super) fn first_line<S: Side>(&mut self, side: &mut S) {
        if S::RESPONSES { self.status_line(side) } else { self.request_line(side) }
    }

    #[inline(always)]
    fn request_line<S: Side>(&mut self, side: &mut S) {
        let place = self.block.at(self.position);
        let byte = place.byte(0);
        if matches!(self.state, State::Start) {
            let is_switched = side.is_switched();
            if is_switched && !(side.may_be_http2() && byte == b'P') {
                self.state = State::Tunnel;
                return;
            }
            // "a server [...] SHOULD ignore at least one empty line" (RFC 9112 section 2.2).
            if matches!(byte, b'\r' | b'\n') {
                self.advance(1);
                return;
            }
            side.begun();
            if self.left() >= 8 && !is_switched {
                let word = place.word(0);
                let found = if word & 0xffff_ffff == GET {
                    Some((4, Method::Get))
                } else if word & 0xff_ffff_ffff == POST {
                    Some((5, Method::Post))
                } else if word & 0xff_ffff_ffff == HEAD {
                    Some((5, Method::Head))
                } else {
                    None
                };
                if let Some((length, method)) = found {
                    self.advance(length);
                    (self.state, self.index) = (State::RequestLine, u64::from(method.number()));
                    return;
                }
            }
            (self.state, self.index, self.number) = (State::Token, 0, 0);
        }
        let index = self.index;
        self.advance(1);
        if byte == b' ' && index > 0 {
            let is_preface = self.number == PRI && side.may_be_http2();
            if side.is_switched() && !is_preface {
                self.state = State::Tunnel;
                return;
            }
            let method = if index > 8 { Method::Other } else { method(self.number) };
            let method = if is_preface { PREFACE } else { u64::from(method.number()) };
            (self.state, self.index) = (State::RequestLine, method);
        } else if index < METHOD_MAX && is_of_method(byte) {
            if index < 8 {
                self.number |= u64::from(byte) << (index & 7).wrapping_mul(8);
            }
            self.index = index.wrapping_add(1);
        } else if side.is_switched() {
            self.state = State::Tunnel;
        } else {
            self.lose(Loss::NotHttp, side);
        }
    }

    #[inline(always)]
    fn status_line<S: Side>(&mut self, side: &mut S) {
        let place = self.block.at(self.position);
        if matches!(self.state, State::Start) {
            // The settings that a server of HTTP/2 begins with are not long, and their length comes first.
            if side.may_be_http2() && place.byte(0) == 0 {
                self.state = State::Http2;
                return;
            }
            if side.is_switched() {
                self.state = State::Tunnel;
                return;
            }
            (self.state, self.index, self.number) = (State::Token, 0, 0);
            if self.left() >= STATUS_END {
                let (word, status) = (place.word(0), place.word(8));
                let digit = |number: u32| (status >> number.wrapping_mul(8) & 0xff).wrapping_sub(0x30);
                let (first, second, third) = (digit(1), digit(2), digit(3));
                let is_version = word & !MINOR == VERSION && (word >> 56) & 0x0f <= 9;
                if is_version && status & 0xff == 0x20 && first <= 9 && second <= 9 && third <= 9 {
                    self.advance(STATUS_END);
                    let tens = first.wrapping_mul(10).wrapping_add(second);
                    self.status(tens.wrapping_mul(10).wrapping_add(third), side);
                    return;
                }
            }
        }
        let byte = place.byte(0);
        let index = self.index;
        self.advance(1);
        self.index = index.wrapping_add(1);
        let digit = byte.wrapping_sub(b'0');
        match index {
            0..7 => {
                if u64::from(byte) != VERSION >> (index & 7).wrapping_mul(8) & 0xff {
                    self.lose(Loss::NotHttp, side);
                }
            }
            7 if digit <= 9 => {}
            8 if byte == b' ' => {}
            7 | 8 => self.lose(Loss::NotHttp, side),
            _ if digit > 9 => self.lose(Loss::Status, side),
            _ => {
                let number = self.number.wrapping_mul(10).wrapping_add(u64::from(digit));
                self.number = number;
                if index.wrapping_add(1) >= STATUS_END {
                    self.status(number, side);
                }
            }
        }
    }

    #[inline(always)]
    fn status<S: Side>(&mut self, status: u64, side: &mut S) {
        if !(100..600).contains(&status) {
            self.lose(Loss::Status, side);
            return;
        }
        let flags = match status {
            101 => flag::SWITCHING,
            100..200 => flag::INTERIM,
            204 => flag::BODILESS | flag::SUCCESS,
            200..300 => flag::SUCCESS,
            304 => flag::BODILESS,
            _ => 0,
        };
        (self.state, self.index, self.number, self.flags) = (State::Line, 0, 0, flags);
        side.answered(status, flags);
    }
}

/// In the place of a method's number: this can be the first line of what a client of HTTP/2 begins with (RFC 9113 section
/// 3.4).
pub(super) const PREFACE: u64 = Method::COUNT as u64;
const PRI: u64 = word(b"PRI");
const GET: u64 = word(b"GET ");
const POST: u64 = word(b"POST ");
const HEAD: u64 = word(b"HEAD ");

/// The first bytes of a word, the rest zero.
const fn word(text: &[u8]) -> u64 {
    let mut word = 0;
    let mut index = text.len();
    while index > 0 {
        index = index.wrapping_sub(1);
        word = word << 8 | byte_of(text, index);
    }
    word
}

#[expect(clippy::indexing_slicing, reason = "at compile time")]
const fn byte_of(text: &[u8], index: usize) -> u64 {
    text[index] as u64
}

/// The method that these bytes are.
#[inline(always)]
fn method(bytes: u64) -> Method {
    const NAMES: [(u64, Method); 9] = [
        (word(b"GET"), Method::Get),
        (word(b"HEAD"), Method::Head),
        (word(b"POST"), Method::Post),
        (word(b"PUT"), Method::Put),
        (word(b"DELETE"), Method::Delete),
        (word(b"CONNECT"), Method::Connect),
        (word(b"OPTIONS"), Method::Options),
        (word(b"TRACE"), Method::Trace),
        (word(b"PATCH"), Method::Patch),
    ];
    let mut found = Method::Other;
    for (name, method) in NAMES {
        if bytes == name {
            found = method;
        }
    }
    found
}

/// Whether a method can have this byte. Methods of lower case are tokens, too (RFC 9110 section 9.1), but no server
/// takes them, and what is no HTTP at all begins so.
#[inline(always)]
const fn is_of_method(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'-' | b'_')
}
