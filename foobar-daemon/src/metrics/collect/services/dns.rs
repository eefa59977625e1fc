//! What is counted of name servers.

use foobar_common::dns::{DnsCounters, QueryType, ResponseCode};
use prometheus::proto::MetricFamily;

use crate::metrics::catalogue::{self, Family};

pub(super) struct DnsFamilies {
    queries: Family<3>,
    repeated: Family<2>,
    unanswered: Family<2>,
    answers: Family<3>,
    truncated: Family<2>,
    unasked: Family<2>,
    durations: Family<2>,
}

impl DnsFamilies {
    pub(super) fn new() -> Self {
        Self {
            queries: catalogue::DNS_QUERIES.family(),
            repeated: catalogue::DNS_REPEATED.family(),
            unanswered: catalogue::DNS_UNANSWERED.family(),
            answers: catalogue::DNS_ANSWERS.family(),
            truncated: catalogue::DNS_TRUNCATED.family(),
            unasked: catalogue::DNS_UNASKED.family(),
            durations: catalogue::DNS_DURATION.family(),
        }
    }

    pub(super) fn add(&mut self, port: &str, l4: &str, counters: &DnsCounters) {
        let DnsCounters { queries, repeated, answers, truncated, unasked, lost: _, duration } = counters;
        for (query_type, count) in QueryType::ALL.iter().zip(queries) {
            self.queries.add_integer([port, l4, query_type.label()], *count);
        }
        for (code, count) in ResponseCode::ALL.iter().zip(answers) {
            self.answers.add_integer([port, l4, code.label()], *count);
        }
        self.repeated.add_integer([port, l4], *repeated);
        self.unanswered.add_integer([port, l4], counters.unanswered());
        self.truncated.add_integer([port, l4], *truncated);
        self.unasked.add_integer([port, l4], *unasked);
        self.durations.add_histogram([port, l4], duration);
    }

    pub(super) fn into_proto(self) -> impl Iterator<Item = MetricFamily> {
        let Self { queries, repeated, unanswered, answers, truncated, unasked, durations } = self;
        [
            queries.into_proto(),
            repeated.into_proto(),
            unanswered.into_proto(),
            answers.into_proto(),
            truncated.into_proto(),
            unasked.into_proto(),
            durations.into_proto(),
        ]
        .into_iter()
    }
}
