//! A ruleset as the kernel sees it.
//!
//! Every condition of a rule is about one field of a packet. For each field a table turns the packet's value
//! into a class, and the class holds one bit per rule: set if the rule accepts this value. The rules that a
//! packet meets are the AND of its classes, and the first set bit is the first match. Lists, ranges, sets,
//! exclusions and masks are all spent when the tables are compiled; the kernel never sees them.
//!
//! (Aggregated bit vectors: Lakshman and Stiliadis, SIGCOMM 1998; Baboescu and Varghese, SIGCOMM 2001.)

use crate::flow::{Flow, Fragment, protocol};

/// How many rules a ruleset can have.
pub const RULES_MAX: usize = 256;
/// 64-bit words of a [`RuleVector`].
pub const VECTOR_WORDS: usize = RULES_MAX / 64;

/// One bit per rule, in the order of the file: bit `n % 64` of word `n / 64` is rule `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct RuleVector {
    /// The bits.
    pub words: [u64; VECTOR_WORDS],
}

impl RuleVector {
    /// The rules that are in both.
    #[inline(always)]
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut words = self.words;
        for (word, other) in words.iter_mut().zip(other.words) {
            *word &= other;
        }
        Self { words }
    }

    /// The number of the first rule, if there is any.
    #[inline(always)]
    pub fn first(&self) -> Option<u32> {
        let mut number = 0u32;
        for word in self.words {
            if word != 0 {
                return Some(number.wrapping_add(word.trailing_zeros()));
            }
            number = number.wrapping_add(64);
        }
        None
    }
}

/// What all values of one class have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct Class {
    /// The rules whose condition on this field accepts the value.
    pub rules: RuleVector,
    /// Of a source address: [`FAILSAFE_PEER`] or zero. Of a destination port: a bit `1 << Transport` for each
    /// protocol on which the port is failsafe. Zero for other fields.
    pub failsafe: u32,
    /// Of a port: the service slot for TCP, UDP and SCTP, or [`NO_SERVICE`]. Not used for other fields.
    pub service: [u8; 3],
    /// Always zero.
    pub padding: u8,
}

/// In [`Class::failsafe`] of a source address: all that this peer sends is accepted.
pub const FAILSAFE_PEER: u32 = 1;
/// In [`Class::service`]: the port belongs to no service with this protocol.
pub const NO_SERVICE: u8 = u8::MAX;
/// The class of both ports of a packet that has none.
pub const NO_PORTS_CLASS: u32 = 0;
/// The class of an interface that no rule names.
pub const OTHER_INTERFACE_CLASS: u32 = 1;

/// What the kernel needs to know of a rule that matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RuleRecord {
    /// [`crate::verdict::Verdict`] as a number.
    pub verdict: u32,
    /// Where its packets are counted.
    pub slot: u32,
}

/// What the kernel knows of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct InterfaceRecord {
    /// Where its packets are counted.
    pub slot: u32,
    /// Its class for rules with `interface`.
    pub class: u32,
}

/// A table from every value of a 16-bit field to a class.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Table {
    /// The class of each value.
    pub classes: [u16; 65_536],
}

/// The fields that have a [`Table`], and which entry of the map it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum TableField {
    /// Source port.
    SourcePort = 0,
    /// Destination port.
    DestinationPort = 1,
    /// Protocol, TCP flags and fragment, indexed by [`transport_value`].
    Transport = 2,
    /// ICMP type and code, indexed by [`icmp_value`].
    Icmp = 3,
    /// ICMPv6 type and code, indexed by [`icmp_value`].
    Icmpv6 = 4,
    /// Outermost VLAN id or [`crate::flow::UNTAGGED`].
    Vlan = 5,
    /// Bytes of the IP packet.
    Length = 6,
}

impl TableField {
    /// Every one, in the order of the map.
    pub const ALL: [Self; 7] = [
        Self::SourcePort,
        Self::DestinationPort,
        Self::Transport,
        Self::Icmp,
        Self::Icmpv6,
        Self::Vlan,
        Self::Length,
    ];
    /// Entries of the map.
    pub const COUNT: u32 = 7;

    /// Which table judges protocol, flags, ICMP type and fragment of a packet, and the value to look up.
    #[inline(always)]
    pub fn for_transport(flow: &Flow) -> (Self, u16) {
        if matches!(flow.fragment, Fragment::Later) {
            return (Self::Transport, transport_value::LATER_FRAGMENT | u16::from(flow.protocol));
        }
        match flow.protocol {
            protocol::ICMP => (Self::Icmp, icmp_value(flow.icmp_type, flow.icmp_code)),
            protocol::ICMPV6 => (Self::Icmpv6, icmp_value(flow.icmp_type, flow.icmp_code)),
            protocol::TCP => (Self::Transport, transport_value::TCP | u16::from(flow.tcp_flags)),
            number => (Self::Transport, u16::from(number)),
        }
    }
}

/// Values of [`TableField::Transport`]: a protocol number alone is itself.
pub mod transport_value {
    /// Plus the flags byte: TCP.
    pub const TCP: u16 = 0x100;
    /// Plus the protocol number: a later fragment.
    pub const LATER_FRAGMENT: u16 = 0x200;
    /// One above the largest value.
    pub const END: u16 = 0x300;
}

/// Value of [`TableField::Icmp`] and [`TableField::Icmpv6`].
#[inline(always)]
pub const fn icmp_value(kind: u8, code: u8) -> u16 {
    u16::from_be_bytes([kind, code])
}

/// What the file's `[policy]` says, and what the ruleset makes use of.
///
/// A read-only constant of the loaded program: the verifier removes the code for what is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// `policy.in`, a [`crate::verdict::Verdict`] as a number.
    pub policy_in: u32,
    /// `policy.malformed`, a [`crate::verdict::Verdict`] as a number.
    pub malformed: u32,
    /// `policy.fragments`: a [`crate::verdict::Verdict`] as a number, or [`FRAGMENTS_BY_RULES`].
    pub fragments: u32,
    /// `policy.infrastructure`: 1 or 0.
    pub infrastructure: u32,
    /// The optional fields that some rule asks for: bits of [`uses`].
    pub uses: u32,
    /// 1 if the program is to leave its last decision in the map of decisions.
    pub trace: u32,
}

/// In [`Settings::fragments`]: later fragments meet the rules like any packet.
pub const FRAGMENTS_BY_RULES: u32 = u32::MAX;

/// Bits of [`Settings::uses`]. A field that no rule asks for is not looked up.
pub mod uses {
    /// Some rule or failsafe peer asks for the source address.
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
    /// Some rule asks for the interface.
    pub const INTERFACE: u32 = 1 << 6;
    /// There is a rule.
    pub const RULES: u32 = 1 << 7;
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
