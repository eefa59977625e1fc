//! Bit vectors over all clauses of a ruleset, stored by blocks that are shared.

use std::collections::HashMap;

use foobar_common::classes::{BLOCK_WORDS, Block};

/// Clauses of a [`Block`].
pub(super) const BLOCK_CLAUSES: usize = 64 * BLOCK_WORDS;

/// A bit for each clause: the numbers of its blocks.
pub(super) type Vector = Vec<u32>;

/// The block without any clause.
pub(super) const EMPTY: u32 = 0;

/// Every block that some vector has, once.
pub(super) struct Blocks {
    list: Vec<Block>,
    numbers: HashMap<Block, u32>,
    per_vector: usize,
}

impl Blocks {
    /// For vectors of so many clauses.
    pub(super) fn new(clauses: usize) -> Self {
        let empty = Block::default();
        Self {
            list: vec![empty],
            numbers: HashMap::from([(empty, EMPTY)]),
            per_vector: clauses.div_ceil(BLOCK_CLAUSES).max(1),
        }
    }

    /// All blocks, by their numbers.
    pub(super) fn list(&self) -> &[Block] {
        &self.list
    }

    /// All blocks, to keep.
    pub(super) fn into_list(self) -> Vec<Block> {
        self.list
    }

    /// The vector without clauses.
    pub(super) fn empty(&self) -> Vector {
        vec![EMPTY; self.per_vector]
    }

    /// The vector of these clauses.
    pub(super) fn vector(&mut self, mut clauses: Vec<u32>) -> Vector {
        let mut vector = self.empty();
        self.set(&mut vector, &mut clauses);
        vector
    }

    /// Adds clauses to a vector.
    pub(super) fn set(&mut self, vector: &mut Vector, clauses: &mut [u32]) {
        self.change(vector, clauses, |word, bit| *word |= bit);
    }

    /// Adds the clauses that are not in a vector, and takes out those that are. Each counts once per mention.
    pub(super) fn toggle(&mut self, vector: &mut Vector, clauses: &mut [u32]) {
        self.change(vector, clauses, |word, bit| *word ^= bit);
    }

    /// The clauses of one vector that are not in another.
    pub(super) fn without(&mut self, vector: &Vector, taken: &Vector) -> Vector {
        let pairs = vector.iter().zip(taken);
        pairs
            .map(|(one, other)| {
                if *other == EMPTY || *one == EMPTY {
                    return *one;
                }
                let (mut left, taken) = (self.list[*one as usize], self.list[*other as usize]);
                for (left, taken) in left.words.iter_mut().zip(taken.words) {
                    *left &= !taken;
                }
                self.number(left)
            })
            .collect()
    }

    fn change(&mut self, vector: &mut Vector, clauses: &mut [u32], change: fn(&mut u64, u64)) {
        clauses.sort_unstable();
        let mut rest = &clauses[..];
        while let Some(first) = rest.first() {
            let number = *first as usize / BLOCK_CLAUSES;
            let count = rest.partition_point(|clause| *clause as usize / BLOCK_CLAUSES == number);
            let mut block = self.list[vector[number] as usize];
            for clause in &rest[..count] {
                let bit = *clause as usize % BLOCK_CLAUSES;
                change(&mut block.words[bit / 64], 1 << (bit % 64));
            }
            vector[number] = self.number(block);
            rest = &rest[count..];
        }
    }

    fn number(&mut self, block: Block) -> u32 {
        let next = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(block).or_insert(next);
        if number == next {
            self.list.push(block);
        }
        number
    }
}
