//! Numbers that few boxes have.

use std::sync::Arc;

use super::ranges::Ranges;

/// How many boxes have each number of one side.
#[derive(Debug)]
pub(super) struct Quiet {
    /// Where the count changes.
    starts: Vec<u32>,
    /// The least count and where it is: of each stretch in the second half, of two nodes each in the first.
    least: Vec<(i64, usize)>,
}

/// A good number among the first so many ranges is good enough.
const RANGES_MAX: usize = 64;

impl Quiet {
    /// `sides` are the different sides, `boxes` which of them each box has.
    pub(super) fn of(sides: &[Arc<Ranges>], boxes: impl Iterator<Item = usize>) -> Self {
        let mut uses = vec![0i64; sides.len()];
        boxes.for_each(|side| uses[side] += 1);
        let mut turns = vec![(0, 0)];
        for (ranges, uses) in sides.iter().zip(uses) {
            for (low, high) in ranges.as_slice() {
                turns.push((*low, uses));
                turns.extend(high.checked_add(1).map(|next| (next, -uses)));
            }
        }
        turns.sort_unstable();
        let (mut starts, mut counts, mut count) = (Vec::new(), Vec::new(), 0);
        for here in turns.chunk_by(|one, two| one.0 == two.0) {
            count += here.iter().map(|(_, change)| change).sum::<i64>();
            starts.push(here[0].0);
            counts.push((count, counts.len()));
        }
        let n_stretches = counts.len();
        let mut least = vec![(0, 0); n_stretches];
        least.extend(counts);
        for node in (1..n_stretches).rev() {
            least[node] = least[2 * node].min(least[2 * node + 1]);
        }
        Self { starts, least }
    }

    /// A number of these ranges that few boxes have.
    pub(super) fn quietest(&self, ranges: &[(u32, u32)]) -> u32 {
        let found = ranges.iter().take(RANGES_MAX).map(|(low, high)| {
            let (count, stretch) = self.least(*low, *high);
            (count, self.starts[stretch].max(*low))
        });
        found.min().map_or(0, |(_, number)| number)
    }

    /// The least count in a range, and its stretch.
    fn least(&self, low: u32, high: u32) -> (i64, usize) {
        let behind = |number| self.starts.partition_point(|start| *start <= number);
        let n_stretches = self.starts.len();
        let (mut left, mut right) = (n_stretches + behind(low) - 1, n_stretches + behind(high));
        let mut least = self.least[left];
        while left < right {
            if left % 2 == 1 {
                least = least.min(self.least[left]);
                left += 1;
            }
            if right % 2 == 1 {
                right -= 1;
                least = least.min(self.least[right]);
            }
            left /= 2;
            right /= 2;
        }
        least
    }
}
