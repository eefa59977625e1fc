//! What the one header field says that each side is read for.

use super::huffman::Sent;
use crate::service::Method;

/// A header field that is looked for.
pub(super) trait Meaning {
    /// Its name.
    const NAME: Sent;
    /// The same in Huffman code.
    const NAME_CODED: Sent;

    /// What an entry of the static table says, by its number (RFC 7541 appendix A), if it is of this field.
    fn of_static(number: u32) -> Option<u8>;
    /// What a value says.
    fn of_text(value: Sent, is_coded: bool) -> u8;
}

/// `:method`, as a number of [`Method`].
pub(super) struct OfRequest;

impl Meaning for OfRequest {
    const NAME: Sent = Sent::plain(b":method");
    const NAME_CODED: Sent = Sent::coded(b":method");

    #[inline(always)]
    fn of_static(number: u32) -> Option<u8> {
        match number {
            2 => Some(number_of(Method::Get)),
            3 => Some(number_of(Method::Post)),
            _ => None,
        }
    }

    #[inline(always)]
    fn of_text(value: Sent, is_coded: bool) -> u8 {
        let mut found = Method::Other;
        for (plain, coded, method) in METHODS {
            if value == if is_coded { coded } else { plain } {
                found = method;
            }
        }
        number_of(found)
    }
}

const METHODS: [(Sent, Sent, Method); 9] = [
    method(b"GET", Method::Get),
    method(b"HEAD", Method::Head),
    method(b"POST", Method::Post),
    method(b"PUT", Method::Put),
    method(b"DELETE", Method::Delete),
    method(b"CONNECT", Method::Connect),
    method(b"OPTIONS", Method::Options),
    method(b"TRACE", Method::Trace),
    method(b"PATCH", Method::Patch),
];

const fn method(text: &[u8], method: Method) -> (Sent, Sent, Method) {
    (Sent::plain(text), Sent::coded(text), method)
}

#[inline(always)]
const fn number_of(method: Method) -> u8 {
    method as u8
}

/// `:status`, as the place of its class in [`crate::service::STATUS_CLASS_LABELS`].
pub(super) struct OfResponse;

/// The place of interim responses.
pub(super) const INTERIM: u8 = 0;
/// The place of those whose status could not be told.
pub(super) const UNKNOWN: u8 = 5;

impl Meaning for OfResponse {
    const NAME: Sent = Sent::plain(b":status");
    const NAME_CODED: Sent = Sent::coded(b":status");

    #[inline(always)]
    fn of_static(number: u32) -> Option<u8> {
        match number {
            // 200, 204, 206
            8..=10 => Some(1),
            // 304
            11 => Some(2),
            // 400, 404
            12 | 13 => Some(3),
            // 500
            14 => Some(4),
            _ => None,
        }
    }

    /// Of three digits, the first one counts.
    #[inline(always)]
    fn of_text(value: Sent, is_coded: bool) -> u8 {
        let first = (value.word & 0xff) as u8;
        let digit = match (is_coded, value.length) {
            (false, 3) => first.wrapping_sub(b'0'),
            // Its code has five bits for 1 and 2, six for others.
            (true, 2 | 3) => match (first >> 3, first >> 2) {
                (short @ 1..=2, _) => short,
                (_, long @ 0x19..=0x1b) => long.wrapping_sub(0x16),
                _ => 0,
            },
            _ => 0,
        };
        if digit.wrapping_sub(1) < UNKNOWN { digit.wrapping_sub(1) } else { UNKNOWN }
    }
}
