//! Rows about TCP, UDP, SCTP and what looks like them.

use super::*;

pub(crate) fn rows() -> Vec<Row> {
    let udp4 = |length: u16| {
        udp((A4, 7), (B4, 9), 0).set(4, length.to_be_bytes()[0]).set(5, length.to_be_bytes()[1])
    };
    let udp_flow = |length| Ok(with_ports(bare(Family::V4, 17, length), 7, 9));
    vec![
        (
            "every TCP flag",
            tcp((A4, 1), (B4, 2), 0xff).frame(),
            Ok(Flow { tcp_flags: 0xff, ..with_ports(bare(Family::V4, 6, 40), 1, 2) }),
        ),
        (
            "TCP without flags",
            tcp((A4, 0), (B4, 65_535), 0).frame(),
            Ok(with_ports(bare(Family::V4, 6, 40), 0, 65_535)),
        ),
        ("TCP of 19 bytes", packet(A4, B4, 6, vec![0x50; 19]).frame(), Err(Reason::TruncatedTransport)),
        ("TCP data offset 0", syn4().set(12, 0).frame(), Err(Reason::TransportLength)),
        ("TCP data offset 4", syn4().set(12, 0x4f).frame(), Err(Reason::TransportLength)),
        ("TCP data offset beyond the packet", syn4().set(12, 0x60).frame(), Err(Reason::TransportLength)),
        (
            "TCP data offset into the padding",
            syn4().set(12, 0x60).padding(20).frame(),
            Err(Reason::TransportLength),
        ),
        (
            "TCP with options up to its end",
            syn4().payload([packets::tcp_header(40_000, 443, 2), vec![1; 40]].concat()).set(12, 0xf0).frame(),
            Ok(v4_syn(80)),
        ),
        ("UDP of 7 bytes", packet(A4, B4, 17, vec![0; 7]).frame(), Err(Reason::TruncatedTransport)),
        ("UDP length 0", udp4(0).frame(), Err(Reason::TransportLength)),
        ("UDP length 7", udp4(7).frame(), Err(Reason::TransportLength)),
        ("UDP length 8", udp4(8).frame(), udp_flow(28)),
        ("UDP length beyond the packet", udp4(9).frame(), Err(Reason::TransportLength)),
        ("UDP length into the padding", udp4(18).padding(18).frame(), Err(Reason::TransportLength)),
        ("UDP shorter than the packet", udp((A4, 7), (B4, 9), 4).set(5, 8).frame(), udp_flow(32)),
        (
            "first fragment of UDP with length 7",
            udp4(7).fragment(0, true).frame(),
            Err(Reason::TransportLength),
        ),
        ("SCTP", sctp((A4, 5), (B4, 6)).frame(), Ok(with_ports(bare(Family::V4, 132, 32), 5, 6))),
        ("SCTP of 11 bytes", packet(A4, B4, 132, vec![0; 11]).frame(), Err(Reason::TruncatedTransport)),
        (
            "UDP-Lite has no ports that are read",
            packet(A4, B4, 136, vec![1; 8]).frame(),
            Ok(bare(Family::V4, 136, 28)),
        ),
        (
            "ICMPv6 in IPv4 has a type all the same",
            packet(A4, B4, 58, vec![135, 1, 0, 0]).frame(),
            Ok(Flow { icmp_type: 135, icmp_code: 1, ..bare(Family::V4, 58, 24) }),
        ),
        ("a jumbo frame", udp((A4, 7), (B4, 9), 8_972).frame(), udp_flow(9_000)),
        ("the largest IPv4 packet", udp((A4, 7), (B4, 9), 65_507).frame(), udp_flow(65_535)),
    ]
}
