//! Connections to services that are open now.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use foobar_common::{connection::ConnectionKey, service::Protocol};

use super::CounterReader;
use crate::{
    open_connections::{self, OpenConnection, TOO_MANY},
    rules::model::{PortProtocol, ServicePort},
};

/// How long looking at connections may take: a scraper waits for ten seconds by default, and wants other things, too.
const PATIENCE: Duration = Duration::from_millis(500);

/// Connections that are open now, and what goes on there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// How many there are to each TCP port of a service; these are there even if zero.
    pub connections: BTreeMap<ServicePort, u64>,
    /// Requests on them that have not been answered to the end, by port of a service of HTTP/1.x; these are there even
    /// if zero. Where a connection cannot be followed, there is none.
    pub requests: BTreeMap<ServicePort, u64>,
}

impl CounterReader {
    /// Asks the kernel which connections are open, in the network namespace of this thread, and looks up what goes on
    /// there.
    ///
    /// # Errors
    /// Says what the kernel lacks, or that there are too many.
    pub fn open(&self) -> Result<Open> {
        let deadline = Instant::now() + PATIENCE;
        let in_force = self.in_force();
        let mut open = Open::default();
        for (port, spoken) in in_force.spoken.iter().filter(|(port, _)| port.protocol == PortProtocol::Tcp) {
            open.connections.insert(*port, 0);
            if spoken.protocol == Protocol::Http1 && spoken.responses {
                open.requests.insert(*port, 0);
            }
        }
        let numbers = open.connections.keys().map(|port| port.port).collect();
        for OpenConnection { local, remote } in open_connections::list(&numbers, deadline)? {
            let port = ServicePort { protocol: PortProtocol::Tcp, port: local.port() };
            if let Some(count) = open.connections.get_mut(&port) {
                *count += 1;
            }
            if let Some(count) = open.requests.get_mut(&port) {
                ensure!(Instant::now() < deadline, TOO_MANY);
                *count += in_force.maps.in_flight(&ConnectionKey::between(local, remote))?;
            }
        }
        Ok(open)
    }
}
