//! What is counted of TLS.

use foobar_common::{
    service::TlsCounters,
    tls::{Alpn, TlsVersion},
};
use prometheus::proto::MetricFamily;

use crate::metrics::catalogue::{self, Family};

pub(super) struct TlsFamilies {
    handshakes: Family<3>,
    failures: Family<2>,
    turns: Family<1>,
    turn_durations: Family<1>,
}

impl TlsFamilies {
    pub(super) fn new() -> Self {
        Self {
            handshakes: catalogue::TLS_HANDSHAKES.family(),
            failures: catalogue::TLS_FAILURES.family(),
            turns: catalogue::TLS_TURNS.family(),
            turn_durations: catalogue::TLS_TURN_DURATION.family(),
        }
    }

    /// Adds those of a service, but for its connections and losses.
    pub(super) fn add(&mut self, port: &str, counters: &TlsCounters) {
        let TlsCounters { connections: _, offered: _, handshakes, failures, turns, lost: _ } = counters;
        for (version, (by_alpn, failed)) in TlsVersion::ALL.iter().zip(handshakes.iter().zip(failures)) {
            for (alpn, count) in Alpn::ALL.iter().zip(by_alpn) {
                self.handshakes.add_integer([port, version.label(), alpn.label()], *count);
            }
            self.failures.add_integer([port, version.label()], *failed);
        }
        self.turns.add_integer([port], turns.buckets.iter().sum());
        self.turn_durations.add_histogram([port], turns);
    }

    pub(super) fn into_proto(self) -> [MetricFamily; 4] {
        let Self { handshakes, failures, turns, turn_durations } = self;
        [handshakes.into_proto(), failures.into_proto(), turns.into_proto(), turn_durations.into_proto()]
    }
}
