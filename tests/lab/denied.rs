//! Who must not reach what: every way that the rules close is tried, and has to be closed and counted.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};

use crate::{
    hosts::Host::{self, Balancer, Client, Monitoring, Web},
    lab::{Clients, Lab},
    monitoring::scrape,
};

/// Shorter than the time after which a SYN is sent again, so that each attempt is one packet.
const PATIENCE: Duration = Duration::from_millis(700);

/// How long packets may come between that are dropped, too, and belong to no attempt. While rules close a service by mistake, the
/// balancer gives its connections up with RSTs that the servers do not get; 75 s later nginx closes them, and repeats its FINs for a
/// minute, with ever longer pauses, to a balancer that does not know them any more.
const STRAYS_END_WITHIN: Duration = Duration::from_mins(1);

/// From whom to whom, to which port, and whose filter ends it: that of who asks, or that of who is asked.
const CLOSED: [(Host, Host, u16, End); 22] = [
    (Client, Web(1), 443, End::There),
    (Client, Web(2), 3306, End::There),
    (Client, Web(3), 8443, End::There),
    (Client, Web(1), 4567, End::There),
    (Client, Web(2), 9477, End::There),
    (Client, Web(3), 2379, End::There),
    (Client, Balancer, 3306, End::There),
    (Client, Balancer, 8404, End::There),
    (Client, Balancer, 9477, End::There),
    (Monitoring, Web(1), 443, End::There),
    (Monitoring, Web(3), 3306, End::There),
    (Monitoring, Web(2), 2379, End::There),
    (Monitoring, Balancer, 3306, End::There),
    (Balancer, Web(1), 4567, End::Here),
    (Balancer, Web(3), 2380, End::Here),
    (Balancer, Web(2), 9477, End::Here),
    (Balancer, Client, 80, End::Here),
    (Web(1), Web(2), 443, End::Here),
    (Web(2), Web(3), 8443, End::Here),
    (Web(3), Balancer, 443, End::Here),
    (Web(1), Monitoring, 9090, End::Here),
    (Web(2), Client, 443, End::Here),
];

/// The same for ways that are open.
const OPEN: [(Host, Host, u16); 8] = [
    (Client, Balancer, 443),
    (Balancer, Web(1), 443),
    (Balancer, Web(2), 8443),
    (Balancer, Web(3), 2379),
    (Web(2), Web(3), 2380),
    (Web(3), Balancer, 3306),
    (Monitoring, Web(1), 9477),
    (Monitoring, Balancer, 8404),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The filter of who asks: it may not leave.
    Here,
    /// The filter of who is asked: it may not come in.
    There,
}

/// Tries all of them, and gives how many are closed.
///
/// # Errors
/// A way that is open and should not be, or the other way round; a packet that was not counted as dropped.
pub(crate) fn try_all(lab: &Lab) -> Result<usize> {
    let closed: Vec<_> = CLOSED
        .into_iter()
        // In the name of its clients the balancer speaks with all addresses, so servers cannot tell others from it.
        .filter(|(from, _, port, end)| {
            lab.clients == Clients::Proxy || !(*end == End::There && *port == 443 && *from != Balancer)
        })
        .collect();
    let began = Instant::now();
    loop {
        match try_and_count(lab, &closed)? {
            Ok(()) => break,
            Err(error) if began.elapsed() > STRAYS_END_WITHIN => return Err(error),
            Err(_) => thread::sleep(Duration::from_secs(2)),
        }
    }
    for (from, to, port) in OPEN {
        ensure!(reach(lab, from, to, port)?, "{} does not reach port {port} of {}", from.name(), to.name());
    }
    Ok(closed.len())
}

/// Tries ways, and tells whether as many drops were counted on each side as there were attempts.
///
/// # Errors
/// A way that is open.
fn try_and_count(lab: &Lab, closed: &[(Host, Host, u16, End)]) -> Result<Result<()>> {
    let before = dropped(lab)?;
    let reached: Vec<bool> = thread::scope(|scope| {
        let attempts: Vec<_> =
            closed.iter().map(|(from, to, port, _)| scope.spawn(|| reach(lab, *from, *to, *port))).collect();
        let join = |attempt: thread::ScopedJoinHandle<'_, Result<bool>>| {
            attempt.join().map_err(|_payload| anyhow!("an attempt panicked"))?
        };
        attempts.into_iter().map(join).collect::<Result<_>>()
    })?;
    for ((from, to, port, _), reached) in closed.iter().zip(reached) {
        ensure!(!reached, "{} reaches port {port} of {}", from.name(), to.name());
    }
    let after = dropped(lab)?;
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for (from, to, _, end) in closed {
        let (host, direction) = match end {
            End::Here => (from, "out"),
            End::There => (to, "in"),
        };
        *expected.entry(format!("{} {direction}", host.name())).or_default() += 1;
    }
    for (place, count) in &after {
        let counted = count - before.get(place).copied().unwrap_or_default();
        let expected = expected.get(place).copied().unwrap_or_default();
        if counted != expected {
            return Ok(Err(anyhow!("{place}: {expected} attempts were counted as {counted} drops")));
        }
    }
    Ok(Ok(()))
}

/// Tries what must not come in at one host, without counting.
pub(crate) fn try_closed(lab: &Lab, host: Host) -> Result<()> {
    for (from, to, port, end) in CLOSED {
        if to == host && end == End::There {
            ensure!(!reach(lab, from, to, port)?, "{} reaches port {port} of {}", from.name(), to.name());
        }
    }
    Ok(())
}

fn reach(lab: &Lab, from: Host, to: Host, port: u16) -> Result<bool> {
    let server = SocketAddr::new(to.address().into(), port);
    lab.hosts.namespace(from)?.enter(|| Ok(TcpStream::connect_timeout(&server, PATIENCE).is_ok()))
}

/// Packets that the policy has dropped, by host and direction.
fn dropped(lab: &Lab) -> Result<BTreeMap<String, u64>> {
    let mut dropped = BTreeMap::new();
    for host in Host::FILTERED {
        let metrics = scrape(lab, host)?;
        for direction in ["in", "out"] {
            let labels = [("direction", direction), ("action", "drop"), ("reason", "policy")];
            let count = metrics.count("foobar_firewall_packets_total", &labels);
            dropped.insert(format!("{} {direction}", host.name()), count);
        }
    }
    Ok(dropped)
}
