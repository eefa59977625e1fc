//! Which way a frame went: out, if it comes from a local address.

use std::{collections::BTreeSet, net::IpAddr};

use foobar_common::flow::{Direction, Flow};
use ipnet::IpNet;

use crate::{
    outcome::InvalidInput,
    rules::model::{PortProtocol, Ruleset, ServicePort},
};

/// More local addresses than any server has; found only in captures of something else.
const FOUND_MAX: usize = 1_000_000;

/// The addresses of the server that a capture is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Local {
    /// Given by whoever knows.
    Given(Vec<IpNet>),
    /// Those that receive packets on a service port.
    Found(BTreeSet<IpAddr>),
}

impl Local {
    /// Which way a packet went. What says that it comes from the broadcast address or from a group was not sent by
    /// this server, whatever is called local: those are no addresses to send from (RFC 1122 section 3.2.1.3, RFC 4291
    /// section 2.7).
    pub fn direction(&self, flow: &Flow) -> Direction {
        let source = flow.source.ip(flow.family);
        let is_sender = match source {
            IpAddr::V4(v4) => !v4.is_broadcast() && !v4.is_multicast(),
            IpAddr::V6(v6) => !v6.is_multicast(),
        };
        if is_sender && self.has(&source) { Direction::Out } else { Direction::In }
    }

    /// Whether an address is local.
    pub fn has(&self, address: &IpAddr) -> bool {
        match self {
            Self::Given(prefixes) => prefixes.iter().any(|prefix| prefix.contains(address)),
            Self::Found(addresses) => addresses.contains(address),
        }
    }
}

/// Collects the addresses that receive packets on a service port.
#[derive(Clone, Debug)]
pub struct Finder {
    ports: BTreeSet<ServicePort>,
    found: BTreeSet<IpAddr>,
}

impl Finder {
    /// For the services of a ruleset.
    pub fn new(ruleset: &Ruleset) -> Self {
        let ports = ruleset.services.iter().flat_map(|service| service.ports.iter().copied()).collect();
        Self { ports, found: BTreeSet::new() }
    }

    /// Whether there is no service, and so nothing to be found.
    pub fn is_futile(&self) -> bool {
        self.ports.is_empty()
    }

    /// Looks at one packet.
    ///
    /// # Errors
    /// [`InvalidInput`] if more addresses were found than can be.
    pub fn see(&mut self, flow: &Flow) -> Result<(), InvalidInput> {
        let to_service = destination_service(flow).is_some_and(|port| self.ports.contains(&port));
        if to_service && self.found.insert(flow.destination.ip(flow.family)) && self.found.len() > FOUND_MAX {
            return Err(InvalidInput(format!(
                "more than {FOUND_MAX} addresses receive packets on a service port; name the local ones: --local \
                 CIDR"
            )));
        }
        Ok(())
    }

    /// What was found.
    pub fn finish(self) -> Local {
        Local::Found(self.found)
    }
}

/// The port with its protocol that a packet goes to, if it has one.
pub fn destination_service(flow: &Flow) -> Option<ServicePort> {
    service(flow, flow.destination_port())
}

/// The port with its protocol that a packet comes from, if it has one.
pub fn source_service(flow: &Flow) -> Option<ServicePort> {
    service(flow, flow.source_port())
}

fn service(flow: &Flow, port: u16) -> Option<ServicePort> {
    let protocol = PortProtocol::ALL.into_iter().find(|protocol| protocol.number() == flow.protocol)?;
    flow.has_ports().then_some(ServicePort { protocol, port })
}
