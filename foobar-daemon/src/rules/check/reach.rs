//! Whether packets get where they are wanted.

use std::collections::BTreeSet;

use foobar_common::{flow::Direction, tracking::State, verdict::Verdict};

use super::{
    Finding, Kind, Severity, Subject,
    order::candidates,
    search,
    steps::{Steps, from_port, to_port},
    work::{TooMuch, Work},
};
use crate::rules::model::{FlagCondition, PortProtocol, Rule, Ruleset, ServicePort};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const SYN_ACK: u8 = SYN | ACK;
/// Ports that Linux gives to connections it opens (`net.ipv4.ip_local_port_range`).
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// What is spent on one question.
const WORK: u64 = 100_000_000;

/// What is to be known of the packets of a ruleset in one direction: rules that match them, in the order in which
/// [`check`] asks.
pub(super) fn questions(ruleset: &Ruleset, direction: Direction) -> Vec<Rule> {
    match direction {
        Direction::In => questions_in(ruleset),
        // What answers goes out.
        Direction::Out if ruleset.policy.replies => Vec::new(),
        Direction::Out => {
            ruleset.services.iter().flat_map(|service| &service.ports).map(|port| back(*port)).collect()
        }
    }
}

fn questions_in(ruleset: &Ruleset) -> Vec<Rule> {
    let ports = ruleset.services.iter().flat_map(|service| &service.ports);
    let packets = ports.flat_map(|port| [to(*port, SYN, State::New), to(*port, ACK, State::Established)]);
    packets.chain(ANSWERS.map(|(_, protocol, port)| answer(protocol, port))).collect()
}

/// Looks at services, and at answers to this server. The steps end with [`questions`].
pub(super) fn check(ruleset: &Ruleset, direction: Direction, steps: &Steps<'_>, findings: &mut Vec<Finding>) {
    match direction {
        Direction::In => check_in(ruleset, steps, findings),
        Direction::Out if ruleset.policy.replies => {}
        Direction::Out => check_out(ruleset, steps, findings),
    }
}

/// Whether what services answer gets out.
fn check_out(ruleset: &Ruleset, steps: &Steps<'_>, findings: &mut Vec<Finding>) {
    let ports =
        ruleset.services.iter().flat_map(|service| service.ports.iter().map(move |port| (service, *port)));
    for (question, (service, port)) in (steps.rules.end..).zip(ports) {
        let is_failsafe = ruleset.failsafe.ports.contains(&port) || !ruleset.failsafe.peers.is_empty();
        if is_failsafe || is_some_accepted(steps, question).unwrap_or(true) {
            continue;
        }
        findings.push(Finding {
            severity: Severity::Warning,
            kind: Kind::Unreachable,
            subject: Subject::Service(service.name.clone()),
            message: format!("nobody gets an answer from {port}: all that goes out from it is dropped"),
            help: format!(
                "add a rule with action = \"accept\", direction = \"out\", protocol = \"{}\", source_port = {}",
                port.protocol.label(),
                port.port
            ),
        });
    }
}

fn check_in(ruleset: &Ruleset, steps: &Steps<'_>, findings: &mut Vec<Finding>) {
    let mut question = steps.rules.end;
    let mut passes = || {
        question += 1;
        is_some_accepted(steps, question - 1).unwrap_or(true)
    };
    for service in &ruleset.services {
        for port in &service.ports {
            let (first, later) = (passes(), passes());
            let subject = Subject::Service(service.name.clone());
            findings.extend(unreachable(ruleset, *port, first, later, subject));
        }
    }
    let missing: Vec<&str> = ANSWERS.iter().filter(|_| !passes()).map(|(words, ..)| *words).collect();
    findings.extend(replies(ruleset, &missing));
}

fn unreachable(
    ruleset: &Ruleset,
    port: ServicePort,
    first: bool,
    later: bool,
    subject: Subject,
) -> Option<Finding> {
    if ruleset.failsafe.ports.contains(&port) || !ruleset.failsafe.peers.is_empty() {
        return None;
    }
    let (message, help) = if !first {
        (
            format!("nobody can reach {port}: every new packet to it is dropped"),
            format!(
                "add a rule with action = \"accept\", protocol = \"{}\", destination_port = {}",
                port.protocol.label(),
                port.port
            ),
        )
    } else if !later {
        (
            format!("connections to {port} begin, but their later packets (ack without syn) are dropped"),
            "only answers are accepted by themselves: leave tcp_flags and state out of the rule that accepts them"
                .to_owned(),
        )
    } else {
        return None;
    };
    Some(Finding { severity: Severity::Warning, kind: Kind::Unreachable, subject, message, help })
}

/// Answers that this server waits for: to what, and where they come from.
const ANSWERS: [(&str, PortProtocol, u16); 2] = [
    ("to TCP connections that it opens", PortProtocol::Tcp, 443),
    ("to DNS queries that it sends", PortProtocol::Udp, 53),
];

fn replies(ruleset: &Ruleset, missing: &[&str]) -> Option<Finding> {
    if ruleset.policy.replies
        || ruleset.policy.inbound == Verdict::Accept
        || !ruleset.failsafe.peers.is_empty()
        || missing.is_empty()
    {
        return None;
    }
    Some(Finding {
        severity: Severity::Note,
        kind: Kind::Replies,
        subject: Subject::Key("policy.in"),
        message: format!(
            "this server gets no answers {}: policy.replies leaves them to the rules",
            missing.join(" and ")
        ),
        help:
            "write replies = \"accept\" under [policy], or a rule with state = [\"established\", \"related\"]"
                .to_owned(),
    })
}

/// A packet to a port in this state, with exactly these flags if it is one of TCP.
fn to(port: ServicePort, flags: u8, state: State) -> Rule {
    let mut rule = to_port(port);
    rule.state = Some([state].into());
    if port.protocol == PortProtocol::Tcp {
        rule.tcp_flags = Some(FlagCondition { set: flags, clear: !flags });
    }
    rule
}

/// What the service at a port sends first.
fn back(port: ServicePort) -> Rule {
    let mut rule = from_port(port);
    rule.state = Some([State::Established].into());
    if port.protocol == PortProtocol::Tcp {
        rule.tcp_flags = Some(FlagCondition { set: SYN_ACK, clear: !SYN_ACK });
    }
    rule
}

/// A packet that comes back from a port.
fn answer(protocol: PortProtocol, port: u16) -> Rule {
    let mut rule = Rule::new("", Verdict::Accept);
    rule.protocol = Some(BTreeSet::from([protocol.number()]));
    rule.source_port = Some(vec![port..=port]);
    rule.destination_port = Some(vec![EPHEMERAL]);
    rule.state = Some([State::Established].into());
    if protocol == PortProtocol::Tcp {
        rule.tcp_flags = Some(FlagCondition { set: SYN_ACK, clear: !SYN_ACK });
    }
    rule
}

/// Whether any of the packets of a step gets in by a rule or the policy.
fn is_some_accepted(steps: &Steps<'_>, step: usize) -> Result<bool, TooMuch> {
    let mut work = Work::of(WORK);
    for (boxes, number) in steps.boxes(step) {
        let rules = boxes.of_steps(steps.rules.clone());
        let is_accepted = |rule| Some(steps.verdict(rule) == Verdict::Accept);
        let candidates = candidates(boxes, number, rules, is_accepted, &mut work)?;
        let otherwise = steps.policy == Verdict::Accept;
        if search::find(boxes, number, &candidates, otherwise, &mut work)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
