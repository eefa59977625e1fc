//! Whether two counts of the same things agree although neither stands still. Pure.
//!
//! Ours and the server's begin at different times, are read one after the other, and count a request at different
//! moments: foobar when its head has passed the interface, nginx when its first byte has been read. So of how far the
//! server's count is ahead of ours only an interval is known. What holds is this: **what one side has counted, the
//! other has counted within a [`super::SETTLE`]**, unless it misses it. So a [`Reading`] takes our count that long before the
//! server is asked and that long after it has answered, and the true lead lies between what both give.
//!
//! As long as nothing is missed the lead never changes, and all readings have a lead in common. The intersection of
//! their intervals is the **baseline**, and gets narrower with every quiet moment. A reading that has nothing in common
//! with it proves that something was missed: then the lead is **another** one, which is found out in the same way, and
//! the difference is at least the distance between the two. It never claims more than is proven, and does not go back
//! because a later, busier moment tells less.

/// Both counts at one time, each between two bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Our count some time before the server was asked, and some time after it had answered.
    pub ours: (u64, u64),
    /// The least and the most that the server can have counted of what we are to count.
    pub theirs: (u64, u64),
}

/// Whole numbers from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interval {
    low: i128,
    high: i128,
}

/// What is known of two counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// By how much the server was ahead before anything was missed.
    baseline: Interval,
    /// By how much it is ahead since something was; `None` as long as nothing is known to be missed.
    since: Option<Interval>,
}

impl Comparison {
    /// Begins with a first reading, which is equal to itself.
    pub fn new(reading: Reading) -> Self {
        Self { baseline: Interval::of(reading), since: None }
    }

    /// Adds what was read next.
    pub fn add(&mut self, reading: Reading) {
        let lead = Interval::of(reading);
        let present = self.since.as_mut().unwrap_or(&mut self.baseline);
        match present.intersection(lead) {
            Some(both) => *present = both,
            None => self.since = Some(lead),
        }
    }

    /// Ours less theirs, as far as it is proven; what does not fit is the largest or smallest that does.
    pub fn difference(&self) -> i64 {
        let Some(since) = self.since else { return 0 };
        let Interval { low, high } = self.baseline;
        let proven = if since.low > high {
            high - since.low
        } else if since.high < low {
            low - since.high
        } else {
            0
        };
        let nearest = if proven < 0 { i64::MIN } else { i64::MAX };
        i64::try_from(proven).unwrap_or(nearest)
    }

    /// By how much more than [`Self::difference`] the true one can be away from zero, or by how much from zero.
    pub fn uncertainty(&self) -> u64 {
        let width = self.baseline.width() + self.since.map_or(0, Interval::width);
        u64::try_from(width).unwrap_or(u64::MAX)
    }
}

impl Interval {
    /// By how much the server is ahead of us in a reading.
    fn of(reading: Reading) -> Self {
        let Reading { ours, theirs } = reading;
        Self {
            low: i128::from(theirs.0) - i128::from(ours.1),
            high: i128::from(theirs.1) - i128::from(ours.0),
        }
    }

    fn intersection(self, other: Self) -> Option<Self> {
        let both = Self { low: self.low.max(other.low), high: self.high.min(other.high) };
        (both.low <= both.high).then_some(both)
    }

    fn width(self) -> i128 {
        self.high - self.low
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Within how many moments each side counts what the other has.
    const SETTLE: u64 = 5;

    /// A request: when it comes, how much later or earlier the server counts it, and whether we miss it.
    #[derive(Clone, Copy, Debug)]
    struct Asked {
        at: u64,
        server: i64,
        missed: bool,
    }

    /// What was counted up to a moment of requests that come around others.
    #[derive(Debug)]
    struct World {
        asked: Vec<Asked>,
        /// What both had counted before.
        before: (u64, u64),
    }

    impl World {
        fn ours(&self, moment: u64) -> u64 {
            let counted = self.asked.iter().filter(|one| !one.missed && one.at <= moment);
            self.before.0 + counted.count() as u64
        }

        fn theirs(&self, moment: u64) -> u64 {
            let counted = self.asked.iter().filter(|one| one.at.saturating_add_signed(one.server) <= moment);
            self.before.1 + counted.count() as u64
        }

        fn missed(&self, moment: u64) -> i64 {
            let missed = self.asked.iter().filter(|one| one.missed);
            let missed = missed.filter(|one| one.at.saturating_add_signed(one.server) <= moment);
            missed.fold(0, |sum, _| sum + 1)
        }

        /// The server is asked between `SETTLE` after the beginning and as long before the end.
        fn read(&self, begin: u64, asked: u64, answered: u64, unsure: u64) -> Reading {
            let theirs = self.theirs(asked);
            Reading {
                ours: (self.ours(begin), self.ours(answered + SETTLE)),
                theirs: (theirs.saturating_sub(unsure), theirs),
            }
        }
    }

    fn world(missed: impl Strategy<Value = bool> + Clone) -> impl Strategy<Value = World> {
        let lag = -SETTLE.cast_signed()..=SETTLE.cast_signed();
        let one = (20..300_u64, lag, missed).prop_map(|(at, server, missed)| Asked { at, server, missed });
        (vec(one, 0..200), 0..1000_u64, 0..1000_u64)
            .prop_map(|(asked, ours, theirs)| World { asked, before: (ours, theirs) })
    }

    /// Readings one after the other: when each begins, how long the question takes to get to the server, and the
    /// answer back.
    fn readings() -> impl Strategy<Value = Vec<(u64, u64, u64)>> {
        vec((0..30_u64, 0..6_u64, 0..6_u64), 1..20).prop_map(|readings| {
            let mut end = 10;
            let placed = readings.into_iter().map(|(pause, there, back)| {
                let begin = end + pause;
                end = begin + SETTLE + there + back + SETTLE;
                (begin, there, back)
            });
            placed.collect()
        })
    }

    fn compare(
        world: &World,
        readings: &[(u64, u64, u64)],
        unsure: u64,
        mut look: impl FnMut(&Comparison, u64),
    ) {
        let mut comparison: Option<Comparison> = None;
        for (begin, there, back) in readings {
            let asked = begin + SETTLE + there;
            let reading = world.read(*begin, asked, asked + back, unsure);
            let comparison = match &mut comparison {
                Some(comparison) => {
                    comparison.add(reading);
                    comparison
                }
                None => comparison.insert(Comparison::new(reading)),
            };
            look(comparison, asked + back);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_missed_is_no_difference(
            world in world(Just(false)),
            readings in readings(),
            unsure in 0..3_u64,
        ) {
            compare(&world, &readings, unsure, |comparison, _| assert_eq!(comparison.difference(), 0));
        }

        #[test]
        fn what_is_missed_is_never_told_too_large_and_never_taken_back(
            world in world(any::<bool>()),
            readings in readings(),
        ) {
            let mut last = 0;
            compare(&world, &readings, 0, |comparison, moment| {
                let difference = comparison.difference();
                assert!(difference <= last, "{last} and then {difference}");
                assert!(-difference <= world.missed(moment), "{difference}");
                last = difference;
            });
        }

        #[test]
        fn what_is_missed_is_told_to_the_last_one_when_all_is_quiet(
            world in world(any::<bool>()),
            readings in readings(),
        ) {
            // Nothing comes before 20 and after 300.
            let all = [&[(0, 0, 0)], &readings[..], &[(1_000, 0, 0)]].concat();
            let mut told = (0, 1);
            compare(&world, &all, 0, |comparison, _| {
                told = (comparison.difference(), comparison.uncertainty());
            });
            assert_eq!(told, (-world.missed(u64::MAX), 0));
        }
    }

    /// Each row: our counts around the question and theirs, and the difference then.
    #[test]
    fn a_difference_appears_stays_and_goes() {
        let rows = [
            ((100, 100), 7, 0, 0),
            // Traffic tells little.
            ((100, 150), 40, 0, 0),
            // 20 are counted there and not here.
            ((150, 150), 77, -20, 0),
            ((150, 190), 110, -20, 0),
            // Here a few more are counted than there.
            ((195, 195), 120, -18, 0),
            ((195, 195), 102, 0, 0),
            ((205, 205), 102, 10, 0),
        ];
        let mut comparison: Option<Comparison> = None;
        for (ours, theirs, difference, uncertainty) in rows {
            let reading = Reading { ours, theirs: (theirs, theirs) };
            match &mut comparison {
                Some(comparison) => comparison.add(reading),
                None => comparison = Some(Comparison::new(reading)),
            }
            let known = comparison.unwrap();
            assert_eq!((known.difference(), known.uncertainty()), (difference, uncertainty), "{reading:?}");
        }
    }

    #[test]
    fn counts_of_any_size_are_compared() {
        let whole = Reading { ours: (0, u64::MAX), theirs: (0, u64::MAX) };
        let mut comparison = Comparison::new(whole);
        assert_eq!((comparison.difference(), comparison.uncertainty()), (0, u64::MAX));
        for (ours, theirs, difference) in [(0, u64::MAX, i64::MIN), (u64::MAX, 0, i64::MAX)] {
            comparison = Comparison::new(Reading { ours: (0, 0), theirs: (0, 0) });
            comparison.add(Reading { ours: (ours, ours), theirs: (theirs, theirs) });
            assert_eq!(comparison.difference(), difference);
        }
    }
}
