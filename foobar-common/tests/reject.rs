//! Answers to rejected packets, as etherparse reads them, and which packets get none.

use std::net::IpAddr;

use etherparse::{Icmpv4Slice, Icmpv6Slice, Ipv4HeaderSlice, Ipv6HeaderSlice, TcpHeaderSlice};
use foobar_common::{
    checksum::Sum,
    flow::{Direction, Family, Flow, Fragment, protocol},
    reject::{
        LinkHeader, Outcome, QUOTE_V4_MAX, QUOTE_V6_MAX, Reset, answer_to, icmp_header, ipv4_header,
        ipv6_header, outcome_slot, quote_length,
    },
};
use proptest::{collection::vec, prelude::*};

/// From one card to another, without tags.
const LINK: LinkHeader = LinkHeader([0x2002, 0x3004, 0x0500, 0x0602, 0, 0x0100, 0x0008, 0, 0, 0, 0]);

fn flow(source: &str, destination: &str, protocol: u8) -> Flow {
    let source: IpAddr = source.parse().expect("an address");
    let family = if source.is_ipv4() { Family::V4 } else { Family::V6 };
    let destination = destination.parse::<IpAddr>().expect("an address").into();
    Flow { source: source.into(), destination, family, protocol, hop_limit: 3, ..Flow::EMPTY }
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn sum(bytes: &[u8]) -> Sum {
    bytes.chunks(4).fold(Sum::NONE, |sum, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        sum.word(u32::from_ne_bytes(word))
    })
}

fn of_family(family: Family) -> Flow {
    match family {
        Family::V4 => flow("203.0.113.7", "192.0.2.10", protocol::TCP),
        Family::V6 => flow("2001:db8::7", "2001:db8:1::10", protocol::TCP),
    }
}

proptest! {
    #[test]
    fn a_reset_is_a_segment_with_right_checksums(
        (sequence, acknowledged, flags, payload) in any::<(u32, u32, u8, u16)>(),
        ports in any::<[[u8; 2]; 2]>(),
        family in prop_oneof![Just(Family::V4), Just(Family::V6)],
    ) {
        let flow = Flow { source_port: ports[0], destination_port: ports[1], ..of_family(family) };
        let reset = Reset::of(sequence, acknowledged, flags, payload.into());
        let segment = bytes(&reset.header(&flow));
        let header = TcpHeaderSlice::from_slice(&segment).unwrap();
        prop_assert_eq!(header.source_port().to_be_bytes(), flow.destination_port);
        prop_assert_eq!(header.destination_port().to_be_bytes(), flow.source_port);
        prop_assert!(header.rst() && !header.syn() && !header.fin() && !header.psh());
        if flags & 0x10 == 0 {
            let numbered = u32::from(flags & 1) + u32::from(flags >> 1 & 1);
            prop_assert!(header.ack() && header.sequence_number() == 0);
            let next = sequence.wrapping_add(payload.into()).wrapping_add(numbered);
            prop_assert_eq!(header.acknowledgment_number(), next);
        } else {
            prop_assert!(!header.ack() && header.acknowledgment_number() == 0);
            prop_assert_eq!(header.sequence_number(), acknowledged);
        }
        let expected = match family {
            Family::V4 => {
                let ip = bytes(&ipv4_header(&flow, protocol::TCP, 20));
                let ip = Ipv4HeaderSlice::from_slice(&ip).unwrap();
                prop_assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
                prop_assert_eq!(IpAddr::V4(ip.source_addr()), flow.destination.ip(family));
                prop_assert_eq!(IpAddr::V4(ip.destination_addr()), flow.source.ip(family));
                prop_assert_eq!((ip.total_len(), ip.ttl(), ip.protocol().0), (40, 64, 6));
                header.calc_checksum_ipv4(&ip, &[]).unwrap()
            }
            Family::V6 => {
                let ip = bytes(&ipv6_header(&flow, protocol::TCP, 20));
                let ip = Ipv6HeaderSlice::from_slice(&ip).unwrap();
                prop_assert_eq!(IpAddr::V6(ip.source_addr()), flow.destination.ip(family));
                prop_assert_eq!(IpAddr::V6(ip.destination_addr()), flow.source.ip(family));
                prop_assert_eq!((ip.payload_length(), ip.hop_limit(), ip.next_header().0), (20, 64, 6));
                header.calc_checksum_ipv6(&ip, &[]).unwrap()
            }
        };
        prop_assert_eq!(header.checksum(), expected);
    }

    #[test]
    fn an_icmp_error_quotes_the_packet_and_has_a_right_checksum(
        packet in vec(any::<u8>(), 28..2_000),
        family in prop_oneof![Just(Family::V4), Just(Family::V6)],
    ) {
        let flow = of_family(family);
        let length = u32::try_from(packet.len()).unwrap();
        let quoted = quote_length(family, length);
        let quote = &packet[..quoted as usize];
        let message = [bytes(&icmp_header(&flow, sum(quote), quoted)), quote.to_vec()].concat();
        match family {
            Family::V4 => {
                prop_assert_eq!(quoted, length.min(QUOTE_V4_MAX));
                let icmp = Icmpv4Slice::from_slice(&message).unwrap();
                prop_assert_eq!((icmp.type_u8(), icmp.code_u8(), icmp.bytes5to8()), (3, 13, [0; 4]));
                let checksum = icmp.header().icmp_type.calc_checksum(quote);
                prop_assert_eq!(icmp.checksum(), checksum);
            }
            Family::V6 => {
                prop_assert_eq!(quoted, length.min(QUOTE_V6_MAX));
                let icmp = Icmpv6Slice::from_slice(&message).unwrap();
                prop_assert_eq!((icmp.type_u8(), icmp.code_u8(), icmp.bytes5to8()), (1, 1, [0; 4]));
                let ip = bytes(&ipv6_header(&flow, protocol::ICMPV6, 8 + quoted));
                let ip = Ipv6HeaderSlice::from_slice(&ip).unwrap();
                prop_assert!(icmp.is_checksum_valid(ip.source(), ip.destination()));
            }
        }
    }
}

#[test]
fn only_what_one_machine_sends_to_one_other_is_answered() {
    let udp = |source, destination| flow(source, destination, protocol::UDP);
    for (source, destination, answer) in [
        ("203.0.113.7", "192.0.2.10", Outcome::Icmp),
        ("203.0.113.7", "224.0.0.1", Outcome::NotAllowed),
        ("203.0.113.7", "255.255.255.255", Outcome::NotAllowed),
        ("0.0.0.0", "192.0.2.10", Outcome::NotAllowed),
        ("127.0.0.1", "192.0.2.10", Outcome::NotAllowed),
        ("239.1.2.3", "192.0.2.10", Outcome::NotAllowed),
        ("255.255.255.255", "192.0.2.10", Outcome::NotAllowed),
        ("223.255.255.255", "1.0.0.0", Outcome::Icmp),
        ("2001:db8::7", "2001:db8::10", Outcome::Icmpv6),
        ("fe80::1", "fe80::2", Outcome::Icmpv6),
        ("2001:db8::7", "ff02::1", Outcome::NotAllowed),
        ("ff02::1", "2001:db8::7", Outcome::NotAllowed),
        ("::", "2001:db8::7", Outcome::NotAllowed),
        ("::1", "2001:db8::7", Outcome::NotAllowed),
    ] {
        assert_eq!(answer_to(&udp(source, destination), &LINK, None), answer, "{source} > {destination}");
    }
    let packet = udp("203.0.113.7", "192.0.2.10");
    let mut to_many = LINK;
    to_many.0[0] = u16::from_ne_bytes([0x01, 0x00]);
    assert_eq!(answer_to(&packet, &to_many, None), Outcome::NotAllowed);
    let card = |last| Some([LINK.0[0], LINK.0[1], last]);
    assert_eq!(answer_to(&packet, &LINK, card(LINK.0[2])), Outcome::Icmp);
    assert_eq!(answer_to(&packet, &LINK, card(7)), Outcome::NotAllowed, "a frame for another card");
}

#[test]
fn errors_resets_and_later_fragments_get_no_answer() {
    let v4 = |number| flow("203.0.113.7", "192.0.2.10", number);
    let v6 = |number| flow("2001:db8::7", "2001:db8:1::10", number);
    let of = |flow: Flow| answer_to(&flow, &LINK, None);
    for (flags, answer) in
        [(2, Outcome::Reset), (0, Outcome::Reset), (4, Outcome::NotAllowed), (0x14, Outcome::NotAllowed)]
    {
        assert_eq!(of(Flow { tcp_flags: flags, ..v4(protocol::TCP) }), answer, "{flags}");
    }
    let in_parts = |fragment, number| of(Flow { fragment, tcp_flags: 2, ..v4(number) });
    assert_eq!(in_parts(Fragment::First, protocol::TCP), Outcome::NotAllowed);
    assert_eq!(in_parts(Fragment::Later, protocol::TCP), Outcome::NotAllowed);
    assert_eq!(in_parts(Fragment::First, protocol::UDP), Outcome::Icmp);
    assert_eq!(in_parts(Fragment::Later, protocol::UDP), Outcome::NotAllowed);
    for kind in 0..=255 {
        let icmp = of(Flow { icmp_type: kind, ..v4(protocol::ICMP) });
        let answered = [0, 8, 13, 14, 15, 16, 17, 18].contains(&kind);
        assert_eq!(icmp, if answered { Outcome::Icmp } else { Outcome::NotAllowed }, "ICMP {kind}");
        let icmpv6 = of(Flow { icmp_type: kind, ..v6(protocol::ICMPV6) });
        let answered = kind >= 128 && kind != 137;
        assert_eq!(icmpv6, if answered { Outcome::Icmpv6 } else { Outcome::NotAllowed }, "ICMPv6 {kind}");
    }
    assert_eq!(of(v6(47)), Outcome::Icmpv6);
}

#[test]
fn tags_stay_and_cards_change_places() {
    for (types, length) in [
        ([0x0800, 0x8100, 0, 0, 0], 14),
        ([0x8100, 10, 0x0800, 0, 0], 18),
        ([0x88a8, 10, 0x8100, 20, 0x86dd], 22),
    ] {
        let mut words = LINK.0;
        for (word, kind) in words[6..].iter_mut().zip(types) {
            *word = u16::to_be(kind);
        }
        let link = LinkHeader(words);
        assert_eq!(link.length(), length);
        assert_eq!(link.back().0[..3], link.0[3..6]);
        assert_eq!(link.back().0[6..], link.0[6..]);
        assert_eq!(link.back().back(), link);
    }
}

#[test]
fn each_outcome_of_each_direction_has_a_place() {
    let places: Vec<u32> = Direction::ALL
        .iter()
        .flat_map(|way| Outcome::ALL.iter().map(|outcome| outcome_slot(*way, *outcome)))
        .collect();
    assert_eq!(places, (0..2 * Outcome::COUNT).collect::<Vec<_>>());
}
