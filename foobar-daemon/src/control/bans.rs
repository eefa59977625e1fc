//! What goes over the control socket about bans.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    bans::{Ban, Made, Moment},
    rules::{bundle::SourceFile, names::prefix_words},
};

/// `GET` of the bans in force, and `POST` of others.
pub const BANS: &str = "/v1/bans";
/// `POST /v1/bans/lift`.
pub const LIFT: &str = "/v1/bans/lift";

/// How many bans there are, and what became of others since the state folder was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanCounts {
    /// Banned single addresses: IPv4, IPv6.
    pub addresses: [u64; 2],
    /// Banned prefixes: IPv4, IPv6.
    pub prefixes: [u64; 2],
    /// How many bans there is room for.
    pub room: u64,
    /// Addresses and prefixes that were banned.
    pub made: u64,
    /// How many of these limits of rules made.
    pub by_rules: u64,
    /// Bans that limits of rules could not make, as there was no room, since the filter was first attached.
    pub no_room: u64,
    /// Bans whose time was over.
    pub expired: u64,
    /// Bans that somebody lifted.
    pub lifted: u64,
    /// Bans that were asked for and would have reached who must not be banned.
    pub refused: u64,
}

/// A ban in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanInForce {
    /// An address or a prefix.
    pub address: String,
    /// Milliseconds since 1970 at which it ends; `None`: it does not.
    pub until_unix_ms: Option<u64>,
    /// Milliseconds until then.
    pub left_ms: Option<u64>,
    /// Packets that it has stopped since it was made, or since the machine started.
    #[serde(default)]
    pub packets: u64,
    /// By whom and why.
    #[serde(flatten)]
    pub made: Made,
}

impl BanInForce {
    /// A ban at this moment, which has stopped so many packets.
    pub fn of(prefix: &IpNet, ban: &Ban, packets: u64, now: Moment) -> Self {
        let Ban { until_ns, made } = ban;
        Self {
            address: prefix_words(prefix),
            until_unix_ms: until_ns.map(|until_ns| now.unix_ms_at(until_ns)),
            left_ms: until_ns.map(|until_ns| until_ns.saturating_sub(now.boot_ns) / 1_000_000),
            packets,
            made: made.as_ref().clone(),
        }
    }
}

/// A ban in force that has stopped something of late.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BanStopping {
    /// An address or a prefix.
    pub address: String,
    /// All packets that it has stopped.
    pub packets: u64,
    /// The same per second, since somebody last looked.
    pub packets_per_second: f64,
    /// By whom and why.
    #[serde(flatten)]
    pub made: Made,
}

/// Body of a `POST` to [`BANS`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BanRequest {
    /// Addresses and prefixes.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// A text with one on each line, perhaps with a time of its own.
    #[serde(default)]
    pub text: Option<SourceFile>,
    /// For how long: `10m`, or `forever`; [`crate::bans::request::DEFAULT_TIME`] if it is not said.
    #[serde(default, rename = "for")]
    pub time: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Whether to ban what can be if something cannot.
    #[serde(default)]
    pub partial: bool,
}

/// Body of a `POST` to [`LIFT`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiftRequest {
    /// Addresses and prefixes.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// A text with one on each line.
    #[serde(default)]
    pub text: Option<SourceFile>,
    /// Whether all bans are lifted.
    #[serde(default)]
    pub all: bool,
}
