//! What is told of packets to those who watch: lines of JSON over the control socket, one after the other, without end.

use serde::{Deserialize, Serialize};

use super::protocol::percent;

/// `GET` of events; [`Wanted::path`] says which.
pub const EVENTS: &str = "/v1/events";

/// Which events somebody wants: those that are as each given word says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Id of the rule.
    pub rule: Option<String>,
    /// Label of the reason.
    pub reason: Option<String>,
    /// Label of the verdict.
    pub verdict: Option<String>,
}

impl Wanted {
    /// The path of these events.
    pub fn path(&self) -> String {
        let Self { rule, reason, verdict } = self;
        let words = [("rule", rule), ("reason", reason), ("verdict", verdict)];
        let words =
            words.into_iter().filter_map(|(key, word)| Some(format!("{key}={}", percent(word.as_ref()?))));
        format!("{EVENTS}?{}", words.collect::<Vec<_>>().join("&"))
    }
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// A packet was drawn.
    Event(Box<ToldEvent>),
    /// Others were, and are not told of.
    Lost(LostEvents),
    /// Something for people.
    Note(String),
}

/// A packet that was drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldEvent {
    /// Nanoseconds since 1970 at which it was judged.
    pub unix_ns: u64,
    /// Name of the interface, or `#` and its index if there is none any more.
    pub interface: String,
    /// Label of the direction.
    pub direction: String,
    /// Label of the verdict.
    pub verdict: String,
    /// Label of the reason.
    pub reason: String,
    /// Id of the rule that decided, if one did.
    pub rule: Option<String>,
    /// Of how many packets one is drawn.
    pub one_in: u32,
    /// How many packets it is on the wire: of what goes out in one piece, to be cut by the card.
    pub packets: u32,
    /// Bytes of the whole frame.
    pub length: u32,
    /// Its first bytes, as hexadecimal digits.
    pub bytes: String,
}

/// Events that are not told of, since the last line about them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostEvents {
    /// Of all packets: the buffer in the kernel was full.
    pub ring: u64,
    /// Of those that are wanted: they came faster than they were read.
    pub watcher: u64,
}

/// What became of all packets that were drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFacts {
    /// Whether the rules in force draw any.
    pub draws: bool,
    /// Were drawn, since the filter was first attached.
    pub drawn: u64,
    /// Of these, the buffer in the kernel had no room for.
    pub lost_in_ring: u64,
    /// Of these, nobody watched.
    pub unwatched: u64,
    /// Were not told to somebody who watched and was slow, counted for each.
    pub lost_by_watchers: u64,
    /// Who watch now.
    pub watchers: u64,
}
