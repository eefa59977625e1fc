//! From a field of a packet to its class.

use crate::flow::{Family, Flow, Fragment, protocol};

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

/// Entry of a [`Root`] or [`Stride`]: with this bit, the number of the [`Stride`] for the next byte of the address;
/// without, a class.
pub const STRIDE: u32 = 1 << 31;

/// From the first two bytes of an address to a class or to a [`Stride`].
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Root {
    /// Indexed by the first two bytes, as a number in network byte order.
    pub entries: [u32; 65_536],
}

/// From the next byte of an address to a class or to the [`Stride`] of the byte behind it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Stride {
    /// Indexed by the byte.
    pub entries: [u32; 256],
}

/// The addresses that have a [`Root`], and which entry of the map it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum AddressField {
    /// Source address, IPv4.
    SourceV4 = 0,
    /// Source address, IPv6.
    SourceV6 = 1,
    /// Destination address, IPv4.
    DestinationV4 = 2,
    /// Destination address, IPv6.
    DestinationV6 = 3,
}

impl AddressField {
    /// Every one, in the order of the map.
    pub const ALL: [Self; 4] = [Self::SourceV4, Self::SourceV6, Self::DestinationV4, Self::DestinationV6];
    /// Entries of the map.
    pub const COUNT: u32 = 4;

    /// The source address of packets of this family.
    #[inline(always)]
    pub const fn source(family: Family) -> Self {
        match family {
            Family::V4 => Self::SourceV4,
            Family::V6 => Self::SourceV6,
        }
    }

    /// The destination address of packets of this family.
    #[inline(always)]
    pub const fn destination(family: Family) -> Self {
        match family {
            Family::V4 => Self::DestinationV4,
            Family::V6 => Self::DestinationV6,
        }
    }
}
