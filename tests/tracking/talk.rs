//! Packets that may belong together: any flags in any order, from both sides of a few flows and from somebody else.

use foobar_common::flow::Direction;
use foobar_tests::{
    packets::{self, Packet, flag},
    random::Random,
};

/// The server, then its peers, of each family.
const ENDS: [[&str; 3]; 2] =
    [["192.0.2.1", "198.51.100.2", "198.51.100.3"], ["2001:db8::1", "2001:db8:1::2", "2001:db8:1::3"]];
const PORTS: [u16; 2] = [443, 40_000];
/// Few, so that packets often agree on them by chance.
const NUMBERS: [u32; 3] = [0, 1, u32::MAX];
const FLAGS: [u8; 14] = [
    flag::SYN,
    flag::SYN,
    flag::SYN | flag::ACK,
    flag::SYN | flag::ACK,
    flag::ACK,
    flag::ACK,
    flag::ACK | flag::PSH,
    flag::FIN | flag::ACK,
    flag::RST,
    flag::RST | flag::ACK,
    flag::FIN,
    flag::SYN | flag::FIN,
    flag::SYN | flag::RST | flag::ACK,
    0,
];

/// A frame, and the way that it goes.
pub(super) fn packet(random: &mut Random) -> (Vec<u8>, Direction) {
    let direction = random.pick(&Direction::ALL);
    let ends = random.pick(&ENDS);
    let packet =
        if random.percent(20) { error(ends, direction, random) } else { said(ends, direction, random) };
    let is_v6 = ends[0].contains(':');
    let packet = match random.below(100) {
        0..3 => part(packet, 0, is_v6),
        3..6 => part(packet, 8 * random.pick(&[1, 2, 185]), is_v6),
        _ => packet,
    };
    let mut frame = packet.frame();
    if random.percent(20) {
        // Another datagram, where this is its identification.
        let at = if is_v6 { 61 } else { 19 };
        frame[at] ^= 1;
    }
    (frame, direction)
}

/// A fragment that begins there.
fn part(packet: Packet, offset: u16, is_v6: bool) -> Packet {
    if is_v6 { packet.fragment_header(offset, true) } else { packet.fragment(offset, true) }
}

fn addresses(ends: [&'static str; 3], direction: Direction, random: &mut Random) -> [&'static str; 2] {
    let [server, near, far] = ends;
    let peer = if random.percent(85) { near } else { far };
    match direction {
        Direction::In => [peer, server],
        Direction::Out => [server, peer],
    }
}

fn said(ends: [&'static str; 3], direction: Direction, random: &mut Random) -> Packet {
    let [source, destination] = addresses(ends, direction, random);
    let (protocol, payload) = transport(source.contains(':'), random);
    packets::packet(source, destination, protocol, payload)
}

fn transport(is_v6: bool, random: &mut Random) -> (u8, Vec<u8>) {
    let [from, to] = [random.pick(&PORTS), random.pick(&PORTS)];
    match random.below(10) {
        0..6 => {
            let mut header = packets::tcp_header(from, to, random.pick(&FLAGS));
            header[4..8].copy_from_slice(&random.pick(&NUMBERS).to_be_bytes());
            header[8..12].copy_from_slice(&random.pick(&NUMBERS).to_be_bytes());
            (6, header)
        }
        6 => (17, packets::udp_header(from, to, 8)),
        7 => (47, vec![0; 8]),
        _ => {
            let kinds = if is_v6 { [128, 129, 143] } else { [8, 0, 13] };
            let message = vec![random.pick(&kinds), 0, 0, 0, 0, random.pick(&[1, 2]), 0, 0];
            (if is_v6 { 58 } else { 1 }, message)
        }
    }
}

/// An error from anybody about a packet that went the other way, or is said to have.
fn error(ends: [&'static str; 3], direction: Direction, random: &mut Random) -> Packet {
    let other = if direction == Direction::In { Direction::Out } else { Direction::In };
    let quoted = said(ends, if random.percent(90) { other } else { direction }, random);
    let mut bytes = quoted.frame()[14..].to_vec();
    let is_v6 = ends[0].contains(':');
    let header = if is_v6 { 40 } else { 20 };
    bytes.truncate(header + random.pick(&[8, 8, 8, 64, 7]));
    if random.percent(10) {
        let at = random.index(bytes.len());
        bytes[at] ^= 1 << random.below(8);
    }
    let kind = random.pick(if is_v6 { &[1, 2, 3, 4, 5] } else { &[3, 11, 12, 5, 4] });
    let payload = [vec![kind, 0, 0, 0, 0, 0, 0, 0], bytes].concat();
    let [source, destination] = addresses(ends, direction, random);
    packets::packet(source, destination, if is_v6 { 58 } else { 1 }, payload)
}
