//! The one list of metrics: what is not here cannot be exported, because a [`Family`] is made of a [`Metric`] and
//! those are made here alone. METRICS.md is made of them in [`super::markdown`].

use std::time::Duration;

use foobar_common::service::{DURATION_BOUNDS_US, Histogram as Durations, Ticks};
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many values were at most as large as each of some bounds, and their sum.
    Histogram,
}

/// What a metric is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Frames, each counted once however many fragments or segments it carries.
    Packets,
    /// Bytes of whole frames, Ethernet header included, checksum (FCS) not.
    Bytes,
    /// Seconds.
    Seconds,
    /// Seconds since 1970.
    Timestamp,
    /// A plain number.
    Number,
    /// 1 for yes, 0 for no.
    Flag,
    /// Always 1; the labels are what is told.
    Info,
}

/// What METRICS.md says of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    name: &'static str,
    kind: Kind,
    unit: Unit,
    labels: &'static [&'static str],
    help: &'static str,
}

/// A metric with `N` labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric<const N: usize> {
    entry: Entry,
    labels: [&'static str; N],
}

macro_rules! catalogue {
    ($( $constant:ident = $name:literal, $kind:ident, $unit:ident, [$( $label:literal ),*], $help:literal; )+) => {
        $(
            #[doc = concat!("`", $name, "`")]
            pub const $constant: Metric<{ <[&str]>::len(&[$( $label ),*]) }> = Metric {
                entry: Entry {
                    name: $name,
                    kind: Kind::$kind,
                    unit: Unit::$unit,
                    labels: &[$( $label ),*],
                    help: $help,
                },
                labels: [$( $label ),*],
            };
        )+

        /// Every metric, in the order of METRICS.md.
        pub const ALL: &[Entry] = &[$( $constant.entry ),+];
    };
}

catalogue! {
    PACKETS = "foobar_packets_total", Counter, Packets, ["iface", "direction", "port", "l4"],
        "Packets seen on the interface, by the port of a service or other.";
    BYTES = "foobar_bytes_total", Counter, Bytes, ["iface", "direction", "port", "l4"],
        "Bytes seen on the interface, by the port of a service or other.";
    FIREWALL_PACKETS = "foobar_firewall_packets_total", Counter, Packets, ["iface", "direction", "action", "reason"],
        "Packets by what became of them, and why.";
    FIREWALL_BYTES = "foobar_firewall_bytes_total", Counter, Bytes, ["iface", "direction", "action", "reason"],
        "Bytes by what became of their packets, and why.";
    RULE_HITS = "foobar_firewall_rule_hits_total", Counter, Packets, ["rule"],
        "Packets that a rule decided, by the id of the rule; without those over its limit.";
    RULE_OVER = "foobar_firewall_rule_over_limit_total", Counter, Packets, ["rule"],
        "Packets that met a rule and were over its limit, by the id of the rule.";
    BANS = "foobar_bans", Gauge, Number, ["ip", "kind"],
        "Bans in force; how many there is room for, foobar_map_max_entries tells.";
    BANS_MADE = "foobar_bans_made_total", Counter, Number, [],
        "Addresses and prefixes that were banned and had not been, since the state folder was made.";
    BANS_MADE_BY_RULES = "foobar_bans_made_by_rules_total", Counter, Number, [],
        "How many of these limits of rules made (`over = { ban = … }`), since the state folder was made.";
    BANS_NO_ROOM = "foobar_bans_no_room_total", Counter, Number, [],
        "Bans that limits of rules could not make, as there was no room, since the filter was first attached; the packets were dropped all the same.";
    BANS_EXPIRED = "foobar_bans_expired_total", Counter, Number, [],
        "Bans whose time was over, since the state folder was made.";
    BANS_LIFTED = "foobar_bans_lifted_total", Counter, Number, [],
        "Bans that somebody lifted, or rules that name their address as not to be banned, since the state folder was made.";
    BANS_REFUSED = "foobar_bans_refused_total", Counter, Number, [],
        "Bans that were asked for and refused, as they would have reached who must not be banned, since the state folder was made.";
    EVENTS = "foobar_events_total", Counter, Number, [],
        "Packets that were drawn as samples, as rules with `log` and `policy.log_drops` ask, since the filter was first attached.";
    EVENTS_LOST = "foobar_events_lost_total", Counter, Number, ["where"],
        "Packets that were drawn and not told to somebody who watches, by where they were lost.";
    HTTP_REQUESTS = "foobar_http_requests_total", Counter, Number, ["port", "proto", "method"],
        "HTTP requests to a service, by method.";
    HTTP_RESPONSES = "foobar_http_responses_total", Counter, Number, ["port", "class"],
        "HTTP responses of a service, by class of their status; interim ones (1xx) besides the final one.";
    HTTP_DURATION = "foobar_http_request_duration_seconds", Histogram, Seconds, ["port", "proto"],
        "From the first byte of a request to the last one of its response, as they pass the interface, or the TLS library.";
    HTTP_FIRST_BYTE = "foobar_http_time_to_first_byte_seconds", Histogram, Seconds, ["port", "proto"],
        "From the first byte of a request to the first one of its response, as they pass the interface, or the TLS library.";
    HTTP_UNTIMED = "foobar_http_untimed_responses_total", Counter, Number, ["port", "proto"],
        "Responses that no duration is known of: over 16 requests waited on the connection, or nobody had asked.";
    HTTP_IN_FLIGHT = "foobar_http_requests_in_flight", Gauge, Number, ["port", "proto"],
        "HTTP requests to a service whose response has not ended, on connections that are open and can be followed.";
    TLS_HANDSHAKES = "foobar_tls_handshakes_total", Counter, Number, ["port", "version", "alpn"],
        "TLS handshakes with a service, by the version that the server chose and the protocol inside.";
    TLS_FAILURES = "foobar_tls_handshake_failures_total", Counter, Number, ["port", "version"],
        "TLS handshakes that one side ended with an alert before anything was secret, by the newest version offered.";
    TLS_TURNS = "foobar_tls_turns_total", Counter, Number, ["port"],
        "How often a server said something after its client had, both in secret: about the requests, where a client waits for each answer.";
    TLS_TURN_DURATION = "foobar_tls_turn_duration_seconds", Histogram, Seconds, ["port"],
        "From the first secret byte of the client to the first one of the server, as they pass the interface.";
    CONNECTIONS = "foobar_connections_total", Counter, Number, ["port", "encryption", "app", "peer"],
        "Connections to a service whose client has sent something, by what it began with and the group of `[peers]` that it is in, or `other`; to one of raw, those that the server has answered (SYN-ACK).";
    CONNECTIONS_ACTIVE = "foobar_connections_active", Gauge, Number, ["port"],
        "TCP connections to a service that are open now, or closed by one side alone, as the kernel of this server lists them, over any interface.";
    CONNECTION_RESETS = "foobar_connection_resets_total", Counter, Number, ["port", "direction"],
        "Connections to a service of raw that one side has reset, by the direction of the first RST.";
    CONNECTIONS_REFUSED = "foobar_connections_refused_total", Counter, Number, ["port"],
        "Segments to a service of raw that were answered with a RST because nobody listens.";
    SYN_ANSWERED = "foobar_syn_cookies_answered_total", Counter, Packets, ["port"],
        "SYNs to a service that foobar answered with a cookie, in the server's stead.";
    SYN_RETURNED = "foobar_syn_cookies_returned_total", Counter, Packets, ["port"],
        "Cookies that clients of a service brought back and that the kernel takes: connections that began so.";
    SYN_PASSED = "foobar_syn_cookies_passed_total", Counter, Packets, ["port", "cause"],
        "SYNs to a service with syn_cookies that were accepted and went on to the kernel, by cause.";
    SYN_COOKIES_ACTIVE = "foobar_syn_cookies_active", Gauge, Flag, ["port"],
        "Whether SYNs to a service are answered with cookies now; with auto, while many come.";
    SYN_COOKIES_POSSIBLE = "foobar_syn_cookies_possible", Gauge, Flag, [],
        "Whether the kernel takes the cookies back: net.ipv4.tcp_syncookies is 2; only where a service has syn_cookies.";
    PROXY_CONNECTIONS = "foobar_proxy_connections_total", Counter, Number, ["port", "header"],
        "Connections to a service with proxy_protocol, by the PROXY header that they begin with.";
    DB_QUERIES = "foobar_db_queries_total", Counter, Number, ["server", "port", "op"],
        "Queries to a database, as text or by executing a prepared statement, by what they do.";
    DB_DURATION = "foobar_db_query_duration_seconds", Histogram, Seconds, ["server", "port", "op"],
        "From the first byte of a query to the first packet of its answer, as they pass the interface.";
    DB_ERRORS = "foobar_db_query_errors_total", Counter, Number, ["server", "port"],
        "Packets of a database that tell a client of an error.";
    DB_UNTIMED = "foobar_db_untimed_answers_total", Counter, Number, ["server", "port"],
        "Answers that no duration is known of: over 16 commands waited in the session.";
    DB_COMMANDS = "foobar_db_commands_total", Counter, Number, ["server", "port", "command"],
        "Commands to a database, by kind.";
    DB_SESSIONS = "foobar_db_sessions_total", Counter, Number, ["server", "port", "encryption", "compression"],
        "Sessions whose client has said who it is; only of those that are neither encrypted nor compressed the queries can be seen.";
    DB_LOGIN_FAILURES = "foobar_db_login_failures_total", Counter, Number, ["server", "port"],
        "Clients that a database did not accept.";
    DB_REFUSED = "foobar_db_refused_connections_total", Counter, Number, ["server", "port"],
        "Connections that a database refused before the client had said anything, as when there are too many.";
    DB_REPLICA_STREAMS = "foobar_db_replica_streams", Gauge, Number, ["server", "port"],
        "Replicas that a database tells what changes, by sessions that something went to within 90 seconds.";
    DB_WRITERS = "foobar_db_writers", Gauge, Number, [],
        "Ports of databases on this server to which somebody wrote, or changed a table, within 15 minutes.";
    DNS_QUERIES = "foobar_dns_queries_total", Counter, Number, ["port", "l4", "qtype"],
        "DNS queries to a service, by what they ask for; one that is sent again counts again.";
    DNS_REPEATED = "foobar_dns_repeated_queries_total", Counter, Number, ["port", "l4"],
        "DNS queries that the client had sent before, with the same id, and had no answer to.";
    DNS_UNANSWERED = "foobar_dns_unanswered_queries", Gauge, Number, ["port", "l4"],
        "DNS queries that no answer has been seen to, yet or ever; one that is sent again counts once.";
    DNS_ANSWERS = "foobar_dns_answers_total", Counter, Number, ["port", "l4", "rcode"],
        "DNS answers of a service, by the response code in their header.";
    DNS_TRUNCATED = "foobar_dns_truncated_answers_total", Counter, Number, ["port", "l4"],
        "DNS answers that did not fit, so that the client asks again over TCP.";
    DNS_UNASKED = "foobar_dns_unasked_answers_total", Counter, Number, ["port", "l4"],
        "DNS answers whose query is not known: it was answered before, could not be read, or is too old.";
    DNS_DURATION = "foobar_dns_duration_seconds", Histogram, Seconds, ["port", "l4"],
        "From a DNS query, when it was sent first, to its answer, as they pass the interface.";
    FRAMING_LOST = "foobar_l7_framing_lost_total", Counter, Number, ["port", "proto", "reason"],
        "How often one direction of a connection could not be followed to its end, so that what came after is not counted, or a datagram not be read.";
    L7_BYTES = "foobar_l7_bytes_total", Counter, Bytes, ["port", "proto", "state"],
        "Bytes on the port of a service, by whether they could be followed; together they are all that passed, or came in where responses = false.";
    DECRYPT_PROCESSES = "foobar_decrypt_processes", Gauge, Number, ["port"],
        "Processes of a service with decrypt_by whose TLS library is watched.";
    DECRYPT_COMPLETE = "foobar_decrypt_complete", Gauge, Flag, ["port"],
        "Whether nothing is known to be missing: probes are in place, and every process that was found is watched.";
    DECRYPT_MISSED = "foobar_decrypt_missed_connections_total", Counter, Number, ["port"],
        "Connections that processes of the service took before they were found, since the state folder was made: what was asked there is not counted.";
    RECONCILE_DIFFERENCE = "foobar_reconcile_difference", Gauge, Number, ["source", "service"],
        "Requests or queries that foobar has counted and the server has not (negative: the other way round), as far as it is proven; what `foobar_l7_framing_lost_total` does not cover, nor traffic past the interface, is a defect. Absent while the server does not tell.";
    RECONCILE_UNCERTAINTY = "foobar_reconcile_uncertainty", Gauge, Number, ["source", "service"],
        "How much further from zero the difference can be: as many as came while both were read, at the quietest moment.";
    RECONCILE_COMPARED = "foobar_reconcile_compared_timestamp_seconds", Gauge, Timestamp, ["source", "service"],
        "When the counts of foobar and the server were last compared.";
    RECONCILE_BASELINES = "foobar_reconcile_baselines_total", Counter, Number, ["source", "service"],
        "How often the comparison began anew because a count did, since the state folder was made; the first time is one.";
    RECONCILE_FAILURES = "foobar_reconcile_failures_total", Counter, Number, ["source", "service", "reason"],
        "How often the server's count could not be had, since the state folder was made.";
    MAP_ENTRIES = "foobar_map_entries", Gauge, Number, ["map"],
        "Entries in use in a BPF map.";
    MAP_MAX_ENTRIES = "foobar_map_max_entries", Gauge, Number, ["map"],
        "Entries that a BPF map has room for.";
    MAP_MEMORY = "foobar_map_memory_bytes", Gauge, Number, ["map"],
        "Kernel memory of a BPF map, by the kernel's own account.";
    MAP_FAILURES = "foobar_map_update_failures_total", Counter, Number, ["map"],
        "How often an entry found no room in a BPF map that forgets old ones. Absent while flows are not tracked.";
    MAP_EVICTIONS = "foobar_map_evictions_total", Counter, Number, ["map"],
        "Entries that others pushed out of a BPF map which forgets those not in use for longest; among them such whose time was over. Absent while flows are not tracked.";
    FLOWS = "foobar_flows", Gauge, Number, ["kind"],
        "Flows that are known now, with proof (`proved`) and without (`unproved`). Absent while flows are not tracked.";
    FLOWS_SEEN = "foobar_flows_total", Counter, Number, ["kind"],
        "Flows that began (`begun`), and those of which there was proof (`proved`): a flood of the first without the second is one of invented packets.";
    REJECT_ANSWERS = "foobar_reject_answers_total", Counter, Number, ["direction", "answer"],
        "Rejected packets that were answered. Absent while nothing is rejected.";
    REJECT_UNANSWERED = "foobar_reject_unanswered_total", Counter, Number, ["direction", "cause"],
        "Rejected packets that ended without an answer, as if they had been dropped. Absent while nothing is rejected.";
    PROGRAM_ATTACHED = "foobar_program_attached", Gauge, Flag, ["program", "iface"],
        "Whether the program that should judge the packets of the interface does.";
    ATTACH_MODE = "foobar_attach_mode_info", Gauge, Info, ["iface", "mode"],
        "How the program is attached: native (in the driver) or generic (in the network stack).";
    ATTACH_FALLBACK = "foobar_attach_fallback_info", Gauge, Info, ["iface", "reason"],
        "There only where the program is not attached as asked for, or not at all: why.";
    PROGRAM_RUNS = "foobar_program_runs_total", Counter, Number, ["program"],
        "Runs of the program since the state folder was made. Stands still unless kernel.bpf_stats_enabled is on.";
    PROGRAM_RUN_SECONDS = "foobar_program_run_seconds_total", Counter, Seconds, ["program"],
        "Time that these runs took.";
    RULESET = "foobar_ruleset_info", Gauge, Info, ["hash"],
        "The ruleset in force, by the SHA-256 of its texts.";
    RULESET_GENERATION = "foobar_ruleset_generation", Gauge, Number, [],
        "How many times rules were put in force, since the state folder was made.";
    RULES_LOADED = "foobar_rules_loaded_timestamp_seconds", Gauge, Timestamp, [],
        "When the rules in force were put in force.";
    RELOAD_SUCCESS = "foobar_config_reload_success", Gauge, Flag, [],
        "Whether the last attempt to change the rules succeeded.";
    WEB_CONFIG_SUCCESS = "foobar_web_config_reload_success", Gauge, Flag, [],
        "Whether what the web configuration file (--web-config) says now is in force; if not, what it said before is. Absent without such a file.";
    PUSH_SUCCESS = "foobar_push_config_reload_success", Gauge, Flag, [],
        "Whether what the push file (--push) says now is in force; if not, what it said before is. Absent without such a file.";
    PUSH_POINTS = "foobar_push_points_total", Counter, Number, ["target"],
        "Points that a target of the push file took, since the state folder was made.";
    PUSH_LOST = "foobar_push_lost_points_total", Counter, Number, ["target", "reason"],
        "Points that a target never gets, since the state folder was made, by why.";
    PUSH_FAILURES = "foobar_push_failures_total", Counter, Number, ["target", "reason"],
        "Requests to a target that failed and are made again, since the state folder was made, by why.";
    PUSH_SPOOL_BYTES = "foobar_push_spool_bytes", Gauge, Bytes, ["target"],
        "What waits for a target.";
    PUSH_SPOOL_BYTES_MAX = "foobar_push_spool_max_bytes", Gauge, Bytes, ["target"],
        "How much may wait for a target before the oldest is lost.";
    PUSH_LAG = "foobar_push_lag_seconds", Gauge, Seconds, ["target"],
        "How long the oldest points that a target has not got yet have waited.";
    PUSH_LAST_SUCCESS = "foobar_push_last_success_timestamp_seconds", Gauge, Timestamp, ["target"],
        "When a target last took a request. Absent before it has taken one.";
    HOST_CPU = "foobar_host_cpu_seconds_total", Counter, Seconds, ["mode"],
        "Time of all processors of the machine together, since it started. Absent with --no-host-metrics, as all of `foobar_host_`.";
    HOST_CPUS = "foobar_host_cpus", Gauge, Number, [],
        "Processors of the machine.";
    HOST_STARTED = "foobar_host_start_timestamp_seconds", Gauge, Timestamp, [],
        "When the machine started.";
    HOST_LOAD = "foobar_host_load", Gauge, Number, ["span"],
        "Load average: how many tasks run, wait for a processor or for a disk.";
    HOST_MEMORY = "foobar_host_memory_bytes", Gauge, Bytes, ["part"],
        "Memory of the machine by what it is used for; `available` is what programs can still have.";
    HOST_FILE_SYSTEM_SIZE = "foobar_host_file_system_size_bytes", Gauge, Bytes, ["path"],
        "How much the file system holds.";
    HOST_FILE_SYSTEM_AVAILABLE = "foobar_host_file_system_available_bytes", Gauge, Bytes, ["path"],
        "How much of that is left to those who are not root.";
    HOST_FILE_SYSTEM_FILES = "foobar_host_file_system_files", Gauge, Number, ["path"],
        "How many files the file system has room for; 0 where it does not say.";
    HOST_FILE_SYSTEM_FILES_FREE = "foobar_host_file_system_free_files", Gauge, Number, ["path"],
        "How many more it has room for.";
    HOST_DISK_BYTES = "foobar_host_disk_bytes_total", Counter, Bytes, ["disk", "op"],
        "Bytes that were read from the disk and written to it, since the machine started.";
    HOST_DISK_OPERATIONS = "foobar_host_disk_operations_total", Counter, Number, ["disk", "op"],
        "How often the disk was read and written, since the machine started.";
    HOST_DISK_BUSY = "foobar_host_disk_busy_seconds_total", Counter, Seconds, ["disk"],
        "How long the disk had something to do, since the machine started.";
    HOST_INTERFACE_ERRORS = "foobar_host_interface_errors_total", Counter, Packets, ["iface", "direction"],
        "Frames that the interface took or sent and that were not right, by the kernel's count.";
    HOST_INTERFACE_DROPS = "foobar_host_interface_drops_total", Counter, Packets, ["iface", "direction"],
        "Frames that the interface had no room for, by the kernel's count; drivers count what XDP drops there, or not.";
    HOST_TCP_SENT = "foobar_host_tcp_segments_sent_total", Counter, Number, [],
        "TCP segments that the machine sent, those that it repeated not among them.";
    HOST_TCP_REPEATED = "foobar_host_tcp_segments_repeated_total", Counter, Number, [],
        "TCP segments that it sent again, as no answer had come.";
    HOST_LISTEN_OVERFLOWS = "foobar_host_listen_overflows_total", Counter, Number, [],
        "Connections that were turned away as the queue of their listener was full.";
    HOST_LISTEN_DROPS = "foobar_host_listen_drops_total", Counter, Number, [],
        "Connections that a listener turned away, for whatever reason.";
    CERTIFICATE_NOT_AFTER = "foobar_certificate_not_after_timestamp_seconds", Gauge, Timestamp, ["name"],
        "When the certificate that is shown for a name of --certificate expires, or one that is shown with it, whichever is first. Absent before it has been seen.";
    CERTIFICATE_SEEN = "foobar_certificate_seen", Gauge, Flag, ["name"],
        "Whether the last handshake has shown one; they are made each hour, and each five minutes as long as one fails.";
    PAGE_VIEWERS = "foobar_page_viewers", Gauge, Number, [],
        "Browsers and others that look at the live page; what it shows is computed once a second for all of them, and not at all for none.";
    CONFIRM_PENDING = "foobar_confirm_pending", Gauge, Flag, [],
        "Whether the rules in force are taken back unless they are confirmed.";
    GUARD_PENDING = "foobar_guard_pending", Gauge, Flag, [],
        "Whether the rules in force are taken back if a service loses traffic.";
    GUARD_ROLLBACKS = "foobar_guard_rollbacks_total", Counter, Number, [],
        "How often rules were taken back because a service had lost traffic, since the state folder was made.";
    GUARD_BEFORE = "foobar_guard_fallen_before_per_second", Gauge, Number, ["service", "port"],
        "Of the services that had fallen when rules were last taken back: requests, queries or connections per second before those rules.";
    GUARD_AFTER = "foobar_guard_fallen_after_per_second", Gauge, Number, ["service", "port"],
        "The same with those rules.";
    FLEET_CONNECTED = "foobar_fleet_connected", Gauge, Flag, [],
        "Whether etcd, where the rules come from, answered when it was last asked. This and all of foobar_fleet are absent where rules come from files.";
    FLEET_CONTACT = "foobar_fleet_last_contact_timestamp_seconds", Gauge, Timestamp, [],
        "When etcd last answered. Absent before it has.";
    FLEET_REVISION = "foobar_fleet_revision", Gauge, Number, [],
        "The revision of etcd at which a key of the rules there was last written.";
    FLEET_RULESET_REVISION = "foobar_fleet_ruleset_revision", Gauge, Number, [],
        "The revision of etcd that the rules in force come from. Absent if they come from elsewhere.";
    FLEET_REFUSED = "foobar_fleet_refused", Gauge, Flag, [],
        "Whether the rules in etcd are not put in force: they are invalid, or were taken back. The status of the daemon says why.";
    FLEET_ENDPOINT_UP = "foobar_fleet_endpoint_up", Gauge, Flag, ["endpoint"],
        "Whether a member of etcd that is named in --rules answers and has a cluster behind it.";
    UP = "foobar_up", Gauge, Flag, [],
        "Whether rules are in force on every interface.";
    BUILD = "foobar_build_info", Gauge, Info, ["version", "object"],
        "The version of foobar, and where its BPF object comes from.";
    SCRAPE_SECONDS = "foobar_scrape_duration_seconds", Gauge, Seconds, ["collector"],
        "How long a collector took in this scrape.";
    COLLECTOR_SUCCESS = "foobar_collector_success", Gauge, Flag, ["collector"],
        "Whether a collector could read everything in this scrape.";
    SERIES = "foobar_series", Gauge, Number, ["family"],
        "How many series a metric has in this scrape.";
}

/// Since when a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Since the filter was attached, or longer.
    Filter,
    /// Since the state folder was made: the daemon keeps it, and a later one goes on ([`super::account`]).
    Account,
    /// Since the machine started.
    Machine,
}

/// Counters that the daemon keeps itself.
const KEPT_BY_DAEMON: &[&str] = &[
    DECRYPT_MISSED.entry.name,
    RECONCILE_BASELINES.entry.name,
    RECONCILE_FAILURES.entry.name,
    PROGRAM_RUNS.entry.name,
    PROGRAM_RUN_SECONDS.entry.name,
    PUSH_POINTS.entry.name,
    PUSH_LOST.entry.name,
    PUSH_FAILURES.entry.name,
    GUARD_ROLLBACKS.entry.name,
];

/// The series of one metric in one scrape.
#[derive(Clone, Debug)]
pub struct Family<const N: usize> {
    metric: Metric<N>,
    series: Vec<proto::Metric>,
}

impl<const N: usize> Metric<N> {
    /// No series yet.
    pub fn family(self) -> Family<N> {
        Family { metric: self, series: Vec::new() }
    }

    /// The name with its prefix.
    pub const fn name(&self) -> &'static str {
        self.entry.name
    }
}

impl Entry {
    /// The name with its prefix.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The names of the labels.
    pub const fn labels(&self) -> &'static [&'static str] {
        self.labels
    }

    /// Counter, gauge or histogram.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What it is measured in.
    pub const fn unit(&self) -> Unit {
        self.unit
    }

    /// Since when it counts.
    pub fn begin(&self) -> Begin {
        if KEPT_BY_DAEMON.contains(&self.name) {
            Begin::Account
        } else if self.name.starts_with("foobar_host_") {
            Begin::Machine
        } else {
            Begin::Filter
        }
    }

    /// The sentence that explains the metric.
    pub const fn help(&self) -> &'static str {
        self.help
    }
}

impl<const N: usize> Family<N> {
    /// Makes room for so many series.
    pub fn reserve(&mut self, series: usize) {
        self.series.reserve_exact(series);
    }

    /// Adds a series.
    pub fn add(&mut self, labels: [&str; N], value: f64) {
        let mut series = self.labelled(labels);
        match self.metric.entry.kind {
            Kind::Counter => {
                let mut counter = proto::Counter::default();
                counter.set_value(value);
                series.set_counter(counter);
            }
            Kind::Gauge | Kind::Histogram => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value);
                series.set_gauge(gauge);
            }
        }
        self.series.push(series);
    }

    /// Adds a series of a histogram of durations.
    pub fn add_histogram(&mut self, labels: [&str; N], durations: &Durations) {
        let Durations { buckets, sum } = durations;
        let mut histogram = proto::Histogram::default();
        let mut total = 0;
        let mut cumulative = Vec::new();
        for (bound, count) in DURATION_BOUNDS_US.iter().zip(buckets) {
            total += count;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(Duration::from_micros(*bound).as_secs_f64());
            bucket.set_cumulative_count(total);
            cumulative.push(bucket);
        }
        histogram.set_bucket(cumulative);
        histogram.set_sample_count(buckets.iter().sum());
        histogram.set_sample_sum(Duration::from_nanos(sum.saturating_mul(Ticks::NANOSECONDS)).as_secs_f64());
        let mut series = self.labelled(labels);
        series.set_histogram(histogram);
        self.series.push(series);
    }

    fn labelled(&self, labels: [&str; N]) -> proto::Metric {
        let mut series = proto::Metric::default();
        let pairs = self.metric.labels.iter().zip(labels).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value.to_owned());
            pair
        });
        series.set_label(pairs.collect());
        series
    }

    /// Adds a series whose value is an integer. Prometheus keeps values as 64-bit floats, so above 2^53 the last
    /// digits are rounded; a counter that is rounded still never goes back.
    #[expect(clippy::cast_precision_loss, reason = "the exposition has no integers")]
    pub fn add_integer(&mut self, labels: [&str; N], value: u64) {
        self.add(labels, value as f64);
    }

    /// The same of an integer that can be negative.
    #[expect(clippy::cast_precision_loss, reason = "the exposition has no integers")]
    pub fn add_signed(&mut self, labels: [&str; N], value: i64) {
        self.add(labels, value as f64);
    }

    /// Adds a series that says yes or no.
    pub fn add_flag(&mut self, labels: [&str; N], yes: bool) {
        self.add(labels, if yes { 1.0 } else { 0.0 });
    }

    /// What the encoder takes.
    pub fn into_proto(self) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.metric.entry.name.to_owned());
        family.set_help(self.metric.entry.help.to_owned());
        family.set_field_type(match self.metric.entry.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        family.set_metric(self.series);
        family
    }
}

impl Kind {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Unit {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Packets => "packets",
            Self::Bytes => "bytes of whole frames",
            Self::Seconds => "seconds",
            Self::Timestamp => "seconds since 1970",
            Self::Number => "number",
            Self::Flag => "1 yes, 0 no",
            Self::Info => "always 1",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let mut names = BTreeSet::new();
        for entry in ALL {
            let Entry { name, kind, unit, labels, help } = entry;
            assert!(names.insert(name), "{name} twice");
            assert!(name.starts_with("foobar_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_info"), *unit == Unit::Info, "{name}");
            assert_eq!(name.contains("_seconds"), matches!(unit, Unit::Seconds | Unit::Timestamp), "{name}");
            assert_eq!(name.ends_with("_timestamp_seconds"), *unit == Unit::Timestamp, "{name}");
            assert!(help.ends_with('.'), "{name}");
            assert_eq!(labels.iter().collect::<BTreeSet<_>>().len(), labels.len(), "{name}");
        }
    }

    #[test]
    fn counters_of_the_daemon_say_so() {
        for entry in ALL.iter().filter(|entry| entry.kind == Kind::Counter) {
            let says = entry.help.contains("since the state folder was made");
            let is_kept = entry.begin() == Begin::Account && entry.name != PROGRAM_RUN_SECONDS.name();
            assert!(says || !is_kept, "{}", entry.name);
        }
    }
}
