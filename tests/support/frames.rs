//! Frames from the client to the server of a [`crate::network`].

use std::net::IpAddr;

use anyhow::Result;
use etherparse::PacketBuilder;

use crate::network::{CLIENT_MAC, CLIENT_V4, CLIENT_V6, SERVER_MAC, SERVER_V4, SERVER_V6};

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The server's address.
    pub fn server(self) -> IpAddr {
        match self {
            Self::V4 => SERVER_V4.into(),
            Self::V6 => SERVER_V6.into(),
        }
    }

    /// The client's address.
    pub fn client(self) -> IpAddr {
        match self {
            Self::V4 => CLIENT_V4.into(),
            Self::V6 => CLIENT_V6.into(),
        }
    }
}

/// A UDP datagram from port 40000 of the client.
pub fn udp(family: Family, port: u16, payload: &[u8]) -> Result<Vec<u8>> {
    let link = PacketBuilder::ethernet2(CLIENT_MAC, SERVER_MAC);
    let mut frame = Vec::new();
    match family {
        Family::V4 => link
            .ipv4(CLIENT_V4.octets(), SERVER_V4.octets(), 64)
            .udp(40_000, port)
            .write(&mut frame, payload)?,
        Family::V6 => link
            .ipv6(CLIENT_V6.octets(), SERVER_V6.octets(), 64)
            .udp(40_000, port)
            .write(&mut frame, payload)?,
    }
    Ok(frame)
}

/// The first segment of a connection from port 40000 of the client.
pub fn tcp_syn(family: Family, port: u16) -> Result<Vec<u8>> {
    let link = PacketBuilder::ethernet2(CLIENT_MAC, SERVER_MAC);
    let mut frame = Vec::new();
    match family {
        Family::V4 => link
            .ipv4(CLIENT_V4.octets(), SERVER_V4.octets(), 64)
            .tcp(40_000, port, 1, 1024)
            .syn()
            .write(&mut frame, &[])?,
        Family::V6 => link
            .ipv6(CLIENT_V6.octets(), SERVER_V6.octets(), 64)
            .tcp(40_000, port, 1, 1024)
            .syn()
            .write(&mut frame, &[])?,
    }
    Ok(frame)
}

/// A ping.
pub fn echo_request(family: Family, sequence: u16) -> Result<Vec<u8>> {
    let link = PacketBuilder::ethernet2(CLIENT_MAC, SERVER_MAC);
    let mut frame = Vec::new();
    match family {
        Family::V4 => link
            .ipv4(CLIENT_V4.octets(), SERVER_V4.octets(), 64)
            .icmpv4_echo_request(7, sequence)
            .write(&mut frame, &[0; 32])?,
        Family::V6 => link
            .ipv6(CLIENT_V6.octets(), SERVER_V6.octets(), 64)
            .icmpv6_echo_request(7, sequence)
            .write(&mut frame, &[0; 32])?,
    }
    Ok(frame)
}

/// The frame with a VLAN tag of this id (802.1Q) put before its `EtherType`.
pub fn tagged(frame: &[u8], id: u16) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    let mut tagged = addresses.to_vec();
    tagged.extend([0x81, 0x00]);
    tagged.extend((id & 0x0fff).to_be_bytes());
    tagged.extend(rest);
    tagged
}
