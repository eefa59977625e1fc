//! Addresses and prefixes from which nothing comes in for a time.
//!
//! All bans are in one hash map, by [`BanKey`]: the address, and how many bits of it count. A packet from an address is
//! looked up once for each length that some ban of its family has, which is one look for all single addresses and
//! mostly one or two more: prefixes that people ban are of few lengths. Each ban is by itself, whatever others contain it,
//! so that it can be made, ended and lifted without a look at any other, by a program, too.

use crate::{address::Address, flow::Family};

/// How many bans there can be at a time.
pub const BANS_MAX: u32 = 131_072;

/// Of what nothing comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct BanKey {
    /// The address; bits behind the prefix are zero.
    pub address: Address,
    /// How many bits of it count.
    pub length: u32,
    /// [`Family`] as a number.
    pub family: u32,
}

impl BanKey {
    /// Of a single address.
    #[inline(always)]
    pub const fn whole(family: Family, address: Address) -> Self {
        let length = match family {
            Family::V4 => 32,
            Family::V6 => 128,
        };
        Self { address, length, family: family as u32 }
    }

    /// Of a prefix of an address; `length` is from 1 to 127.
    #[inline(always)]
    pub const fn prefix(family: u32, address: Address, length: u32) -> Self {
        Self { address: address.prefix(length), length, family }
    }
}

/// For how long, who said so, and what it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Ban {
    /// When it ends, in nanoseconds since the machine started, time asleep included (`CLOCK_BOOTTIME`); or [`FOREVER`].
    pub until_ns: u64,
    /// Counter slot of the rule whose limit made it, or [`crate::rule::NO_RULE`] if somebody asked for it.
    pub rule: u32,
    /// Zero.
    pub padding: u32,
    /// Packets that it stopped: the first [`COUNTED_SINGLY`] one by one, of the others one in [`DRAWN_OF`] for all of them. Of
    /// several bans that a packet could be stopped by, it is counted by the one that is found first:
    /// that of its address, or else of the shortest prefix.
    pub packets: u64,
}

/// So many packets a ban counts one by one. Where more come, several processors would wait for each other at every one.
pub const COUNTED_SINGLY: u64 = 65_536;
/// Of so many packets more, one is drawn, and stands for all of them.
pub const DRAWN_OF: u32 = 64;

/// In [`Ban::until_ns`]: without end.
pub const FOREVER: u64 = u64::MAX;

impl Ban {
    /// One that has stopped nothing yet.
    pub const fn new(until_ns: u64, rule: u32) -> Self {
        Self { until_ns, rule, padding: 0, packets: 0 }
    }

    /// For how many packets one more counts at a ban that has counted so many; `number` gives any number.
    #[inline(always)]
    pub fn step(packets: u64, number: impl FnOnce() -> u32) -> u64 {
        if packets < COUNTED_SINGLY {
            1
        } else if number() & (DRAWN_OF - 1) == 0 {
            u64::from(DRAWN_OF)
        } else {
            0
        }
    }

    /// Whether it holds at a time, in nanoseconds since the machine started.
    #[inline(always)]
    pub const fn holds(&self, now_ns: u64) -> bool {
        now_ns < self.until_ns
    }
}

/// What programs did with bans, of one processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BanCounters {
    /// Bans that limits of rules made.
    pub made: u64,
    /// Bans that they could not make, as there was no room or no memory.
    pub no_room: u64,
}

/// Of which lengths there are bans of one family. A length may be here without a ban, never a ban without its length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BanLengths {
    /// 1 if there are some of single addresses.
    pub whole: u64,
    /// A bit for each length of prefixes, from 1 to 127: those up to 63 in the first word.
    pub prefixes: [u64; 2],
}

impl BanLengths {
    /// Which entry of the map a family has.
    #[inline(always)]
    pub const fn entry(family: u32) -> u32 {
        (family == Family::V6 as u32) as u32
    }

    /// Whether there are no bans.
    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        let [short, long] = self.prefixes;
        self.whole | short | long == 0
    }

    /// All lengths that this or another one has.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        let ([short, long], [other_short, other_long]) = (self.prefixes, other.prefixes);
        Self { whole: self.whole | other.whole, prefixes: [short | other_short, long | other_long] }
    }

    /// Adds the length of a key.
    pub const fn add(&mut self, key: &BanKey) {
        let [short, long] = &mut self.prefixes;
        match key.length {
            32 if key.family == Family::V4 as u32 => self.whole = 1,
            length @ 0..64 => *short |= 1 << length,
            length @ 64..128 => *long |= 1 << (length & 63),
            _ => self.whole = 1,
        }
    }
}
