//! What is counted of services beyond packets and bytes.

mod connections;
mod dns;
mod http;
mod mysql;
mod raw;
mod syn_cookies;
mod tls;

use std::collections::BTreeMap;

use foobar_common::{
    proxy::ProxyHeader,
    service::{HttpCounters, Losses, Protocol, ServiceBytes},
};
use prometheus::proto::MetricFamily;

use self::{
    connections::ConnectionFamily, dns::DnsFamilies, http::HttpFamilies, mysql::MysqlFamilies,
    raw::RawFamilies, syn_cookies::SynFamilies, tls::TlsFamilies,
};
use super::catalogue;
use crate::{
    dataplane::counters::{DECRYPTED, Open, ProtocolCounters, ServiceCounters},
    rules::model::ServicePort,
};

/// Labels of a service's port.
struct Labels<'a> {
    port: &'a str,
    protocol: &'a str,
    service: &'a str,
}

/// Adds the families of what is open now; each port has its zeros, too.
pub(super) fn open(open: &Open, families: &mut Vec<MetricFamily>) {
    let Open { connections, requests } = open;
    let mut active = catalogue::CONNECTIONS_ACTIVE.family();
    for (port, count) in connections {
        active.add_integer([&port.port.to_string()], *count);
    }
    let mut in_flight = catalogue::HTTP_IN_FLIGHT.family();
    for (port, count) in requests {
        in_flight.add_integer([&port.port.to_string(), Protocol::Http1.label()], *count);
    }
    families.extend([active.into_proto(), in_flight.into_proto()]);
}

/// Adds the families of all services; each has its zeros, too.
pub(super) fn families(
    services: &BTreeMap<ServicePort, ServiceCounters>,
    decrypted: &BTreeMap<ServicePort, HttpCounters>,
    families: &mut Vec<MetricFamily>,
) {
    let mut http = HttpFamilies::new();
    let mut tls = TlsFamilies::new();
    let mut mysql = MysqlFamilies::new();
    let mut dns = DnsFamilies::new();
    let mut raw = RawFamilies::new();
    let mut syns = SynFamilies::new();
    let mut connections = ConnectionFamily::new();
    let mut proxied = catalogue::PROXY_CONNECTIONS.family();
    let mut losses = catalogue::FRAMING_LOST.family();
    let mut bytes = catalogue::L7_BYTES.family();
    // A port of UDP and one of TCP can have the same number.
    let mut followed: BTreeMap<(u16, &str), (ServiceBytes, Losses)> = BTreeMap::new();
    for (port, counters) in services {
        if let Some(losses) = counters.losses() {
            let (sum, lost) = followed.entry((port.port, counters.protocol().label())).or_default();
            sum.framed = sum.framed.wrapping_add(counters.bytes.framed);
            sum.lost = sum.lost.wrapping_add(counters.bytes.lost);
            lost.add(losses);
        }
        let l4 = port.protocol.label();
        let port = port.port.to_string();
        let labels =
            Labels { port: &port, protocol: counters.protocol().label(), service: &counters.service };
        connections.add(&port, counters.protocol(), &counters.peers);
        if let Some(counted) = &counters.syn_cookies {
            syns.add(&port, counted);
        }
        match &counters.of_protocol {
            ProtocolCounters::Raw(counters) => raw.add(&port, counters),
            ProtocolCounters::Http1(counters) | ProtocolCounters::H2c(counters) => {
                http.add(&port, labels.protocol, counters);
            }
            ProtocolCounters::Http1Requests(counters) => {
                http.add_requests(&port, labels.protocol, counters);
            }
            ProtocolCounters::Tls(counters) => tls.add(&port, counters),
            ProtocolCounters::Mysql(counters, replicas) => mysql.add(&labels, counters, *replicas),
            ProtocolCounters::Dns(counters) => dns.add(&port, l4, counters),
        }
        for (header, count) in
            ProxyHeader::ALL.iter().zip(counters.proxied.iter().flat_map(|proxied| proxied.headers))
        {
            proxied.add_integer([&port, header.label()], count);
        }
    }
    for ((port, protocol), (ServiceBytes { framed, lost: unread }, lost)) in followed {
        let port = port.to_string();
        for (loss, count) in lost.by_reason() {
            losses.add_integer([&port, protocol, loss.label()], count);
        }
        bytes.add_integer([&port, protocol, "framed"], framed);
        bytes.add_integer([&port, protocol, "lost"], unread);
    }
    for (port, counters) in decrypted {
        let port = port.port.to_string();
        http.add(&port, DECRYPTED, counters);
        for (loss, count) in counters.lost.by_reason() {
            losses.add_integer([&port, DECRYPTED, loss.label()], count);
        }
    }
    families.extend(http.into_proto());
    families.extend(tls.into_proto());
    families.push(connections.into_proto());
    families.extend(raw.into_proto());
    families.extend(syns.into_proto());
    families.push(proxied.into_proto());
    families.extend(mysql.into_proto());
    families.extend(dns.into_proto());
    families.extend([losses.into_proto(), bytes.into_proto()]);
}
