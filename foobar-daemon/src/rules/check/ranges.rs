//! Sets of numbers as ranges.

/// A set of numbers: ranges with both ends, in ascending order, with a gap between any two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Ranges<N = u32>(Vec<(N, N)>);

/// What ranges can be made of.
pub(super) trait Number: Copy + Ord {
    /// The next number, or itself if it is the last.
    fn next(self) -> Self;
}

impl Number for u32 {
    fn next(self) -> Self {
        self.saturating_add(1)
    }
}

impl Number for u128 {
    fn next(self) -> Self {
        self.saturating_add(1)
    }
}

impl<N: Number> Ranges<N> {
    /// The numbers in any of these ranges.
    pub(super) fn of(ranges: impl IntoIterator<Item = (N, N)>) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().filter(|(low, high)| low <= high).collect();
        ranges.sort_unstable();
        ranges.dedup_by(|(low, high), (_, end)| {
            let is_joined = *low <= end.next();
            if is_joined {
                *end = (*end).max(*high);
            }
            is_joined
        });
        Self(ranges)
    }

    /// The ranges, in ascending order.
    pub(super) fn as_slice(&self) -> &[(N, N)] {
        &self.0
    }
}

impl Ranges {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The least and the greatest number. An empty set has none, and says so with a range that is upside down.
    pub(super) fn hull(&self) -> (u32, u32) {
        match (self.0.first(), self.0.last()) {
            (Some((low, _)), Some((_, high))) => (*low, *high),
            _ => (1, 0),
        }
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        let behind = self.0.partition_point(|(_, high)| *high < number);
        self.0.get(behind).is_some_and(|(low, _)| *low <= number)
    }

    /// Whether any number is in both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.common(other).next().is_some()
    }

    /// Whether all numbers of the other are in this.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let mut rest = self.0.as_slice();
        other.0.iter().all(|(low, high)| {
            rest = from(rest, *low);
            rest.first().is_some_and(|(start, end)| start <= low && high <= end)
        })
    }

    /// The ranges of the numbers in both, in ascending order.
    pub(super) fn common<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (u32, u32)> + 'a {
        let (few, many) = if self.0.len() <= other.0.len() { (self, other) } else { (other, self) };
        let mut rest = many.0.as_slice();
        few.0.iter().flat_map(move |(low, high)| {
            rest = from(rest, *low);
            rest.iter()
                .take_while(|(start, _)| start <= high)
                .map(|(start, end)| ((*start).max(*low), (*end).min(*high)))
        })
    }

    /// The numbers in this and not in the other.
    pub(super) fn subtract(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        for (low, high) in &self.0 {
            let mut next = Some(*low);
            for (start, end) in from(&other.0, *low).iter().take_while(|(start, _)| start <= high) {
                if let Some(next) = next.filter(|next| next < start) {
                    left.push((next, start - 1));
                }
                next = end.checked_add(1);
            }
            if let Some(next) = next.filter(|next| next <= high) {
                left.push((next, *high));
            }
        }
        Self(left)
    }
}

/// The ranges that do not end before this number.
fn from(ranges: &[(u32, u32)], number: u32) -> &[(u32, u32)] {
    &ranges[ranges.partition_point(|(_, high)| *high < number)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_agrees_with_sets_of_numbers() {
        // Every pair of sets made of 6 bits, each bit standing for three numbers.
        let set = |bits: u32| {
            Ranges::of((0..6).filter(|bit| bits >> bit & 1 == 1).map(|bit| (bit * 3, bit * 3 + 2)))
        };
        for a in 0..64u32 {
            for b in 0..64u32 {
                let (left, right) = (set(a), set(b));
                assert_eq!(Ranges::of(left.common(&right)), set(a & b), "{a} {b}");
                assert_eq!(left.subtract(&right), set(a & !b), "{a} {b}");
                assert_eq!(left.meets(&right), a & b != 0, "{a} {b}");
                assert_eq!(left.covers(&right), b & !a == 0, "{a} {b}");
            }
            assert_eq!(
                (0..18).filter(|number| set(a).contains(*number)).count(),
                3 * a.count_ones() as usize
            );
        }
        let all = Ranges::of([(0, u32::MAX)]);
        assert_eq!(all.subtract(&Ranges::of([(5, u32::MAX)])), Ranges::of([(0, 4)]));
        assert!(all.subtract(&all).is_empty());
        assert_eq!(all.hull(), (0, u32::MAX));
        assert_eq!(Ranges::of([(5u32, 9), (0, 4), (3, 2)]), Ranges::of([(0, 9)]));
        assert_eq!(Ranges::of([(0, u128::MAX), (7, u128::MAX)]), Ranges::of([(0, u128::MAX)]));
    }
}
