//! Checksums against those of another implementation.

use std::net::IpAddr;

use etherparse::{Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader, ip_number};
use foobar_common::{address::Address, checksum::Sum, flow::Family};
use proptest::prelude::*;

/// Bytes as words of memory; a last word that is not full ends in zeros.
fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks(4).map(|chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        u32::from_ne_bytes(word)
    })
}

proptest! {
    #[test]
    fn of_an_ip_header(source: [u8; 4], destination: [u8; 4], length in 0..1_480_u16, ttl: u8) {
        let header = Ipv4Header::new(length, ttl, ip_number::TCP, source, destination).expect("is short");
        let mut bytes = header.to_bytes();
        bytes[10..12].fill(0);
        let sum = words(&bytes).fold(Sum::NONE, Sum::word);
        prop_assert_eq!(sum.checksum().to_ne_bytes(), header.calc_header_checksum().to_be_bytes());
    }

    #[test]
    fn of_a_segment(
        addresses: ([u8; 4], [u8; 4]),
        wide: ([u8; 16], [u8; 16]),
        ports: (u16, u16),
        sequence: u32,
        payload in prop::collection::vec(any::<u8>(), 0..1_500),
    ) {
        let tcp = TcpHeader::new(ports.0, ports.1, sequence, 1_000);
        let segment = [&tcp.to_bytes()[..], &payload].concat();
        let length = u32::try_from(segment.len()).expect("is short");
        let sum = |addresses, family| {
            let sum = Sum::NONE.pseudo_header(addresses, family, 6, length);
            words(&segment).fold(sum, Sum::word).checksum().to_ne_bytes()
        };

        let v4 = [addresses.0, addresses.1].map(|address| Address::from(IpAddr::from(address)));
        let ip = Ipv4Header::new(0, 64, ip_number::TCP, addresses.0, addresses.1).expect("is short");
        let wanted = tcp.calc_checksum_ipv4(&ip, &payload).expect("is short").to_be_bytes();
        prop_assert_eq!(sum(v4, Family::V4), wanted);

        let v6 = [wide.0, wide.1].map(|address| Address::from(IpAddr::from(address)));
        let ip = Ipv6Header {
            traffic_class: 0,
            flow_label: Ipv6FlowLabel::ZERO,
            payload_length: 0,
            next_header: ip_number::TCP,
            hop_limit: 64,
            source: wide.0,
            destination: wide.1,
        };
        let wanted = tcp.calc_checksum_ipv6(&ip, &payload).expect("is short").to_be_bytes();
        prop_assert_eq!(sum(v6, Family::V6), wanted);
    }
}

#[test]
fn carries_are_added_until_there_are_none() {
    let sum = (0..20_000).fold(Sum::NONE, |sum, _| sum.word(u32::MAX));
    assert_eq!(sum.checksum(), 0);
    assert_eq!(Sum::NONE.checksum(), u16::MAX);
    assert_eq!(Sum::NONE.word(1).word(u32::MAX).checksum(), !1);
}
