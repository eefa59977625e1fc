//! What a packet says of itself in its headers.

use crate::address::Address;

/// The outermost VLAN field of a frame that has no tag; one above the largest VLAN id.
pub const UNTAGGED: u16 = 4096;

/// IP protocol numbers that foobar knows more of than the number (IANA, Assigned Internet Protocol Numbers).
pub mod protocol {
    /// Internet Control Message Protocol, RFC 792.
    pub const ICMP: u8 = 1;
    /// Transmission Control Protocol, RFC 9293.
    pub const TCP: u8 = 6;
    /// User Datagram Protocol, RFC 768.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6, RFC 4443.
    pub const ICMPV6: u8 = 58;
    /// Stream Control Transmission Protocol, RFC 9260.
    pub const SCTP: u8 = 132;
}

/// Bits of [`Flow::tcp_flags`] (RFC 9293 section 3.1).
pub mod tcp_flag {
    /// The sender has nothing more to say.
    pub const FIN: u8 = 1;
    /// Opens a connection.
    pub const SYN: u8 = 1 << 1;
    /// Ends one at once.
    pub const RST: u8 = 1 << 2;
    /// There is something acknowledged.
    pub const ACK: u8 = 1 << 4;
}

/// The headers of one IP packet, as far as rules and counters ask for them.
///
/// Fields that the packet does not have are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Flow {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Source port, network byte order.
    pub source_port: [u8; 2],
    /// Destination port, network byte order.
    pub destination_port: [u8; 2],
    /// Id of the outermost VLAN tag, or [`UNTAGGED`].
    pub vlan: u16,
    /// Bytes of the IP packet, its header included; 65,535 for anything longer.
    pub length: u16,
    /// IP version.
    pub family: Family,
    /// IP protocol number, behind all extension headers of IPv6.
    pub protocol: u8,
    /// Which part of a datagram this is.
    pub fragment: Fragment,
    /// The flags byte of TCP (RFC 9293 section 3.1: CWR, ECE, URG, ACK, PSH, RST, SYN, FIN).
    pub tcp_flags: u8,
    /// Type of an ICMP or ICMPv6 message.
    pub icmp_type: u8,
    /// Code of an ICMP or ICMPv6 message.
    pub icmp_code: u8,
    /// TTL of IPv4, hop limit of IPv6.
    pub hop_limit: u8,
}

impl Flow {
    /// Of a packet that says nothing.
    pub const EMPTY: Self = Self {
        source: Address::NONE,
        destination: Address::NONE,
        source_port: [0; 2],
        destination_port: [0; 2],
        vlan: UNTAGGED,
        length: 0,
        family: Family::V4,
        protocol: 0,
        fragment: Fragment::Whole,
        tcp_flags: 0,
        icmp_type: 0,
        icmp_code: 0,
        hop_limit: 0,
    };

    /// Whether the packet has ports: TCP, UDP or SCTP, and not a later fragment.
    #[inline(always)]
    pub fn has_ports(&self) -> bool {
        matches!(self.protocol, protocol::TCP | protocol::UDP | protocol::SCTP)
            && !matches!(self.fragment, Fragment::Later)
    }

    /// Source port as a number; zero without ports.
    #[inline(always)]
    pub fn source_port(&self) -> u16 {
        u16::from_be_bytes(self.source_port)
    }

    /// Destination port as a number; zero without ports.
    #[inline(always)]
    pub fn destination_port(&self) -> u16 {
        u16::from_be_bytes(self.destination_port)
    }
}

/// IP version of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    /// IPv4, RFC 791.
    V4 = 4,
    /// IPv6, RFC 8200.
    V6 = 6,
}

/// Which part of a datagram a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fragment {
    /// All of it.
    Whole = 0,
    /// The beginning, with the transport header.
    First = 1,
    /// A later part, without transport header and so without ports.
    Later = 2,
}

/// Which way a packet goes, seen from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Direction {
    /// From the network to the server.
    In = 0,
    /// From the server to the network.
    Out = 1,
}

impl Direction {
    /// Both, in numeric order.
    pub const ALL: [Self; 2] = [Self::In, Self::Out];

    /// The word for it in rules, metrics and JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}
