//! The PROXY protocol, versions 1 and 2: what a proxy tells of a client, before anything that the client says.
//!
//! Source: "The PROXY protocol", revised 2020-03-05, section 2 (`doc/proxy-protocol.txt` of haproxy). A sender puts its
//! header into one segment; one that is longer than a segment begins with its length, at least.

mod client;
mod text;

pub use self::{
    client::{CLIENTS_MAX, Client, WAITING_MAX},
    text::TextAddress,
};
use crate::words::words;

words! {
    /// What a connection to a service behind a proxy begins with; the label `header`.
    ProxyHeader {
        None = 0, "none", "something else: the client itself speaks";
        V1 = 1, "v1", "a line of text";
        V2 = 2, "v2", "a binary header";
        Cut = 3, "cut", "a header that is not in one segment";
    }
}

/// How many bytes are looked at, at most.
pub const LOOKED_AT: u32 = 128;
/// The longest header of version 1, with its end of line.
const V1_LENGTH_MAX: usize = 107;
const V1_BEGINS: [u8; 6] = *b"PROXY ";
/// Where a header of version 1 has the client's address: behind the signature and a word for the IP version.
pub const V1_ADDRESS_AT: u32 = 11;
/// The words for IPv4 and IPv6, with what is before and behind them.
const V1_TCP4: [u8; V1_ADDRESS_AT as usize] = *b"PROXY TCP4 ";
const V1_TCP6: [u8; V1_ADDRESS_AT as usize] = *b"PROXY TCP6 ";
/// The longest address as text, with the space behind it.
pub const V1_ADDRESS_MAX: u32 = 46;
const V2_BEGINS: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Length of what has the same length in all headers of version 2.
const V2_LENGTH: u32 = 16;

/// How connections to a service behind a proxy begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ProxyCounters {
    /// Connections by [`ProxyHeader`].
    pub headers: [u64; ProxyHeader::COUNT as usize],
}

/// Reads the beginning of a stream, of which `there` bytes have come. What it is, and how many bytes the header has:
/// zero if there is none, or if it is cut.
#[inline(always)]
pub fn header(bytes: &[u8; LOOKED_AT as usize], there: u32) -> (ProxyHeader, u32) {
    match begins_with(bytes, there, V2_BEGINS) {
        Some(true) => return v2(bytes, there),
        None => return (ProxyHeader::Cut, 0),
        Some(false) => {}
    }
    match begins_with(bytes, there, V1_BEGINS) {
        Some(true) => v1(bytes, there),
        None => (ProxyHeader::Cut, 0),
        Some(false) => (ProxyHeader::None, 0),
    }
}

/// Whether the address in a header of version 1 is one of IPv6, or of IPv4; `None` if it has none.
#[inline(always)]
pub fn is_v6(bytes: &[u8; LOOKED_AT as usize], there: u32) -> Option<bool> {
    if matches!(begins_with(bytes, there, V1_TCP4), Some(true)) {
        return Some(false);
    }
    if matches!(begins_with(bytes, there, V1_TCP6), Some(true)) { Some(true) } else { None }
}

#[inline(always)]
fn v1(bytes: &[u8; LOOKED_AT as usize], there: u32) -> (ProxyHeader, u32) {
    let mut length: u32 = 0;
    let mut last = 0;
    for byte in bytes.iter().take(V1_LENGTH_MAX) {
        if length >= there {
            return (ProxyHeader::Cut, 0);
        }
        length = length.wrapping_add(1);
        if last == b'\r' && *byte == b'\n' {
            return (ProxyHeader::V1, length);
        }
        last = *byte;
    }
    (ProxyHeader::None, 0)
}

#[inline(always)]
fn v2(bytes: &[u8; LOOKED_AT as usize], there: u32) -> (ProxyHeader, u32) {
    if there < V2_LENGTH {
        return (ProxyHeader::Cut, 0);
    }
    let [.., version, _, high, low] =
        bytes.first_chunk::<{ V2_LENGTH as usize }>().copied().unwrap_or_default();
    if version >> 4 != 2 {
        return (ProxyHeader::None, 0);
    }
    (ProxyHeader::V2, V2_LENGTH.wrapping_add(u32::from(u16::from_be_bytes([high, low]))))
}

/// Whether the bytes that have come begin so; `None` if they are too few to tell.
#[inline(always)]
fn begins_with<const N: usize>(
    bytes: &[u8; LOOKED_AT as usize],
    there: u32,
    signature: [u8; N],
) -> Option<bool> {
    let mut place = 0;
    for (byte, wanted) in bytes.iter().zip(signature) {
        if place >= there {
            return None;
        }
        place = place.wrapping_add(1);
        if *byte != wanted {
            return Some(false);
        }
    }
    Some(true)
}
