//! Rules that hold up to a rate: what a packet costs, and whom it is charged to.
//!
//! A bucket is one number, the time at which it is full again: the "theoretical arrival time" of the generic cell rate
//! algorithm (ITU-T I.371). A packet moves it on by the time that the rate has for one packet, and is over the limit if
//! it would get further ahead of the clock than the burst is long. So a bucket needs no timer, and one exchange of a word
//! charges it.

use crate::{
    address::Address,
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
    /// Always zero.
    pub padding: u32,
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
        let [v4, v6] = &self.masks;
        let (mask, family) = match flow.family {
            Family::V4 => (v4, Family::V4 as u32),
            Family::V6 => (v6, Family::V6 as u32),
        };
        BucketKey { source: flow.source.masked(mask), family: family.wrapping_mul(self.by_source), rule }
    }

    /// What a bucket becomes by a packet at `now`, both in nanoseconds of the same clock; `None` if that is over the limit.
    /// A bucket that nothing was charged to is zero. One that is further ahead than this limit gets any was filled under
    /// another one, that the rule or its counter slot had before, and counts as full.
    #[inline(always)]
    pub const fn charge(&self, bucket: u64, now: u64) -> Option<u64> {
        let Self { interval, tolerance, .. } = *self;
        let mut ahead = if bucket > now { bucket.wrapping_sub(now) } else { 0 };
        if ahead > tolerance.wrapping_add(interval).wrapping_add(LATE_MAX) {
            ahead = 0;
        }
        if ahead > tolerance { None } else { Some(now.wrapping_add(ahead).wrapping_add(interval)) }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    const fn limit(interval: u64, burst: u64) -> Limit {
        Limit {
            masks: [Address::NONE; 2],
            interval,
            tolerance: interval * (burst - 1),
            over: 1,
            over_slot: 0,
            by_source: 0,
            padding: 0,
        }
    }

    /// Tokens as people think of them: some in the bucket, more of them with time, one for each packet.
    fn tokens(limit: &Limit, arrivals: &[u64]) -> Vec<bool> {
        let burst = (limit.tolerance / limit.interval + 1) * limit.interval;
        // In nanoseconds, so that there are no fractions.
        let (mut there, mut before) = (burst, 0);
        let mut passed = Vec::new();
        for now in arrivals {
            there = burst.min(there + (now - before));
            before = *now;
            let is_within = there >= limit.interval;
            if is_within {
                there -= limit.interval;
            }
            passed.push(is_within);
        }
        passed
    }

    #[test]
    fn a_bucket_is_one_of_tokens() {
        for (interval, burst) in [(1_000, 1), (1_000, 2), (333, 7), (100, 1_000)] {
            let limit = limit(interval, burst);
            let mut arrivals = Vec::new();
            let (mut now, mut step) = (50_000_000, 1_u64);
            for _ in 0..20_000 {
                // Any spans, short and long ones.
                step = step.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                now += if step >> 60 == 0 { interval * burst } else { (step >> 33) % (2 * interval) };
                arrivals.push(now);
            }
            let mut bucket = 0;
            let passed: Vec<bool> = arrivals
                .iter()
                .map(|now| {
                    let charged = limit.charge(bucket, *now);
                    bucket = charged.unwrap_or(bucket);
                    charged.is_some()
                })
                .collect();
            assert_eq!(passed, tokens(&limit, &arrivals), "{interval} {burst}");
        }
    }

    #[test]
    fn a_full_bucket_lets_a_burst_through_and_then_the_rate() {
        let limit = limit(10, 5);
        let mut bucket = 0;
        let mut passes = |now| match limit.charge(bucket, now) {
            Some(charged) => {
                bucket = charged;
                true
            }
            None => false,
        };
        assert_eq!([1_000; 7].map(&mut passes), [true, true, true, true, true, false, false]);
        assert_eq!([1_009, 1_010, 1_010, 1_020].map(&mut passes), [false, true, false, true]);
    }

    #[test]
    fn what_another_limit_has_left_counts_as_full() {
        let (slow, fast) = (limit(3_600_000_000_000, 2), limit(10, 5));
        let bucket = slow.charge(slow.charge(0, 1_000).unwrap(), 1_000).unwrap();
        assert_eq!(slow.charge(bucket, 1_001), None);
        assert_eq!(fast.charge(bucket, 1_001), Some(1_011));
    }

    #[test]
    fn a_clock_that_was_read_before_another_gives_nothing() {
        let limit = limit(10, 2);
        let bucket = limit.charge(limit.charge(0, 2_000).unwrap(), 2_000).unwrap();
        assert_eq!(limit.charge(bucket, 1_000), None);
    }
}
