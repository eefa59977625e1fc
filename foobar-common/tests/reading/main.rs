//! The parser against other readings of the same frames, right ones and broken ones.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../tests/support/generate.rs"]
#[expect(unreachable_pub, reason = "shared with tests of another package")]
mod generate;
#[path = "../../../tests/support/packets.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared with tests that use all of it")]
mod packets;
mod plain;

use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use foobar_common::{
    flow::{Family, Flow, Fragment, UNTAGGED},
    frame::Frame,
    parse::parse,
    verdict::Reason,
};
use generate::Pool;
use proptest::{
    collection::vec,
    prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof, proptest},
    strategy::Strategy,
};

fn cases() -> ProptestConfig {
    let long = std::env::var_os("FOOBAR_LONG").is_some();
    ProptestConfig { cases: if long { 1_000_000 } else { 4_000 }, ..ProptestConfig::default() }
}

/// Frames of all kinds, and now and then bytes that are no frame at all.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![9 => generate::frame(&Pool::default()), 1 => vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_parser_reads_what_the_plain_reading_reads(frame in any_frame()) {
        prop_assert_eq!(parse(&Frame::from_slice(&frame)), plain::read(&frame));
    }

    /// A first buffer that ends too early hides a flow but never changes it.
    #[test]
    fn a_short_window_gives_the_same_or_nonlinear(frame in any_frame()) {
        let whole = parse(&Frame::from_slice(&frame));
        let length = u32::try_from(frame.len()).expect("a short frame");
        let mut seen = false;
        for shown in 0..=frame.len() {
            let found = parse(&Frame::from_first_buffer(&frame[..shown], length));
            if found == whole {
                seen = true;
            } else {
                prop_assert!(!seen, "{} bytes were enough, {shown} are not", shown - 1);
                prop_assert_eq!(found, Err(Reason::NonLinear));
            }
        }
        prop_assert!(seen);
    }

    /// A frame that was cut anywhere before the end of its IP packet holds no flow.
    #[test]
    fn a_cut_frame_gives_no_flow(packet in generate::packet(&Pool::default())) {
        let frame = packet.padding(0).frame();
        for length in 0..frame.len() {
            let found = parse(&Frame::from_slice(&frame[..length]));
            prop_assert!(found.is_err(), "{length} of {} bytes give {found:?}", frame.len());
        }
    }

    /// What a widely used parser of others finds in a frame that it calls right is found here, too.
    #[test]
    fn etherparse_finds_the_same(frame in any_frame()) {
        let Ok(theirs) = SlicedPacket::from_ethernet(&frame) else { return Ok(()) };
        let Ok(ours) = parse(&Frame::from_slice(&frame)) else { return Ok(()) };
        let vlan = theirs.vlan_ids().first().map_or(UNTAGGED, |id| id.value());
        prop_assert_eq!(ours.vlan, vlan);
        prop_assert!(theirs.net.is_some(), "they find no network header");
        match &theirs.net {
            Some(NetSlice::Ipv4(ip)) => {
                prop_assert_eq!(ours.family, Family::V4);
                prop_assert_eq!(ours.source, IpAddr::from(ip.header().source()).into());
                prop_assert_eq!(ours.destination, IpAddr::from(ip.header().destination()).into());
                prop_assert_eq!(ours.hop_limit, ip.header().ttl());
                prop_assert_eq!(ours.length, ip.header().total_len());
                prop_assert_eq!(ours.protocol, ip.header().protocol().0);
                let more = ip.header().more_fragments();
                let offset = ip.header().fragments_offset().value();
                prop_assert_eq!(ours.fragment == Fragment::Later, offset > 0);
                prop_assert_eq!(ours.fragment == Fragment::First, offset == 0 && more);
            }
            Some(NetSlice::Ipv6(ip)) => {
                prop_assert_eq!(ours.family, Family::V6);
                prop_assert_eq!(ours.source, IpAddr::from(ip.header().source()).into());
                prop_assert_eq!(ours.destination, IpAddr::from(ip.header().destination()).into());
                prop_assert_eq!(ours.hop_limit, ip.header().hop_limit());
                prop_assert_eq!(ours.fragment != Fragment::Whole, ip.is_payload_fragmented());
            }
            Some(NetSlice::Arp(_)) | None => prop_assert!(false, "they find no IP where a flow is found"),
        }
        transport_is_the_same(&ours, theirs.transport.as_ref())?;
    }
}

fn transport_is_the_same(
    ours: &Flow,
    theirs: Option<&TransportSlice<'_>>,
) -> Result<(), proptest::test_runner::TestCaseError> {
    match theirs {
        Some(TransportSlice::Tcp(tcp)) => {
            prop_assert_eq!(ours.protocol, 6);
            prop_assert_eq!(ours.source_port(), tcp.source_port());
            prop_assert_eq!(ours.destination_port(), tcp.destination_port());
            prop_assert_eq!(ours.tcp_flags & 0x02 != 0, tcp.syn());
            prop_assert_eq!(ours.tcp_flags & 0x10 != 0, tcp.ack());
            prop_assert_eq!(ours.tcp_flags & 0x04 != 0, tcp.rst());
            prop_assert_eq!(ours.tcp_flags & 0x01 != 0, tcp.fin());
            prop_assert_eq!(ours.tcp_flags & 0x80 != 0, tcp.cwr());
        }
        Some(TransportSlice::Udp(udp)) => {
            prop_assert_eq!(ours.protocol, 17);
            prop_assert_eq!(ours.source_port(), udp.source_port());
            prop_assert_eq!(ours.destination_port(), udp.destination_port());
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            prop_assert_eq!(
                (ours.protocol, ours.icmp_type, ours.icmp_code),
                (1, icmp.type_u8(), icmp.code_u8())
            );
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            prop_assert_eq!(
                (ours.protocol, ours.icmp_type, ours.icmp_code),
                (58, icmp.type_u8(), icmp.code_u8())
            );
        }
        // They read no SCTP, and no transport header of a first fragment.
        Some(TransportSlice::Igmp(_)) | None => {}
    }
    Ok(())
}
