//! A packet back into words.

use std::net::SocketAddr;

use foobar_common::{
    address::Address,
    flow::{Flow, Fragment, UNTAGGED, protocol},
};

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

fn endpoint(flow: &Flow, address: Address, port: u16) -> String {
    let address = address.ip(flow.family);
    if flow.has_ports() { SocketAddr::new(address, port).to_string() } else { address.to_string() }
}
