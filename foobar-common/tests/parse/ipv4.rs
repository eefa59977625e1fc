//! Rows about IPv4 and its fragments.

use super::*;

pub(crate) fn ipv4() -> Vec<Row> {
    let with_ihl = |units: u8| {
        let mut frame = syn4().frame();
        frame[14] = 0x40 | units;
        frame
    };
    let mut rows: Vec<Row> = vec![
        (
            "IPv6 behind the EtherType of IPv4",
            {
                let mut frame = syn6().frame();
                frame[12..14].copy_from_slice(&[8, 0]);
                frame
            },
            Err(Reason::IpVersion),
        ),
        (
            "version 0",
            {
                let mut frame = syn4().frame();
                frame[14] = 0x05;
                frame
            },
            Err(Reason::IpVersion),
        ),
        ("a header length of 0", with_ihl(0), Err(Reason::IpHeaderLength)),
        ("a header length of 4 words", with_ihl(4), Err(Reason::IpHeaderLength)),
        ("a header longer than the packet", with_ihl(15), Err(Reason::IpLength)),
        ("total length 0", syn4().length(0).frame(), Err(Reason::IpLength)),
        ("total length below the header", syn4().length(19).frame(), Err(Reason::IpLength)),
        (
            "total length below a header with options",
            syn4().options(&[1; 8]).length(24).frame(),
            Err(Reason::IpLength),
        ),
        ("total length one above the frame", syn4().length(41).frame(), Err(Reason::IpLength)),
        ("total length ends with the header", syn4().length(20).frame(), Err(Reason::TruncatedTransport)),
        ("nothing behind the header", packet(A4, B4, 6, vec![]).frame(), Err(Reason::TruncatedTransport)),
        (
            "padding is no TCP header",
            packet(A4, B4, 6, vec![]).padding(26).frame(),
            Err(Reason::TruncatedTransport),
        ),
        (
            "padding does not complete a UDP header",
            udp((A4, 1), (B4, 2), 0).length(27).padding(18).frame(),
            Err(Reason::TruncatedTransport),
        ),
        ("padding is left out of the length", syn4().padding(6).frame(), Ok(v4_syn(40))),
        (
            "a protocol without ports",
            packet(A4, B4, 47, vec![0, 0, 8, 0]).frame(),
            Ok(bare(Family::V4, 47, 24)),
        ),
        ("a protocol without payload", packet(A4, B4, 50, vec![]).frame(), Ok(bare(Family::V4, 50, 20))),
        (
            "AH is a protocol of IPv4, not walked over",
            packet(A4, B4, 51, vec![6, 4, 0, 0]).frame(),
            Ok(bare(Family::V4, 51, 24)),
        ),
        ("TTL 0", syn4().hop_limit(0).frame(), Ok(Flow { hop_limit: 0, ..v4_syn(40) })),
        (
            "ICMP",
            icmp(A4, B4, 8, 3).frame(),
            Ok(Flow { icmp_type: 8, icmp_code: 3, ..bare(Family::V4, 1, 28) }),
        ),
        ("ICMP of three bytes", packet(A4, B4, 1, vec![8, 0, 0]).frame(), Err(Reason::TruncatedTransport)),
        (
            "ICMP of four bytes",
            packet(A4, B4, 1, vec![8, 0, 0, 0]).frame(),
            Ok(Flow { icmp_type: 8, ..bare(Family::V4, 1, 24) }),
        ),
    ];
    let options = ["5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15"];
    for (words, name) in options.into_iter().enumerate() {
        let bytes = words * 4;
        rows.push((
            name,
            syn4().options(&vec![1; bytes]).frame(),
            Ok(v4_syn(40 + u16::try_from(bytes).unwrap())),
        ));
    }
    rows
}

pub(crate) fn ipv4_fragment() -> Vec<Row> {
    let later =
        |protocol, length| Ok(Flow { fragment: Fragment::Later, ..bare(Family::V4, protocol, length) });
    let data = |bytes| packet(A4, B4, 17, vec![0xff; bytes]);
    vec![
        (
            "first fragment of TCP",
            syn4().fragment(0, true).frame(),
            Ok(Flow { fragment: Fragment::First, ..v4_syn(40) }),
        ),
        (
            "first fragment of UDP, whose length is the datagram's",
            udp((A4, 1), (B4, 2), 0).set(4, 9).fragment(0, true).frame(),
            Ok(Flow { fragment: Fragment::First, ..with_ports(bare(Family::V4, 17, 28), 1, 2) }),
        ),
        (
            "middle fragment: bytes that look like ports are none",
            data(16).fragment(1480, true).frame(),
            later(17, 36),
        ),
        ("last fragment", data(16).fragment(1480, false).frame(), later(17, 36)),
        ("last fragment of one byte", data(1).fragment(8, false).frame(), later(17, 21)),
        ("later fragment without data", data(0).fragment(8, false).frame(), later(17, 20)),
        (
            "later fragment of ICMP",
            packet(A4, B4, 1, vec![8, 0, 0, 0]).fragment(8, false).frame(),
            later(1, 24),
        ),
        (
            "don't fragment is no fragment",
            {
                let mut frame = syn4().frame();
                frame[20] = 0x40;
                frame
            },
            Ok(v4_syn(40)),
        ),
        (
            "the reserved bit is no fragment",
            {
                let mut frame = syn4().frame();
                frame[20] = 0x80;
                frame
            },
            Ok(v4_syn(40)),
        ),
        (
            "tiny first fragment of TCP",
            packet(A4, B4, 6, vec![0; 8]).fragment(0, true).frame(),
            Err(Reason::TinyFragment),
        ),
        (
            "first fragment of 19 bytes of TCP",
            packet(A4, B4, 6, vec![0; 19]).fragment(0, true).padding(9).frame(),
            Err(Reason::TinyFragment),
        ),
        (
            "first fragment without all TCP options",
            syn4().set(12, 0x60).fragment(0, true).frame(),
            Err(Reason::TinyFragment),
        ),
        (
            "tiny first fragment of UDP",
            packet(A4, B4, 17, vec![0; 7]).fragment(0, true).frame(),
            Err(Reason::TinyFragment),
        ),
        (
            "tiny first fragment of SCTP",
            packet(A4, B4, 132, vec![0; 8]).fragment(0, true).frame(),
            Err(Reason::TinyFragment),
        ),
        (
            "tiny first fragment of ICMP",
            packet(A4, B4, 1, vec![8]).fragment(0, true).frame(),
            Err(Reason::TinyFragment),
        ),
        (
            "a fragment over the TCP flags",
            packet(A4, B4, 6, vec![0; 24]).fragment(8, true).frame(),
            Err(Reason::TinyFragment),
        ),
        (
            "a fragment over the end of the TCP header",
            packet(A4, B4, 6, vec![0; 8]).fragment(16, false).frame(),
            Err(Reason::TinyFragment),
        ),
        (
            "a fragment right behind the TCP header",
            packet(A4, B4, 6, vec![0; 8]).fragment(24, false).frame(),
            later(6, 28),
        ),
        ("a fragment that ends at 65,535", data(7 + 8).fragment(65_496, false).frame(), later(17, 35)),
        (
            "a fragment that ends beyond 65,535",
            data(20).fragment(65_496, false).frame(),
            Err(Reason::FragmentOverflow),
        ),
        ("the largest offset", data(8).fragment(65_528, false).frame(), Err(Reason::FragmentOverflow)),
    ]
}
