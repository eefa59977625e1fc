//! Whether services have lost traffic since other rules came: what new rules are taken back for. Pure.
//!
//! What is compared are counts of requests, handshakes, queries or connections, one look a second. A service has fallen if
//! within some span less came than the share of its average before allows, and also less than in any such span
//! of the minute before: what comes in bursts is no outage. Spans in which too little is to be expected say
//! nothing.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Counts at moments of one clock, the oldest first.
pub type Samples = [(Duration, u64)];

/// Spans that are looked at, in seconds, besides the whole time.
const SPANS: [u64; 4] = [3, 10, 30, 60];
/// How many requests have to be expected in a span for it to say something. Where 30 come by chance, as few as half come in one
/// span of 500.
const EXPECTED: u64 = 30;
/// What comes more seldom says nothing at all: once a second, in thousandths.
const LEAST_RATE: u64 = 1_000;
/// For how long a service has to be known.
const KNOWN_FOR: Duration = Duration::from_secs(3);
/// How much earlier than a whole second a look may come.
const TOLERANCE: Duration = Duration::from_millis(200);

/// A rate in thousandths per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rate(pub u64);

impl Rate {
    /// Per second.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn per_second(self) -> f64 {
        self.0 as f64 / 1_000.0
    }

    fn of((earlier, before): (Duration, u64), (later, after): (Duration, u64)) -> Option<Self> {
        let milliseconds = later.checked_sub(earlier)?.as_millis();
        let rate =
            u128::from(after.saturating_sub(before)).saturating_mul(1_000_000).checked_div(milliseconds)?;
        u64::try_from(rate).ok().map(Self)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.1}", self.per_second())
    }
}

/// What is remembered while rules are guarded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// By how much a service has to fall, in percent.
    pub fall: u8,
    /// The services, as they were before.
    pub watched: Vec<Watched>,
}

/// A port of a service, as it was before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watched {
    /// Name of the service.
    pub service: String,
    /// The port, as `tcp/443`.
    pub port: String,
    /// What is counted, as `requests`.
    pub what: String,
    /// The average.
    pub before: Rate,
    /// Spans in seconds with the least that there was in such a one; those that are not known are missing.
    pub lowest: Vec<(u64, Rate)>,
}

/// A service that has lost traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallen {
    /// Name of the service.
    pub service: String,
    /// The port, as `tcp/443`.
    pub port: String,
    /// What is counted, as `requests`.
    pub what: String,
    /// Before the other rules.
    pub before: Rate,
    /// With them.
    pub after: Rate,
}

impl fmt::Display for Fallen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, port, what, before, after } = self;
        write!(formatter, "service {service} ({port}) fell from {before} to {after} {what} per second")
    }
}

impl Watched {
    /// A port as its samples show it; `None` if there is too little to judge by.
    pub fn of(service: &str, port: &str, what: &str, samples: &Samples) -> Option<Self> {
        let (first, last) = (samples.first()?, samples.last()?);
        if last.0.saturating_sub(first.0) + TOLERANCE < KNOWN_FOR {
            return None;
        }
        let before = Rate::of(*first, *last).filter(|rate| rate.0 >= LEAST_RATE)?;
        let lowest = SPANS.iter().filter_map(|span| Some((*span, lowest(samples, *span)?))).collect();
        Some(Self {
            service: service.to_owned(),
            port: port.to_owned(),
            what: what.to_owned(),
            before,
            lowest,
        })
    }

    /// Whether it has fallen by so many percent, by the samples since the other rules came. At the end, the whole
    /// time is looked at, too, however little is to be expected in it.
    pub fn judge(&self, samples: &Samples, fall: u8, is_end: bool) -> Option<Fallen> {
        let last = samples.last()?;
        let in_spans = SPANS.iter().filter_map(|span| {
            let is_enough = self.before.0.saturating_mul(*span) >= EXPECTED * 1_000;
            let earlier = begin_of(samples, last.0, *span)?;
            if is_enough { Some((*span, Rate::of(earlier, *last)?)) } else { None }
        });
        let whole = samples.first().filter(|_| is_end).and_then(|first| {
            // As long as the time, or longer.
            let seconds = last.0.saturating_sub(first.0).as_secs();
            let span = SPANS.iter().copied().rfind(|span| *span <= seconds).unwrap_or(seconds);
            Some((span, Rate::of(*first, *last)?))
        });
        let allowed = self.before.0.saturating_mul(100_u64.saturating_sub(fall.into())) / 100;
        let has_fallen = |(span, rate): &(u64, Rate)| {
            let usual = self.lowest.iter().find(|(of, _)| of == span).map(|(_, rate)| *rate);
            rate.0 <= allowed && usual.is_none_or(|usual| *rate < usual)
        };
        let (_, after) = in_spans.chain(whole).find(has_fallen)?;
        Some(self.fallen_to(after))
    }

    /// It, fallen to this.
    pub fn fallen_to(&self, after: Rate) -> Fallen {
        let Self { service, port, what, before, lowest: _ } = self.clone();
        Fallen { service, port, what, before, after }
    }
}

/// The least that there was in any such span.
fn lowest(samples: &Samples, span: u64) -> Option<Rate> {
    samples.iter().filter_map(|last| Rate::of(begin_of(samples, last.0, span)?, *last)).min()
}

/// The last sample that is so much older.
fn begin_of(samples: &Samples, last: Duration, span: u64) -> Option<(Duration, u64)> {
    let least = Duration::from_secs(span).saturating_sub(TOLERANCE);
    samples.iter().rev().find(|(at, _)| last.saturating_sub(*at) >= least).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples of a minute, by how many come in each second.
    fn samples(each: impl Fn(u64) -> u64) -> Vec<(Duration, u64)> {
        let mut total = 1_000;
        (0..=60)
            .map(|second| {
                let sample = (Duration::from_secs(second), total);
                total += each(second);
                sample
            })
            .collect()
    }

    fn watched(each: impl Fn(u64) -> u64) -> Watched {
        Watched::of("www", "tcp/80", "requests", &samples(each)).unwrap()
    }

    /// After how many seconds of a guard of thirty it is said to have fallen by half, and to how much.
    fn fallen(watched: &Watched, each: impl Fn(u64) -> u64) -> Option<(usize, f64)> {
        let after = samples(each);
        (1..=30).find_map(|end| {
            let fallen = watched.judge(&after[..=end], 50, end == 30)?;
            Some((end, fallen.after.per_second()))
        })
    }

    #[test]
    fn an_outage_is_seen_as_soon_as_enough_is_missing() {
        for (each, seen) in [(100, 3), (10, 3), (9, 10), (3, 10), (2, 30), (1, 30)] {
            let watched = watched(|_| each);
            assert_eq!(fallen(&watched, |_| 0), Some((seen, 0.0)), "{each} a second");
            assert_eq!(fallen(&watched, |_| each), None);
        }
    }

    #[test]
    fn a_part_counts_as_the_share_says() {
        let watched = watched(|_| 100);
        assert_eq!(fallen(&watched, |_| 50), Some((3, 50.0)));
        assert_eq!(fallen(&watched, |_| 51), None);
        // It falls late.
        assert_eq!(
            fallen(&watched, |second| if second < 20 { 100 } else { 0 }).map(|(end, _)| end),
            Some(22)
        );
        let after = samples(|_| 1);
        assert_eq!(watched.judge(&after[..=30], 100, true), None);
        assert!(watched.judge(&samples(|_| 0)[..=3], 100, false).is_some());
    }

    #[test]
    fn what_comes_in_bursts_is_no_outage_between_them() {
        let bursts = |second: u64| if second.is_multiple_of(8) { 400 } else { 0 };
        let watched = watched(bursts);
        assert_eq!(fallen(&watched, |second| bursts(second + 1)), None);
        assert_eq!(fallen(&watched, |_| 0).map(|(end, _)| end), Some(10));
    }

    #[test]
    fn what_is_seldom_or_new_says_nothing() {
        let seldom = samples(|second| u64::from(second.is_multiple_of(2)));
        assert_eq!(Watched::of("www", "tcp/80", "requests", &seldom), None);
        let much = samples(|_| 100);
        assert_eq!(Watched::of("www", "tcp/80", "requests", &much[..3]), None);
        assert!(Watched::of("www", "tcp/80", "requests", &much[..4]).is_some());
        assert_eq!(Watched::of("www", "tcp/80", "requests", &[]), None);
        let watched = watched(|_| 100);
        assert_eq!(watched.judge(&[], 50, true), None);
        assert_eq!(watched.judge(&[(Duration::ZERO, 0)], 50, true), None);
    }

    #[test]
    fn it_is_told_in_words() {
        let fallen = watched(|_| 51).fallen_to(Rate(0));
        assert_eq!(fallen.to_string(), "service www (tcp/80) fell from 51.0 to 0.0 requests per second");
    }
}
