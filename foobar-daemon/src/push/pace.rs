//! When a target is asked again after it failed, and how many points it may get in a minute.

use std::time::{Duration, Instant};

use ring::rand::{SecureRandom as _, SystemRandom};

/// The first pause.
const LEAST: Duration = Duration::from_secs(1);
/// The longest.
const MOST: Duration = Duration::from_mins(1);
/// The longest that a target can ask for.
const ASKED_MOST: Duration = Duration::from_hours(1);
/// What new points may use of a budget while others wait still. The rest is for these, so that what an outage has left behind gets less
/// however much is new.
const SHARE_OF_NEW: f64 = 0.75;
/// What a budget is for.
const MINUTE: Duration = Duration::from_mins(1);

/// Pauses that double, each cut by chance so that many servers do not come back at once.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How long to wait after one more failure. `asked` is what the target said.
    pub fn failed(&mut self, asked: Option<Duration>) -> Duration {
        let whole = LEAST.saturating_mul(1 << self.failures.min(6)).min(MOST);
        self.failures = self.failures.saturating_add(1);
        let pause = whole.mul_f64(1.0 - chance() / 2.0);
        asked.map_or(pause, |asked| asked.min(ASKED_MOST).max(pause))
    }

    /// It did not fail.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// A number from 0 to 1, by chance.
pub fn chance() -> f64 {
    let mut bytes = [0; 4];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        return 0.5;
    }
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

/// A budget of points per minute: a bucket that is full after a minute without any.
#[derive(Debug)]
pub struct Budget {
    per_minute: u64,
    /// Points that may be sent at `at`.
    left: f64,
    at: Instant,
}

impl Budget {
    /// A full one.
    pub fn new(per_minute: u64, now: Instant) -> Self {
        Self { per_minute, left: as_float(per_minute), at: now }
    }

    /// Takes so many points if they are there, or says when they will be. More than there can be at once are taken when it
    /// is full.
    pub fn take(&mut self, points: u64, now: Instant) -> Result<(), Duration> {
        self.take_at(1.0, points, now)
    }

    /// The same for new points; while others wait still, a quarter of the budget is kept for these. Says whether they were there.
    pub fn take_new(&mut self, points: u64, others_wait: bool, now: Instant) -> bool {
        self.take_at(if others_wait { SHARE_OF_NEW } else { 1.0 }, points, now).is_ok()
    }

    /// The same when the budget grows at a share of its rate.
    fn take_at(&mut self, share: f64, points: u64, now: Instant) -> Result<(), Duration> {
        let per_minute = as_float(self.per_minute);
        let gone = now.saturating_duration_since(self.at);
        self.left = (self.left + share * per_minute * gone.div_duration_f64(MINUTE)).min(per_minute);
        self.at = now;
        let missing = as_float(points).min(per_minute) - self.left;
        // Less than a thousandth of a point is what adding rounds away.
        if missing > 0.001 {
            return Err(MINUTE.mul_f64(missing / per_minute));
        }
        self.left -= as_float(points);
        Ok(())
    }

    /// Gives back what was taken and not sent.
    pub fn give_back(&mut self, points: u64) {
        self.left = (self.left + as_float(points)).min(as_float(self.per_minute));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
fn as_float(points: u64) -> f64 {
    points as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_differ() {
        let mut backoff = Backoff::default();
        let mut different = std::collections::BTreeSet::new();
        for whole in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000] {
            let pause = backoff.failed(None);
            let (least, most) = (Duration::from_millis(whole / 2), Duration::from_millis(whole));
            assert!((least..=most).contains(&pause), "{pause:?} of {whole}");
            different.insert(pause);
        }
        assert!(different.len() > 5, "{different:?}");
        backoff.succeeded();
        assert!(backoff.failed(None) <= Duration::from_secs(1));
        assert_eq!(backoff.failed(Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert!(backoff.failed(Some(Duration::ZERO)) >= Duration::from_secs(2));
        assert_eq!(backoff.failed(Some(Duration::MAX)), ASKED_MOST);
    }

    #[test]
    fn a_budget_is_kept_over_any_minute() {
        let begun = Instant::now();
        let mut budget = Budget::new(600, begun);
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        assert_eq!(budget.take(500, at(0)), Ok(()));
        assert_eq!(budget.take(200, at(0)), Err(Duration::from_secs(10)));
        assert_eq!(budget.take(200, at(10)), Ok(()));
        budget.give_back(200);
        assert_eq!(budget.take(200, at(10)), Ok(()));
        // However long nothing comes, there is no more than one minute's.
        assert_eq!(budget.take(600, at(10_000)), Ok(()));
        assert_eq!(budget.take(1, at(10_000)), Err(Duration::from_millis(100)));
        // More than a minute has takes all of it, and what follows waits for the rest.
        assert_eq!(budget.take(1_200, at(20_000)), Ok(()));
        assert_eq!(budget.take(600, at(20_000)), Err(Duration::from_mins(2)));
        assert_eq!(budget.take(600, at(20_120)), Ok(()));
    }
}
