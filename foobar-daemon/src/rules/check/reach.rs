//! Whether packets get where they are wanted.

use std::collections::BTreeSet;

use foobar_common::verdict::Verdict;

use super::{
    Finding, Kind, Severity, Subject,
    region::{Region, TooMany},
};
use crate::rules::model::{FlagCondition, PortProtocol, Rule, Ruleset, ServicePort};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const SYN_ACK: u8 = SYN | ACK;
/// Ports that Linux gives to connections it opens (`net.ipv4.ip_local_port_range`).
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// Looks at services, and at answers to this server.
pub(super) fn check(ruleset: &Ruleset, findings: &mut Vec<Finding>) {
    let regions: Vec<(Verdict, Region)> =
        ruleset.rules.iter().map(|rule| (rule.action, Region::of_rule(rule, ruleset))).collect();
    for service in &ruleset.services {
        for port in &service.ports {
            let subject = Subject::Service(service.name.clone());
            findings.extend(unreachable(ruleset, &regions, *port, subject));
        }
    }
    findings.extend(replies(ruleset, &regions));
}

fn unreachable(
    ruleset: &Ruleset,
    regions: &[(Verdict, Region)],
    port: ServicePort,
    subject: Subject,
) -> Option<Finding> {
    if ruleset.failsafe.ports.contains(&port) || !ruleset.failsafe.peers.is_empty() {
        return None;
    }
    let reaches =
        |flags| is_some_accepted(Region::to_port(port, Some(flags)), regions, ruleset.policy.inbound);
    let first = reaches(SYN).unwrap_or(true);
    let later = port.protocol != PortProtocol::Tcp || reaches(ACK).unwrap_or(true);
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
            "connections are not yet tracked: leave tcp_flags out of the rule that accepts them".to_owned(),
        )
    } else {
        return None;
    };
    Some(Finding { severity: Severity::Warning, kind: Kind::Unreachable, subject, message, help })
}

/// Answers that this server waits for: to TCP connections that it opens, and to DNS queries.
fn replies(ruleset: &Ruleset, regions: &[(Verdict, Region)]) -> Option<Finding> {
    if ruleset.policy.inbound == Verdict::Accept || !ruleset.failsafe.peers.is_empty() {
        return None;
    }
    let wanted = [
        ("to TCP connections that it opens", answer(PortProtocol::Tcp, 443)),
        ("to DNS queries that it sends", answer(PortProtocol::Udp, 53)),
    ];
    let missing: Vec<&str> = wanted
        .into_iter()
        .filter(|(_, rule)| {
            let region = Region::of_rule(rule, ruleset);
            !is_some_accepted(region, regions, ruleset.policy.inbound).unwrap_or(true)
        })
        .map(|(words, _)| words)
        .collect();
    if missing.is_empty() {
        return None;
    }
    Some(Finding {
        severity: Severity::Note,
        kind: Kind::Replies,
        subject: Subject::Key("policy.in"),
        message: format!(
            "this server gets no answers {}: connections are not yet tracked",
            missing.join(" and ")
        ),
        help: "if it needs them, accept tcp_flags = { set = [\"ack\"] } and source_port = 53 (udp) on \
               destination_port = \"32768-60999\""
            .to_owned(),
    })
}

/// A packet that comes back from a port, as a rule that matches it.
fn answer(protocol: PortProtocol, port: u16) -> Rule {
    let mut rule = Rule::new("", Verdict::Accept);
    rule.protocol = Some(BTreeSet::from([protocol.number()]));
    rule.source_port = Some(vec![port..=port]);
    rule.destination_port = Some(vec![EPHEMERAL]);
    if protocol == PortProtocol::Tcp {
        rule.tcp_flags = Some(FlagCondition { set: SYN_ACK, clear: !SYN_ACK });
    }
    rule
}

/// Whether any of these packets gets in.
fn is_some_accepted(region: Region, regions: &[(Verdict, Region)], policy: Verdict) -> Result<bool, TooMany> {
    let mut rest = region;
    for (verdict, region) in regions {
        if !region.meets(&rest) {
            continue;
        }
        if *verdict == Verdict::Accept {
            return Ok(true);
        }
        rest = rest.subtract(region)?;
    }
    Ok(!rest.is_empty() && policy == Verdict::Accept)
}
