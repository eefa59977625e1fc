//! Frames by name.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{Ethernet2Header, PacketBuilder, PacketBuilderStep};

const SOURCE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const DESTINATION_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
const OFFICE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x40, 0, 0, 0, 0, 1);
const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 10);

/// The bytes of a packet that was built, with a payload.
macro_rules! bytes {
    ($step:expr, $payload:expr $(,)?) => {{
        let mut frame = Vec::new();
        $step.write(&mut frame, $payload).ok()?;
        frame
    }};
}

/// The frame that the tables call so.
pub(crate) fn by_name(name: &str) -> Option<Vec<u8>> {
    Some(match name {
        "tcp syn to 443" => tcp(443, true)?,
        "tcp syn to 22" => tcp(22, true)?,
        "tcp ack to 8080" => tcp(8080, false)?,
        "udp to 9999" => udp(CLIENT, SERVER, 40_000, 9999, &[0; 64])?,
        "udp from 53" => udp(CLIENT, SERVER, 53, 40_000, &[0; 64])?,
        "udp to 192.0.2.77" => udp(CLIENT, HOST, 40_000, 9999, &[0; 64])?,
        "udp from a failsafe peer" => udp(PEER, SERVER, 40_000, 9999, &[0; 64])?,
        "udp of 28 bytes" => udp(CLIENT, SERVER, 40_000, 9999, &[])?,
        "udp in vlan 10" => tagged(&by_name("udp to 9999")?, [0x81, 0x00], 10),
        // The outer tag is one of a provider (802.1ad).
        "udp in two vlans" => tagged(&tagged(&by_name("udp to 9999")?, [0x81, 0x00], 20), [0x88, 0xa8], 10),
        "udp in three vlans" => tagged(&by_name("udp in two vlans")?, [0x88, 0xa8], 30),
        "ping" => {
            bytes!(ethernet().ipv4(CLIENT.octets(), SERVER.octets(), 64).icmpv4_echo_request(7, 1), &[0; 32])
        }
        "ping of ipv6" => {
            bytes!(
                ethernet().ipv6(CLIENT_V6.octets(), SERVER_V6.octets(), 64).icmpv6_echo_request(7, 1),
                &[0; 32]
            )
        }
        "neighbour solicitation" => bytes!(
            ethernet().ipv6(CLIENT_V6.octets(), SERVER_V6.octets(), 255).icmpv6_raw(135, 0, [0; 4]),
            &SERVER_V6.octets(),
        ),
        "arp" => with_type([0x08, 0x06], &ARP_REQUEST),
        "later fragment" => later_fragment()?,
        "first fragment" => {
            let mut frame = by_name("udp to 9999")?;
            // More fragments (RFC 791, section 3.1).
            frame.get_mut(20..22)?.copy_from_slice(&[0x20, 0]);
            frame
        }
        "tcp ack to 443" => tcp(443, false)?,
        "tcp syn-ack from 443" => {
            let segment = ethernet().ipv4(SERVER.octets(), CLIENT.octets(), 64).tcp(443, 40_000, 1, 1024);
            bytes!(segment.syn().ack(2), &[])
        }
        "udp from 9999" => udp(SERVER, CLIENT, 9999, 40_000, &[0; 64])?,
        // Destination unreachable, with the packet that it is about: its IP header and 64 bits (RFC 792).
        "error about udp from 53" => {
            let quoted = udp(SERVER, CLIENT, 40_000, 53, &[])?;
            bytes!(
                ethernet().ipv4(CLIENT.octets(), SERVER.octets(), 64).icmpv4_raw(3, 3, [0; 4]),
                quoted.get(14..14 + 28)?,
            )
        }
        "tcp of ipv6 from an office" => {
            bytes!(
                ethernet().ipv6(OFFICE_V6.octets(), SERVER_V6.octets(), 64).tcp(40_000, 5432, 1, 1024),
                &[0; 16]
            )
        }
        "udp of ipv6 behind options" => udp_behind_options()?,
        // The length of the frame in place of its type; then SAP and control of a spanning tree message.
        "llc" => with_type([0x00, 0x26], &[0x42, 0x42, 0x03, 0, 0, 0, 0, 0]),
        "unknown ethertype" => with_type([0x88, 0xb5], &[0; 46]),
        "half an ip header" => by_name("tcp syn to 443")?.get(..14 + 10)?.to_vec(),
        "half a tcp header" => {
            let mut frame = by_name("tcp syn to 443")?.get(..14 + 20 + 10)?.to_vec();
            // Total length: the packet is as short as the frame, so that the parser meets the end inside TCP.
            frame.get_mut(16..18)?.copy_from_slice(&30_u16.to_be_bytes());
            frame
        }
        // What the rules of `many` ask for.
        "first of many" => udp(network(0), SERVER, 40_000, 1_000, &[0; 64])?,
        "network of many to a server" => udp(network(299), SERVER, 40_000, 1_299, &[0; 64])?,
        "network of many to its network" => {
            udp(network(299), Ipv4Addr::new(172, 17, 43, 7), 40_000, 1_299, &[0; 64])?
        }
        "network of many to another's network" => {
            udp(network(299), Ipv4Addr::new(172, 17, 42, 7), 40_000, 1_299, &[0; 64])?
        }
        "network of many to another port" => udp(network(299), SERVER, 40_000, 1_298, &[0; 64])?,
        "office of ipv6 to a network of many" => {
            let server = Ipv6Addr::new(0x2001, 0xdb8, 0x8000 + 299, 0, 0, 0, 0, 7);
            bytes!(
                ethernet().ipv6(OFFICE_V6.octets(), server.octets(), 64).tcp(40_000, 1_299, 1, 1024),
                &[0; 16]
            )
        }
        _ => return None,
    })
}

/// An ARP request for 192.0.2.10 (RFC 826).
const ARP_REQUEST: [u8; 46] = {
    let head = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 198, 51, 100, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 10];
    let mut bytes = [0; 46];
    let mut at = 0;
    while at < head.len() {
        bytes[at] = head[at];
        at += 1;
    }
    bytes
};

/// An address in the network that a rule of [`crate::many`] accepts as a source.
fn network(rule: u16) -> Ipv4Addr {
    let [high, low] = rule.to_be_bytes();
    Ipv4Addr::new(10, high, low, 7)
}

fn ethernet() -> PacketBuilderStep<Ethernet2Header> {
    PacketBuilder::ethernet2(SOURCE_MAC, DESTINATION_MAC)
}

fn tcp(port: u16, syn: bool) -> Option<Vec<u8>> {
    let segment = ethernet().ipv4(CLIENT.octets(), SERVER.octets(), 64).tcp(40_000, port, 1, 1024);
    let segment = if syn { segment.syn() } else { segment.ack(1) };
    Some(bytes!(segment, &[]))
}

fn udp(source: Ipv4Addr, destination: Ipv4Addr, from: u16, to: u16, payload: &[u8]) -> Option<Vec<u8>> {
    Some(bytes!(ethernet().ipv4(source.octets(), destination.octets(), 64).udp(from, to), payload))
}

/// A UDP datagram whose bytes from 1,480 on are in this frame.
fn later_fragment() -> Option<Vec<u8>> {
    let mut frame = by_name("udp to 9999")?;
    // Fragment offset in units of eight bytes (RFC 791, section 3.1); the header's checksum is nobody's business
    // before the kernel.
    frame.get_mut(20..22)?.copy_from_slice(&185_u16.to_be_bytes());
    Some(frame)
}

/// IPv6, a hop-by-hop options header of padding (RFC 8200, section 4.3), UDP.
fn udp_behind_options() -> Option<Vec<u8>> {
    let datagram =
        bytes!(ethernet().ipv6(CLIENT_V6.octets(), SERVER_V6.octets(), 64).udp(40_000, 9999), &[0; 16]);
    let (headers, rest) = datagram.split_at(14 + 40);
    let mut frame = headers.to_vec();
    let length = u16::try_from(rest.len() + 8).ok()?;
    frame.get_mut(18..20)?.copy_from_slice(&length.to_be_bytes());
    *frame.get_mut(20)? = 0;
    // Next header UDP, no further eight bytes, PadN of six bytes.
    frame.extend([17, 0, 1, 4, 0, 0, 0, 0]);
    frame.extend(rest);
    Some(frame)
}

fn tagged(frame: &[u8], kind: [u8; 2], id: u16) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    [addresses, &kind, &id.to_be_bytes(), rest].concat()
}

fn with_type(kind: [u8; 2], content: &[u8]) -> Vec<u8> {
    [&DESTINATION_MAC[..], &SOURCE_MAC, &kind, content].concat()
}
