//! What is counted of services, by what they speak.

use std::collections::BTreeMap;

use foobar_common::{
    dns::{DnsCounters, ResponseCode},
    proxy::ProxyCounters,
    raw::RawCounters,
    service::{
        Histogram, HttpCounters, Losses, MysqlCounters, Protocol, STATUS_CLASS_LABELS, ServiceBytes,
        TlsCounters,
    },
    syn_cookies::SynCounters,
};

use super::Peers;

/// What is counted of a service beyond packets and bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCounters {
    /// Name of the service.
    pub service: String,
    /// How much of it could be followed; zeros where nothing is read.
    pub bytes: ServiceBytes,
    /// How its connections begin, if proxies speak first there.
    pub proxied: Option<ProxyCounters>,
    /// Connections by the group of peers that opens them.
    pub peers: Peers,
    /// What became of SYNs, if they may be answered with cookies.
    pub syn_cookies: Option<SynCookieCounters>,
    /// What its protocol has.
    pub of_protocol: ProtocolCounters,
}

/// What became of SYNs to a service that may answer them with cookies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SynCookieCounters {
    /// The SYNs.
    pub counters: SynCounters,
    /// Whether they are answered now.
    pub active: bool,
}

/// What is counted of a protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProtocolCounters {
    /// Connections alone.
    Raw(RawCounters),
    /// HTTP/1.x.
    Http1(HttpCounters),
    /// HTTP/1.x of which only requests are read.
    Http1Requests(HttpCounters),
    /// HTTP/2 in the clear, and HTTP/1.x beside it.
    H2c(HttpCounters),
    /// TLS.
    Tls(TlsCounters),
    /// MySQL, with the number of replicas that it tells what changes.
    Mysql(Box<MysqlCounters>, u64),
    /// DNS.
    Dns(DnsCounters),
}

impl ProtocolCounters {
    /// Adds another port's; nothing, if something else is spoken there.
    pub fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Raw(sum), Self::Raw(more)) => sum.add(more),
            (Self::Http1(sum), Self::Http1(more))
            | (Self::Http1Requests(sum), Self::Http1Requests(more))
            | (Self::H2c(sum), Self::H2c(more)) => sum.add(more),
            (Self::Tls(sum), Self::Tls(more)) => sum.add(more),
            (Self::Mysql(sum, replicas), Self::Mysql(more, more_replicas)) => {
                sum.add(more);
                *replicas += more_replicas;
            }
            (Self::Dns(sum), Self::Dns(more)) => sum.add(more),
            (
                Self::Raw(_)
                | Self::Http1(_)
                | Self::Http1Requests(_)
                | Self::H2c(_)
                | Self::Tls(_)
                | Self::Mysql(..)
                | Self::Dns(_),
                _,
            ) => {}
        }
    }
}

impl ServiceCounters {
    /// What is spoken there.
    pub const fn protocol(&self) -> Protocol {
        match self.of_protocol {
            ProtocolCounters::Raw(_) => Protocol::Raw,
            ProtocolCounters::Http1(_) | ProtocolCounters::Http1Requests(_) => Protocol::Http1,
            ProtocolCounters::H2c(_) => Protocol::H2c,
            ProtocolCounters::Tls(_) => Protocol::Tls,
            ProtocolCounters::Mysql(..) => Protocol::Mysql,
            ProtocolCounters::Dns(_) => Protocol::Dns,
        }
    }

    /// How many requests there were, handshakes, queries, or connections where nothing is read.
    pub fn requests(&self) -> u64 {
        match &self.of_protocol {
            ProtocolCounters::Raw(counters) => counters.opened,
            ProtocolCounters::Http1(counters)
            | ProtocolCounters::Http1Requests(counters)
            | ProtocolCounters::H2c(counters) => counters.requests.iter().sum(),
            ProtocolCounters::Tls(counters) => counters.handshakes.as_flattened().iter().sum(),
            ProtocolCounters::Mysql(counters, _) => counters.queries.iter().sum(),
            ProtocolCounters::Dns(counters) => counters.queries.iter().sum(),
        }
    }

    /// What could not be followed; `None` where nothing is read.
    pub const fn losses(&self) -> Option<&Losses> {
        match &self.of_protocol {
            ProtocolCounters::Raw(_) => None,
            ProtocolCounters::Http1(counters)
            | ProtocolCounters::Http1Requests(counters)
            | ProtocolCounters::H2c(counters) => Some(&counters.lost),
            ProtocolCounters::Tls(counters) => Some(&counters.lost),
            ProtocolCounters::Mysql(counters, _) => Some(&counters.lost),
            ProtocolCounters::Dns(counters) => Some(&counters.lost),
        }
    }

    /// How they ended, in words: classes of responses, response codes, or what went wrong.
    pub fn outcomes(&self) -> BTreeMap<&'static str, u64> {
        match &self.of_protocol {
            ProtocolCounters::Raw(RawCounters { opened: _, resets: [inbound, outbound], refused }) => {
                [("reset_in", *inbound), ("reset_out", *outbound), ("refused", *refused)].into()
            }
            ProtocolCounters::Http1(counters) | ProtocolCounters::H2c(counters) => http_outcomes(counters),
            ProtocolCounters::Http1Requests(_) => BTreeMap::new(),
            ProtocolCounters::Tls(counters) => [("failed", counters.failures.iter().sum())].into(),
            ProtocolCounters::Mysql(counters, _) => [
                ("error", counters.errors),
                ("login_failed", counters.login_failures),
                ("refused", counters.refused),
            ]
            .into(),
            ProtocolCounters::Dns(counters) => {
                ResponseCode::ALL.iter().map(|code| code.label()).zip(counters.answers).collect()
            }
        }
    }

    /// How long they took; `None` where that is not known.
    pub fn durations(&self) -> Option<Histogram> {
        match &self.of_protocol {
            ProtocolCounters::Raw(_) | ProtocolCounters::Http1Requests(_) => None,
            ProtocolCounters::Http1(counters) | ProtocolCounters::H2c(counters) => Some(counters.last_byte),
            ProtocolCounters::Tls(counters) => Some(counters.turns),
            ProtocolCounters::Mysql(counters, _) => {
                let mut all = Histogram::default();
                counters.durations.iter().for_each(|durations| all.add(durations));
                Some(all)
            }
            ProtocolCounters::Dns(counters) => Some(counters.duration),
        }
    }

    /// What it has of them.
    pub const fn request_word(&self) -> &'static str {
        match self.of_protocol {
            ProtocolCounters::Raw(_) => "connections",
            ProtocolCounters::Http1(_) | ProtocolCounters::Http1Requests(_) | ProtocolCounters::H2c(_) => {
                "requests"
            }
            ProtocolCounters::Tls(_) => "handshakes",
            ProtocolCounters::Mysql(..) | ProtocolCounters::Dns(_) => "queries",
        }
    }
}

/// Responses of HTTP by class of their status.
pub fn http_outcomes(counters: &HttpCounters) -> BTreeMap<&'static str, u64> {
    STATUS_CLASS_LABELS.into_iter().zip(counters.responses).collect()
}
