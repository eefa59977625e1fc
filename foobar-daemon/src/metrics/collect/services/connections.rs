//! Connections by what their clients begin with, and by the group of peers that those are in.

use foobar_common::{
    peers::PeerConnections,
    service::{FirstBytes, Protocol},
};
use prometheus::proto::MetricFamily;

use crate::{
    dataplane::counters::Peers,
    metrics::catalogue::{self, Family},
};

pub(super) struct ConnectionFamily(Family<4>);

impl ConnectionFamily {
    pub(super) fn new() -> Self {
        Self(catalogue::CONNECTIONS.family())
    }

    pub(super) fn add(&mut self, port: &str, protocol: Protocol, peers: &Peers) {
        for (name, counted) in peers.by_name() {
            for (encryption, app, count) in kinds(protocol, counted) {
                self.0.add_integer([port, encryption, app, name], count);
            }
        }
    }

    pub(super) fn into_proto(self) -> MetricFamily {
        self.0.into_proto()
    }
}

/// What connections to a service can be: encrypted or not, and in which protocol.
fn kinds(protocol: Protocol, counted: &PeerConnections) -> Vec<(&'static str, &'static str, u64)> {
    let PeerConnections { first_bytes, sessions, opened } = counted;
    let begun: &[FirstBytes] = match protocol {
        Protocol::Raw => return vec![("unknown", "unknown", *opened)],
        Protocol::Http1 => &[FirstBytes::Http1],
        Protocol::H2c => &[FirstBytes::Http1, FirstBytes::H2c],
        // By its first byte, HTTP/2 is not told from HTTP/1.x.
        Protocol::Tls => &[FirstBytes::Tls, FirstBytes::Http1, FirstBytes::Other],
        Protocol::Mysql => {
            let [plain, plain_compressed, tls, tls_compressed] = sessions;
            return vec![
                ("none", "mysql", plain.wrapping_add(*plain_compressed)),
                ("tls", "mysql", tls.wrapping_add(*tls_compressed)),
            ];
        }
        Protocol::Dns => &[],
    };
    let encryption = |first| if first == FirstBytes::Tls { "tls" } else { "none" };
    begun.iter().map(|first| (encryption(*first), first.label(), first_bytes[*first as usize])).collect()
}
