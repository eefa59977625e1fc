//! Whether the rules would cut off the SSH session in which they are checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use foobar_common::{
    address::Address,
    flow::{Direction, Family, Flow, Fragment, UNTAGGED, protocol},
    tracking::State,
    verdict::Reason,
};

use ipnet::IpNet;

use super::{Finding, Kind, Severity, Subject};
use crate::rules::{
    evaluate::{self, Evaluation, Known},
    model::{AddressSet, GuardTerms, Rule, Ruleset},
};

/// The SSH session that a process runs in: `SSH_CONNECTION`, as sshd(8) and sshd's ENVIRONMENT tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SshSession {
    /// Who is at the other end.
    pub client: IpAddr,
    /// Its port.
    pub client_port: u16,
    /// The address of this server that it talks to.
    pub server: Option<IpAddr>,
    /// The port of this server, mostly 22.
    pub server_port: u16,
}

impl SshSession {
    /// Finds it in the environment: `SSH_CONNECTION` (client, port, server, port), else `SSH_CLIENT` (client,
    /// port, port of the server).
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let words =
            |name: &str| variable(name).map(|value| value.split_whitespace().map(str::to_owned).collect());
        let connection: Option<Vec<String>> = words("SSH_CONNECTION");
        if let Some([client, client_port, server, server_port]) = connection.as_deref() {
            return Some(Self {
                client: address(client)?,
                client_port: client_port.parse().ok()?,
                server: Some(address(server)?),
                server_port: server_port.parse().ok()?,
            });
        }
        let client: Option<Vec<String>> = words("SSH_CLIENT");
        let Some([client, client_port, server_port]) = client.as_deref() else {
            return None;
        };
        Some(Self {
            client: address(client)?,
            client_port: client_port.parse().ok()?,
            server: None,
            server_port: server_port.parse().ok()?,
        })
    }
}

/// An address as sshd writes it: perhaps with an interface behind a `%`, or IPv4 in IPv6 form.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.split('%').next().unwrap_or_default();
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Judges a new connection from the same client, and the next packet of the one that is there.
pub(super) fn lock_out(ruleset: &Ruleset, session: &SshSession) -> Option<Finding> {
    let SshSession { client, server_port, .. } = session;
    let small = without_other_addresses(ruleset, session);
    let goes_on = Known { state: State::Established, is_answer: false };
    let comes_back = Known { state: State::Established, is_answer: true };
    let ways = [
        (Direction::In, SYN, Known::NEW),
        (Direction::In, ACK, goes_on),
        (Direction::Out, SYN | ACK, comes_back),
        (Direction::Out, ACK, comes_back),
    ];
    let packets = ways.map(|(direction, flags, known)| {
        (direction, judge(ruleset, &small, direction, &packet(session, direction, flags), known))
    });
    // The session may come in through any interface, also through one that no rule names.
    let named = ruleset.rules.iter().filter_map(|rule| rule.interface.as_ref()).flatten().map(String::as_str);
    let interfaces: BTreeSet<&str> = named.chain([""]).collect();
    let (interface, direction, evaluation) = interfaces.iter().find_map(|interface| {
        let judged = packets
            .iter()
            .map(|(direction, through)| (*direction, *through.get(interface).unwrap_or(&through[""])));
        let dropped = judged.into_iter().find(|(_, one)| one.verdict.is_refusal());
        dropped.map(|(direction, one)| (*interface, direction, one))
    })?;
    let by = match evaluation.rule {
        Some(id) => format!("rule {id}"),
        None => evaluation.reason.label().to_owned(),
    };
    let through = match (interfaces.len(), interface) {
        (1, _) => String::new(),
        (_, "") => ", when it comes through an interface that no rule names".to_owned(),
        (_, name) => format!(", when it comes through {name}"),
    };
    let what = match direction {
        Direction::In => format!("what comes from {client} to port {server_port}"),
        Direction::Out => format!("what goes back to {client} from port {server_port}"),
    };
    Some(Finding {
        severity: Severity::Warning,
        kind: Kind::LockOut,
        subject: Subject::Key("failsafe"),
        message: format!(
            "these rules cut off the SSH session that this runs in: {what} is dropped{through} ({by})"
        ),
        help: format!(
            "write, under [failsafe], ports = [\"tcp/{server_port}\"] or peers = [\"{client}\"]; apply with \
             --confirm-within 60s"
        ),
    })
}

/// The ruleset without its rules, and its sets with nothing but what may have an address of the session: a set
/// may have a million entries, and each of many rules may use it.
fn without_other_addresses(ruleset: &Ruleset, session: &SshSession) -> Ruleset {
    let unspecified = match session.client {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let addresses = [session.client, session.server.unwrap_or(unspecified)];
    let is_met = |entry: &&IpNet| addresses.iter().any(|address| entry.contains(address));
    let sets = ruleset.sets.iter().map(|(name, set)| {
        let entries = set.entries.iter().filter(is_met).copied().collect();
        (name.clone(), AddressSet { entries, ..AddressSet::default() })
    });
    Ruleset {
        policy: ruleset.policy,
        failsafe: ruleset.failsafe.clone(),
        // They decide nothing.
        peers: BTreeMap::new(),
        sets: sets.collect(),
        services: Vec::new(),
        rules: Vec::new(),
        guard: GuardTerms::default(),
    }
}

/// What becomes of a packet through each interface that decides it otherwise than any other interface, which is
/// the one without a name.
fn judge<'r>(
    ruleset: &'r Ruleset,
    small: &Ruleset,
    direction: Direction,
    packet: &Flow,
    known: Known,
) -> BTreeMap<&'r str, Evaluation<'r>> {
    let Evaluation { verdict, reason, rule: _ } =
        evaluate::evaluate(small, &Ok(*packet), direction, "", known);
    let mut judged = BTreeMap::new();
    let mut otherwise = Evaluation { verdict, reason, rule: None };
    if reason == Reason::Policy {
        for rule in &ruleset.rules {
            let some_interface = rule.interface.iter().flatten().next().map_or("", String::as_str);
            if evaluate::unmet(small, rule, packet, direction, some_interface, known).is_some() {
                continue;
            }
            let by = decided_by(rule);
            for name in rule.interface.iter().flatten() {
                judged.entry(name.as_str()).or_insert(by);
            }
            if rule.interface.is_none() {
                otherwise = by;
                break;
            }
        }
    }
    judged.insert("", otherwise);
    judged
}

fn decided_by(rule: &Rule) -> Evaluation<'_> {
    Evaluation { verdict: rule.action, reason: Reason::Rule, rule: Some(rule.id.as_str()) }
}

/// A packet of the session. Without the server's address it is the unspecified one, which hardly a list has.
fn packet(session: &SshSession, direction: Direction, flags: u8) -> Flow {
    let family = if session.client.is_ipv4() { Family::V4 } else { Family::V6 };
    let (client, server) = (session.client.into(), session.server.map_or(Address::NONE, Address::from));
    let ports = (session.client_port.to_be_bytes(), session.server_port.to_be_bytes());
    let (source, destination, source_port, destination_port) = match direction {
        Direction::In => (client, server, ports.0, ports.1),
        Direction::Out => (server, client, ports.1, ports.0),
    };
    Flow {
        family,
        protocol: protocol::TCP,
        fragment: Fragment::Whole,
        tcp_flags: flags,
        icmp_type: 0,
        icmp_code: 0,
        hop_limit: 64,
        source,
        destination,
        source_port,
        destination_port,
        vlan: UNTAGGED,
        length: if family == Family::V4 { 40 } else { 60 },
    }
}
