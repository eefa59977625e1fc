//! Rules that hold up to a rate: what a packet costs, and whom it is charged to.
//!
//! A bucket is one number, the time at which it is full again: the "theoretical arrival time" of the generic cell rate
//! algorithm (ITU-T I.371). A packet moves it on by the time that the rate has for one packet, and is over the limit if
//! it would get further ahead of the clock than the burst is long. So a bucket needs no timer, and one exchange of a word
//! charges it.

use crate::{
    address::Address,
    bans::BanKey,
    flow::{Family, Flow},
};

/// How many rules of a ruleset can have a limit.
pub const LIMITS_MAX: u32 = 1_024;
/// How many sources have a bucket, of all rules together: those that sent something last. One that is forgotten begins with
/// a full one.
pub const BUCKETS_MAX: u32 = 65_536;
/// Nanoseconds of a packet at the highest rate.
pub const INTERVAL_MIN: u64 = 100;
/// Nanoseconds that the longest burst is worth.
pub const BURST_MAX: u64 = 365 * 24 * 3_600 * 1_000_000_000;

/// Nanoseconds by which a clock is behind at most when it is used: another processor may charge the same bucket, by a later
/// clock, after it was read.
const LATE_MAX: u64 = 4_000_000_000;

/// The limit of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Limit {
    /// Which bits of a source tell buckets apart, by [`Family`].
    pub masks: [Address; 2],
    /// Nanoseconds that the rate has for one packet.
    pub interval: u64,
    /// Nanoseconds that a bucket can be ahead of the clock when a packet comes.
    pub tolerance: u64,
    /// [`crate::verdict::Verdict`] of what is over the limit, as a number.
    pub over: u32,
    /// Counter slot of what is over the limit.
    pub over_slot: u32,
    /// 1 if each family has buckets of its own, 0 if there is one for all.
    pub by_source: u32,
    /// 1 if the source of a packet is the client that a proxy speaks for, where one does.
    pub by_client: u32,
    /// Nanoseconds for which who is over the limit is banned; 0 if nobody is. Only where buckets are by source.
    pub ban_ns: u64,
    /// How many bits of a source tell buckets apart, by [`Family`]: those of [`masks`](Self::masks).
    pub lengths: [u32; 2],
}

/// Whose bucket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct BucketKey {
    /// The source, as far as it tells buckets apart.
    pub source: Address,
    /// [`Family`] as a number, where families have buckets of their own.
    pub family: u32,
    /// Counter slot of the rule.
    pub rule: u32,
}

impl Limit {
    /// The bucket that a packet of the rule with this counter slot is charged to.
    #[inline(always)]
    pub const fn bucket(&self, flow: &Flow, rule: u32) -> BucketKey {
        self.bucket_of(flow.family, &flow.source, rule)
    }

    /// The bucket that a packet from this source is charged to.
    #[inline(always)]
    pub const fn bucket_of(&self, family: Family, source: &Address, rule: u32) -> BucketKey {
        let [v4, v6] = &self.masks;
        let (mask, family) = match family {
            Family::V4 => (v4, Family::V4 as u32),
            Family::V6 => (v6, Family::V6 as u32),
        };
        BucketKey { source: source.masked(mask), family: family.wrapping_mul(self.by_source), rule }
    }

    /// Of what somebody is banned who has this bucket: all whose packets are charged to it.
    #[inline(always)]
    pub const fn banned(&self, bucket: &BucketKey) -> BanKey {
        let [v4, v6] = self.lengths;
        let length = if bucket.family == Family::V6 as u32 { v6 } else { v4 };
        BanKey { address: bucket.source, length, family: bucket.family }
    }

    /// What a bucket becomes by a packet at `now`, both in nanoseconds of the same clock; `None` if that is over the limit.
    /// A bucket that nothing was charged to is zero. One that is further ahead than this limit gets any was filled under
    /// another one, that the rule or its counter slot had before, and counts as full.
    #[inline(always)]
    pub const fn charge(&self, bucket: u64, now: u64) -> Option<u64> {
        charge([self.interval, self.tolerance], bucket, now)
    }
}

/// The same for a bucket of whatever has this interval and tolerance.
#[inline(always)]
pub const fn charge([interval, tolerance]: [u64; 2], bucket: u64, now: u64) -> Option<u64> {
    let mut ahead = if bucket > now { bucket.wrapping_sub(now) } else { 0 };
    if ahead > tolerance.wrapping_add(interval).wrapping_add(LATE_MAX) {
        ahead = 0;
    }
    if ahead > tolerance { None } else { Some(now.wrapping_add(ahead).wrapping_add(interval)) }
}
