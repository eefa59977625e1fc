//! `rate_limit`: how many requests are answered, of all together.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A token bucket, as the time at which it is full again (the generic cell rate algorithm).
#[derive(Debug)]
pub struct RateLimit {
    interval: Duration,
    burst: u32,
    full_at: Mutex<Option<Instant>>,
}

impl RateLimit {
    /// One request for each interval, and `burst` of them at once.
    pub(super) fn new(interval: Duration, burst: u32) -> Self {
        Self { interval, burst, full_at: Mutex::default() }
    }

    /// Whether a request may pass that comes at this time.
    pub fn allows(&self, now: Instant) -> bool {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let next = full_at.map_or(now, |at| at.max(now)) + self.interval;
        let allows = next.saturating_duration_since(now) <= self.interval.saturating_mul(self.burst);
        if allows {
            *full_at = Some(next);
        }
        allows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_for_each_interval() {
        let begun = Instant::now();
        let limit = RateLimit::new(Duration::from_secs(2), 3);
        let passed = |at: u64| limit.allows(begun + Duration::from_secs(at));
        let table =
            [(0, true), (0, true), (0, true), (0, false), (1, false), (2, true), (3, false), (4, true)];
        for (at, expected) in table {
            assert_eq!(passed(at), expected, "at {at}");
        }
        // What is not used is saved up to the burst.
        assert_eq!([100, 100, 100, 100].map(passed), [true, true, true, false]);
    }
}
