//! A ruleset as the kernel sees it, apart from the matching itself, which [`crate::classes`] explains.

use crate::{counters::INTERFACES_MAX, fields::TableField};

/// How many rules a ruleset can have.
pub const RULES_MAX: usize = 131_072;

/// A rule as one word, so that a single look at it tells which of two rules comes first and what that one does.
///
/// Of two, the smaller number comes first. The upper half is the rule's number in the order of the file; below are a bit
/// that tells whether it has a limit, three of verdict and 28 of counter slot. The highest bit is never set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct RankedRule(u64);

impl RankedRule {
    /// Comes after every rule.
    pub const NONE: Self = Self(u64::MAX >> 1);

    /// Rule `number` has this [`crate::verdict::Verdict`], as a number, and is counted in `slot`.
    pub const fn new(number: u32, verdict: u32, slot: u32) -> Self {
        Self((number as u64) << 32 | (verdict as u64) << SLOT_BITS | slot as u64)
    }

    /// The same with a [`crate::limit::Limit`].
    #[must_use]
    pub const fn limited(self) -> Self {
        Self(self.0 | LIMITED)
    }

    /// Whether it has a [`crate::limit::Limit`].
    #[inline(always)]
    pub const fn is_limited(self) -> bool {
        self.0 & LIMITED != 0
    }

    /// From what [`RankedRule::word`] gave.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// As a number, to compare without jumps.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// Its number in the order of the file.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// [`crate::verdict::Verdict`] as a number.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
    pub const fn verdict(self) -> u32 {
        (self.0 as u32 & !(LIMITED as u32)) >> SLOT_BITS
    }

    /// Where its packets are counted.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
    pub const fn slot(self) -> u32 {
        self.0 as u32 & ((1 << SLOT_BITS) - 1)
    }
}

const SLOT_BITS: u32 = 28;
/// The highest of the four bits of verdict.
const LIMITED: u64 = 1 << 31;

/// What the kernel knows of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct InterfaceRecord {
    /// Its index; zero is none.
    pub index: u32,
    /// Where its packets are counted.
    pub slot: u32,
    /// Its class in each [`crate::flow::Direction`] for packets of the first [`crate::tracking::State`]; the others follow.
    pub classes: [u32; 2],
}

/// The link-layer address of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CardAddress {
    /// As words of memory; zero if none is known.
    pub words: [u16; 3],
    /// Always zero.
    pub padding: u16,
}

impl CardAddress {
    /// The address, if one is known.
    #[inline(always)]
    pub const fn known(&self) -> Option<[u16; 3]> {
        match self.words {
            [0, 0, 0] => None,
            words => Some(words),
        }
    }
}

/// The interfaces that are filtered, in no order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Interfaces {
    /// Records without an interface are zero.
    pub records: [InterfaceRecord; INTERFACES_MAX as usize],
    /// The address of each of them. Apart, since few packets ask for it.
    pub cards: [CardAddress; INTERFACES_MAX as usize],
}

/// What the file's `[policy]` says, and what the ruleset makes use of.
///
/// A read-only constant of the loaded program: the verifier removes the code for what is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// `policy.in` and `policy.out`, each a [`crate::verdict::Verdict`] as a number.
    pub policy: [u32; 2],
    /// `policy.malformed`, a [`crate::verdict::Verdict`] as a number.
    pub malformed: u32,
    /// `policy.fragments`: a [`crate::verdict::Verdict`] as a number, or [`FRAGMENTS_BY_RULES`].
    pub fragments: u32,
    /// `policy.infrastructure`: 1 or 0.
    pub infrastructure: u32,
    /// The optional fields that some rule asks for: bits of [`uses`].
    pub uses: u32,
    /// [`crate::classes::Tier`] as a number.
    pub tier: u32,
    /// Units of clauses in use.
    pub units: u32,
    /// The class that class 0 of each [`TableField`] is among all classes.
    pub first_classes: [u32; TableField::COUNT as usize],
    /// The same for the sets of source addresses.
    pub first_source_set: u32,
    /// The same for the sets of destination addresses.
    pub first_destination_set: u32,
    /// 1 if counters of rules beyond [`crate::counters::RULE_SLOTS`] are in use.
    pub more_rule_slots: u32,
    /// Up to this [`crate::tracking::Moment`], what this server sends in TCP connections that nobody knows makes them known;
    /// zero is never.
    pub learns_until: u32,
    /// 1 if packets of some rule are drawn as samples.
    pub rule_logs: u32,
    /// `policy.log_drops`: of how many packets that go no further one is drawn; zero is none.
    pub log_drops: u32,
    /// 1 if the program is to leave its last decision in the map of decisions.
    pub trace: u32,
    /// The link-layer address that answers to this server itself come from, as words of memory: a number that nobody else
    /// knows. In generic mode they come by the program for what comes in.
    pub answer_card: [u16; 3],
    /// 1 if packets that go out can be rejected.
    pub rejects_out: u16,
}

/// In [`Settings::fragments`]: later fragments meet the rules like any packet.
pub const FRAGMENTS_BY_RULES: u32 = u32::MAX;

/// Bits of [`Settings::uses`]. A field that no rule asks for is not looked up.
pub mod uses {
    /// Some rule asks for the source address.
    pub const SOURCE: u32 = 1;
    /// Some rule asks for the destination address.
    pub const DESTINATION: u32 = 1 << 1;
    /// Some rule asks for the source port.
    pub const SOURCE_PORT: u32 = 1 << 2;
    /// Some rule asks for protocol, TCP flags, ICMP type or fragment.
    pub const TRANSPORT: u32 = 1 << 3;
    /// Some rule asks for the VLAN.
    pub const VLAN: u32 = 1 << 4;
    /// Some rule asks for the length.
    pub const LENGTH: u32 = 1 << 5;
    /// Some rule asks for the interface or the state, or is for packets that go out.
    pub const INTERFACE: u32 = 1 << 6;
    /// Some rule asks for the sets that the source address is in.
    pub const SOURCE_SET: u32 = 1 << 7;
    /// Some rule asks for the sets that the destination address is in.
    pub const DESTINATION_SET: u32 = 1 << 8;
    /// There is a rule for packets that come in.
    pub const RULES_IN: u32 = 1 << 9;
    /// There is a rule for packets that go out.
    pub const RULES_OUT: u32 = 1 << 10;
    /// There are failsafe peers or [`GROUPS`].
    pub const PEERS: u32 = 1 << 11;
    /// There is a service of which more is counted than packets and bytes.
    pub const SERVICES: u32 = 1 << 12;
    /// There are addresses that no ban reaches.
    pub const NEVER_BAN: u32 = 1 << 13;
    /// Some rule has a limit.
    pub const LIMITS: u32 = 1 << 14;
    /// There are groups of peers, and services whose connections are counted.
    pub const GROUPS: u32 = 1 << 15;
    /// Flows are tracked: somebody asks for what is known of them.
    pub const TRACKING: u32 = 1 << 16;
    /// Answers to known flows are accepted before the rules.
    pub const REPLIES: u32 = 1 << 17;
    /// SYNs to some service may be answered with cookies.
    pub const SYN_COOKIES: u32 = 1 << 18;
    /// Some packet can be rejected.
    pub const REJECTS: u32 = 1 << 19;
    /// Proxies speak for clients at some service.
    pub const CLIENTS: u32 = 1 << 20;
}

/// The last decision of the program, for replay and tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DecisionRecord {
    /// [`crate::verdict::Verdict`] as a number.
    pub verdict: u32,
    /// [`crate::verdict::Reason`] as a number.
    pub reason: u32,
    /// Counter slot of the rule, or [`NO_RULE`].
    pub rule: u32,
    /// Port slot that the packet was counted in.
    pub port: u32,
}

/// In [`DecisionRecord::rule`]: no rule decided.
pub const NO_RULE: u32 = u32::MAX;
