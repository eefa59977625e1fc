//! Names of the maps, as the object file has them, and who owns them.

use crate::service::Protocol;

/// One [`crate::fields::Root`] for each [`crate::fields::AddressField`].
pub const ROOTS: &str = "ROOTS";
/// The [`crate::fields::Stride`]s that roots and strides refer to.
pub const STRIDES: &str = "STRIDES";
/// One [`crate::fields::Table`] for each [`crate::fields::TableField`].
pub const TABLES: &str = "TABLES";
/// The [`crate::classes::ClassHead`] of each class, in the tier that needs no more.
pub const HEADS: &str = "HEADS";
/// The [`crate::classes::ClassWords`] of each class, in that tier.
pub const WORDS: &str = "WORDS";
/// The [`crate::classes::ClassBlocks`] of each class, in that tier.
pub const CLASS_BLOCKS: &str = "CLASS_BLOCKS";
/// The [`crate::classes::Block`]s, in that tier.
pub const BLOCKS: &str = "BLOCKS";
/// The one [`crate::classes::FirstRules`].
pub const FIRST_RULES: &str = "FIRST_RULES";
/// A [`crate::classes::WordRules`] for each 64 clauses.
pub const WORD_RULES: &str = "WORD_RULES";
/// The table of sets, of [`crate::sets::Line`]s, with room for another; line 0 says where it begins.
pub const SETS: &str = "SETS";
/// The one [`crate::rule::Interfaces`].
pub const INTERFACES: &str = "INTERFACES";
/// The one [`crate::rule::DecisionRecord`].
pub const DECISION: &str = "DECISION";
/// The [`crate::service::ServiceSettings`] by service slot.
pub const SERVICE_SETTINGS: &str = "SERVICE_SETTINGS";
/// The [`crate::limit::Limit`]s by counter slot of their rules.
pub const LIMITS: &str = "LIMITS";
/// The one [`crate::syn_cookies::SynOffer`].
pub const SYN_OFFER: &str = "SYN_OFFER";
/// Of how many packets of a rule one is drawn, by counter slot; zero is none.
pub const RULE_LOGS: &str = "RULE_LOGS";
/// The [`crate::reject::AnswerBucket`] of each direction.
pub const ANSWER_BUCKETS: &str = "ANSWER_BUCKETS";
/// Maps that belong to one ruleset and are made anew with it.
pub const OF_RULESET: [&str; 17] = [
    ROOTS,
    STRIDES,
    TABLES,
    HEADS,
    WORDS,
    CLASS_BLOCKS,
    BLOCKS,
    FIRST_RULES,
    WORD_RULES,
    SETS,
    INTERFACES,
    DECISION,
    SERVICE_SETTINGS,
    LIMITS,
    SYN_OFFER,
    RULE_LOGS,
    ANSWER_BUCKETS,
];

/// Per-CPU [`crate::counters::Counter`]s by rule slot, the first [`crate::counters::RULE_SLOTS`] of them.
pub const RULE_COUNTERS: &str = "RULE_COUNTERS";
/// Per-CPU [`crate::counters::Counter`]s of the rule slots beyond those; there only since a ruleset needed them.
pub const MORE_RULE_COUNTERS: &str = "MORE_RULE_COUNTERS";
/// Per-CPU [`crate::counters::Counter`]s by [`crate::counters::verdict_slot`].
pub const VERDICT_COUNTERS: &str = "VERDICT_COUNTERS";
/// Per-CPU [`crate::counters::Counter`]s by [`crate::counters::port_slot`].
pub const PORT_COUNTERS: &str = "PORT_COUNTERS";
/// Per-CPU [`crate::service::HttpCounters`] by service slot; there only since a ruleset needed them.
pub const HTTP_COUNTERS: &str = "HTTP_COUNTERS";
/// Per-CPU [`crate::service::TlsCounters`] by service slot; there only since a ruleset needed them.
pub const TLS_COUNTERS: &str = "TLS_COUNTERS";
/// How often servers were asked for by name, by [`crate::connection::NameKey`]; there only since a ruleset needed them.
pub const TLS_NAMES: &str = "TLS_NAMES";
/// The [`crate::connection::TlsConnection`]s by [`crate::connection::ConnectionKey`]; there only since a ruleset needed
/// them.
pub const TLS_CONNECTIONS: &str = "TLS_CONNECTIONS";
/// Per-CPU [`crate::service::MysqlCounters`] by service slot; there only since a ruleset needed them.
pub const MYSQL_COUNTERS: &str = "MYSQL_COUNTERS";
/// The [`crate::mysql::Session`]s by [`crate::connection::ConnectionKey`]; there only since a ruleset needed them.
pub const MYSQL_SESSIONS: &str = "MYSQL_SESSIONS";
/// Numbers of [`crate::mysql::Operation`]s by [`crate::mysql::StatementKey`]; there only since a ruleset needed them.
pub const MYSQL_STATEMENTS: &str = "MYSQL_STATEMENTS";
/// When something last went to a replica, by [`crate::mysql::ReplicaKey`]; there only since a ruleset needed them.
pub const MYSQL_REPLICAS: &str = "MYSQL_REPLICAS";
/// Per-CPU [`crate::service::ServiceBytes`] by service slot; there only since a ruleset needed them.
pub const SERVICE_BYTES: &str = "SERVICE_BYTES";
/// Per-CPU [`crate::proxy::ProxyCounters`] by service slot; there only since a ruleset needed them.
pub const PROXY_HEADERS: &str = "PROXY_HEADERS";
/// The [`crate::proxy::Client`]s that proxies speak for, by [`crate::connection::ConnectionKey`]; there only since a ruleset
/// needed them.
pub const PROXY_CLIENTS: &str = "PROXY_CLIENTS";
/// Counter slots of the rules whose limits wait for a client to be named, by [`crate::connection::ConnectionKey`]; there only
/// since a ruleset needed them.
pub const PROXY_WAITING: &str = "PROXY_WAITING";
/// The [`crate::connection::Connection`]s to services by [`crate::connection::ConnectionKey`]; there only since a
/// ruleset needed them.
pub const CONNECTIONS: &str = "CONNECTIONS";
/// The [`crate::http2::Http2Connection`]s by [`crate::connection::ConnectionKey`]; there only since a ruleset needed them.
pub const HTTP2_CONNECTIONS: &str = "HTTP2_CONNECTIONS";
/// The [`crate::ahead::Block`]s of bytes that came before others, by [`crate::ahead::BlockKey`]; there only since a ruleset
/// needed them.
pub const SEGMENTS_AHEAD: &str = "SEGMENTS_AHEAD";
/// Per-CPU [`crate::dns::DnsCounters`] by service slot; there only since a ruleset needed them.
pub const DNS_COUNTERS: &str = "DNS_COUNTERS";
/// The [`crate::dns::DnsConnection`]s by [`crate::connection::ConnectionKey`]; there only since a ruleset needed them.
pub const DNS_CONNECTIONS: &str = "DNS_CONNECTIONS";
/// When queries were asked whose answers have not come, in nanoseconds since the machine started, by
/// [`crate::dns::QueryKey`]; there only since a ruleset needed them.
pub const DNS_PENDING: &str = "DNS_PENDING";
/// Per-CPU [`crate::raw::RawCounters`] by service slot; there only since a ruleset needed them.
pub const RAW_COUNTERS: &str = "RAW_COUNTERS";
/// The [`crate::raw::RawConnection`]s by [`crate::connection::ConnectionKey`]; there only since a ruleset needed them.
pub const RAW_CONNECTIONS: &str = "RAW_CONNECTIONS";
/// The [`crate::bans::Ban`]s by [`crate::bans::BanKey`].
pub const BANS: &str = "BANS";
/// The [`crate::bans::BanLengths`] of each family.
pub const BAN_LENGTHS: &str = "BAN_LENGTHS";
/// Per-CPU [`crate::bans::BanCounters`].
pub const BAN_COUNTERS: &str = "BAN_COUNTERS";
/// When each bucket is full again, in nanoseconds since the machine started, by [`crate::limit::BucketKey`]; there only
/// since a ruleset needed them.
pub const BUCKETS: &str = "BUCKETS";
/// Per-CPU [`crate::peers::PeerConnections`] by [`crate::counters::group_slot`]; there only since a ruleset needed them.
pub const PEER_CONNECTIONS: &str = "PEER_CONNECTIONS";
/// The [`crate::tracking::TrackedFlow`]s of IPv4 of which there is proof, by [`crate::tracking::FlowKeyV4`]; there only since a
/// ruleset needed them.
pub const FLOWS_V4: &str = "FLOWS_V4";
/// Those of IPv6, by [`crate::tracking::FlowKey`].
pub const FLOWS_V6: &str = "FLOWS_V6";
/// The others of both families, by the same.
pub const UNPROVED_FLOWS: &str = "UNPROVED_FLOWS";
/// The [`crate::tracking::Datagram`]s by [`crate::tracking::DatagramKey`]; there only since a ruleset needed them.
pub const DATAGRAMS: &str = "DATAGRAMS";
/// Per-CPU [`crate::tracking::FlowCounters`]; there only since a ruleset needed them.
pub const FLOW_COUNTERS: &str = "FLOW_COUNTERS";
/// Per-CPU [`crate::syn_cookies::SynCounters`] by service slot; there only since a ruleset needed them.
pub const SYN_COUNTERS: &str = "SYN_COUNTERS";
/// The [`crate::syn_cookies::Pace`]s by service slot; there only since a ruleset needed them.
pub const SYN_PACES: &str = "SYN_PACES";
/// The ring buffer of [`crate::event::Event`]s; there only since a ruleset needed it.
pub const EVENTS: &str = "EVENTS";
/// Per-CPU [`crate::event::EventCounters`].
pub const EVENT_COUNTERS: &str = "EVENT_COUNTERS";
/// The one [`crate::event::EventReader`].
pub const EVENT_READER: &str = "EVENT_READER";
/// Per-CPU numbers of rejected packets by [`crate::reject::outcome_slot`]; there only since a ruleset needed them.
pub const REJECT_COUNTERS: &str = "REJECT_COUNTERS";
/// Maps that outlive every ruleset and are pinned.
pub const SURVIVING: [&str; 40] = [
    RULE_COUNTERS,
    MORE_RULE_COUNTERS,
    VERDICT_COUNTERS,
    PORT_COUNTERS,
    HTTP_COUNTERS,
    SERVICE_BYTES,
    CONNECTIONS,
    TLS_COUNTERS,
    TLS_NAMES,
    TLS_CONNECTIONS,
    MYSQL_COUNTERS,
    MYSQL_SESSIONS,
    MYSQL_STATEMENTS,
    MYSQL_REPLICAS,
    PROXY_HEADERS,
    PROXY_CLIENTS,
    PROXY_WAITING,
    DNS_COUNTERS,
    DNS_CONNECTIONS,
    DNS_PENDING,
    HTTP2_CONNECTIONS,
    SEGMENTS_AHEAD,
    RAW_COUNTERS,
    RAW_CONNECTIONS,
    BANS,
    BAN_LENGTHS,
    BAN_COUNTERS,
    BUCKETS,
    PEER_CONNECTIONS,
    FLOWS_V4,
    FLOWS_V6,
    UNPROVED_FLOWS,
    DATAGRAMS,
    FLOW_COUNTERS,
    SYN_COUNTERS,
    SYN_PACES,
    EVENTS,
    EVENT_COUNTERS,
    EVENT_READER,
    REJECT_COUNTERS,
];

/// The [`crate::plaintext::WatchedProcess`]es by process id.
pub const PROCESSES: &str = "PROCESSES";
/// How many connections processes have taken that are not watched, by process id.
pub const STRANGERS: &str = "STRANGERS";
/// The [`crate::plaintext::Call`]s by thread.
pub const TLS_CALLS: &str = "TLS_CALLS";
/// The [`crate::connection::Connection`]s by [`crate::plaintext::TlsObject`].
pub const TLS_OBJECTS: &str = "TLS_OBJECTS";
/// The [`crate::http2::Http2Connection`]s by [`crate::plaintext::TlsObject`].
pub const TLS_HTTP2: &str = "TLS_HTTP2";
/// Maps that belong to the probes and live as long as the daemon.
pub const OF_PROBES: [&str; 5] = [PROCESSES, STRANGERS, TLS_CALLS, TLS_OBJECTS, TLS_HTTP2];

/// The programs that read what comes in to services, by number of the [`crate::service::Protocol`]; behind them those that
/// answer.
pub const SERVICES_IN: &str = "SERVICES_IN";
/// The same for what goes out.
pub const SERVICES_OUT: &str = "SERVICES_OUT";

/// Where in the former the program is that answers SYNs: behind those of protocols.
pub const SYN_PROGRAM: u32 = Protocol::COUNT;
/// Where in both the program is that answers rejected packets.
pub const REJECT_PROGRAM: u32 = Protocol::COUNT + 1;

/// The XDP program.
pub const INGRESS: &str = "ingress";
/// The program for what goes out.
pub const EGRESS: &str = "egress";
/// The XDP program that answers packets that came in and are rejected.
pub const REJECT_INBOUND: &str = "reject_inbound";
/// The program that answers packets that were to go out and are rejected.
pub const REJECT_OUTBOUND: &str = "reject_outbound";
/// The XDP program that sees connections to services of which nothing is read reset by their clients.
pub const RAW_INBOUND: &str = "raw_inbound";
/// The program that sees such connections opened and reset by the server.
pub const RAW_OUTBOUND: &str = "raw_outbound";
/// The XDP program that answers SYNs with cookies.
pub const SYN_ANSWERS: &str = "syn_answers";
/// The XDP program that reads requests of HTTP/1.x.
pub const HTTP1_REQUESTS: &str = "http1_requests";
/// The XDP program that reads requests of HTTP/2.
pub const HTTP2_REQUESTS: &str = "http2_requests";
/// The program that reads responses of HTTP/2.
pub const HTTP2_RESPONSES: &str = "http2_responses";
/// The XDP program that reads what clients of TLS offer.
pub const TLS_OFFERS: &str = "tls_offers";
/// The program that reads what servers of TLS choose.
pub const TLS_CHOICES: &str = "tls_choices";
/// The XDP program that reads commands of MySQL.
pub const MYSQL_COMMANDS: &str = "mysql_commands";
/// The program that reads answers of MySQL.
pub const MYSQL_REPLIES: &str = "mysql_replies";
/// The XDP program that reads queries of DNS.
pub const DNS_QUERIES: &str = "dns_queries";
/// The program that reads answers of DNS.
pub const DNS_ANSWERS: &str = "dns_answers";
/// The program that reads responses of HTTP/1.x.
pub const HTTP1_RESPONSES: &str = "http1_responses";
/// The probe on what makes a TLS object the server's side of a connection.
pub const TLS_ACCEPTING: &str = "tls_accepting";
/// The probe on what makes it the client's side.
pub const TLS_CONNECTING: &str = "tls_connecting";
/// The probe on its end.
pub const TLS_FREED: &str = "tls_freed";
/// The probe on a call that reads or writes.
pub const TLS_CALLED: &str = "tls_called";
/// The probe on the return of a call that reads.
pub const TLS_READ: &str = "tls_read";
/// The probe on the return of a call that writes.
pub const TLS_WRITTEN: &str = "tls_written";
/// The probe on the return of a call that sends a part of a file.
pub const TLS_FILE_SENT: &str = "tls_file_sent";
/// Where a process has made another one.
pub const PROCESS_FORKED: &str = "process_forked";
/// Where a process has become another program.
pub const PROCESS_EXECUTED: &str = "process_executed";
/// Where a process has ended.
pub const PROCESS_ENDED: &str = "process_ended";
/// The read-only constant that says where the kernel has the process id of a task, in bytes from its beginning.
pub const TASK_PROCESS_ID: &str = "TASK_PROCESS_ID";
/// The read-only constant that holds [`crate::rule::Settings`].
pub const SETTINGS: &str = "SETTINGS";
