//! Packets without which a network does not work at all, whatever the rules say.

use foobar_common::flow::{Direction, Family, Flow, Fragment, protocol};

/// Neighbour discovery messages carry 255 here, so that none can come from another network (RFC 4861
/// section 11.2).
const HOP_LIMIT_ON_LINK: u8 = 255;
/// Router solicitation (133), router advertisement, neighbour solicitation, neighbour advertisement (136).
const ROUTER_SOLICITATION: u8 = 133;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// Whether the packet is IPv6 neighbour discovery (RFC 4861), or of DHCP from or to this client (RFC 2131, 8415).
/// ARP never gets this far: it has no flow.
#[inline(always)]
pub(crate) fn accepts(flow: &Flow, direction: Direction) -> bool {
    if !matches!(flow.fragment, Fragment::Whole) {
        return false;
    }
    // The server's port, and the client's.
    let ends = match direction {
        Direction::In => (flow.source_port(), flow.destination_port()),
        Direction::Out => (flow.destination_port(), flow.source_port()),
    };
    match (flow.family, flow.protocol) {
        (Family::V6, protocol::ICMPV6) => {
            flow.hop_limit == HOP_LIMIT_ON_LINK
                && flow.icmp_code == 0
                && flow.icmp_type >= ROUTER_SOLICITATION
                && flow.icmp_type <= NEIGHBOUR_ADVERTISEMENT
        }
        (Family::V4, protocol::UDP) => ends == (67, 68),
        (Family::V6, protocol::UDP) => ends == (547, 546),
        _ => false,
    }
}
