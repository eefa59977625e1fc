//! What is counted of HTTP.

use foobar_common::service::{HttpCounters, Method, Protocol, STATUS_CLASS_LABELS};
use prometheus::proto::MetricFamily;

use crate::metrics::catalogue::{self, Family};

pub(super) struct HttpFamilies {
    requests: Family<3>,
    responses: Family<2>,
    durations: Family<2>,
    first_bytes: Family<2>,
    untimed: Family<2>,
}

impl HttpFamilies {
    pub(super) fn new() -> Self {
        Self {
            requests: catalogue::HTTP_REQUESTS.family(),
            responses: catalogue::HTTP_RESPONSES.family(),
            durations: catalogue::HTTP_DURATION.family(),
            first_bytes: catalogue::HTTP_FIRST_BYTE.family(),
            untimed: catalogue::HTTP_UNTIMED.family(),
        }
    }

    /// Adds those of a service, but for its connections and losses.
    pub(super) fn add(&mut self, port: &str, protocol: &str, counters: &HttpCounters) {
        self.add_requests(port, protocol, counters);
        let HttpCounters {
            connections: _,
            http2_connections: _,
            requests: _,
            responses,
            untimed,
            lost: _,
            first_byte,
            last_byte,
        } = counters;
        for (class, count) in
            STATUS_CLASS_LABELS.into_iter().zip(responses).filter(|(class, _)| is_told(class, protocol))
        {
            self.responses.add_integer([port, class], *count);
        }
        self.durations.add_histogram([port, protocol], last_byte);
        self.first_bytes.add_histogram([port, protocol], first_byte);
        self.untimed.add_integer([port, protocol], *untimed);
    }

    /// Adds those of a service of which only requests are read.
    pub(super) fn add_requests(&mut self, port: &str, protocol: &str, counters: &HttpCounters) {
        let methods = Method::ALL.iter().map(|method| method.label()).zip(counters.requests);
        for (method, count) in methods.filter(|(method, _)| is_told(method, protocol)) {
            self.requests.add_integer([port, protocol, method], count);
        }
    }

    pub(super) fn into_proto(self) -> [MetricFamily; 5] {
        let Self { requests, responses, durations, first_bytes, untimed } = self;
        [
            requests.into_proto(),
            responses.into_proto(),
            durations.into_proto(),
            first_bytes.into_proto(),
            untimed.into_proto(),
        ]
    }
}

/// Whether a method or a class of status can be met: in HTTP/1.x, all can be told.
fn is_told(label: &str, protocol: &str) -> bool {
    label != Method::Unknown.label() || protocol != Protocol::Http1.label()
}
