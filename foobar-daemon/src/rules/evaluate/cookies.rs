//! SYNs that may be answered with cookies.

use foobar_common::{
    flow::{Direction, Flow, Fragment, protocol},
    syn_cookies::CookieMode,
    verdict::{Reason, Verdict},
};

use super::{Evaluation, destination_of, ports_of, source_of};
use crate::rules::model::{PortProtocol, Ruleset, Service, ServicePort};

/// FIN, SYN, RST and ACK (RFC 9293 section 3.1).
const LOOKED_AT: u8 = 0x17;
const SYN: u8 = 0x02;

/// The service that may answer a packet which got this evaluation, in the server's stead. Whether it does, the packet does not
/// tell: somebody has to listen, the kernel has to give a cookie, and with `auto` many SYNs have to come.
pub fn may_answer<'r>(
    ruleset: &'r Ruleset,
    packet: &Result<Flow, Reason>,
    direction: Direction,
    evaluation: &Evaluation<'_>,
) -> Option<&'r Service> {
    let flow = packet.as_ref().ok()?;
    let is_syn = flow.protocol == protocol::TCP && flow.tcp_flags & LOOKED_AT == SYN;
    let is_whole = flow.fragment == Fragment::Whole;
    let is_between_two = !source_of(flow).is_multicast() && !destination_of(flow).is_multicast();
    if direction != Direction::In
        || evaluation.verdict != Verdict::Accept
        || !(is_syn && is_whole && is_between_two)
    {
        return None;
    }
    let port = ServicePort { protocol: PortProtocol::Tcp, port: ports_of(flow)?.destination };
    let mut services = ruleset.services.iter();
    services.find(|service| service.syn_cookies.mode != CookieMode::Off && service.ports.contains(&port))
}
