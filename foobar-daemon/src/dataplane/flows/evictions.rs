//! How many flows others pushed out, as a number that never goes back.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::FlowFacts;

/// The highest numbers that were told. Flows that come while they are counted make the difference of what entered and what is
/// there smaller than it is.
#[derive(Debug, Default)]
pub(in crate::dataplane) struct Evictions {
    proved: AtomicU64,
    unproved: AtomicU64,
}

impl Evictions {
    /// The same facts, with no number of evictions lower than one before.
    pub(in crate::dataplane) fn raise(&self, facts: FlowFacts) -> FlowFacts {
        let highest = |before: &AtomicU64, now: u64| before.fetch_max(now, Relaxed).max(now);
        FlowFacts {
            evicted: highest(&self.proved, facts.evicted),
            evicted_unproved: highest(&self.unproved, facts.evicted_unproved),
            ..facts
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evictions_never_go_back() {
        let evictions = Evictions::default();
        let facts = |evicted, evicted_unproved| FlowFacts {
            evicted,
            evicted_unproved,
            known: 7,
            ..FlowFacts::default()
        };
        for (found, told) in [((5, 0), (5, 0)), ((3, 9), (5, 9)), ((6, 8), (6, 9))] {
            assert_eq!(evictions.raise(facts(found.0, found.1)), facts(told.0, told.1));
        }
    }
}
