//! Segments that open connections, and what answers their answers; their checksums are right.

use std::net::IpAddr;

use anyhow::Result;
use etherparse::{PacketBuilder, TcpHeader};

use crate::{
    frames::Family,
    network::{CLIENT_MAC, SERVER_MAC, SERVER_V4, SERVER_V6},
    packets::flag,
    random::Random,
};

/// What Linux asks for: largest segment, SACK, timestamps, window scale.
pub const LINUX_OPTIONS: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7];

/// A segment without data from a client, by address and port, to this port of the server, with these flags, sequence and
/// acknowledgment numbers, and options.
pub fn segment(
    (client, client_port): (IpAddr, u16),
    port: u16,
    flags: u8,
    (sequence, acknowledged): (u32, u32),
    options: &[u8],
) -> Result<Vec<u8>> {
    let link = PacketBuilder::ethernet2(CLIENT_MAC, SERVER_MAC);
    let mut header = TcpHeader::new(client_port, port, sequence, 64_240);
    header.syn = flags & flag::SYN != 0;
    header.ack = flags & flag::ACK != 0;
    header.acknowledgment_number = acknowledged;
    header.set_options_raw(options)?;
    let mut frame = Vec::new();
    match client {
        IpAddr::V4(client) => {
            link.ipv4(client.octets(), SERVER_V4.octets(), 64).tcp_header(header).write(&mut frame, &[])?;
        }
        IpAddr::V6(client) => {
            link.ipv6(client.octets(), SERVER_V6.octets(), 64).tcp_header(header).write(&mut frame, &[])?;
        }
    }
    Ok(frame)
}

/// SYNs of clients that do not exist, of these families in turn.
pub fn invented(port: u16, families: &[Family], count: usize, seed: u64) -> Result<Vec<Vec<u8>>> {
    let mut random = Random::new(seed);
    let client = |family: &Family| {
        let number = random.number();
        let [upper, lower] =
            [number >> 32, number & 0xffff_ffff].map(|half| u32::try_from(half).unwrap_or(0));
        let [_, a, b, c] = upper.to_be_bytes();
        let [_, _, high, low] = lower.to_be_bytes();
        let address = match family {
            Family::V4 => IpAddr::from([10, a, b, c]),
            Family::V6 => {
                IpAddr::from([0x2001, 0xdb8, 0xbad, 0, 0, 0, u16::from(a), u16::from_be_bytes([b, c])])
            }
        };
        let client = (address, u16::from_be_bytes([high | 0x80, low]));
        segment(client, port, flag::SYN, (lower, 0), &LINUX_OPTIONS)
    };
    families.iter().cycle().take(count).map(client).collect()
}
