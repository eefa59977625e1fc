//! How long requests took, from a histogram of durations. Pure.

use foobar_common::service::{DURATION_BOUNDS_US, DURATION_BUCKETS};

/// How many requests took how long: the buckets of [`foobar_common::service::Histogram`].
pub type Buckets = [u64; DURATION_BUCKETS];

/// What came since an earlier look. A bucket that was made anew counts as standing still.
pub fn since(earlier: &[u64], later: &[u64]) -> Buckets {
    std::array::from_fn(|bucket| {
        let of = |buckets: &[u64]| buckets.get(bucket).copied().unwrap_or(0);
        of(later).saturating_sub(of(earlier))
    })
}

/// The time, in seconds, that this part of the requests took at most, from 0 to 1; `None` if there were none. Within a bucket they
/// are taken to lie evenly, and what is beyond the last bound is told as that, both as
/// [`histogram_quantile`](https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) of Prometheus does.
#[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
pub fn quantile(buckets: &Buckets, part: f64) -> Option<f64> {
    let all: u64 = buckets.iter().sum();
    let wanted = part * all as f64;
    let (mut before, mut lower) = (0.0, 0.0);
    for (count, upper) in buckets.iter().zip(DURATION_BOUNDS_US) {
        let (count, upper) = (*count as f64, upper as f64 / 1e6);
        if count > 0.0 && before + count >= wanted {
            return Some(lower + (upper - lower) * ((wanted - before) / count));
        }
        (before, lower) = (before + count, upper);
    }
    (all > 0).then_some(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(counts: &[(usize, u64)]) -> Buckets {
        let mut buckets = [0; DURATION_BUCKETS];
        for (bucket, count) in counts {
            buckets[*bucket] = *count;
        }
        buckets
    }

    #[test]
    fn quantiles_are_those_of_prometheus() {
        for (counts, part, expected) in [
            (&[][..], 0.5, None),
            // All between 0.5 and 1 ms.
            (&[(4, 10)], 0.5, Some(0.000_75)),
            (&[(4, 10)], 1.0, Some(0.001)),
            // Nine up to 50 us, and one between 1 and 2.5 s.
            (&[(0, 9), (14, 1)], 0.5, Some(0.000_05 * 5.0 / 9.0)),
            (&[(0, 9), (14, 1)], 0.99, Some(1.0 + 1.5 * 0.9)),
            // Longer than the last bound.
            (&[(19, 3)], 0.5, Some(60.0)),
        ] {
            let told = quantile(&buckets(counts), part);
            let fits = match (told, expected) {
                (Some(told), Some(expected)) => (told - expected).abs() < 1e-9,
                (told, expected) => told == expected,
            };
            assert!(fits, "{counts:?} {part}: {told:?}, not {expected:?}");
        }
    }

    #[test]
    fn only_what_came_since_counts() {
        let mut earlier = buckets(&[(1, 5), (2, 9)]);
        assert_eq!(since(&earlier, &buckets(&[(1, 7), (2, 3)])), buckets(&[(1, 2)]));
        earlier = buckets(&[]);
        assert_eq!(since(&[], &buckets(&[(1, 7)])), since(&earlier, &buckets(&[(1, 7)])));
    }
}
