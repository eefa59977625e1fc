//! An address of either family, as programs handle it.

use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::flow::Family;

/// An address as it lies in a packet: 16 bytes in network byte order. One of IPv4 is in the first four, and the rest
/// is zero.
///
/// Held as words, not bytes: a processor that reads eight bytes where they were just written one by one has to wait
/// for all of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Address {
    words: [u64; 2],
}

impl Address {
    /// The unspecified one of either family.
    pub const NONE: Self = Self { words: [0; 2] };

    /// One of IPv4, from its bytes as a word of memory.
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        let word = word as u64;
        let first = if cfg!(target_endian = "big") { word << 32 } else { word };
        Self { words: [first, 0] }
    }

    /// One of IPv6, from its bytes as words of memory.
    #[inline(always)]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self { words }
    }

    /// One of IPv6, from its bytes as four smaller words of memory.
    #[inline(always)]
    pub const fn from_quarters([first, second, third, fourth]: [u32; 4]) -> Self {
        let (first, second, third, fourth) = (first as u64, second as u64, third as u64, fourth as u64);
        let words = if cfg!(target_endian = "big") {
            [first << 32 | second, third << 32 | fourth]
        } else {
            [second << 32 | first, fourth << 32 | third]
        };
        Self { words }
    }

    /// As words of memory.
    #[inline(always)]
    pub const fn words(&self) -> [u64; 2] {
        self.words
    }

    /// As four smaller words of memory.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "each half is wanted")]
    pub const fn quarters(self) -> [u32; 4] {
        let [first, second] = self.words;
        let (f0, f1, s0, s1) = (first as u32, (first >> 32) as u32, second as u32, (second >> 32) as u32);
        if cfg!(target_endian = "big") { [f1, f0, s1, s0] } else { [f0, f1, s0, s1] }
    }

    /// Without the bits that a mask does not have.
    #[inline(always)]
    #[must_use]
    pub const fn masked(self, mask: &Self) -> Self {
        let ([first, second], [first_mask, second_mask]) = (self.words, mask.words);
        Self { words: [first & first_mask, second & second_mask] }
    }

    /// One of IPv4, as a number.
    #[inline(always)]
    pub const fn number_v4(&self) -> u32 {
        let [first, _] = self.words;
        (u64::from_be(first) >> 32) as u32
    }

    /// One of IPv6, as two numbers: the upper half and the lower one.
    #[inline(always)]
    pub const fn numbers_v6(&self) -> [u64; 2] {
        let [first, second] = self.words;
        [u64::from_be(first), u64::from_be(second)]
    }

    /// The first bits of it, and zeros behind them; `length` is from 1 to 127.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::arithmetic_side_effects, reason = "shifts by less than 64 bits")]
    pub const fn prefix(self, length: u32) -> Self {
        let [high, low] = self.words;
        let bits = length & 63;
        // In two steps, as none shifts by 64 bits.
        let mask = (u64::MAX << (63 - bits) << 1).to_be();
        let words = if length < 64 { [high & mask, 0] } else { [high, low & mask] };
        Self { words }
    }

    /// As the standard library has it.
    pub const fn ip(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(self.number_v4())),
            Family::V6 => {
                let [high, low] = self.numbers_v6();
                IpAddr::V6(Ipv6Addr::from_bits((high as u128) << 64 | low as u128))
            }
        }
    }
}

impl From<IpAddr> for Address {
    #[expect(clippy::host_endian_bytes, reason = "words are as memory has them")]
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::from_word(u32::from_ne_bytes(v4.octets())),
            IpAddr::V6(v6) => {
                let number = v6.to_bits();
                #[expect(clippy::cast_possible_truncation, reason = "each half is 64 bits")]
                let halves = [(number >> 64) as u64, number as u64];
                Self::from_words(halves.map(u64::to_be))
            }
        }
    }
}

/// Written as one of IPv6, whichever it is: it does not know.
impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip(Family::V6).fmt(formatter)
    }
}
