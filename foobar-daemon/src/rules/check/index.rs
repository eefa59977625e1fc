//! Which boxes have numbers in a range, found without looking at each.
//!
//! The numbers of a side are cut into stretches, which are the leaves of a binary tree. Each node has a bit for
//! each box, set if the box has a number there. The bits of a range are those of the few nodes that it is made
//! of; stretches are coarse where there are many numbers, so a bit says that a box may have one.

use std::sync::Arc;

use super::ranges::Ranges;

/// A tree over one side.
#[derive(Debug)]
pub(super) struct Index {
    /// Where each leaf begins.
    starts: Vec<u32>,
    /// The bits of each node. The root is node 1; below node n are 2n and 2n + 1, and the leaves come last.
    bits: Vec<u64>,
    n_words: usize,
    n_leaves: usize,
}

/// So many leaves are enough.
const LEAVES_MAX: usize = 1 << 10;
/// All nodes of a side have about this many bits at most.
const BITS_MAX: usize = 1 << 26;
/// A range of more nodes is widened until it has fewer.
const NODES_MAX: usize = 32;

impl Index {
    /// `sides` are the different sides, `boxes` which of them each box has.
    pub(super) fn of(sides: &[Arc<Ranges>], boxes: impl ExactSizeIterator<Item = usize>) -> Self {
        let n_words = boxes.len().div_ceil(64);
        let leaves_max = (BITS_MAX / 2 / boxes.len().max(1)).clamp(16, LEAVES_MAX);
        let starts = starts(sides, leaves_max);
        let n_leaves = starts.len().next_power_of_two();
        let mut index = Self { starts, bits: vec![0; 2 * n_leaves * n_words], n_words, n_leaves };
        let nodes: Vec<Vec<usize>> = sides.iter().map(|ranges| index.exact(ranges.as_slice())).collect();
        for (number, side) in boxes.enumerate() {
            for node in &nodes[side] {
                index.bits[node * n_words + number / 64] |= 1 << (number % 64);
            }
        }
        index.spread();
        index
    }

    /// The bits of the nodes that make up these ranges, or somewhat more. None is every box.
    pub(super) fn nodes(&self, ranges: &[(u32, u32)]) -> Vec<&[u64]> {
        let mut nodes = if ranges.len() <= NODES_MAX { self.exact(ranges) } else { Vec::new() };
        if let (true, Some((low, _)), Some((_, high))) =
            (nodes.is_empty() || nodes.len() > NODES_MAX, ranges.first(), ranges.last())
        {
            nodes = self.exact(&[(*low, *high)]);
        }
        if nodes.contains(&1) {
            return Vec::new();
        }
        nodes.into_iter().map(|node| &self.bits[node * self.n_words..][..self.n_words]).collect()
    }

    /// The nodes whose leaves are those that the ranges touch.
    fn exact(&self, ranges: &[(u32, u32)]) -> Vec<usize> {
        let leaf = |number| self.starts.partition_point(|start| *start <= number).saturating_sub(1);
        let mut nodes = Vec::new();
        for (low, high) in ranges {
            let (mut left, mut right) = (self.n_leaves + leaf(*low), self.n_leaves + leaf(*high) + 1);
            if *low == 0 && right == self.n_leaves + self.starts.len() {
                right = 2 * self.n_leaves;
            }
            while left < right {
                if left % 2 == 1 {
                    nodes.push(left);
                    left += 1;
                }
                if right % 2 == 1 {
                    right -= 1;
                    nodes.push(right);
                }
                left /= 2;
                right /= 2;
            }
        }
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Gives each node the bits of those above it and of those below it.
    fn spread(&mut self) {
        let n_words = self.n_words;
        for node in 1..self.n_leaves {
            let (above, below) = self.bits.split_at_mut(2 * node * n_words);
            let above = &above[node * n_words..][..n_words];
            for (word, bits) in above.iter().enumerate() {
                below[word] |= bits;
                below[n_words + word] |= bits;
            }
        }
        for node in (1..self.n_leaves).rev() {
            let (above, below) = self.bits.split_at_mut(2 * node * n_words);
            let above = &mut above[node * n_words..][..n_words];
            for (word, bits) in above.iter_mut().enumerate() {
                *bits |= below[word] | below[n_words + word];
            }
        }
    }
}

/// Where the stretches begin: wherever a range begins or ends, or at some of these places if they are many.
fn starts(sides: &[Arc<Ranges>], leaves_max: usize) -> Vec<u32> {
    let ranges = sides.iter().flat_map(|ranges| ranges.as_slice());
    let mut starts: Vec<u32> =
        ranges.flat_map(|(low, high)| [Some(*low), high.checked_add(1)]).flatten().collect();
    starts.push(0);
    starts.sort_unstable();
    starts.dedup();
    let step = starts.len().div_ceil(leaves_max);
    starts.into_iter().step_by(step).collect()
}
