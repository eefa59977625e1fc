//! The answer to a SYN, against the parser and a plain sum.

use std::net::IpAddr;

use foobar_common::{
    address::Address,
    flow::{Family, Flow, protocol},
    frame::Frame,
    parse,
    syn_cookies::{ANSWER_WORDS, Answer, NO_SCALE, SynOffer, SynOptions},
};

const OFFER: SynOffer = SynOffer { stamps: 1, sack: 1, scale: 10, window: 65_535, forwards: 0 };
const LINUX: SynOptions = {
    let mut options = SynOptions::new();
    (options.scale, options.sack, options.stamps) = (7, 1, 1);
    options.stamp = u32::from_ne_bytes([1, 2, 3, 4]);
    options
};

fn syn(family: Family) -> Flow {
    let (source, destination) = match family {
        Family::V4 => ("192.0.2.7", "198.51.100.1"),
        Family::V6 => ("2001:db8:0:1:2:3:4:5", "2001:db8:9:8:7:6:5:4"),
    };
    let [source, destination] =
        [source, destination].map(|address| Address::from(address.parse::<IpAddr>().unwrap()));
    Flow {
        source,
        destination,
        source_port: 40_000_u16.to_be_bytes(),
        destination_port: 443_u16.to_be_bytes(),
        family,
        protocol: protocol::TCP,
        tcp_flags: 2,
        ..Flow::EMPTY
    }
}

/// The bytes of an answer from its IP header on.
fn bytes(flow: &Flow, options: &SynOptions, offer: &SynOffer) -> ([u8; 80], usize) {
    let answer = Answer {
        flow,
        sequence: u32::MAX,
        cookie: 0xdead_beef,
        mtu: 1_500,
        now: 1_000_000_007_000_000,
        options,
        offer,
    };
    let mut words = [0; ANSWER_WORDS];
    answer.write(&mut words);
    let mut bytes = [0; 80];
    for (place, word) in bytes.chunks_mut(4).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    (bytes, answer.length() as usize)
}

/// The sum of 16-bit words, plainly.
fn sum(bytes: impl IntoIterator<Item = u8>) -> u16 {
    let mut sum = 0_u32;
    for (place, byte) in bytes.into_iter().enumerate() {
        sum += u32::from(byte) << if place % 2 == 0 { 8 } else { 0 };
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

#[test]
fn an_answer_is_a_syn_ack_with_right_sums_that_goes_back() {
    for family in [Family::V4, Family::V6] {
        for (offer, options, tcp_length) in
            [(OFFER, LINUX, 40), (SynOffer { stamps: 0, ..OFFER }, LINUX, 24), (OFFER, SynOptions::new(), 24)]
        {
            let flow = syn(family);
            let (bytes, length) = bytes(&flow, &options, &offer);
            let mut frame = [0; 94];
            frame[12..14].copy_from_slice(&match family {
                Family::V4 => [8, 0],
                Family::V6 => [0x86, 0xdd],
            });
            frame[14..].copy_from_slice(&bytes);
            let read = parse::parse(&Frame::from_slice(&frame[..14 + length])).unwrap();
            assert_eq!((read.source, read.destination), (flow.destination, flow.source));
            assert_eq!((read.source_port, read.destination_port), (flow.destination_port, flow.source_port));
            assert_eq!((read.tcp_flags, read.hop_limit), (0x12, 64));
            let (network, addresses) = match family {
                Family::V4 => (20, 12..20),
                Family::V6 => (40, 8..40),
            };
            assert_eq!(length, network + tcp_length);
            let tcp = &bytes[network..length];
            let length_byte = u8::try_from(tcp_length).unwrap();
            assert_eq!(tcp[4..12], [0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 0], "numbers wrap");
            assert_eq!(tcp[12], (length_byte / 4) << 4);
            let pseudo = [0, 6, 0, length_byte];
            let summed = bytes[addresses].iter().chain(&pseudo).chain(tcp).copied();
            assert_eq!(sum(summed), 0xffff);
            if family == Family::V4 {
                assert_eq!(sum(bytes[..20].iter().copied()), 0xffff);
            }
            let largest = if family == Family::V4 { 1_460_u16 } else { 1_440 };
            assert_eq!(tcp[20..24], [[2, 4], largest.to_be_bytes()].concat()[..]);
        }
    }
}

#[test]
fn options_are_kept_as_far_as_the_kernel_takes_them_back() {
    let options = |options: SynOptions, offer: SynOffer| {
        let (bytes, length) = bytes(&syn(Family::V4), &options, &offer);
        bytes[44..length].to_vec()
    };
    let now = 1_000_000_007_u64;
    let stamp = |low: u64| {
        let stamp = now / 64 * 64 + low;
        u32::try_from(if stamp > now { stamp - 64 } else { stamp }).unwrap().to_be_bytes()
    };
    let made = |sack: [u8; 2], low, scale: [u8; 4]| {
        [&sack[..], &[8, 10], &stamp(low), &[1, 2, 3, 4], &scale].concat()
    };
    assert_eq!(options(LINUX, OFFER), made([4, 2], 7 | 16, [1, 3, 3, 10]));
    assert_eq!(options(LINUX, SynOffer { sack: 0, ..OFFER }), made([1, 1], 7, [1, 3, 3, 10]));
    let unscaled = SynOffer { scale: NO_SCALE, ..OFFER };
    assert_eq!(options(LINUX, unscaled), made([4, 2], 15 | 16, [1, 1, 1, 1]));
    let mut plain = LINUX;
    (plain.scale, plain.sack) = (NO_SCALE, 0);
    assert_eq!(options(plain, OFFER), made([1, 1], 15, [1, 1, 1, 1]));
}
