//! Which packets belong together: flows, and what a packet is to them.
//!
//! A flow is what two ends say to each other: a TCP connection, a UDP conversation, a ping. It is made by the first packet
//! that is accepted, and remembers which side began. [`Subject`] reads from a packet which flow it is about and what it
//! does to it, [`TrackedFlow`] is what is kept of a flow and how it changes, and the [`Standing`] is what comes of both.
//!
//! Those that nothing has proved yet lie in a map of their own, so that whoever makes flows up pushes out nothing but what
//! others have made up. Those of which a packet has come by that no third party can invent ([`TrackedFlow::is_proved`]) lie in
//! one map for each family.

mod datagram;
mod key;
mod record;
mod subject;

pub use self::{
    datagram::{DATAGRAMS_MAX, Datagram, DatagramKey},
    key::{FlowKey, FlowKeyV4},
    record::{Moment, TrackedFlow, seconds},
    subject::{Act, Subject},
};
use crate::{flow::Direction, words::words};

/// How many flows that nothing has proved are kept: those that were in use last.
pub const UNPROVED_FLOWS_MAX: u32 = 65_536;
/// How many flows of each family are kept of which there is proof, unless the settings say otherwise: those that were in use
/// last.
pub const FLOWS_MAX: u32 = 131_072;

/// What happened to flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FlowCounters {
    /// Flows that began.
    pub begun: u64,
    /// Flows of which there was proof.
    pub proved: u64,
    /// The map of those of IPv4.
    pub proved_v4: FlowMapCounters,
    /// The map of those of IPv6.
    pub proved_v6: FlowMapCounters,
    /// The map of the others.
    pub unproved: FlowMapCounters,
}

/// What happened to the entries of a map of flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FlowMapCounters {
    /// Entries that were made, each once as long as it stays there.
    pub entered: u64,
    /// Entries that were taken out, as the connection was over or there was proof.
    pub taken: u64,
    /// Flows that found no room.
    pub failed: u64,
}

impl FlowCounters {
    /// Those of the map that keeps a flow once there is proof.
    #[inline(always)]
    pub const fn proved_of(&mut self, key: &FlowKey) -> &mut FlowMapCounters {
        if key.is_v4() { &mut self.proved_v4 } else { &mut self.proved_v6 }
    }

    /// Adds those of another processor.
    pub const fn add(&mut self, other: &Self) {
        let Self { begun, proved, proved_v4, proved_v6, unproved } = other;
        self.begun = self.begun.wrapping_add(*begun);
        self.proved = self.proved.wrapping_add(*proved);
        self.proved_v4.add(proved_v4);
        self.proved_v6.add(proved_v6);
        self.unproved.add(unproved);
    }
}

impl FlowMapCounters {
    const fn add(&mut self, other: &Self) {
        let Self { entered, taken, failed } = other;
        self.entered = self.entered.wrapping_add(*entered);
        self.taken = self.taken.wrapping_add(*taken);
        self.failed = self.failed.wrapping_add(*failed);
    }
}

/// Entries of the map of [`FlowCounters`]: those of the programs.
pub const BY_PROGRAMS: u32 = 0;
/// What the daemon entered.
pub const BY_DAEMON: u32 = 1;
/// How many entries it has.
pub const FLOW_COUNTER_ENTRIES: u32 = 2;

words! {
    /// What a packet is to the flows that are known; `state` of rules.
    State {
        New = 0, "new", "begins a flow, or goes on with one that nobody has answered";
        Established = 1, "established", "belongs to a flow that both sides have taken part in, or is the first answer";
        Related = 2, "related", "an ICMP error about a packet of a known flow";
        Invalid = 3, "invalid", "belongs to no known flow and cannot begin one";
    }
}

/// What a packet is to the flows that are known, as one word: a function of its own can return nothing wider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Standing(u32);

impl Standing {
    const STATE: u32 = 3;
    const ANSWER: u32 = 1 << 2;
    const FOLLOWED: u32 = 1 << 3;
    const FIRST_FRAGMENT: u32 = 1 << 4;
    const FOLLOWS_FIRST: u32 = 1 << 5;
    const STRAY: u32 = 1 << 6;

    /// Of a packet while nothing is tracked.
    pub const NONE: Self = Self(State::New as u32);

    /// From what [`Standing::word`] gave.
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// As a number.
    #[inline(always)]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// The number of its [`State`].
    #[inline(always)]
    pub const fn state(self) -> u32 {
        self.0 & Self::STATE
    }

    /// Whether it answers a known flow: it goes towards the side that began, or is an ICMP error about one.
    #[inline(always)]
    pub const fn is_answer(self) -> bool {
        self.0 & Self::ANSWER != 0
    }

    /// Whether a flow is made or changed by it, once it is accepted.
    #[inline(always)]
    pub const fn is_followed(self) -> bool {
        self.0 & Self::FOLLOWED != 0
    }

    /// The same of the first fragment of a datagram.
    #[inline(always)]
    #[must_use]
    pub const fn first_fragment(self) -> Self {
        Self(self.0 | Self::FIRST_FRAGMENT)
    }

    /// Whether it is the first fragment of a datagram.
    #[inline(always)]
    pub const fn is_first_fragment(self) -> bool {
        self.0 & Self::FIRST_FRAGMENT != 0
    }

    /// The same of a later fragment of a datagram whose first was accepted.
    #[inline(always)]
    #[must_use]
    pub const fn follows_first(self) -> Self {
        Self(self.0 | Self::FOLLOWS_FIRST)
    }

    /// Whether it is a later fragment of a datagram whose first was accepted.
    #[inline(always)]
    pub const fn is_following_first(self) -> bool {
        self.0 & Self::FOLLOWS_FIRST != 0
    }

    /// Whether it acknowledges something in a TCP connection that nobody knows, as what brings a SYN cookie back does.
    #[inline(always)]
    pub const fn is_stray(self) -> bool {
        self.0 & Self::STRAY != 0
    }

    /// Of a packet that brings a SYN cookie back: a connection of which there is proof begins.
    pub const PROVED: Self = Self(State::Established as u32 | Self::FOLLOWED);

    #[inline(always)]
    const fn of(state: State) -> Self {
        Self(state as u32)
    }

    #[inline(always)]
    const fn answer(self, is_answer: bool) -> Self {
        Self(self.0 | if is_answer { Self::ANSWER } else { 0 })
    }

    #[inline(always)]
    const fn followed(self, is_followed: bool) -> Self {
        Self(self.0 | if is_followed { Self::FOLLOWED } else { 0 })
    }
}

/// What a packet that goes this way is, if `found` is the flow that it is about. While this server `learns`, what it sends
/// itself in a connection that nobody knows is taken for proof that there is one.
#[inline(always)]
pub fn standing(
    subject: &Subject,
    found: Option<TrackedFlow>,
    direction: Direction,
    now: Moment,
    learns: bool,
) -> Standing {
    let Some(act) = subject.act() else { return Standing::of(State::Invalid) };
    if let Some(flow) = found
        && let Some(standing) = settled(subject, flow, direction, now)
    {
        return standing;
    }
    match (act, found) {
        (Act::Aside, _) => Standing::of(State::New),
        (Act::Error, Some(_)) => Standing::of(State::Related).answer(true),
        (Act::Speaks | Act::Syn, None) => Standing::of(State::New).followed(true),
        // Whoever opens a connection asks for it, whatever was between the two before.
        (Act::Syn, Some(flow)) => {
            Standing::of(State::New).followed(flow.after(subject, direction, now) != flow)
        }
        (Act::Ack, None) if learns && matches!(direction, Direction::Out) => {
            Standing::of(State::Established).followed(true)
        }
        (Act::Ack, None) if matches!(direction, Direction::In) => {
            Standing(Standing::of(State::Invalid).0 | Standing::STRAY)
        }
        (Act::Impossible, _) | (_, None) => Standing::of(State::Invalid),
        (act, Some(flow)) => {
            let is_back = flow.began() as u8 != direction as u8;
            let is_answer = is_back && flow.can_be_answered_by(act);
            if is_back && !is_answer {
                return Standing::of(State::Invalid);
            }
            let state = if is_answer || flow.is_answered() { State::Established } else { State::New };
            let is_followed = flow.after(subject, direction, now) != flow;
            Standing::of(state).answer(is_answer).followed(is_followed)
        }
    }
}

/// The same of a packet which changes nothing in a connection that both sides have agreed to, as nearly all are: so that it
/// pays for no other. `None` of any other packet.
#[inline(always)]
pub const fn settled(
    subject: &Subject,
    found: TrackedFlow,
    direction: Direction,
    now: Moment,
) -> Option<Standing> {
    if subject.act != Act::Ack as u32 || !found.is_settled(now) {
        return None;
    }
    Some(Standing::of(State::Established).answer(found.began() as u8 != direction as u8))
}
