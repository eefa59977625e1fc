//! Sets of numbers as ranges.

/// A set of numbers: ranges with both ends, in ascending order, with a gap between any two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<(u128, u128)>);

impl Ranges {
    /// The numbers in any of these ranges.
    pub(super) fn of(ranges: impl IntoIterator<Item = (u128, u128)>) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().filter(|(low, high)| low <= high).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::new();
        for (low, high) in ranges {
            match merged.last_mut() {
                Some((_, end)) if low <= end.saturating_add(1) => *end = high.max(*end),
                _ => merged.push((low, high)),
            }
        }
        Self(merged)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The numbers in both.
    pub(super) fn intersect(&self, other: &Self) -> Self {
        let mut both = Vec::new();
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some((low_a, high_a)), Some((low_b, high_b))) = (left.peek(), right.peek()) {
            let (low, high) = (*low_a.max(low_b), *high_a.min(high_b));
            if low <= high {
                both.push((low, high));
            }
            if high_a < high_b {
                left.next();
            } else {
                right.next();
            }
        }
        Self(both)
    }

    /// The numbers in this and not in the other.
    pub(super) fn subtract(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        for (low, high) in &self.0 {
            let mut from = Some(*low);
            for (hole_low, hole_high) in other.0.iter().filter(|(l, h)| h >= low && l <= high) {
                if let Some(start) = from
                    && start < *hole_low
                {
                    left.push((start, hole_low - 1));
                }
                from = hole_high.checked_add(1);
            }
            if let Some(start) = from.filter(|start| start <= high) {
                left.push((start, *high));
            }
        }
        Self(left)
    }

    /// Whether each has a number that the other has not, and there is one in both.
    pub(super) fn overlaps_in_part(&self, other: &Self) -> bool {
        !self.intersect(other).is_empty()
            && !self.subtract(other).is_empty()
            && !other.subtract(self).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_agrees_with_sets_of_numbers() {
        // Every pair of sets made of 6 bits, each bit standing for three numbers.
        let set = |bits: u128| {
            Ranges::of((0..6).filter(|bit| bits >> bit & 1 == 1).map(|bit| (bit * 3, bit * 3 + 2)))
        };
        for a in 0..64u128 {
            for b in 0..64u128 {
                let (left, right) = (set(a), set(b));
                assert_eq!(left.intersect(&right), set(a & b), "{a} {b}");
                assert_eq!(left.subtract(&right), set(a & !b), "{a} {b}");
            }
        }
        let all = Ranges::of([(0, u128::MAX)]);
        assert_eq!(all.subtract(&Ranges::of([(5, u128::MAX)])), Ranges::of([(0, 4)]));
        assert!(all.subtract(&all).is_empty());
        assert_eq!(Ranges::of([(5, 9), (0, 4), (3, 2)]), Ranges::of([(0, 9)]));
    }
}
