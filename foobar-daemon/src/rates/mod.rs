//! Two looks at the counters, and what passed per second between them. Pure.

pub mod history;
pub mod quantile;
pub mod view;

use std::time::Duration;

use foobar_common::verdict::Verdict;

pub use self::history::{RequestHistory, SPANS};
use crate::{control::protocol::Rates, dataplane::counters::Verdicts};

/// All packets up to a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// The moment, since any fixed one.
    pub at: Duration,
    /// Packets with any verdict.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Packets that were dropped.
    pub dropped: u64,
}

impl Sample {
    /// Adds up what had become of packets at this moment.
    pub fn of(verdicts: &Verdicts, at: Duration) -> Self {
        let mut sample = Self { at, ..Self::default() };
        for ((_, _, verdict, _), counter) in verdicts {
            sample.packets = sample.packets.wrapping_add(counter.packets);
            sample.bytes = sample.bytes.wrapping_add(counter.bytes);
            match verdict {
                Verdict::Accept | Verdict::Answer => {}
                Verdict::Drop | Verdict::Reject => {
                    sample.dropped = sample.dropped.wrapping_add(counter.packets);
                }
            }
        }
        sample
    }

    /// What passed per second since an earlier sample; `None` if no time did.
    pub fn since(&self, earlier: &Self) -> Option<Rates> {
        let seconds = self.at.checked_sub(earlier.at)?.as_secs_f64();
        if seconds <= 0.0 {
            return None;
        }
        Some(Rates {
            packets_per_second: per_second(earlier.packets, self.packets, seconds),
            bits_per_second: 8.0 * per_second(earlier.bytes, self.bytes, seconds),
            dropped_packets_per_second: per_second(earlier.dropped, self.dropped, seconds),
            seconds,
        })
    }
}

/// How fast a counter grew. One that was made anew in between counts as standing still.
#[expect(clippy::cast_precision_loss, reason = "a rate for people; it is exact up to 2^53 in a few seconds")]
pub fn per_second(earlier: u64, later: u64, seconds: f64) -> f64 {
    later.saturating_sub(earlier) as f64 / seconds
}

#[cfg(test)]
mod tests {
    use foobar_common::{counters::Counter, flow::Direction, verdict::Reason};

    use super::*;

    #[test]
    fn rates_are_differences_over_time() {
        let mut verdicts = Verdicts::new();
        let mut count = |verdict, reason, packets| {
            let counter = Counter { packets, bytes: packets * 100 };
            verdicts.insert(("eth0".to_owned(), Direction::In, verdict, reason), counter);
        };
        count(Verdict::Accept, Reason::Policy, 30);
        count(Verdict::Drop, Reason::Rule, 10);
        let later = Sample::of(&verdicts, Duration::from_secs(12));
        let earlier = Sample { at: Duration::from_secs(10), packets: 20, bytes: 2000, dropped: 10 };
        let rates = later.since(&earlier).unwrap();
        assert_eq!(
            rates,
            Rates {
                packets_per_second: 10.0,
                bits_per_second: 8000.0,
                dropped_packets_per_second: 0.0,
                seconds: 2.0
            }
        );
        assert_eq!(earlier.since(&earlier), None);
        assert_eq!(earlier.since(&later), None);
    }
}
