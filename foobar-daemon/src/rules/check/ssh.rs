//! Whether the rules would cut off the SSH session in which they are checked.

use std::net::IpAddr;

use foobar_common::{
    flow::{Family, Flow, Fragment, UNTAGGED, protocol},
    verdict::Verdict,
};

use super::{Finding, Kind, Severity, Subject};
use crate::rules::{evaluate, model::Ruleset};

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
    let judge = |flags, interface: &str| evaluate::evaluate(ruleset, &Ok(packet(session, flags)), interface);
    // The session may come in through any interface, also through one that no rule names.
    let mut interfaces: Vec<&str> = ruleset
        .rules
        .iter()
        .filter_map(|rule| rule.interface.as_ref())
        .flatten()
        .map(String::as_str)
        .collect();
    interfaces.push("");
    interfaces.sort_unstable();
    interfaces.dedup();
    let (interface, evaluation) = interfaces.iter().find_map(|interface| {
        let dropped = [SYN, ACK].map(|flags| judge(flags, interface));
        dropped.into_iter().find(|one| one.verdict == Verdict::Drop).map(|one| (*interface, one))
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
    Some(Finding {
        severity: Severity::Warning,
        kind: Kind::LockOut,
        subject: Subject::Key("failsafe"),
        message: format!(
            "these rules cut off the SSH session that this runs in: what comes from {client} to port \
             {server_port} is dropped{through} ({by})"
        ),
        help: format!(
            "write, under [failsafe], ports = [\"tcp/{server_port}\"] or peers = [\"{client}\"]; apply with \
             --confirm-within 60s"
        ),
    })
}

/// A packet of the session. Without the server's address it is the unspecified one, which hardly a list has.
fn packet(session: &SshSession, flags: u8) -> Flow {
    let (family, source) = bytes(session.client);
    let destination = session.server.map_or([0; 16], |server| bytes(server).1);
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
        source_port: session.client_port.to_be_bytes(),
        destination_port: session.server_port.to_be_bytes(),
        vlan: UNTAGGED,
        length: if family == Family::V4 { 40 } else { 60 },
    }
}

fn bytes(address: IpAddr) -> (Family, [u8; 16]) {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            (Family::V4, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        }
        IpAddr::V6(v6) => (Family::V6, v6.octets()),
    }
}
