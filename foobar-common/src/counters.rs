//! Counter records, and which counter stands where.
//!
//! All counters are per-CPU arrays that outlive rulesets and daemons. A rule id, a service port, an interface and the
//! name of a group of peers each own a slot for as long as the pins live; the daemon remembers whose it is.

use crate::{
    flow::{Direction, Flow, protocol},
    rule::RULES_MAX,
    verdict::{Reason, Verdict},
};

/// Packets and bytes of one slot on one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes of whole frames, Ethernet header included, checksum (FCS) not.
    pub bytes: u64,
}

/// How many rule ids can have a counter at a time, as long as no ruleset has more than half as many rules: so a new
/// ruleset never takes the slot of a rule of the one in force.
pub const RULE_SLOTS: u32 = 32_768;
/// How many more can have one since a larger ruleset came: twice the rules that a ruleset can have, in all.
#[expect(clippy::cast_possible_truncation, reason = "a small number")]
pub const MORE_RULE_SLOTS: u32 = 2 * RULES_MAX as u32 - RULE_SLOTS;
/// How many interfaces can have counters; the last slot is for all others. Twice what can be filtered at a
/// time, so that a new interface never takes the slot of one in use.
pub const INTERFACE_SLOTS: u32 = 2 * INTERFACES_MAX + 1;
/// The slot of an interface that has none of its own.
pub const OTHER_INTERFACE: u32 = INTERFACE_SLOTS - 1;
/// How many interfaces can be filtered at a time.
pub const INTERFACES_MAX: u32 = 8;
/// How many service ports can have counters: twice what a ruleset can have, so that a new ruleset never takes
/// the slot of a service of the one in force.
pub const SERVICE_SLOTS: u32 = 2 * SERVICE_PORTS_MAX;
/// How many service ports a ruleset can have.
pub const SERVICE_PORTS_MAX: u32 = 32;
/// How many groups of peers a ruleset can name.
pub const GROUPS_MAX: u32 = 3;
/// How many names of groups can have counters: so many that names can be changed a few times before one loses its slot.
pub const GROUP_SLOTS: u32 = 16;
/// Behind these slots: what was counted in slots that were given away. It belongs to all connections still.
pub const FORMER_GROUPS: u32 = GROUP_SLOTS;
/// Service slots, then one slot for each [`Transport`] on all other ports.
pub const PORT_SLOTS: u32 = SERVICE_SLOTS + Transport::COUNT;

/// Entries of the map of verdicts.
pub const VERDICT_ENTRIES: u32 = INTERFACE_SLOTS * 2 * Verdict::COUNT * Reason::COUNT;
/// Entries of the map of ports.
pub const PORT_ENTRIES: u32 = INTERFACE_SLOTS * 2 * PORT_SLOTS;
/// Entries of the map of connections by group.
pub const GROUP_ENTRIES: u32 = (GROUP_SLOTS + 1) * SERVICE_SLOTS;

/// Where packets of an interface and direction with this verdict for this reason are counted.
#[inline(always)]
pub const fn verdict_slot(interface: u32, direction: Direction, verdict: Verdict, reason: Reason) -> u32 {
    interface
        .wrapping_mul(2)
        .wrapping_add(direction as u32)
        .wrapping_mul(Verdict::COUNT)
        .wrapping_add(verdict.number())
        .wrapping_mul(Reason::COUNT)
        .wrapping_add(reason.number())
}

/// Where packets of an interface and direction to or from this port slot are counted.
#[inline(always)]
pub const fn port_slot(interface: u32, direction: Direction, port: u32) -> u32 {
    interface.wrapping_mul(2).wrapping_add(direction as u32).wrapping_mul(PORT_SLOTS).wrapping_add(port)
}

/// Where connections of a group of peers to this service are counted; of [`crate::classes::NO_GROUP`], beyond all entries.
#[inline(always)]
pub const fn group_slot(group: u32, service: u32) -> u32 {
    group.wrapping_mul(SERVICE_SLOTS).wrapping_add(service)
}

const _: () = assert!(group_slot(crate::classes::NO_GROUP as u32, 0) >= GROUP_ENTRIES);

/// Protocol classes of the traffic counters; the label `l4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Transport {
    /// TCP.
    Tcp = 0,
    /// UDP.
    Udp = 1,
    /// SCTP.
    Sctp = 2,
    /// ICMP of IPv4.
    Icmp = 3,
    /// ICMP of IPv6.
    Icmpv6 = 4,
    /// Anything else, also what is no IP.
    Other = 5,
}

impl Transport {
    /// Every one, in numeric order.
    pub const ALL: [Self; 6] = [Self::Tcp, Self::Udp, Self::Sctp, Self::Icmp, Self::Icmpv6, Self::Other];
    /// How many there are.
    pub const COUNT: u32 = 6;

    /// The class of a packet.
    #[inline(always)]
    pub const fn of(flow: &Flow) -> Self {
        match flow.protocol {
            protocol::TCP => Self::Tcp,
            protocol::UDP => Self::Udp,
            protocol::SCTP => Self::Sctp,
            protocol::ICMP => Self::Icmp,
            protocol::ICMPV6 => Self::Icmpv6,
            _ => Self::Other,
        }
    }

    /// The port slot of traffic of this class that belongs to no service.
    #[inline(always)]
    pub const fn other_port(self) -> u32 {
        SERVICE_SLOTS.wrapping_add(self as u32)
    }

    /// The word for it in metrics and JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Icmp => "icmp",
            Self::Icmpv6 => "icmpv6",
            Self::Other => "other",
        }
    }
}
