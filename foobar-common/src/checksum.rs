//! The checksum of IP, TCP and ICMP (RFC 1071).
//!
//! Sums are taken of words as memory has them, and the result is stored as memory has it: the sum does not depend on the
//! order of bytes (RFC 1071 section 2).

use crate::{address::Address, flow::Family};

/// A sum that can be added to, of at most 64 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Of nothing.
    pub const NONE: Self = Self(0);

    /// With four bytes more, as a word of memory; all that came before is of even length.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, word: u32) -> Self {
        Self(self.0.wrapping_add(word as u64))
    }

    /// With an address of this family more.
    #[inline(always)]
    #[must_use]
    pub const fn address(self, address: Address, family: Family) -> Self {
        let [first, second] = address.words();
        let sum = self.half(first);
        match family {
            Family::V4 => sum,
            Family::V6 => sum.half(second),
        }
    }

    /// With the pseudo header of a packet of `length` bytes behind its IP header (RFC 9293 section 3.1, RFC 8200
    /// section 8.1).
    #[inline(always)]
    #[must_use]
    pub const fn pseudo_header(
        self,
        [source, destination]: [Address; 2],
        family: Family,
        protocol: u8,
        length: u32,
    ) -> Self {
        self.address(source, family)
            .address(destination, family)
            .word(length.to_be())
            .word((protocol as u32).to_be())
    }

    /// The checksum, as memory has it.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::arithmetic_side_effects,
        reason = "folded to 16 bits; no sum overflows"
    )]
    pub const fn checksum(self) -> u16 {
        let mut sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        !(sum as u16)
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "each half is wanted")]
    const fn half(self, words: u64) -> Self {
        self.word(words as u32).word((words >> 32) as u32)
    }
}
