//! How much is measured, in a full and in a quick run.

use foobar_tests::classbench::Shape;

use crate::cost::Effort;

/// Sizes and samples.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) shapes: &'static [Shape],
    /// Numbers of rules.
    pub(crate) rules: &'static [usize],
    /// Numbers of entries in a set.
    pub(crate) sets: &'static [usize],
    pub(crate) effort: Effort,
    /// Packets and rules, multiplied, that are read plainly in search of packets without a rule.
    pub(crate) unmatched: usize,
    /// Packets among which the slowest are looked for.
    pub(crate) tried: usize,
    pub(crate) server: ServerPlan,
    pub(crate) swaps: u32,
    pub(crate) rivals: RivalPlan,
}

/// What a web server is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerPlan {
    /// Runs of each way of counting.
    pub(crate) alternations: u32,
    /// Requests of a run.
    pub(crate) requests: u64,
}

/// What the rivals are given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RivalPlan {
    /// Numbers of rules.
    pub(crate) rules: &'static [usize],
    /// Numbers of addresses in a set.
    pub(crate) sets: &'static [usize],
    /// Numbers of addresses that xdp-filter gets, one command each.
    pub(crate) addresses: &'static [usize],
    /// Interleaved samples.
    pub(crate) samples: u32,
    /// Seconds that a sample takes.
    pub(crate) seconds: f64,
}

/// About 25 minutes.
pub(crate) const FULL: Plan = Plan {
    shapes: &Shape::ALL,
    rules: &[0, 10, 100, 250, 1_000, 10_000, 100_000],
    sets: &[250, 1_000, 100_000, 1_000_000],
    effort: Effort { samples: 7, runs: 1 << 19, checked: 1_000 },
    unmatched: 40_000_000,
    tried: 4_000,
    server: ServerPlan { alternations: 12, requests: 100_000 },
    swaps: 20,
    rivals: RivalPlan {
        rules: &[0, 10, 100, 250, 1_000],
        sets: &[250, 1_000, 100_000],
        addresses: &[100, 1_000],
        samples: 7,
        seconds: 0.3,
    },
};

/// At most two minutes.
pub(crate) const QUICK: Plan = Plan {
    shapes: &[Shape::Acl],
    rules: &[0, 100, 250, 1_000, 10_000],
    sets: &[250, 1_000, 100_000],
    effort: Effort { samples: 3, runs: 1 << 17, checked: 200 },
    unmatched: 4_000_000,
    tried: 1_000,
    server: ServerPlan { alternations: 1, requests: 20_000 },
    swaps: 5,
    rivals: RivalPlan {
        rules: &[0, 100, 250, 1_000],
        sets: &[250, 100_000],
        addresses: &[100],
        samples: 3,
        seconds: 0.15,
    },
};
