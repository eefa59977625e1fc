//! The plainest reading of what a rejected packet is answered with: etherparse writes the answer.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{
    Icmpv4Type, Icmpv6Type, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader, icmpv4, icmpv6,
};
use foobar_common::{
    flow::{Family, Fragment, UNTAGGED, protocol},
    frame::Frame,
    parse::{self, Headers},
};

/// What a frame is answered with that is rejected, whatever the rate; `None` if it must not be answered. `sent`: the answer
/// goes to a card, which wants 60 bytes if the frame had as many.
pub(crate) fn answer(frame: &[u8], sent: bool) -> Option<Vec<u8>> {
    let mut headers = Headers::NONE;
    let window = Frame::from_slice(frame);
    parse::network(&window, UNTAGGED, &mut headers).ok()?;
    parse::transport(&window, &mut headers).ok()?;
    let flow = headers.flow;
    let network = network_at(frame);
    let ip = &frame[network..(headers.transport + headers.left) as usize];

    let group = |address: &[u8]| address[0] & 1 == 1;
    if group(&frame[..6]) || group(&frame[6..12]) || flow.fragment == Fragment::Later {
        return None;
    }
    let link = [&frame[6..12], &frame[..6], &frame[12..network]].concat();
    let segment = &frame[headers.transport as usize..];
    match flow.family {
        Family::V4 => {
            let [source, destination] = [16, 12].map(|at| <[u8; 4]>::try_from(&ip[at..at + 4]).unwrap());
            if ![source, destination].iter().all(|address| is_host_v4((*address).into())) {
                return None;
            }
            let answer = |number, body: Vec<u8>| {
                let length = u16::try_from(body.len()).unwrap();
                let mut header = Ipv4Header::new(length, 64, number, source, destination).unwrap();
                header.dont_fragment = true;
                header.header_checksum = header.calc_header_checksum();
                [link.clone(), header.to_bytes().to_vec(), body].concat()
            };
            match flow.protocol {
                protocol::TCP => {
                    let mut reset = reset(&headers, segment)?;
                    let header = Ipv4Header::new(20, 64, IpNumber::TCP, source, destination).unwrap();
                    reset.checksum = reset.calc_checksum_ipv4(&header, &[]).unwrap();
                    Some(padded(answer(IpNumber::TCP, reset.to_bytes().to_vec()), frame, sent))
                }
                number if is_error(number, segment) => None,
                _ => {
                    let quote = &ip[..ip.len().min(548)];
                    let kind =
                        Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::FilterProhibited);
                    let message = etherparse::Icmpv4Header::with_checksum(kind, quote);
                    Some(answer(IpNumber::ICMP, [&message.to_bytes()[..], quote].concat()))
                }
            }
        }
        Family::V6 => {
            let [source, destination] = [24, 8].map(|at| <[u8; 16]>::try_from(&ip[at..at + 16]).unwrap());
            if ![source, destination].iter().all(|address| is_host_v6((*address).into())) {
                return None;
            }
            let header = |number, length: usize| Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: u16::try_from(length).unwrap(),
                next_header: number,
                hop_limit: 64,
                source,
                destination,
            };
            let answer = |number, body: Vec<u8>| {
                [link.clone(), header(number, body.len()).to_bytes().to_vec(), body].concat()
            };
            match flow.protocol {
                protocol::TCP => {
                    let mut reset = reset(&headers, segment)?;
                    reset.checksum = reset.calc_checksum_ipv6(&header(IpNumber::TCP, 20), &[]).unwrap();
                    Some(padded(answer(IpNumber::TCP, reset.to_bytes().to_vec()), frame, sent))
                }
                number if is_error(number, segment) => None,
                _ => {
                    let quote = &ip[..ip.len().min(1_232)];
                    let kind = Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Prohibited);
                    let message = kind.to_header(source, destination, quote).unwrap();
                    Some(answer(IpNumber::IPV6_ICMP, [&message.to_bytes()[..], quote].concat()))
                }
            }
        }
    }
}

fn network_at(frame: &[u8]) -> usize {
    let mut at = 12;
    while [[0x81, 0x00], [0x88, 0xa8]].contains(&[frame[at], frame[at + 1]]) {
        at += 4;
    }
    at + 2
}

fn is_host_v4(address: Ipv4Addr) -> bool {
    !(address.octets()[0] == 0
        || address.is_loopback()
        || address.is_multicast()
        || address.octets()[0] >= 240)
}

fn is_host_v6(address: Ipv6Addr) -> bool {
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast())
}

/// Whether a message of a protocol is an ICMP error, or not known to be none.
fn is_error(number: u8, message: &[u8]) -> bool {
    match (number, message.first()) {
        (protocol::ICMP, Some(kind)) => ![0, 8, 13, 14, 15, 16, 17, 18].contains(kind),
        (protocol::ICMPV6, Some(kind)) => *kind < 128 || *kind == 137,
        _ => false,
    }
}

/// RFC 9293 section 3.10.7.1, "if the state is CLOSED".
fn reset(headers: &Headers, segment: &[u8]) -> Option<TcpHeader> {
    let number = |at: usize| u32::from_be_bytes(segment[at..at + 4].try_into().unwrap());
    let flags = segment[13];
    if flags & 4 != 0 || headers.flow.fragment != Fragment::Whole {
        return None;
    }
    let ports = [headers.flow.destination_port(), headers.flow.source_port()];
    let mut reset = TcpHeader::new(ports[0], ports[1], 0, 0);
    reset.rst = true;
    if flags & 16 != 0 {
        reset.sequence_number = number(8);
    } else {
        let header = u32::from(segment[12] >> 4) * 4;
        let length = headers.left - header + u32::from(flags & 2 != 0) + u32::from(flags & 1 != 0);
        reset.ack = true;
        reset.acknowledgment_number = number(4).wrapping_add(length);
    }
    Some(reset)
}

fn padded(mut answer: Vec<u8>, frame: &[u8], sent: bool) -> Vec<u8> {
    if sent && frame.len() >= 60 && answer.len() < 60 {
        answer.resize(60, 0);
    }
    answer
}
