//! What is counted of services of which nothing is read.

use foobar_common::{flow::Direction, raw::RawCounters};
use prometheus::proto::MetricFamily;

use crate::metrics::catalogue::{self, Family};

pub(super) struct RawFamilies {
    resets: Family<2>,
    refused: Family<1>,
}

impl RawFamilies {
    pub(super) fn new() -> Self {
        Self {
            resets: catalogue::CONNECTION_RESETS.family(),
            refused: catalogue::CONNECTIONS_REFUSED.family(),
        }
    }

    /// Adds those of a service, but for its connections.
    pub(super) fn add(&mut self, port: &str, counters: &RawCounters) {
        let RawCounters { opened: _, resets, refused } = counters;
        for (direction, count) in Direction::ALL.iter().zip(resets) {
            self.resets.add_integer([port, direction.label()], *count);
        }
        self.refused.add_integer([port], *refused);
    }

    pub(super) fn into_proto(self) -> [MetricFamily; 2] {
        let Self { resets, refused } = self;
        [resets.into_proto(), refused.into_proto()]
    }
}
