//! A packet back into words.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use foobar_common::flow::{Family, Flow, Fragment, UNTAGGED, protocol};

use crate::rules::names;

/// The packet as [`super::parse`] reads it, with everything that rules can ask for.
pub fn describe(flow: &Flow) -> String {
    let mut words = vec![
        names::name(&names::PROTOCOLS, flow.protocol)
            .map_or_else(|| flow.protocol.to_string(), str::to_owned),
        endpoint(flow, flow.source, flow.source_port()),
        ">".to_owned(),
        endpoint(flow, flow.destination, flow.destination_port()),
    ];
    match (flow.fragment, flow.protocol) {
        (Fragment::Later, _) => words.push("fragment".to_owned()),
        (_, protocol::TCP) => words.push(names::flag_names(flow.tcp_flags)),
        (_, protocol::ICMP | protocol::ICMPV6) => {
            words.push(names::icmp_name(flow.protocol, flow.icmp_type, Some(flow.icmp_code)));
        }
        _ => {}
    }
    if flow.fragment == Fragment::First {
        words.push("first-fragment".to_owned());
    }
    if flow.vlan != UNTAGGED {
        words.push(format!("vlan {}", flow.vlan));
    }
    words.push(format!("length {} hop-limit {}", flow.length, flow.hop_limit));
    words.join(" ")
}

fn endpoint(flow: &Flow, bytes: [u8; 16], port: u16) -> String {
    let [a, b, c, d, ..] = bytes;
    let address: IpAddr = match flow.family {
        Family::V4 => Ipv4Addr::new(a, b, c, d).into(),
        Family::V6 => Ipv6Addr::from(bytes).into(),
    };
    if flow.has_ports() { SocketAddr::new(address, port).to_string() } else { address.to_string() }
}
