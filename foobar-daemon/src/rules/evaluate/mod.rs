//! The plainest possible reading of a ruleset: one rule after the other, one condition after the other.
//!
//! Slow and obvious on purpose. The tables that the kernel matches with are compiled by other code, and what
//! both say of the same packet must be the same.

mod cookies;
mod known;
mod words;

use std::net::IpAddr;

use foobar_common::{
    flow::{Direction, Family, Flow, Fragment, UNTAGGED, protocol},
    verdict::{Reason, Verdict},
};

use ipnet::IpNet;

pub use self::{cookies::may_answer, known::Known};
use super::{
    log::OneIn,
    model::{
        AddressCondition, AddressMatch, Failsafe, FragmentPolicy, PortProtocol, Rule, Ruleset, ServicePort,
    },
};

/// What becomes of a packet, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evaluation<'r> {
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The id of the rule that decided, if the reason is [`Reason::Rule`].
    pub rule: Option<&'r str>,
}

/// A ban, and when it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainBan {
    /// The addresses that it reaches.
    pub prefix: IpNet,
    /// When it ends, by the clock that bans are measured by; `None`: it does not.
    pub until_ns: Option<u64>,
}

/// Judges a packet that comes in or goes out through the interface of this name, while nothing is banned and within the
/// limit of the rule that it meets. `packet` is what [`foobar_common::parse::parse`] says of its frame, `known` what is known
/// of its flow.
pub fn evaluate<'r>(
    ruleset: &'r Ruleset,
    packet: &Result<Flow, Reason>,
    direction: Direction,
    interface: &str,
    known: Known,
) -> Evaluation<'r> {
    evaluate_with_bans(ruleset, (&[], 0), packet, direction, interface, known)
}

/// Judges a packet that comes in or goes out at a time, while there are these bans.
pub fn evaluate_with_bans<'r>(
    ruleset: &'r Ruleset,
    (bans, now_ns): (&[PlainBan], u64),
    packet: &Result<Flow, Reason>,
    direction: Direction,
    interface: &str,
    known: Known,
) -> Evaluation<'r> {
    let policy = &ruleset.policy;
    let otherwise = policy.of(direction);
    let decided = |verdict, reason| Evaluation { verdict, reason, rule: None };

    let flow = match packet {
        Ok(flow) => flow,
        Err(Reason::Arp) if policy.infrastructure => return decided(Verdict::Accept, Reason::Infrastructure),
        Err(reason @ (Reason::Arp | Reason::NotIp | Reason::Llc)) => return decided(otherwise, *reason),
        Err(malformed) => return decided(policy.malformed, *malformed),
    };
    if policy.infrastructure && is_infrastructure(flow, direction) {
        return decided(Verdict::Accept, Reason::Infrastructure);
    }
    if is_failsafe(&ruleset.failsafe, flow, direction) {
        return decided(Verdict::Accept, Reason::Failsafe);
    }
    if direction == Direction::In && is_banned(&ruleset.failsafe, bans, now_ns, source_of(flow)) {
        return decided(Verdict::Drop, Reason::Ban);
    }
    if let (FragmentPolicy::Always(verdict), Fragment::Later) = (policy.fragments, flow.fragment) {
        return decided(verdict, Reason::Fragments);
    }
    if policy.replies && known.is_answer {
        return decided(Verdict::Accept, Reason::Replies);
    }
    for rule in &ruleset.rules {
        if unmet(ruleset, rule, flow, direction, interface, known).is_none() {
            return Evaluation { verdict: rule.action, reason: Reason::Rule, rule: Some(rule.id.as_str()) };
        }
    }
    decided(otherwise, Reason::Policy)
}

/// Of how many packets that fare so one is told of: what the rule that was met says, else what the policy says of those that
/// go no further. Within the limit of that rule.
pub fn log(ruleset: &Ruleset, evaluation: &Evaluation<'_>) -> Option<OneIn> {
    let Evaluation { verdict, reason: _, rule } = evaluation;
    let own = rule.and_then(|id| ruleset.rules.iter().find(|rule| rule.id == id)?.log);
    match own {
        Some(own) => Some(own),
        None if verdict.is_refusal() => ruleset.policy.log_drops,
        None => None,
    }
}

/// A condition of a rule, in the order in which they are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `direction`
    Direction,
    /// `interface`
    Interface,
    /// `vlan`
    Vlan,
    /// `source`
    Source,
    /// `destination`
    Destination,
    /// `protocol`
    Protocol,
    /// `fragment`
    Fragment,
    /// `source_port`
    SourcePort,
    /// `destination_port`
    DestinationPort,
    /// `tcp_flags`
    TcpFlags,
    /// `icmp`
    Icmp,
    /// `length`
    Length,
    /// `state`
    State,
}

/// The first condition of the rule that the packet does not meet; `None` if it meets the rule.
pub fn unmet(
    ruleset: &Ruleset,
    rule: &Rule,
    flow: &Flow,
    direction: Direction,
    interface: &str,
    known: Known,
) -> Option<Condition> {
    if rule.direction != direction {
        return Some(Condition::Direction);
    }
    if rule.interface.as_ref().is_some_and(|names| !names.contains(interface)) {
        return Some(Condition::Interface);
    }
    if rule.vlan.as_ref().is_some_and(|ids| flow.vlan == UNTAGGED || !ids.contains(&flow.vlan)) {
        return Some(Condition::Vlan);
    }
    if rule.source.as_ref().is_some_and(|source| !accepts_address(ruleset, source, source_of(flow))) {
        return Some(Condition::Source);
    }
    let destination = rule.destination.as_ref();
    if destination.is_some_and(|condition| !accepts_address(ruleset, condition, destination_of(flow))) {
        return Some(Condition::Destination);
    }
    if rule.protocol.as_ref().is_some_and(|numbers| !numbers.contains(&flow.protocol)) {
        return Some(Condition::Protocol);
    }
    let later = flow.fragment == Fragment::Later;
    if rule.fragment.is_some_and(|wanted| wanted != later) {
        return Some(Condition::Fragment);
    }
    let ports = ports_of(flow);
    if let Some(ranges) = &rule.source_port
        && !ports.is_some_and(|ports| ranges.iter().any(|range| range.contains(&ports.source)))
    {
        return Some(Condition::SourcePort);
    }
    if let Some(ranges) = &rule.destination_port
        && !ports.is_some_and(|ports| ranges.iter().any(|range| range.contains(&ports.destination)))
    {
        return Some(Condition::DestinationPort);
    }
    if let Some(flags) = rule.tcp_flags
        && !tcp_flags_of(flow).is_some_and(|byte| byte & flags.set == flags.set && byte & flags.clear == 0)
    {
        return Some(Condition::TcpFlags);
    }
    if let Some(messages) = &rule.icmp
        && !messages.iter().any(|message| {
            !later
                && message.protocol == flow.protocol
                && message.kind == flow.icmp_type
                && message.code.is_none_or(|code| code == flow.icmp_code)
        })
    {
        return Some(Condition::Icmp);
    }
    if rule.length.as_ref().is_some_and(|range| !range.contains(&flow.length)) {
        return Some(Condition::Length);
    }
    if rule.state.as_ref().is_some_and(|states| !states.contains(&known.state)) {
        return Some(Condition::State);
    }
    None
}

/// Neighbour discovery (RFC 4861 section 11.2: hop limit 255, code 0), and what a DHCP client sends and is answered
/// (RFC 2131, RFC 8415), if whole.
fn is_infrastructure(flow: &Flow, direction: Direction) -> bool {
    let neighbour_discovery = flow.family == Family::V6
        && flow.protocol == protocol::ICMPV6
        && (133..=136).contains(&flow.icmp_type)
        && flow.icmp_code == 0
        && flow.hop_limit == 255;
    let (server, client) = match flow.family {
        Family::V4 => (67, 68),
        Family::V6 => (547, 546),
    };
    let dhcp_ports = match direction {
        Direction::In => Ports { source: server, destination: client },
        Direction::Out => Ports { source: client, destination: server },
    };
    let dhcp = flow.protocol == protocol::UDP && ports_of(flow) == Some(dhcp_ports);
    flow.fragment == Fragment::Whole && (neighbour_discovery || dhcp)
}

/// What comes from a failsafe peer or to a failsafe port, and what goes back.
fn is_failsafe(failsafe: &Failsafe, flow: &Flow, direction: Direction) -> bool {
    let Failsafe { ports, peers, never_ban: _ } = failsafe;
    let local_port = |ports: Ports| match direction {
        Direction::In => ports.destination,
        Direction::Out => ports.source,
    };
    let peer = peer_of(flow, direction);
    let at_port = |port: &ServicePort| {
        let number = match port.protocol {
            PortProtocol::Tcp => protocol::TCP,
            PortProtocol::Udp => protocol::UDP,
            PortProtocol::Sctp => protocol::SCTP,
        };
        number == flow.protocol && ports_of(flow).map(local_port) == Some(port.port)
    };
    ports.iter().any(at_port) || peers.iter().any(|prefix| prefix.contains(&peer))
}

/// Whether some ban reaches an address, and nothing says that none does.
fn is_banned(failsafe: &Failsafe, bans: &[PlainBan], now_ns: u64, source: IpAddr) -> bool {
    let holds = |ban: &PlainBan| match ban.until_ns {
        Some(until_ns) => now_ns < until_ns,
        None => true,
    };
    let is_reached = bans.iter().any(|ban| holds(ban) && ban.prefix.contains(&source));
    is_reached && !failsafe.never_ban.iter().any(|prefix| prefix.contains(&source))
}

/// The group of peers that the other end of a packet is in: of the prefixes with its address, the longest one says so.
pub fn group<'r>(ruleset: &'r Ruleset, flow: &Flow, direction: Direction) -> Option<&'r str> {
    let peer = peer_of(flow, direction);
    let prefixes =
        ruleset.peers.iter().flat_map(|(name, list)| list.iter().map(move |prefix| (prefix, name)));
    let containing = prefixes.filter(|(prefix, _)| prefix.contains(&peer));
    containing.max_by_key(|(prefix, _)| prefix.prefix_len()).map(|(_, name)| name.as_str())
}

/// Where a packet comes from, or goes to.
fn peer_of(flow: &Flow, direction: Direction) -> IpAddr {
    match direction {
        Direction::In => source_of(flow),
        Direction::Out => destination_of(flow),
    }
}

fn accepts_address(ruleset: &Ruleset, condition: &AddressCondition, address: IpAddr) -> bool {
    let is_in = |one: &AddressMatch| match one {
        AddressMatch::Prefix(prefix) => prefix.contains(&address),
        AddressMatch::Set(name) => ruleset
            .sets
            .get(name)
            .is_some_and(|set| set.entries.iter().any(|prefix| prefix.contains(&address))),
    };
    let AddressCondition { include, exclude } = condition;
    (include.is_empty() || include.iter().any(is_in)) && !exclude.iter().any(is_in)
}

/// The ports of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ports {
    source: u16,
    destination: u16,
}

fn ports_of(flow: &Flow) -> Option<Ports> {
    let known = [protocol::TCP, protocol::UDP, protocol::SCTP].contains(&flow.protocol);
    (known && flow.fragment != Fragment::Later).then(|| Ports {
        source: u16::from_be_bytes(flow.source_port),
        destination: u16::from_be_bytes(flow.destination_port),
    })
}

fn tcp_flags_of(flow: &Flow) -> Option<u8> {
    (flow.protocol == protocol::TCP && flow.fragment != Fragment::Later).then_some(flow.tcp_flags)
}

fn source_of(flow: &Flow) -> IpAddr {
    flow.source.ip(flow.family)
}

fn destination_of(flow: &Flow) -> IpAddr {
    flow.destination.ip(flow.family)
}

#[cfg(test)]
mod tests;
