//! Frames by description, each with the flow that it holds or the reason why it holds none.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ipv4;
mod ipv6;
mod link;
#[path = "../../../tests/support/packets.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared with tests that use all of it")]
mod packets;
mod transport;

use std::{collections::BTreeSet, net::IpAddr};

use foobar_common::{
    flow::{Family, Flow, Fragment, UNTAGGED},
    frame::Frame,
    parse::parse,
    verdict::Reason,
};
use packets::{Packet, SERVICE_VLAN, VLAN, arp, ethernet, flag, icmp, packet, sctp, tcp, udp};

const A4: &str = "192.0.2.1";
const B4: &str = "198.51.100.2";
const A6: &str = "2001:db8::1";
const B6: &str = "2001:db8:1::2";

/// What a row is about, the frame, and what it must give.
type Row = (&'static str, Vec<u8>, Result<Flow, Reason>);

fn syn4() -> Packet {
    tcp((A4, 40_000), (B4, 443), flag::SYN)
}

fn syn6() -> Packet {
    tcp((A6, 40_000), (B6, 443), flag::SYN)
}

fn dns6() -> Packet {
    udp((A6, 40_000), (B6, 53), 4)
}

/// A flow between the addresses above, of this length, without a transport header.
fn bare(family: Family, protocol: u8, length: u16) -> Flow {
    let address = |v4: &str, v6: &str| {
        let text = if family == Family::V4 { v4 } else { v6 };
        text.parse::<IpAddr>().unwrap().into()
    };
    Flow {
        family,
        protocol,
        fragment: Fragment::Whole,
        tcp_flags: 0,
        icmp_type: 0,
        icmp_code: 0,
        hop_limit: 64,
        source: address(A4, A6),
        destination: address(B4, B6),
        source_port: [0; 2],
        destination_port: [0; 2],
        vlan: UNTAGGED,
        length,
    }
}

fn with_ports(flow: Flow, source: u16, destination: u16) -> Flow {
    Flow { source_port: source.to_be_bytes(), destination_port: destination.to_be_bytes(), ..flow }
}

fn v4_syn(length: u16) -> Flow {
    Flow { tcp_flags: flag::SYN, ..with_ports(bare(Family::V4, 6, length), 40_000, 443) }
}

fn v6_syn(length: u16) -> Flow {
    Flow { tcp_flags: flag::SYN, ..with_ports(bare(Family::V6, 6, length), 40_000, 443) }
}

fn v6_dns(length: u16) -> Flow {
    with_ports(bare(Family::V6, 17, length), 40_000, 53)
}

fn all_rows() -> Vec<Row> {
    [
        link::rows(),
        ipv4::ipv4(),
        ipv4::ipv4_fragment(),
        transport::rows(),
        ipv6::ipv6(),
        ipv6::ipv6_fragment(),
        ipv6::jumbogram(),
    ]
    .concat()
}

#[test]
fn frames_give_the_flow_or_the_reason_that_they_should() {
    let wrong: Vec<String> = all_rows()
        .into_iter()
        .filter_map(|(about, frame, expected)| {
            let found = parse(&Frame::from_slice(&frame));
            (found != expected).then(|| format!("{about}:\n  expected {expected:?}\n  found    {found:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_has_a_frame_for_every_reason_of_the_parser() {
    let found: BTreeSet<Reason> =
        all_rows().into_iter().filter_map(|(_, _, expected)| expected.err()).collect();
    // A non-linear frame is no matter of its bytes, and the others are decided behind the parser.
    let elsewhere = [
        Reason::Policy,
        Reason::Rule,
        Reason::Infrastructure,
        Reason::Failsafe,
        Reason::Fragments,
        Reason::NonLinear,
        Reason::Internal,
        Reason::NotTls,
        Reason::OldTls,
        Reason::TlsOrder,
        Reason::Ban,
        Reason::Limit,
        Reason::Replies,
        Reason::SynCookie,
    ];
    let missing: Vec<&Reason> =
        Reason::ALL.iter().filter(|reason| !found.contains(reason) && !elsewhere.contains(reason)).collect();
    assert!(missing.is_empty(), "no frame for {missing:?}");
}

/// What is still to be cut may be too long for its own header to say.
#[test]
fn zero_is_a_length_only_where_segments_are_still_to_be_cut() {
    // Where the length is, and what is counted as the packet's.
    for (frame, at, length) in [(syn4().frame(), 16, 40), (syn6().frame(), 18, 60)] {
        let mut frame = frame;
        frame[at..at + 2].fill(0);
        assert!(parse(&Frame::from_slice(&frame)).is_err());
        let flow = parse(&Frame::from_slice(&frame).offloaded(true)).unwrap();
        assert_eq!((flow.length, flow.destination_port()), (length, 443));
    }
}
