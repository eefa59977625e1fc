//! Buckets against tokens as people think of them.

use foobar_common::{address::Address, limit::Limit};

const fn limit(interval: u64, burst: u64) -> Limit {
    Limit {
        masks: [Address::NONE; 2],
        interval,
        tolerance: interval * (burst - 1),
        over: 1,
        over_slot: 0,
        by_source: 0,
        by_client: 0,
        ban_ns: 0,
        lengths: [0; 2],
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
