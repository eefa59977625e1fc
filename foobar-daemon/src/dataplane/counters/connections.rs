//! Connections to services that are open now.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::CounterReader;
use crate::{
    open_connections,
    rules::model::{PortProtocol, ServicePort},
};

/// How long looking at connections may take: a scraper waits for ten seconds by default, and wants other things, too.
const PATIENCE: Duration = Duration::from_millis(500);

/// Connections that are open now, and what goes on there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// How many there are to each TCP port of a service; these are there even if zero.
    pub connections: BTreeMap<ServicePort, u64>,
}

impl CounterReader {
    /// Asks the kernel which connections are open, in the network namespace of this thread.
    ///
    /// # Errors
    /// Says what the kernel lacks, or that there are too many.
    pub fn open(&self) -> Result<Open> {
        let in_force = self.in_force();
        let ports = in_force.spoken.keys().filter(|port| port.protocol == PortProtocol::Tcp);
        let mut open = Open { connections: ports.map(|port| (*port, 0)).collect() };
        let numbers = open.connections.keys().map(|port| port.port).collect();
        for connection in open_connections::list(&numbers, Instant::now() + PATIENCE)? {
            let port = ServicePort { protocol: PortProtocol::Tcp, port: connection.local.port() };
            if let Some(count) = open.connections.get_mut(&port) {
                *count += 1;
            }
        }
        Ok(open)
    }
}
