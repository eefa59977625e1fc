//! What goes over the control socket, and what `--json` shows of it.

use std::collections::BTreeMap;

use foobar_common::{
    counters::Counter,
    raw::RawCounters,
    syn_cookies::{Passed, SynCounters},
};
use serde::{Deserialize, Serialize};

use super::{
    bans::{BanCounts, BanInForce, BanStopping},
    events::EventFacts,
};
use crate::{
    bans::report::BanReport,
    certificates::CertificateFacts,
    daemon::guarding::GuardFacts,
    dataplane::{
        attach::{Attachment, Mode},
        counters::SynCookieCounters,
        fill::MapFill,
        flows::FlowFacts,
        probes::DecryptionFacts,
        programs::ProgramFacts,
        rejects::RejectFacts,
    },
    fleet::FleetFacts,
    push::stats::PushFacts,
    rates::SPANS,
    reconcile::ReconcileFacts,
    rules::{
        balancers::FewSources,
        bundle::{Bundle, SourceFile, hexadecimal},
        rule_id::RuleId,
        sets::edit::EditReport,
    },
    state::Applied,
    web_config::live::WebConfigFacts,
};

/// Longest request body, in bytes.
pub const BODY_MAX: usize = 64 << 20;

/// `GET /v1/status`.
pub const STATUS: &str = "/v1/status";
/// `GET /v1/rules`.
pub const RULES: &str = "/v1/rules";
/// `POST /v1/rules/apply`.
pub const APPLY: &str = "/v1/rules/apply";
/// `POST /v1/rules/confirm`.
pub const CONFIRM: &str = "/v1/rules/confirm";
/// `POST /v1/rules/rollback`.
pub const ROLLBACK: &str = "/v1/rules/rollback";
/// `POST /v1/reload`.
pub const RELOAD: &str = "/v1/reload";
/// `GET /v1/sets`.
pub const SETS: &str = "/v1/sets";
/// `GET` and `POST` of one set; [`set_path`] puts its name in.
pub const SET: &str = "/v1/sets/{name}";
/// `GET /v1/traffic`.
pub const TRAFFIC: &str = "/v1/traffic";
/// `POST /v1/detach`.
pub const DETACH: &str = "/v1/detach";

/// Everything that `foobar status` shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Whether its BPF object was built from source.
    pub object: String,
    /// Its process id.
    pub pid: u32,
    /// Milliseconds since 1970 at which it started.
    pub started_unix_ms: u64,
    /// Whether rules are in force on every interface.
    pub ready: bool,
    /// If not, why.
    pub not_ready: Vec<String>,
    /// How the program was to be attached.
    pub mode: Mode,
    /// How it is, interface by interface.
    pub interfaces: Vec<Attachment>,
    /// The rules in force.
    pub ruleset: RulesetFacts,
    /// Set while they wait for their confirmation.
    pub pending: Option<PendingFacts>,
    /// The guard over them, if there is one, and what earlier ones led to.
    #[serde(default)]
    pub guard: GuardFacts,
    /// Services where a rule bans by source, and few sources have nearly all connections.
    #[serde(default)]
    pub few_sources: Vec<FewSources>,
    /// The fleet that has its rules from etcd, if this is a member of one.
    #[serde(default)]
    pub fleet: Option<FleetFacts>,
    /// How the last attempt to put rules in force ended.
    pub last_reload: Reload,
    /// How full the maps are.
    pub maps: Vec<MapFill>,
    /// The flows that are tracked, if they are.
    #[serde(default)]
    pub flows: Option<FlowFacts>,
    /// What came of packets that were rejected, if any are.
    #[serde(default)]
    pub rejects: Option<RejectFacts>,
    /// The programs in force.
    pub programs: Vec<ProgramFacts>,
    /// How much passes, over the last seconds.
    pub rates: Option<Rates>,
    /// The services of which more is counted than packets and bytes.
    pub services: Vec<ServiceFacts>,
    /// The services whose TLS is read.
    #[serde(default)]
    pub decryption: Vec<DecryptionFacts>,
    /// The bans.
    #[serde(default)]
    pub bans: BanCounts,
    /// The ten that have stopped most, the most first.
    #[serde(default)]
    pub busiest_bans: Vec<BanInForce>,
    /// What became of the packets that were drawn as samples.
    #[serde(default)]
    pub events: EventFacts,
    /// What became of comparing our counts with those of servers.
    #[serde(default)]
    pub reconcile: Vec<ReconcileFacts>,
    /// Whether services can answer with SYN cookies, if some are to.
    #[serde(default)]
    pub syn_cookies: Option<SynCookieFacts>,
    /// What of this could not be found out, and why.
    pub problems: Vec<String>,
    /// Address of the metrics.
    pub listen: String,
    /// Who may read them, if a file says so.
    #[serde(default)]
    pub web_config: Option<WebConfigFacts>,
    /// Which services get the metrics, if a file says so.
    #[serde(default)]
    pub push: Option<PushFacts>,
    /// When certificates expire.
    #[serde(default)]
    pub certificates: Vec<CertificateFacts>,
    /// How many look at the live page.
    #[serde(default)]
    pub page_viewers: u64,
    /// Path of the control socket.
    pub control: String,
    /// The state folder.
    pub state: String,
    /// The pin folder.
    pub pins: String,
    /// Whether the filter goes away with the daemon.
    pub ephemeral: bool,
}

/// The rules in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesetFacts {
    /// SHA-256 of their texts.
    pub hash: String,
    /// How many times rules were put in force.
    pub generation: u64,
    /// When and by whom these were.
    pub applied: Option<Applied>,
    /// What `rules rollback` would bring back.
    pub previous: Option<String>,
    /// The path of `--rules`, which a reload reads.
    pub path: String,
    /// How many rules there are.
    pub rules: usize,
    /// How many services there are.
    pub services: usize,
    /// How many sets there are.
    pub sets: usize,
    /// The names of those that were changed at runtime.
    #[serde(default)]
    pub edited_sets: Vec<String>,
}

/// A confirmation that is waited for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PendingFacts {
    /// What comes back without it.
    pub previous: String,
    /// Seconds until then.
    pub seconds_left: f64,
    /// Whether it is a guard: they stay then unless services lose traffic before.
    #[serde(default)]
    pub guarded: bool,
}

/// How an attempt to put rules in force ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// Whether what was asked for is in force.
    pub success: bool,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// Who asked for what, in words.
    pub what: String,
    /// Why it failed.
    pub error: Option<String>,
}

/// What was counted on a port of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceFacts {
    /// Name of the service.
    pub service: String,
    /// The port, as `tcp/443`.
    pub port: String,
    /// What is spoken there.
    pub protocol: String,
    /// What is counted: `requests`, `handshakes`, `queries` or, where nothing is read, `connections`.
    pub what: String,
    /// How many of those there were.
    pub total: u64,
    /// The same per second, over 1, 10 and 60 seconds.
    pub per_second: [Option<f64>; SPANS.len()],
    /// How they ended, in words: classes of responses, response codes, or what went wrong.
    #[serde(default)]
    pub outcomes: BTreeMap<String, u64>,
    /// How many took how long: up to each of [`foobar_common::service::DURATION_BOUNDS_US`], and longer; empty where that is not
    /// known.
    #[serde(default)]
    pub durations: Vec<u64>,
    /// How often one direction of a connection could not be followed to its end.
    pub framing_lost: u64,
    /// Bytes that could be followed.
    pub framed_bytes: u64,
    /// Bytes that could not.
    pub lost_bytes: u64,
    /// Servers that clients of TLS asked for by name, and how often; the hundred that were asked for most.
    #[serde(default)]
    pub names: Vec<(String, u64)>,
    /// TCP connections that are open now; `None` where the kernel does not tell.
    #[serde(default)]
    pub connections_active: Option<u64>,
    /// Requests that have not been answered to the end, where HTTP/1.x is spoken in the clear.
    #[serde(default)]
    pub requests_in_flight: Option<u64>,
    /// How connections ended, where nothing is read.
    #[serde(default)]
    pub resets: Option<Resets>,
    /// What became of SYNs, if they may be answered with cookies.
    #[serde(default)]
    pub syn_cookies: Option<SynFacts>,
}

/// Whether services can answer with SYN cookies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SynCookieFacts {
    /// Why they cannot, if so, and what to do.
    pub problem: Option<String>,
    /// What connections that begin so lack.
    pub notes: Vec<String>,
    /// The kernel's settings that matter.
    pub sysctls: String,
}

/// What became of SYNs to a service that may answer them with cookies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SynFacts {
    /// Whether they are answered now.
    pub active: bool,
    /// Those that were.
    pub answered: u64,
    /// Cookies that came back, and that the kernel takes.
    #[serde(default)]
    pub returned: u64,
    /// Those that went on to the kernel, by cause.
    pub passed: BTreeMap<String, u64>,
}

impl From<SynCookieCounters> for SynFacts {
    fn from(counted: SynCookieCounters) -> Self {
        let SynCookieCounters { counters: SynCounters { answered, returned, passed }, active } = counted;
        let passed = Passed::ALL.iter().zip(passed).map(|(cause, count)| (cause.label().to_owned(), count));
        Self { active, answered, returned, passed: passed.collect() }
    }
}

/// What a RST has ended, or not let begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resets {
    /// Connections that the client has reset first.
    #[serde(rename = "in")]
    pub inbound: u64,
    /// Connections that the server has reset first.
    #[serde(rename = "out")]
    pub outbound: u64,
    /// Segments that were answered so because nobody listens.
    pub refused: u64,
}

impl From<RawCounters> for Resets {
    fn from(counters: RawCounters) -> Self {
        let RawCounters { opened: _, resets: [inbound, outbound], refused } = counters;
        Self { inbound, outbound, refused }
    }
}

/// Packets and bits per second on all interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Packets.
    pub packets_per_second: f64,
    /// Bits of whole frames.
    pub bits_per_second: f64,
    /// Packets that ended here.
    pub dropped_packets_per_second: f64,
    /// Over how many seconds.
    pub seconds: f64,
}

/// Answer to [`RULES`]: the rules in force and what they counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesInForce {
    /// SHA-256 of the texts.
    pub hash: String,
    /// How many times rules were put in force.
    pub generation: u64,
    /// The texts.
    pub bundle: Bundle,
    /// By rule id.
    pub rules: BTreeMap<RuleId, Counted>,
    /// By reason and verdict, over all interfaces.
    pub reasons: Vec<ReasonCounted>,
    /// The sets that were changed at runtime: their entries are not those of the texts.
    #[serde(default)]
    pub edited_sets: BTreeMap<String, SetEdits>,
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Packets.
    pub packets: u64,
    /// Bytes of whole frames.
    pub bytes: u64,
}

/// What was counted for a reason in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonCounted {
    /// Label of the direction.
    pub direction: String,
    /// Label of the reason.
    pub reason: String,
    /// Label of the verdict.
    pub action: String,
    /// How much.
    #[serde(flatten)]
    pub counted: Counted,
}

impl From<Counter> for Counted {
    fn from(Counter { packets, bytes }: Counter) -> Self {
        Self { packets, bytes }
    }
}

/// Answer to [`TRAFFIC`]: what has been counted up to now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Milliseconds since 1970 at which the daemon started.
    pub started_unix_ms: u64,
    /// Milliseconds since then, by a clock that nobody sets.
    pub since_start_ms: u64,
    /// SHA-256 of the texts of the rules in force.
    pub hash: String,
    /// How many times rules were put in force.
    pub generation: u64,
    /// Why rules are not in force on some interface.
    pub not_ready: Vec<String>,
    /// By interface and direction; those that are filtered are there even if zero.
    pub interfaces: Vec<InterfaceCounted>,
    /// What was accepted or answered, by reason, over all interfaces.
    #[serde(default)]
    pub accepts: Vec<ReasonCounted>,
    /// What was dropped or rejected, by reason, over all interfaces.
    pub drops: Vec<ReasonCounted>,
    /// By rule id; those that decided something.
    pub rules: BTreeMap<RuleId, Counted>,
    /// The services of which more is counted than packets and bytes.
    pub services: Vec<ServiceFacts>,
    /// The bans that have stopped most since somebody last looked, the most first; at most 50.
    #[serde(default)]
    pub bans: Vec<BanStopping>,
}

/// What was counted on an interface in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceCounted {
    /// Its name.
    pub interface: String,
    /// Label of the direction.
    pub direction: String,
    /// How much.
    #[serde(flatten)]
    pub counted: Counted,
}

/// What was changed of a set at runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetEdits {
    /// When and by whom it was last.
    #[serde(flatten)]
    pub changed: Applied,
    /// Whether all its entries were replaced first.
    pub replaced: bool,
    /// Entries that were added then.
    pub added: usize,
    /// Entries that were removed then.
    pub removed: usize,
    /// Digest of the entries that the changes were made upon: with others in the rules, they are dropped.
    pub base: String,
}

/// A set in force, as `set list` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetInForce {
    /// Its name.
    pub name: String,
    /// How many entries it has.
    pub entries: usize,
    /// How many of them are of IPv4.
    pub v4: usize,
    /// How many of them are of IPv6.
    pub v6: usize,
    /// The set file, if it has one.
    pub file: Option<String>,
    /// Where the rules give it.
    pub place: Option<String>,
    /// What was changed at runtime, if something was.
    pub edits: Option<SetEdits>,
    /// The rules that name it.
    pub rules: Vec<String>,
}

/// A set in force with its entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetShown {
    /// What `set list` shows.
    #[serde(flatten)]
    pub set: SetInForce,
    /// The entries.
    pub addresses: Vec<String>,
}

/// Body of a `POST` to [`SET`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetRequest {
    /// What is to be done.
    pub edit: SetEditRequest,
    /// Whether bits behind a prefix are set to zero.
    #[serde(default)]
    pub lenient: bool,
}

/// A change of a set, in the words of whoever asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SetEditRequest {
    /// Add these addresses and prefixes.
    Add(Vec<String>),
    /// Remove these.
    Remove(Vec<String>),
    /// Put the entries of this text in the place of those that it has.
    Replace(SourceFile),
}

/// The path of a set.
pub fn set_path(name: &str) -> String {
    format!("{SETS}/{}", percent(name))
}

/// A word as it stands in a path; what cannot is written in hexadecimal digits (RFC 3986 section 2.1).
pub(super) fn percent(word: &str) -> String {
    let mut text = String::new();
    for byte in word.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push_str(&hexadecimal(&[byte]));
        }
    }
    text
}

/// Body of [`APPLY`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// The texts.
    pub bundle: Bundle,
    /// Milliseconds until the old rules come back, unless these are confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within_ms: Option<u64>,
    /// Milliseconds within which the old rules come back if services lose traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard_ms: Option<u64>,
}

/// Answer to everything that changes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// What was done, for people.
    pub message: String,
    /// The ruleset in force then; `None` after a detach.
    pub hash: Option<String>,
    /// How many times rules were put in force.
    pub generation: u64,
    /// What became of a set that was to be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<EditReport>,
    /// What became of bans that were to be made or lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bans: Option<BanReport>,
}

/// Answer to a request that was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why, and what to do.
    pub error: String,
    /// Whose fault it is.
    pub kind: RefusalKind,
}

/// Kinds of refusals; the client's exit code follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RefusalKind {
    /// The request or the rules in it cannot be meant so: exit code 2.
    Invalid,
    /// It could not be done: exit code 1.
    Failed,
    /// Something else has to be done first: exit code 1.
    Conflict,
}

impl Refusal {
    /// See [`RefusalKind::Invalid`].
    pub fn invalid(error: impl Into<String>) -> Self {
        Self { error: error.into(), kind: RefusalKind::Invalid }
    }

    /// See [`RefusalKind::Failed`].
    pub fn failed(error: impl Into<String>) -> Self {
        Self { error: error.into(), kind: RefusalKind::Failed }
    }

    /// See [`RefusalKind::Conflict`].
    pub fn conflict(error: impl Into<String>) -> Self {
        Self { error: error.into(), kind: RefusalKind::Conflict }
    }
}
