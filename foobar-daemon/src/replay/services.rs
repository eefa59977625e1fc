//! What a replay has counted of services, for programs and for people.

use std::collections::BTreeMap;

use foobar_common::{
    dns::{DnsCounters, QueryType, ResponseCode},
    flow::Direction,
    mysql::{Command, Operation},
    raw::RawCounters,
    service::{
        FirstBytes, HttpCounters, Losses, Method, MysqlCounters, SESSION_KINDS, STATUS_CLASS_LABELS,
        TlsCounters,
    },
    tls::{Alpn, TlsVersion},
};
use serde::{Serialize, Serializer};

use crate::dataplane::counters::ProtocolCounters;

/// What was counted of a protocol.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum OfProtocol {
    Raw(Raw),
    Http(Http),
    Tls(Tls),
    Mysql(Mysql),
    Dns(Dns),
}

impl OfProtocol {
    /// From counters, and how often servers were asked for by name.
    pub(super) fn of(counters: &ProtocolCounters, sni: BTreeMap<String, u64>) -> Self {
        match counters {
            ProtocolCounters::Raw(counters) => Self::Raw(Raw::of(counters)),
            ProtocolCounters::Http1(counters) | ProtocolCounters::H2c(counters) => {
                Self::Http(Http::of(counters))
            }
            ProtocolCounters::Http1Requests(counters) => Self::Http(Http::of_requests(counters)),
            ProtocolCounters::Tls(counters) => Self::Tls(Tls::of(counters, sni)),
            ProtocolCounters::Mysql(counters, _) => Self::Mysql(Mysql::of(counters)),
            ProtocolCounters::Dns(counters) => Self::Dns(Dns::of(counters)),
        }
    }

    /// Lines for people, without the name of the service.
    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            Self::Raw(raw) => raw.lines(),
            Self::Http(http) => http.lines(),
            Self::Tls(tls) => tls.lines(),
            Self::Mysql(mysql) => mysql.lines(),
            Self::Dns(dns) => dns.lines(),
        }
    }
}

/// What was counted of connections of which nothing is read.
#[derive(Serialize)]
pub(super) struct Raw {
    connections: u64,
    /// Connections that a RST has ended, by the direction of the first one.
    resets: Ordered<u64>,
    /// Segments that were answered with a RST because nobody listens.
    refused: u64,
}

impl Raw {
    fn of(counters: &RawCounters) -> Self {
        let RawCounters { opened, resets, refused } = counters;
        let ways = Direction::ALL.iter().map(|direction| direction.label());
        Self { connections: *opened, resets: some(ways.zip(resets.iter().copied())), refused: *refused }
    }

    fn lines(&self) -> Vec<String> {
        let Self { connections, resets, refused } = self;
        let reset: u64 = resets.0.iter().map(|(_, count)| count).sum();
        vec![format!("{connections} connections, {reset} reset{}, {refused} refused", list(resets))]
    }
}

/// What was counted of HTTP.
#[derive(Serialize)]
pub(super) struct Http {
    connections: u64,
    /// Those of them that began with HTTP/2.
    http2_connections: u64,
    requests: u64,
    methods: Ordered<u64>,
    /// None where they are not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    responses: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Ordered<u64>>,
    /// How often one direction of a connection could not be followed to its end.
    framing_lost: u64,
    /// The same by reason.
    lost: Ordered<u64>,
}

impl Http {
    fn of(counters: &HttpCounters) -> Self {
        let HttpCounters {
            connections,
            http2_connections,
            requests,
            responses,
            lost,
            untimed: _,
            first_byte: _,
            last_byte: _,
        } = counters;
        Self {
            connections: connections.wrapping_add(*http2_connections),
            http2_connections: *http2_connections,
            requests: requests.iter().sum(),
            methods: some(Method::ALL.iter().map(|method| method.label()).zip(requests.iter().copied())),
            responses: Some(responses.iter().sum()),
            status: Some(some(STATUS_CLASS_LABELS.into_iter().zip(responses.iter().copied()))),
            framing_lost: lost.total(),
            lost: reasons(lost),
        }
    }

    /// Of a service of which only requests are read.
    fn of_requests(counters: &HttpCounters) -> Self {
        Self { responses: None, status: None, ..Self::of(counters) }
    }

    fn lines(&self) -> Vec<String> {
        let Self { connections, http2_connections, requests, methods, responses, status, framing_lost, lost } =
            self;
        let http2 = match http2_connections {
            0 => String::new(),
            count => format!(" ({count} of HTTP/2)"),
        };
        let responses = match (responses, status) {
            (Some(responses), Some(status)) => format!(", {responses} responses{}", list(status)),
            _ => String::new(),
        };
        let mut lines = vec![format!(
            "{requests} requests{} on {connections} connections{http2}{responses}",
            list(methods)
        )];
        lines.extend(lost_line(*framing_lost, lost));
        lines
    }
}

/// What was counted of TLS.
#[derive(Serialize)]
pub(super) struct Tls {
    hellos: u64,
    /// Names of servers that clients asked for, the first hundred.
    sni: BTreeMap<String, u64>,
    handshakes: u64,
    /// Handshakes by the version that the server chose.
    versions: Ordered<u64>,
    /// The same by the protocol inside.
    alpn: Ordered<u64>,
    failures: u64,
    /// How often the server said something after the client had, both in secret.
    turns: u64,
    /// Connections that began with something else.
    plain: Ordered<u64>,
    framing_lost: u64,
    lost: Ordered<u64>,
}

/// How many names are shown.
const NAMES_SHOWN: usize = 100;

impl Tls {
    fn of(counters: &TlsCounters, sni: BTreeMap<String, u64>) -> Self {
        let TlsCounters { connections, offered, handshakes, failures, turns, lost } = counters;
        let versions = TlsVersion::ALL.iter().zip(handshakes);
        let alpn = Alpn::ALL.iter().enumerate();
        let plain = FirstBytes::ALL.iter().zip(connections).filter(|(first, _)| **first != FirstBytes::Tls);
        Self {
            hellos: offered.iter().sum(),
            sni: sni.into_iter().take(NAMES_SHOWN).collect(),
            handshakes: handshakes.as_flattened().iter().sum(),
            versions: some(versions.map(|(version, by_alpn)| (version.label(), by_alpn.iter().sum()))),
            alpn: some(
                alpn.map(|(number, alpn)| (alpn.label(), handshakes.iter().map(|one| one[number]).sum())),
            ),
            failures: failures.iter().sum(),
            turns: turns.buckets.iter().sum(),
            plain: some(plain.map(|(first, count)| (first.label(), *count))),
            framing_lost: lost.total(),
            lost: reasons(lost),
        }
    }

    fn lines(&self) -> Vec<String> {
        let Self { hellos, sni, handshakes, versions, alpn, failures, plain, framing_lost, lost, turns } =
            self;
        let mut lines = vec![format!(
            "{hellos} hellos, {handshakes} handshakes{}{}, {failures} failures, {turns} turns",
            list(versions),
            list(alpn)
        )];
        if !plain.0.is_empty() {
            lines.push(format!("not TLS{}", list(plain)));
        }
        if !sni.is_empty() {
            let names: Vec<String> = sni.iter().map(|(name, count)| format!("{name} {count}")).collect();
            lines.push(format!("names: {}", names.join(", ")));
        }
        lines.extend(lost_line(*framing_lost, lost));
        lines
    }
}

/// What was counted of MySQL.
#[derive(Serialize)]
pub(super) struct Mysql {
    /// Sessions by whether they are encrypted and compressed.
    sessions: Ordered<u64>,
    commands: Ordered<u64>,
    queries: u64,
    /// Queries by what they do.
    operations: Ordered<u64>,
    reads: u64,
    writes: u64,
    errors: u64,
    login_failures: u64,
    framing_lost: u64,
    lost: Ordered<u64>,
}

/// Words for [`MysqlCounters::sessions`].
const SESSION_LABELS: [&str; SESSION_KINDS as usize] = ["plain", "compressed", "tls", "tls_compressed"];

impl Mysql {
    fn of(counters: &MysqlCounters) -> Self {
        let MysqlCounters { sessions, login_failures, commands, queries, errors, lost, .. } = counters;
        let operations = Operation::ALL.iter().map(|operation| operation.label());
        let commands = Command::ALL.iter().map(|command| command.label()).zip(commands.iter().copied());
        let of = |operation: Operation| queries.get(operation as usize).copied().unwrap_or(0);
        Self {
            sessions: some(SESSION_LABELS.into_iter().zip(sessions.iter().copied())),
            commands: some(commands),
            queries: queries.iter().sum(),
            operations: some(operations.zip(queries.iter().copied())),
            reads: of(Operation::Read),
            writes: of(Operation::Write),
            errors: *errors,
            login_failures: *login_failures,
            framing_lost: lost.total(),
            lost: reasons(lost),
        }
    }

    fn lines(&self) -> Vec<String> {
        let Self {
            sessions, commands, queries, operations, errors, login_failures, framing_lost, lost, ..
        } = self;
        let sessions_in_all: u64 = sessions.0.iter().map(|(_, count)| count).sum();
        let commands_in_all: u64 = commands.0.iter().map(|(_, count)| count).sum();
        let mut lines = vec![
            format!("{queries} queries{}, {errors} errors", list(operations)),
            format!(
                "{sessions_in_all} sessions{}, {login_failures} failed to log in, {commands_in_all} commands{}",
                list(sessions),
                list(commands)
            ),
        ];
        lines.extend(lost_line(*framing_lost, lost));
        lines
    }
}

/// What was counted of DNS. How long answers took is not told: it is how fast the capture was read.
#[derive(Serialize)]
pub(super) struct Dns {
    queries: u64,
    qtypes: Ordered<u64>,
    /// Queries that were sent again before there was an answer.
    repeated: u64,
    unanswered: u64,
    answers: u64,
    rcodes: Ordered<u64>,
    truncated: u64,
    /// Answers whose query is not known.
    unasked: u64,
    framing_lost: u64,
    lost: Ordered<u64>,
}

impl Dns {
    fn of(counters: &DnsCounters) -> Self {
        let DnsCounters { queries, repeated, answers, truncated, unasked, lost, duration: _ } = counters;
        let qtypes = QueryType::ALL.iter().map(|query_type| query_type.label());
        let rcodes = ResponseCode::ALL.iter().map(|code| code.label());
        Self {
            queries: queries.iter().sum(),
            qtypes: some(qtypes.zip(queries.iter().copied())),
            repeated: *repeated,
            unanswered: counters.unanswered(),
            answers: answers.iter().sum(),
            rcodes: some(rcodes.zip(answers.iter().copied())),
            truncated: *truncated,
            unasked: *unasked,
            framing_lost: lost.total(),
            lost: reasons(lost),
        }
    }

    fn lines(&self) -> Vec<String> {
        let Self { queries, qtypes, repeated, unanswered, answers, rcodes, truncated, unasked, .. } = self;
        let mut lines = vec![
            format!("{queries} queries{}, {repeated} of them repeated", list(qtypes)),
            format!("{answers} answers{}, {truncated} of them truncated", list(rcodes)),
            format!("{unanswered} queries without an answer, {unasked} answers without a query"),
        ];
        if self.framing_lost > 0 {
            lines.push(format!("could not be read {} times{}", self.framing_lost, list(&self.lost)));
        }
        lines
    }
}

/// How often one direction of a connection could not be followed to its end, if that was so.
fn lost_line(framing_lost: u64, lost: &Ordered<u64>) -> Option<String> {
    (framing_lost > 0).then(|| format!("could not be followed {framing_lost} times{}", list(lost)))
}

/// The same by reason.
fn reasons(lost: &Losses) -> Ordered<u64> {
    some(lost.by_reason().map(|(loss, count)| (loss.label(), count)))
}

/// Counts in brackets; nothing if there are none.
fn list(counts: &Ordered<u64>) -> String {
    let words: Vec<String> = counts.0.iter().map(|(label, count)| format!("{label} {count}")).collect();
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
}

/// Those that are not zero.
fn some(counts: impl Iterator<Item = (&'static str, u64)>) -> Ordered<u64> {
    Ordered(counts.filter(|(_, count)| *count > 0).map(|(label, count)| (label.to_owned(), count)).collect())
}

/// A JSON object whose keys keep this order.
pub(super) struct Ordered<V>(pub(super) Vec<(String, V)>);

impl<V: Serialize> Serialize for Ordered<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}
