//! What became of SYNs to services that answer with cookies.

use foobar_common::syn_cookies::{Passed, SynCounters};
use prometheus::proto::MetricFamily;

use crate::{
    dataplane::counters::SynCookieCounters,
    metrics::catalogue::{self, Family},
};

pub(super) struct SynFamilies {
    answered: Family<1>,
    returned: Family<1>,
    passed: Family<2>,
    active: Family<1>,
}

impl SynFamilies {
    pub(super) fn new() -> Self {
        Self {
            answered: catalogue::SYN_ANSWERED.family(),
            returned: catalogue::SYN_RETURNED.family(),
            passed: catalogue::SYN_PASSED.family(),
            active: catalogue::SYN_COOKIES_ACTIVE.family(),
        }
    }

    /// Adds those of a service.
    pub(super) fn add(&mut self, port: &str, counted: &SynCookieCounters) {
        let SynCookieCounters { counters: SynCounters { answered, returned, passed }, active } = counted;
        self.answered.add_integer([port], *answered);
        self.returned.add_integer([port], *returned);
        for (cause, count) in Passed::ALL.iter().zip(passed) {
            self.passed.add_integer([port, cause.label()], *count);
        }
        self.active.add_flag([port], *active);
    }

    pub(super) fn into_proto(self) -> [MetricFamily; 4] {
        let Self { answered, returned, passed, active } = self;
        [answered.into_proto(), returned.into_proto(), passed.into_proto(), active.into_proto()]
    }
}
