//! Whom a proxy speaks for.

use crate::{
    address::Address,
    flow::Family,
    proxy::{LOOKED_AT, V2_LENGTH},
};

/// How many connections have a client that is known: those that were in use last.
pub const CLIENTS_MAX: u32 = 65_536;
/// How many connections wait for a header that tells who is charged: those that were in use last.
pub const WAITING_MAX: u32 = 16_384;

/// The client of a connection, as a PROXY header names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Client {
    /// Its address; [`Address::NONE`] of [`Client::NOBODY`].
    pub address: Address,
    /// [`Family`] as a number; zero of [`Client::NOBODY`].
    pub family: u32,
    /// Always zero.
    pub padding: u32,
}

/// The bits of a binary header's command beside its version, and the command of one that speaks for somebody else.
const COMMAND: u8 = 0xf;
const PROXY: u8 = 1;
/// The families `AF_INET` and `AF_INET6`, and where both addresses and ports of each end.
const INET: u8 = 1;
const INET_END: u32 = V2_LENGTH + 12;
const INET6: u8 = 2;
const INET6_END: u32 = V2_LENGTH + 36;

#[expect(clippy::host_endian_bytes, reason = "addresses are held as words of memory")]
impl Client {
    /// No client: the proxy speaks for itself, for one that has no address of IP, or nobody said.
    pub const NOBODY: Self = Self { address: Address::NONE, family: 0, padding: 0 };

    /// One of IPv4.
    #[inline(always)]
    pub const fn v4(address: Address) -> Self {
        Self { address, family: Family::V4 as u32, padding: 0 }
    }

    /// One of IPv6, which may stand for one of IPv4 (RFC 4291 section 2.5.5.2): then it is that one.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
    pub const fn v6(address: Address) -> Self {
        let [high, low] = address.numbers_v6();
        if high == 0 && low >> 32 == 0xffff {
            return Self::v4(Address::from_word((low as u32).to_be()));
        }
        Self { address, family: Family::V6 as u32, padding: 0 }
    }

    /// The IP version; `None` of nobody.
    #[inline(always)]
    pub const fn family(&self) -> Option<Family> {
        match self.family {
            4 => Some(Family::V4),
            6 => Some(Family::V6),
            _ => None,
        }
    }

    /// Whom a binary header names, of which and of what follows `there` bytes have come; its length lies within itself.
    #[inline(always)]
    pub const fn of_v2(bytes: &[u8; LOOKED_AT as usize], there: u32, length: u32) -> Self {
        let end = if there < length { there } else { length };
        // Four bytes each: the signature, version to length, and what begins with the client's address.
        let (parts, _) = bytes.as_chunks::<4>();
        let [_, _, _, [command, family, ..], first, second, third, fourth, ..] = parts else {
            return Self::NOBODY;
        };
        if *command & COMMAND != PROXY {
            return Self::NOBODY;
        }
        match *family >> 4 {
            INET if end >= INET_END => Self::v4(Address::from_word(u32::from_ne_bytes(*first))),
            INET6 if end >= INET6_END => Self::v6(Address::from_quarters([
                u32::from_ne_bytes(*first),
                u32::from_ne_bytes(*second),
                u32::from_ne_bytes(*third),
                u32::from_ne_bytes(*fourth),
            ])),
            _ => Self::NOBODY,
        }
    }
}
