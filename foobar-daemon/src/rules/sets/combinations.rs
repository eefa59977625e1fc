//! Which sets an address is in, as a number.

use std::collections::{BTreeSet, HashMap};

/// Combinations of sets. Number 0 is none of them, then each set alone, then those that occur.
#[derive(Clone, Debug)]
pub struct Combinations {
    sets: Vec<String>,
    list: Vec<Vec<u32>>,
    numbers: HashMap<Vec<u32>, u32>,
    /// What a combination and one more set make; saves most of the work.
    with: HashMap<(u32, u32), u32>,
}

impl PartialEq for Combinations {
    fn eq(&self, other: &Self) -> bool {
        // The rest follows from these.
        self.sets == other.sets && self.list == other.list
    }
}

impl Eq for Combinations {}

impl Combinations {
    /// Whether they are combinations of these sets. Names are given in order.
    pub(super) fn are_of(&self, names: &[&str]) -> bool {
        self.sets == names
    }

    /// Those of sets by themselves. Names are given in order.
    pub(super) fn of(sets: Vec<String>) -> Self {
        let mut combinations = Self { sets, list: Vec::new(), numbers: HashMap::new(), with: HashMap::new() };
        combinations.number(Vec::new());
        for (set, _) in (0..).zip(combinations.sets.clone()) {
            combinations.number(vec![set]);
        }
        combinations
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none, which never is so: number 0 always is one.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The names of the sets of each, in the order of the numbers.
    pub fn names(&self) -> impl Iterator<Item = BTreeSet<&str>> {
        self.list.iter().map(|sets| {
            sets.iter().filter_map(|set| self.sets.get(*set as usize)).map(String::as_str).collect()
        })
    }

    /// The number of a combination with one more set.
    pub(super) fn with(&mut self, combination: u32, set: u32) -> u32 {
        if let Some(known) = self.with.get(&(combination, set)) {
            return *known;
        }
        let mut sets = self.list.get(combination as usize).cloned().unwrap_or_default();
        if let Err(place) = sets.binary_search(&set) {
            sets.insert(place, set);
        }
        let number = self.number(sets);
        self.with.insert((combination, set), number);
        number
    }

    fn number(&mut self, sets: Vec<u32>) -> u32 {
        let next = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(sets.clone()).or_insert(next);
        if number == next {
            self.list.push(sets);
        }
        number
    }
}
