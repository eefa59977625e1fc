//! What is spoken on a service port, and what is counted of it.

use crate::{
    flow::Direction,
    frame::within,
    mysql::{Command, Operation},
    tls::{Alpn, TlsVersion},
    words::words,
};

words! {
    /// What a `[[service]]` says is spoken on its ports.
    Protocol {
        Raw = 0, "raw", "nothing that is said is read: packets, bytes and TCP connections are counted";
        Http1 = 1, "http1", "HTTP/1.0 and HTTP/1.1 in the clear (RFC 9112)";
        Tls = 2, "tls", "TLS (RFC 8446, RFC 5246)";
        Mysql = 3, "mysql", "the protocol of MySQL and MariaDB";
        Dns = 4, "dns", "DNS over UDP and TCP (RFC 1035)";
        H2c = 5, "h2c", "HTTP/2 in the clear (RFC 9113), and HTTP/1.x where a connection does not go on in it";
    }
}

impl Protocol {
    /// The number in the place of one where there is none: of a packet that belongs to no service.
    pub const NONE: u32 = Self::COUNT;
    /// Set in the number of one of whose services only what comes in is read.
    pub const REQUESTS_ONLY: u32 = 1 << 7;

    /// Whether what is said is read, and so can be lost.
    #[inline(always)]
    pub const fn is_read(self) -> bool {
        !matches!(self, Self::Raw)
    }
}

words! {
    /// The method of an HTTP request (RFC 9110 section 9.3, RFC 5789); the label `method`.
    Method {
        Get = 0, "GET", "asks for a representation";
        Head = 1, "HEAD", "asks for the headers of one";
        Post = 2, "POST", "hands something over";
        Put = 3, "PUT", "puts a representation in place";
        Delete = 4, "DELETE", "removes one";
        Connect = 5, "CONNECT", "asks for a tunnel";
        Options = 6, "OPTIONS", "asks what can be asked";
        Trace = 7, "TRACE", "asks for an echo";
        Patch = 8, "PATCH", "changes a part";
        Other = 9, "_OTHER", "any other method";
        Unknown = 10, "unknown", "a method that could not be told (HTTP/2)";
    }
}

words! {
    /// Why bytes of a service were not followed; the label `reason`.
    Loss {
        Preexisting = 0, "preexisting", "the connection is older than the filter, or forgotten";
        Gap = 1, "gap", "bytes are missing inside of a header";
        Unseen = 2, "unseen", "the server has accepted bytes that never came by";
        SynData = 3, "syn_data", "data came with the first segment of the connection (TCP Fast Open)";
        NotHttp = 4, "not_http", "no message of HTTP begins where one has to, or one breaks its rules";
        Status = 5, "status", "a response without a status code";
        Header = 6, "header", "a header that servers read in different ways";
        Folded = 7, "folded", "a header that is folded over lines";
        ContentLength = 8, "content_length", "a Content-Length that is no number, or one of several";
        TransferEncoding = 9, "transfer_encoding", "a Transfer-Encoding other than chunked";
        TwoLengths = 10, "two_lengths", "both Content-Length and Transfer-Encoding";
        Chunk = 11, "chunk", "a chunk without a size, or of another size than it says";
        Pipeline = 12, "pipeline", "too many requests wait for a response to tell which have a body";
        Unpaired = 13, "unpaired", "a response whose request was lost";
        Busy = 14, "busy", "another processor was at the same connection for too long";
        Internal = 15, "internal", "bytes of a packet could not be read: a defect of foobar";
        NotMysql = 16, "not_mysql", "what no client or server of MySQL says";
        Encrypted = 17, "encrypted", "the session goes on in TLS";
        Compressed = 18, "compressed", "the session goes on compressed";
        Order = 19, "order", "a command before the server has accepted the client";
        Proxy = 20, "proxy", "a PROXY header that is not in one segment";
        NotDns = 21, "not_dns", "no message of DNS, or an answer where queries come, or a query where answers go";
    }
}

/// Classes of status codes, from 1xx to 5xx, and one for those that could not be told (HTTP/2).
pub const STATUS_CLASSES: usize = 6;

/// The words for them in metrics and JSON.
pub const STATUS_CLASS_LABELS: [&str; STATUS_CLASSES] = ["1xx", "2xx", "3xx", "4xx", "5xx", "unknown"];

/// Upper bounds of the buckets of durations, in microseconds; one more bucket is for all that is longer.
pub const DURATION_BOUNDS_US: [u64; DURATION_BUCKETS - 1] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];
/// How many buckets of durations there are.
pub const DURATION_BUCKETS: usize = 20;

/// A point in time or a span, in units of 1,024 ns; wraps after 73 minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Ticks(pub u32);

impl Ticks {
    /// Nanoseconds of one.
    pub const NANOSECONDS: u64 = 1 << SHIFT;

    /// From nanoseconds of a clock.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "it wraps")]
    pub const fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self((nanoseconds >> SHIFT) as u32)
    }

    /// The time between two moments, in nanoseconds of a clock; the longest that there is, if it is longer.
    #[inline(always)]
    pub const fn between(start: u64, end: u64) -> Self {
        let nanoseconds = end.saturating_sub(start);
        if nanoseconds >> SHIFT > u32::MAX as u64 {
            Self(u32::MAX)
        } else {
            Self::from_nanoseconds(nanoseconds)
        }
    }

    /// The time from `start` to this one.
    #[inline(always)]
    #[must_use]
    pub const fn since(self, start: Self) -> Self {
        Self(self.0.wrapping_sub(start.0))
    }
}

const SHIFT: u32 = 10;

/// Durations by length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Histogram {
    /// How many fell between the bound before and the one of this number in [`DURATION_BOUNDS_US`].
    pub buckets: [u64; DURATION_BUCKETS],
    /// All of them together, in [`Ticks`].
    pub sum: u64,
}

impl Histogram {
    /// Adds one.
    #[inline(always)]
    pub fn observe(&mut self, duration: Ticks) {
        let mut bucket = 0;
        for bound in DURATION_BOUNDS_US {
            if u64::from(duration.0).wrapping_mul(Ticks::NANOSECONDS) <= bound.wrapping_mul(1_000) {
                break;
            }
            bucket = bucket_after(bucket);
        }
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count = count.wrapping_add(1);
        }
        self.sum = self.sum.wrapping_add(u64::from(duration.0));
    }

    /// Adds another processor's, or another port's.
    pub fn add(&mut self, other: &Self) {
        let Self { buckets, sum } = other;
        add_all(&mut self.buckets, buckets);
        add(&mut self.sum, *sum);
    }
}

#[inline(always)]
const fn bucket_after(bucket: usize) -> usize {
    bucket.wrapping_add(1)
}

/// What went over a service port, in bytes of whole frames as [`crate::counters::Counter`] has them; both together are
/// all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ServiceBytes {
    /// Nothing in them went uncounted.
    pub framed: u64,
    /// Payload that was not followed.
    pub lost: u64,
}

/// How often following a connection was given up, in each [`Direction`] by [`Loss`]; segments for [`Loss::SynData`] and
/// [`Loss::Busy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Losses(pub [[u64; Loss::COUNT as usize]; 2]);

impl Losses {
    /// Following one direction of a connection was given up.
    #[inline(always)]
    #[expect(clippy::indexing_slicing, reason = "there is one for each direction and reason")]
    pub fn count(&mut self, direction: Direction, loss: Loss) {
        let count = &mut self.0[direction as usize][loss as usize];
        *count = count.wrapping_add(1);
    }

    /// Adds another processor's, or another port's.
    pub fn add(&mut self, other: &Self) {
        add_all(self.0.as_flattened_mut(), other.0.as_flattened());
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.as_flattened().iter().sum()
    }

    /// Both directions together, by reason.
    pub fn by_reason(&self) -> impl Iterator<Item = (Loss, u64)> {
        let [inbound, outbound] = &self.0;
        let both = inbound.iter().zip(outbound).map(|(one, other)| one.wrapping_add(*other));
        Loss::ALL.iter().copied().zip(both)
    }
}

/// What is counted of a service port that speaks HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct HttpCounters {
    /// Connections whose handshake was seen and whose client has sent something; where some go on in HTTP/2, those whose
    /// client has sent a request before, or nothing else. Without those of [`crate::peers`].
    pub connections: u64,
    /// Connections whose client has begun with HTTP/2. Without those of [`crate::peers`].
    pub http2_connections: u64,
    /// Requests by [`Method`].
    pub requests: [u64; Method::COUNT as usize],
    /// Responses by class of their status, interim ones included.
    pub responses: [u64; STATUS_CLASSES],
    /// Responses of which nothing is known of how long they took: their request came while more than
    /// [`crate::connection::TIMED`] others waited, or [`crate::http2::STREAMS_TIMED`] of HTTP/2, or is the one that asked to
    /// go on in HTTP/2, which was answered before by 101.
    pub untimed: u64,
    /// What could not be followed.
    pub lost: Losses,
    /// From the first byte of a request to the first one of its response.
    pub first_byte: Histogram,
    /// From the first byte of a request to the last one of its response.
    pub last_byte: Histogram,
}

words! {
    /// What the first bytes of a connection are; the label `app`.
    FirstBytes {
        Tls = 0, "tls", "a hello of TLS";
        Http1 = 1, "http1", "what a request of HTTP/1.x begins with";
        Other = 2, "other", "something else";
        H2c = 3, "h2c", "what HTTP/2 begins with";
    }
}

/// Places for versions of TLS: a power of two, since the verifier knows a number only by its mask.
pub const VERSIONS_ROOM: u32 = TlsVersion::COUNT.next_power_of_two();

/// What is counted of a service port that speaks TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TlsCounters {
    /// Connections by their [`FirstBytes`]. Without those of [`crate::peers`].
    pub connections: [u64; FirstBytes::COUNT as usize],
    /// What clients offer, by the newest [`TlsVersion`].
    pub offered: [u64; VERSIONS_ROOM as usize],
    /// What servers choose, by [`TlsVersion`] and [`Alpn`].
    pub handshakes: [[u64; Alpn::COUNT as usize]; VERSIONS_ROOM as usize],
    /// Handshakes that ended before anything was secret, by what the client offers.
    pub failures: [u64; VERSIONS_ROOM as usize],
    /// From the first secret byte of a client to the first one of the server.
    pub turns: Histogram,
    /// What could not be followed.
    pub lost: Losses,
}

impl TlsCounters {
    /// Adds another processor's, or another port's.
    pub fn add(&mut self, other: &Self) {
        let Self { connections, offered, handshakes, failures, turns, lost } = other;
        add_all(&mut self.connections, connections);
        add_all(&mut self.offered, offered);
        for (sum, handshakes) in self.handshakes.iter_mut().zip(handshakes) {
            add_all(sum, handshakes);
        }
        add_all(&mut self.failures, failures);
        self.turns.add(turns);
        self.lost.add(lost);
    }
}

/// What the rules say of a service of which more is counted than packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ServiceSettings {
    /// 1 if what is no TLS is dropped.
    pub tls_required: u32,
    /// The oldest [`TlsVersion`] that a client may offer as its newest, as a number.
    pub oldest_tls: u32,
    /// 1 if proxies speak before clients do.
    pub proxy: u32,
    /// [`crate::syn_cookies::CookieMode`] as a number.
    pub cookies: u32,
    /// Above so many SYNs a second cookies are sent, if only then.
    pub cookies_start: u32,
    /// And as long as there are more than these.
    pub cookies_stop: u32,
}

/// Places for what queries do: a power of two, as for versions of TLS.
pub const OPERATIONS_ROOM: u32 = Operation::COUNT.next_power_of_two();
/// The same for commands.
const COMMANDS_ROOM: u32 = Command::COUNT.next_power_of_two();

/// Sessions of MySQL by whether they are encrypted and whether they are compressed.
pub const SESSION_KINDS: u32 = 4;

/// What is counted of a service port that speaks the protocol of MySQL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct MysqlCounters {
    /// Sessions whose client has said who it is: twice whether they are encrypted, and whether they are compressed.
    /// Without those of [`crate::peers`].
    pub sessions: [u64; SESSION_KINDS as usize],
    /// Connections that the server did not want, as those that are too many.
    pub refused: u64,
    /// Sessions whose client the server did not accept.
    pub login_failures: u64,
    /// By [`Command`].
    pub commands: [u64; COMMANDS_ROOM as usize],
    /// Queries as text and executions of prepared statements, by [`Operation`].
    pub queries: [u64; OPERATIONS_ROOM as usize],
    /// Packets that tell of an error.
    pub errors: u64,
    /// Answers whose command came while more than [`crate::mysql::PAIRED`] others waited, so that nothing is known of
    /// how long it took.
    pub untimed: u64,
    /// When a query last wrote or changed what there is, in nanoseconds of the kernel's monotonic clock.
    pub last_write: u64,
    /// What could not be followed.
    pub lost: Losses,
    /// From the first byte of a query to the first packet of its answer, by [`Operation`].
    pub durations: [Histogram; OPERATIONS_ROOM as usize],
}

impl MysqlCounters {
    /// Counts a session.
    #[inline(always)]
    pub fn session(&mut self, is_encrypted: bool, is_compressed: bool) {
        count_session(&mut self.sessions, is_encrypted, is_compressed);
    }

    /// Counts a command.
    #[inline(always)]
    pub fn command(&mut self, command: Command) {
        if let Some(count) = self.commands.get_mut(within::<{ COMMANDS_ROOM - 1 }>(command.number()) as usize)
        {
            *count = count.wrapping_add(1);
        }
    }

    /// Counts a query that came at a time, in nanoseconds.
    #[inline(always)]
    pub fn query(&mut self, operation: Operation, now: u64) {
        if let Some(count) = self.queries.get_mut(place(operation.number())) {
            *count = count.wrapping_add(1);
        }
        if matches!(operation, Operation::Write | Operation::Ddl) {
            self.last_write = now;
        }
    }

    /// Notes how long the answer to a query took, by the number of its [`Operation`].
    #[inline(always)]
    pub fn answered(&mut self, operation: u32, duration: Ticks) {
        if let Some(durations) = self.durations.get_mut(place(operation)) {
            durations.observe(duration);
        }
    }

    /// Adds another processor's, or another port's.
    pub fn add(&mut self, other: &Self) {
        let Self {
            sessions,
            refused,
            login_failures,
            commands,
            queries,
            errors,
            untimed,
            last_write,
            lost,
            durations,
        } = other;
        add_all(&mut self.sessions, sessions);
        add(&mut self.refused, *refused);
        add(&mut self.login_failures, *login_failures);
        add_all(&mut self.commands, commands);
        add_all(&mut self.queries, queries);
        add(&mut self.errors, *errors);
        add(&mut self.untimed, *untimed);
        self.last_write = self.last_write.max(*last_write);
        self.lost.add(lost);
        for (sum, durations) in self.durations.iter_mut().zip(durations) {
            sum.add(durations);
        }
    }
}

/// Counts a session of MySQL among others.
#[inline(always)]
pub(crate) fn count_session(
    sessions: &mut [u64; SESSION_KINDS as usize],
    is_encrypted: bool,
    is_compressed: bool,
) {
    let kind = u32::from(is_encrypted) << 1 | u32::from(is_compressed);
    if let Some(count) = sessions.get_mut(within::<{ SESSION_KINDS - 1 }>(kind) as usize) {
        *count = count.wrapping_add(1);
    }
}

/// Where an operation is counted, by its number.
#[inline(always)]
fn place(operation: u32) -> usize {
    within::<{ OPERATIONS_ROOM - 1 }>(operation) as usize
}

impl HttpCounters {
    /// Adds another processor's, or another port's.
    pub fn add(&mut self, other: &Self) {
        let Self {
            connections,
            http2_connections,
            requests,
            responses,
            untimed,
            lost,
            first_byte,
            last_byte,
        } = other;
        add(&mut self.connections, *connections);
        add(&mut self.http2_connections, *http2_connections);
        add_all(&mut self.requests, requests);
        add_all(&mut self.responses, responses);
        add(&mut self.untimed, *untimed);
        self.lost.add(lost);
        self.first_byte.add(first_byte);
        self.last_byte.add(last_byte);
    }
}

/// Counters wrap after centuries.
#[inline(always)]
pub(crate) fn add(sum: &mut u64, more: u64) {
    *sum = sum.wrapping_add(more);
}

pub(crate) fn add_all(sums: &mut [u64], more: &[u64]) {
    for (sum, more) in sums.iter_mut().zip(more) {
        add(sum, *more);
    }
}
