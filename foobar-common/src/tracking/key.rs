//! Which flow.

use core::net::SocketAddr;

use crate::{
    address::Address,
    flow::{Direction, Family, Flow, protocol},
};

/// Both ends of a flow, this server's first, so that packets of either direction have the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct FlowKey {
    /// This server's address.
    pub local: Address,
    /// The other end's.
    pub remote: Address,
    /// This server's port, network byte order; the id of an ICMP echo; zero of other protocols.
    pub local_port: [u8; 2],
    /// The other end's port, network byte order; of an ICMP echo, 1 if the other end asks.
    pub remote_port: [u8; 2],
    /// IP protocol number, and [`Family`] times 256.
    pub kind: u32,
}

impl FlowKey {
    /// Of nothing.
    pub const NONE: Self = Self {
        local: Address::NONE,
        remote: Address::NONE,
        local_port: [0; 2],
        remote_port: [0; 2],
        kind: 0,
    };

    /// Becomes that of a packet which goes this way; without ports, those are zero. Written where it is kept, and word by word:
    /// a copy goes byte by byte.
    #[inline(always)]
    pub(super) fn become_of(&mut self, flow: &Flow, direction: Direction) {
        self.become_between([&flow.source, &flow.destination], direction, kind(flow.family, flow.protocol));
        self.put_ports(flow.source_port, flow.destination_port, direction);
    }

    /// Becomes that of a packet from one address to another which goes this way, without ports.
    #[inline(always)]
    pub(super) fn become_between(
        &mut self,
        [source, destination]: [&Address; 2],
        direction: Direction,
        kind: u32,
    ) {
        let (local, remote) = match direction {
            Direction::In => (destination, source),
            Direction::Out => (source, destination),
        };
        let ([local_first, local_second], [remote_first, remote_second]) = (local.words(), remote.words());
        self.local = Address::from_words([local_first, local_second]);
        self.remote = Address::from_words([remote_first, remote_second]);
        self.local_port = [0; 2];
        self.remote_port = [0; 2];
        self.kind = kind;
    }

    /// Puts the ports of a packet that goes this way into it.
    #[inline(always)]
    pub(super) fn put_ports(&mut self, source: [u8; 2], destination: [u8; 2], direction: Direction) {
        let (local, remote) = match direction {
            Direction::In => (destination, source),
            Direction::Out => (source, destination),
        };
        self.local_port = local;
        self.remote_port = remote;
    }

    /// Of the TCP connection between this server's end and the other one, which are of the same family.
    pub fn of_connection(local: SocketAddr, remote: SocketAddr) -> Self {
        let family = if local.is_ipv4() { Family::V4 } else { Family::V6 };
        Self {
            local: local.ip().into(),
            remote: remote.ip().into(),
            local_port: local.port().to_be_bytes(),
            remote_port: remote.port().to_be_bytes(),
            kind: kind(family, protocol::TCP),
        }
    }

    /// IP protocol number.
    #[inline(always)]
    pub const fn protocol(&self) -> u8 {
        let [protocol, ..] = self.kind.to_le_bytes();
        protocol
    }

    /// Whether it is of a TCP connection.
    #[inline(always)]
    pub const fn is_tcp(&self) -> bool {
        self.protocol() == protocol::TCP
    }

    /// Whether it is of IPv4.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.kind >> 8 == Family::V4 as u32
    }

    /// The same without what a flow of IPv4 leaves empty; `None` of IPv6.
    #[inline(always)]
    pub const fn v4(&self) -> Option<FlowKeyV4> {
        if !self.is_v4() {
            return None;
        }
        let ([local, ..], [remote, ..]) = (self.local.quarters(), self.remote.quarters());
        let ([l0, l1], [r0, r1]) = (self.local_port, self.remote_port);
        let ports = u32::from_le_bytes([l0, l1, r0, r1]);
        Some(FlowKeyV4 { addresses: pair(local, remote), ports_and_kind: pair(ports, self.kind) })
    }
}

/// Both ends of a flow of IPv4. What a look-up costs grows with the bytes of the key: the kernel mixes 12 of them at a time
/// (`jhash2`), one round after the other.
///
/// Held as words, as an [`Address`] is: the kernel reads four and eight bytes of it as soon as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct FlowKeyV4 {
    /// This server's address as memory has it, in the lower half, and the other end's.
    pub addresses: u64,
    /// This server's port and the other end's, in the lower half, and [`FlowKey::kind`].
    pub ports_and_kind: u64,
}

#[inline(always)]
const fn pair(lower: u32, upper: u32) -> u64 {
    (upper as u64) << 32 | lower as u64
}

/// Protocol and family in one number.
#[inline(always)]
pub(super) const fn kind(family: Family, protocol: u8) -> u32 {
    let family = match family {
        Family::V4 => Family::V4 as u32,
        Family::V6 => Family::V6 as u32,
    };
    family << 8 | protocol as u32
}
