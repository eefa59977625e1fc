//! What is counted of services beyond packets and bytes.

use std::collections::BTreeMap;

use foobar_common::{
    service::{FirstBytes, HttpCounters, Method, STATUS_CLASS_LABELS, ServiceBytes, TlsCounters},
    tls::{Alpn, TlsVersion},
};
use prometheus::proto::MetricFamily;

use super::catalogue;
use crate::{
    dataplane::counters::{ProtocolCounters, ServiceCounters},
    rules::model::ServicePort,
};

/// Adds the families of all services; each has its zeros, too.
pub(super) fn families(services: &BTreeMap<ServicePort, ServiceCounters>, families: &mut Vec<MetricFamily>) {
    let mut requests = catalogue::HTTP_REQUESTS.family();
    let mut responses = catalogue::HTTP_RESPONSES.family();
    let mut durations = catalogue::HTTP_DURATION.family();
    let mut first_bytes = catalogue::HTTP_FIRST_BYTE.family();
    let mut without_duration = catalogue::HTTP_UNTIMED.family();
    let mut losses = catalogue::FRAMING_LOST.family();
    let mut bytes = catalogue::L7_BYTES.family();
    let mut handshakes = catalogue::TLS_HANDSHAKES.family();
    let mut failures = catalogue::TLS_FAILURES.family();
    let mut connections = catalogue::CONNECTIONS.family();
    for (port, service) in services {
        let (port, protocol) = (port.port.to_string(), service.protocol().label());
        let ServiceBytes { framed, lost } = service.bytes;
        bytes.add_integer([&port, protocol, "framed"], framed);
        bytes.add_integer([&port, protocol, "lost"], lost);
        let lost = match &service.of_protocol {
            ProtocolCounters::Http1(counters) => {
                let HttpCounters {
                    connections: begun,
                    requests: asked,
                    responses: answered,
                    untimed,
                    lost,
                    first_byte,
                    last_byte,
                } = counters;
                connections.add_integer([&port, "none", FirstBytes::Http1.label()], *begun);
                for (method, count) in Method::ALL.iter().zip(asked) {
                    requests.add_integer([&port, protocol, method.label()], *count);
                }
                for (class, count) in STATUS_CLASS_LABELS.into_iter().zip(answered) {
                    responses.add_integer([&port, class], *count);
                }
                durations.add_histogram([&port, protocol], last_byte);
                first_bytes.add_histogram([&port, protocol], first_byte);
                without_duration.add_integer([&port, protocol], *untimed);
                lost
            }
            ProtocolCounters::Tls(counters) => {
                let TlsCounters { connections: begun, offered: _, handshakes: done, failures: failed, lost } =
                    counters;
                for (first, count) in FirstBytes::ALL.iter().zip(begun) {
                    let encryption = if *first == FirstBytes::Tls { "tls" } else { "none" };
                    connections.add_integer([&port, encryption, first.label()], *count);
                }
                for (version, (by_alpn, failed)) in TlsVersion::ALL.iter().zip(done.iter().zip(failed)) {
                    for (alpn, count) in Alpn::ALL.iter().zip(by_alpn) {
                        handshakes.add_integer([&port, version.label(), alpn.label()], *count);
                    }
                    failures.add_integer([&port, version.label()], *failed);
                }
                lost
            }
        };
        for (loss, count) in lost.by_reason() {
            losses.add_integer([&port, protocol, loss.label()], count);
        }
    }
    families.extend([
        requests.into_proto(),
        responses.into_proto(),
        durations.into_proto(),
        first_bytes.into_proto(),
        without_duration.into_proto(),
        handshakes.into_proto(),
        failures.into_proto(),
        connections.into_proto(),
        losses.into_proto(),
        bytes.into_proto(),
    ]);
}
