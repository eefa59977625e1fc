//! How many flows others pushed out, as a number that never goes back.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{FlowFacts, FlowMapFacts};

/// The highest numbers that were told. Flows that come while they are counted make the difference of what entered and what is
/// there smaller than it is.
#[derive(Debug, Default)]
pub(in crate::dataplane) struct Evictions {
    proved_v4: AtomicU64,
    proved_v6: AtomicU64,
    unproved: AtomicU64,
}

impl Evictions {
    /// The same facts, with no number of evictions lower than one before.
    pub(in crate::dataplane) fn raise(&self, facts: FlowFacts) -> FlowFacts {
        let highest = |before: &AtomicU64, now: FlowMapFacts| FlowMapFacts {
            evicted: before.fetch_max(now.evicted, Relaxed).max(now.evicted),
            ..now
        };
        FlowFacts {
            proved_v4: highest(&self.proved_v4, facts.proved_v4),
            proved_v6: highest(&self.proved_v6, facts.proved_v6),
            unproved: highest(&self.unproved, facts.unproved),
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
        let facts = |numbers: [u64; 3]| {
            let [proved_v4, proved_v6, unproved] =
                numbers.map(|evicted| FlowMapFacts { evicted, known: 7, ..FlowMapFacts::default() });
            FlowFacts { proved_v4, proved_v6, unproved, begun: 9, ..FlowFacts::default() }
        };
        for (found, told) in [([5, 0, 1], [5, 0, 1]), ([3, 9, 1], [5, 9, 1]), ([6, 8, 4], [6, 9, 4])] {
            assert_eq!(evictions.raise(facts(found)), facts(told));
        }
    }
}
