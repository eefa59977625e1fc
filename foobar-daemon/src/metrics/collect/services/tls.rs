//! What is counted of TLS.

use foobar_common::{
    service::{FirstBytes, TlsCounters},
    tls::{Alpn, TlsVersion},
};
use prometheus::proto::MetricFamily;

use super::{Connections, Labels};
use crate::metrics::catalogue::{self, Family};

pub(super) struct TlsFamilies {
    handshakes: Family<3>,
    failures: Family<2>,
}

impl TlsFamilies {
    pub(super) fn new() -> Self {
        Self { handshakes: catalogue::TLS_HANDSHAKES.family(), failures: catalogue::TLS_FAILURES.family() }
    }

    pub(super) fn add(&mut self, labels: &Labels<'_>, counters: &TlsCounters, connections: &mut Connections) {
        let port = labels.port;
        let TlsCounters { connections: begun, offered: _, handshakes, failures, lost: _ } = counters;
        for (first, count) in FirstBytes::ALL.iter().zip(begun) {
            let encryption = if *first == FirstBytes::Tls { "tls" } else { "none" };
            connections.add_integer([port, encryption, first.label()], *count);
        }
        for (version, (by_alpn, failed)) in TlsVersion::ALL.iter().zip(handshakes.iter().zip(failures)) {
            for (alpn, count) in Alpn::ALL.iter().zip(by_alpn) {
                self.handshakes.add_integer([port, version.label(), alpn.label()], *count);
            }
            self.failures.add_integer([port, version.label()], *failed);
        }
    }

    pub(super) fn into_proto(self) -> [MetricFamily; 2] {
        let Self { handshakes, failures } = self;
        [handshakes.into_proto(), failures.into_proto()]
    }
}
