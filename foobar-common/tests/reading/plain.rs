//! The plainest possible reading of a frame, from the standards alone: slow, obvious, and without a line of the
//! parser that it is held against.

use std::net::IpAddr;

use foobar_common::{
    address::Address,
    flow::{Family, Flow, Fragment, UNTAGGED},
    verdict::Reason,
};

/// The flow in a frame, or why there is none.
pub(crate) fn read(frame: &[u8]) -> Result<Flow, Reason> {
    let (_, rest) = frame.split_at_checked(12).ok_or(Reason::TruncatedLink)?;
    let (mut kind, mut rest) = rest.split_at_checked(2).ok_or(Reason::TruncatedLink)?;
    let mut tags = Vec::new();
    while is_tag(kind) && tags.len() < 2 {
        let (control, behind) = rest.split_at_checked(2).ok_or(Reason::TruncatedLink)?;
        tags.push(number(control) % 4096);
        (kind, rest) = behind.split_at_checked(2).ok_or(Reason::TruncatedLink)?;
    }
    let mut flow = match number(kind) {
        0x0800 => ipv4(rest),
        0x86dd => ipv6(rest),
        0x0806 => Err(Reason::Arp),
        _ if is_tag(kind) => Err(Reason::VlanDepth),
        0..=0x05ff => Err(Reason::Llc),
        _ => Err(Reason::NotIp),
    }?;
    flow.vlan = tags.first().map_or(UNTAGGED, |id| u16::try_from(*id).unwrap());
    Ok(flow)
}

fn is_tag(kind: &[u8]) -> bool {
    [0x8100, 0x88a8].contains(&number(kind))
}

/// Big-endian bytes as a number.
fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number * 256 + usize::from(*byte))
}

/// RFC 791 section 3.1.
fn ipv4(bytes: &[u8]) -> Result<Flow, Reason> {
    if bytes.len() < 20 {
        return Err(Reason::TruncatedNetwork);
    }
    let (version, words) = (bytes[0] / 16, usize::from(bytes[0] % 16));
    let total = number(&bytes[2..4]);
    if version != 4 {
        Err(Reason::IpVersion)
    } else if words < 5 {
        Err(Reason::IpHeaderLength)
    } else if total < words * 4 || total > bytes.len() {
        Err(Reason::IpLength)
    } else {
        let (_, payload) = bytes[..total].split_at(words * 4);
        let position = number(&bytes[6..8]);
        let (more, offset) = (position / 0x2000 % 2 == 1, position % 0x2000 * 8);
        if offset + total > 65_535 {
            return Err(Reason::FragmentOverflow);
        }
        let protocol = bytes[9];
        if protocol == 6 && [8, 16].contains(&offset) {
            return Err(Reason::TinyFragment);
        }
        let mut flow = empty(Family::V4, protocol, total);
        flow.fragment = part(offset, more);
        flow.hop_limit = bytes[8];
        flow.source = ipv4_address(&bytes[12..16]);
        flow.destination = ipv4_address(&bytes[16..20]);
        transport(flow, payload)
    }
}

/// RFC 8200 section 3, RFC 2675 for payload length zero.
fn ipv6(bytes: &[u8]) -> Result<Flow, Reason> {
    if bytes.len() < 40 {
        return Err(Reason::TruncatedNetwork);
    }
    if bytes[0] / 16 != 6 {
        return Err(Reason::IpVersion);
    }
    let (header, payload) = bytes.split_at(40);
    let length = number(&header[4..6]);
    let is_jumbogram = length == 0 && header[6] == 0;
    let length = if is_jumbogram { payload.len() } else { length };
    let payload = payload.get(..length).ok_or(Reason::IpLength)?;
    let mut flow = empty(Family::V6, header[6], 40 + length);
    flow.hop_limit = header[7];
    flow.source = ipv6_address(&header[8..24]);
    flow.destination = ipv6_address(&header[24..40]);
    behind_headers(flow, payload, 0, length)
}

/// Reads the extension headers at the beginning of `bytes`, `read` of which were read before. `payload` is the
/// payload length of the packet.
fn behind_headers(mut flow: Flow, bytes: &[u8], read: usize, payload: usize) -> Result<Flow, Reason> {
    if ![0, 43, 44, 51, 60].contains(&flow.protocol) {
        return transport(flow, bytes);
    }
    if read == 8 {
        return Err(Reason::ExtensionHeaders);
    }
    let is_first = flow.fragment == Fragment::First;
    let cut = if is_first { Reason::TinyFragment } else { Reason::TruncatedNetwork };
    if bytes.len() < 8 {
        return Err(cut);
    }
    let kind = flow.protocol;
    flow.protocol = bytes[0];
    let length = match kind {
        44 => 8,
        51 => usize::from(bytes[1]) * 4 + 8,
        _ => usize::from(bytes[1]) * 8 + 8,
    };
    if kind == 44 {
        let (offset, more) = (number(&bytes[2..4]) / 8 * 8, bytes[3] % 2 == 1);
        if payload - 8 + offset > 65_535 {
            return Err(Reason::FragmentOverflow);
        }
        if flow.protocol == 6 && [8, 16].contains(&offset) {
            return Err(Reason::TinyFragment);
        }
        let part = part(offset, more);
        if !(is_first && part == Fragment::Whole) {
            flow.fragment = part;
        }
        if part == Fragment::Later {
            return Ok(flow);
        }
    }
    let behind = bytes.get(length..).ok_or(cut)?;
    behind_headers(flow, behind, read + 1, payload)
}

fn transport(mut flow: Flow, bytes: &[u8]) -> Result<Flow, Reason> {
    if flow.fragment == Fragment::Later {
        return Ok(flow);
    }
    let is_first = flow.fragment == Fragment::First;
    let smallest = match flow.protocol {
        6 => 20,
        17 => 8,
        132 => 12,
        1 | 58 => 4,
        _ => 0,
    };
    if bytes.len() < smallest {
        return Err(if is_first { Reason::TinyFragment } else { Reason::TruncatedTransport });
    }
    if [6, 17, 132].contains(&flow.protocol) {
        flow.source_port.copy_from_slice(&bytes[..2]);
        flow.destination_port.copy_from_slice(&bytes[2..4]);
    }
    match flow.protocol {
        6 => {
            flow.tcp_flags = bytes[13];
            match usize::from(bytes[12] / 16) * 4 {
                0..20 => return Err(Reason::TransportLength),
                length if length <= bytes.len() => {}
                _ if is_first => return Err(Reason::TinyFragment),
                _ => return Err(Reason::TransportLength),
            }
        }
        17 => match number(&bytes[4..6]) {
            0 if bytes.len() > 65_535 => {}
            0..8 => return Err(Reason::TransportLength),
            length if length > bytes.len() && !is_first => return Err(Reason::TransportLength),
            _ => {}
        },
        1 | 58 => (flow.icmp_type, flow.icmp_code) = (bytes[0], bytes[1]),
        _ => {}
    }
    Ok(flow)
}

fn part(offset: usize, more: bool) -> Fragment {
    if offset > 0 {
        Fragment::Later
    } else if more {
        Fragment::First
    } else {
        Fragment::Whole
    }
}

fn ipv4_address(bytes: &[u8]) -> Address {
    IpAddr::from(<[u8; 4]>::try_from(bytes).unwrap()).into()
}

fn ipv6_address(bytes: &[u8]) -> Address {
    IpAddr::from(<[u8; 16]>::try_from(bytes).unwrap()).into()
}

fn empty(family: Family, protocol: u8, length: usize) -> Flow {
    Flow {
        family,
        protocol,
        fragment: Fragment::Whole,
        tcp_flags: 0,
        icmp_type: 0,
        icmp_code: 0,
        hop_limit: 0,
        source: Address::NONE,
        destination: Address::NONE,
        source_port: [0; 2],
        destination_port: [0; 2],
        vlan: UNTAGGED,
        length: u16::try_from(length).unwrap_or(u16::MAX),
    }
}
