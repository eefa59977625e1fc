//! Rows about IPv6, its extension headers, fragments and jumbograms.

use super::*;

pub(crate) fn ipv6() -> Vec<Row> {
    let mut rows: Vec<Row> = vec![
        ("IPv6", syn6().frame(), Ok(v6_syn(60))),
        (
            "IPv6 behind two tags",
            syn6().tag(SERVICE_VLAN, 1).vlan(2).frame(),
            Ok(Flow { vlan: 1, ..v6_syn(60) }),
        ),
        ("IPv4 behind the EtherType of IPv6", ethernet(packets::IPV6, &[0x45; 40]), Err(Reason::IpVersion)),
        ("39 bytes of IPv6", ethernet(packets::IPV6, &[0x60; 39]), Err(Reason::TruncatedNetwork)),
        ("payload length one above the frame", syn6().length(21).frame(), Err(Reason::IpLength)),
        ("payload length 0", syn6().length(0).frame(), Err(Reason::TruncatedTransport)),
        ("padding is left out of the length", syn6().padding(4).frame(), Ok(v6_syn(60))),
        ("padding is no TCP header", syn6().length(12).padding(40).frame(), Err(Reason::TruncatedTransport)),
        ("no next header", packet(A6, B6, 59, vec![1; 8]).frame(), Ok(bare(Family::V6, 59, 48))),
        (
            "ICMPv6",
            icmp(A6, B6, 128, 9).frame(),
            Ok(Flow { icmp_type: 128, icmp_code: 9, ..bare(Family::V6, 58, 48) }),
        ),
        ("hop-by-hop", syn6().extension(0).frame(), Ok(v6_syn(68))),
        ("routing", syn6().extension(43).frame(), Ok(v6_syn(68))),
        ("destination options", syn6().extension(60).frame(), Ok(v6_syn(68))),
        ("the longest hop-by-hop header", syn6().extension_of(0, 2_048).frame(), Ok(v6_syn(60 + 2_048))),
        ("AH of 12 bytes, counted in fours", syn6().extension_of(51, 12).frame(), Ok(v6_syn(72))),
        ("AH of 24 bytes, counted in fours", syn6().extension_of(51, 24).frame(), Ok(v6_syn(84))),
        ("AH with a length of zero is 8 bytes", syn6().extension_of(51, 8).frame(), Ok(v6_syn(68))),
        ("the longest AH", syn6().extension_of(51, 1_028).frame(), Ok(v6_syn(60 + 1_028))),
        (
            "all of them",
            syn6().extension(0).extension(43).extension_of(51, 16).extension_of(60, 24).frame(),
            Ok(v6_syn(60 + 56)),
        ),
        (
            "ESP ends the chain",
            packet(A6, B6, 50, vec![0; 8]).extension(0).frame(),
            Ok(bare(Family::V6, 50, 56)),
        ),
        ("mobility ends the chain", packet(A6, B6, 135, vec![59; 8]).frame(), Ok(bare(Family::V6, 135, 48))),
        (
            "an extension header of which one byte is there",
            packet(A6, B6, 60, vec![6]).frame(),
            Err(Reason::TruncatedNetwork),
        ),
        (
            "an extension header cut short",
            packet(A6, B6, 60, vec![6, 0, 0, 0, 0, 0, 0]).padding(30).frame(),
            Err(Reason::TruncatedNetwork),
        ),
        (
            "an extension header beyond the packet",
            packet(A6, B6, 43, vec![6, 9, 0, 0, 0, 0, 0, 0]).padding(99).frame(),
            Err(Reason::TruncatedNetwork),
        ),
        (
            "an extension header and nothing",
            packet(A6, B6, 60, vec![6, 0, 0, 0, 0, 0, 0, 0]).padding(30).frame(),
            Err(Reason::TruncatedTransport),
        ),
        (
            "extension headers without end",
            packet(A6, B6, 60, [60, 0, 0, 0, 0, 0, 0, 0].repeat(20)).frame(),
            Err(Reason::ExtensionHeaders),
        ),
        (
            "eight in a frame that ends with a ninth's number",
            packet(A6, B6, 60, [60, 0, 0, 0, 0, 0, 0, 0].repeat(8)).frame(),
            Err(Reason::ExtensionHeaders),
        ),
    ];
    for (count, name) in ["1", "2", "3", "4", "5", "6", "7", "8"].into_iter().enumerate() {
        let chain = (0..=count).fold(syn6(), |packet, _| packet.extension(60));
        rows.push((name, chain.frame(), Ok(v6_syn(68 + 8 * u16::try_from(count).unwrap()))));
        if name == "8" {
            rows.push(("nine extension headers", chain.extension(60).frame(), Err(Reason::ExtensionHeaders)));
        }
    }
    rows
}

pub(crate) fn ipv6_fragment() -> Vec<Row> {
    let later =
        |protocol, length| Ok(Flow { fragment: Fragment::Later, ..bare(Family::V6, protocol, length) });
    let data = |protocol, bytes| packet(A6, B6, protocol, vec![0xff; bytes]);
    let first = |flow: Flow| Ok(Flow { fragment: Fragment::First, ..flow });
    vec![
        ("atomic fragment", syn6().fragment_header(0, false).frame(), Ok(v6_syn(68))),
        ("first fragment", syn6().fragment_header(0, true).frame(), first(v6_syn(68))),
        (
            "later fragment: bytes that look like ports are none",
            data(17, 16).fragment_header(1_448, true).frame(),
            later(17, 64),
        ),
        ("last fragment of one byte", data(17, 1).fragment_header(1_448, false).frame(), later(17, 49)),
        (
            "later fragment behind options",
            data(6, 8).extension(0).extension(60).fragment_header(800, false).frame(),
            later(6, 72),
        ),
        (
            "a later fragment of something with options is not walked",
            data(60, 8).fragment_header(800, false).frame(),
            later(60, 56),
        ),
        (
            "options inside the first fragment",
            syn6().fragment_header(0, true).extension(60).frame(),
            first(v6_syn(76)),
        ),
        ("a fragment header cut short", data(44, 7).padding(9).frame(), Err(Reason::TruncatedNetwork)),
        (
            "a fragment header that the packet does not have",
            data(44, 0).padding(64).frame(),
            Err(Reason::TruncatedNetwork),
        ),
        (
            "first fragment that ends inside TCP",
            syn6().payload(vec![0; 16]).fragment_header(0, true).frame(),
            Err(Reason::TinyFragment),
        ),
        (
            "first fragment that ends inside options",
            data(60, 4).fragment_header(0, true).padding(12).frame(),
            Err(Reason::TinyFragment),
        ),
        (
            "first fragment without its options",
            data(60, 0).fragment_header(0, true).frame(),
            Err(Reason::TinyFragment),
        ),
        (
            "first fragment with half of its options",
            packet(A6, B6, 60, vec![6, 1, 0, 0, 0, 0, 0, 0]).fragment_header(0, true).frame(),
            Err(Reason::TinyFragment),
        ),
        (
            "a fragment over the TCP flags",
            data(6, 16).fragment_header(8, false).frame(),
            Err(Reason::TinyFragment),
        ),
        (
            "a fragment right behind the TCP header",
            data(6, 16).fragment_header(24, false).frame(),
            later(6, 64),
        ),
        (
            "a fragment inside a first fragment is a first fragment",
            dns6().fragment_header(0, true).fragment_header(0, false).frame(),
            first(v6_dns(68)),
        ),
        (
            "a later fragment inside a first fragment",
            data(17, 8).fragment_header(0, true).fragment_header(64, false).frame(),
            later(17, 64),
        ),
        (
            "a fragment that ends at 65,535",
            data(17, 15).fragment_header(65_520, false).frame(),
            later(17, 63),
        ),
        (
            "a fragment that ends beyond 65,535",
            data(17, 16).fragment_header(65_520, false).frame(),
            Err(Reason::FragmentOverflow),
        ),
        (
            "beyond 65,535 because of a header before it",
            data(17, 15).extension(0).fragment_header(65_520, false).frame(),
            Err(Reason::FragmentOverflow),
        ),
        (
            "a fragment header as the ninth",
            (0..8).fold(syn6(), |packet, _| packet.extension(60)).fragment_header(0, false).frame(),
            Err(Reason::ExtensionHeaders),
        ),
        (
            "the eighth is a later fragment",
            (0..7).fold(data(17, 8), |packet, _| packet.extension(60)).fragment_header(64, false).frame(),
            later(17, 112),
        ),
    ]
}

/// IPv6 packets of more than 65,535 bytes (RFC 2675): payload length zero, the true one in an option.
pub(crate) fn jumbogram() -> Vec<Row> {
    let jumbogram = |data: usize, udp_length: u16| {
        let mut payload = packets::udp_header(40_000, 53, udp_length);
        payload.resize(8 + data, 0);
        // The builder's length field cannot say it, so the frame is put together here.
        let mut frame = packet(A6, B6, 17, Vec::new()).extension(0).length(0).frame();
        frame[56..60].copy_from_slice(&[0xc2, 4, 0, 1]);
        frame.extend(payload);
        frame
    };
    vec![
        ("a jumbogram", jumbogram(66_000, 0), Ok(v6_dns(65_535))),
        ("a jumbogram whose UDP says a length", jumbogram(66_000, 1_000), Ok(v6_dns(65_535))),
        ("a small packet that says it is a jumbogram", jumbogram(100, 108), Ok(v6_dns(40 + 8 + 108))),
        ("UDP of a small packet cannot say zero", jumbogram(100, 0), Err(Reason::TransportLength)),
    ]
}
