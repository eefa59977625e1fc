//! The maps of counters, and what their slots hold.

use std::{borrow::BorrowMut, collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, PerCpuValues};
use foobar_common::{
    connection::{ConnectionBytes, ConnectionKey, NameKey},
    counters::{
        Counter, FORMER_GROUPS, OTHER_INTERFACE, PORT_SLOTS, RULE_SLOTS, SERVICE_SLOTS, group_slot,
        port_slot, verdict_slot,
    },
    dns::DnsCounters,
    flow::Direction,
    maps,
    mysql::ReplicaKey,
    peers::PeerConnections,
    proxy::ProxyCounters,
    raw::RawCounters,
    service::{HttpCounters, MysqlCounters, ServiceBytes, TlsCounters},
    syn_cookies::{CookieMode, Pace, SynCounters},
};
use nix::time::{ClockId, clock_gettime};

use super::{SynCookieCounters, array::CounterArray, pairs};
use crate::{
    dataplane::{bans::BanMaps, load::LoadedRuleset},
    slots::FreshSlots,
};

/// A replica that nothing went to for so long is gone: a server sends a sign of life every 30 seconds unless told
/// otherwise (half of `slave_net_timeout`).
const REPLICA_ALIVE: Duration = Duration::from_secs(90);

/// In which map a rule slot is, and where in it.
pub(super) fn place(slot: u32) -> (&'static str, u32) {
    match slot.checked_sub(RULE_SLOTS) {
        None => (maps::RULE_COUNTERS, slot),
        Some(slot) => (maps::MORE_RULE_COUNTERS, slot),
    }
}

/// The maps of counters.
pub(in crate::dataplane) struct CounterMaps {
    rules: CounterArray,
    more_rules: CounterArray,
    /// By slot of interface, direction, verdict and reason.
    pub(super) verdicts: CounterArray,
    /// By slot of interface, direction and port.
    pub(super) ports: CounterArray,
    /// With room for one slot where no ruleset has needed more.
    pub(super) http: PerCpuArray<MapData, HttpCounters>,
    /// The same.
    pub(super) tls: PerCpuArray<MapData, TlsCounters>,
    /// The same.
    pub(super) mysql: PerCpuArray<MapData, MysqlCounters>,
    /// The same.
    replicas: HashMap<MapData, ReplicaKey, u64>,
    /// The same.
    pub(super) proxied: PerCpuArray<MapData, ProxyCounters>,
    /// The same.
    pub(super) names: HashMap<MapData, NameKey, u64>,
    /// The same.
    pub(super) dns: PerCpuArray<MapData, DnsCounters>,
    /// The same.
    pub(super) raw: PerCpuArray<MapData, RawCounters>,
    /// The same.
    pub(super) connections: HashMap<MapData, ConnectionKey, ConnectionBytes>,
    /// The same.
    peers: PerCpuArray<MapData, PeerConnections>,
    /// The same.
    service_bytes: PerCpuArray<MapData, ServiceBytes>,
    /// The same.
    syns: PerCpuArray<MapData, SynCounters>,
    /// The same; the words of a [`Pace`].
    paces: Array<MapData, [u64; 4]>,
    /// Each of which counts.
    pub(super) bans: BanMaps,
}

impl CounterMaps {
    /// Opens the maps that a loaded program counts in.
    pub(in crate::dataplane) fn of(loaded: &LoadedRuleset) -> Result<Self> {
        Ok(Self {
            rules: CounterArray::of(loaded, maps::RULE_COUNTERS)?,
            more_rules: CounterArray::of(loaded, maps::MORE_RULE_COUNTERS)?,
            verdicts: CounterArray::of(loaded, maps::VERDICT_COUNTERS)?,
            ports: CounterArray::of(loaded, maps::PORT_COUNTERS)?,
            http: open(loaded, maps::HTTP_COUNTERS)?,
            tls: open(loaded, maps::TLS_COUNTERS)?,
            mysql: open(loaded, maps::MYSQL_COUNTERS)?,
            replicas: open_hash(loaded, maps::MYSQL_REPLICAS)?,
            proxied: open(loaded, maps::PROXY_HEADERS)?,
            names: open_hash(loaded, maps::TLS_NAMES)?,
            dns: open(loaded, maps::DNS_COUNTERS)?,
            raw: open(loaded, maps::RAW_COUNTERS)?,
            connections: open_hash(loaded, maps::CONNECTIONS)?,
            peers: open(loaded, maps::PEER_CONNECTIONS)?,
            service_bytes: open(loaded, maps::SERVICE_BYTES)?,
            syns: open(loaded, maps::SYN_COUNTERS)?,
            paces: Array::try_from(loaded.second_handle(maps::SYN_PACES)?)
                .with_context(|| format!("open map {}", maps::SYN_PACES))?,
            bans: BanMaps::of(loaded)?,
        })
    }

    /// What a rule slot holds.
    pub(super) fn rule(&self, slot: u32) -> Result<Counter> {
        match place(slot) {
            (maps::RULE_COUNTERS, slot) => self.rules.one(slot),
            (_, slot) => self.more_rules.one(slot),
        }
    }

    /// What rule slots hold, by their numbers.
    pub(super) fn rules(&self, slots: impl Iterator<Item = u32>) -> Result<BTreeMap<u32, Counter>> {
        let (first, more): (Vec<u32>, Vec<u32>) = slots.partition(|slot| *slot < RULE_SLOTS);
        let mut counters = self.rules.many(first)?;
        let more = self.more_rules.many(more.into_iter().map(|slot| slot - RULE_SLOTS))?;
        counters.extend(more.into_iter().map(|(slot, counter)| (slot + RULE_SLOTS, counter)));
        Ok(counters)
    }

    /// How many replicas of a service something went to within [`REPLICA_ALIVE`].
    pub(super) fn replicas(&self, slot: u32) -> Result<u64> {
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        let mut count = 0;
        for entry in &self.replicas {
            let (ReplicaKey { service, .. }, last) = entry.context("read the replicas")?;
            let age = now.saturating_sub(Duration::from_nanos(last));
            count += u64::from(service == u64::from(slot) && age < REPLICA_ALIVE);
        }
        Ok(count)
    }

    /// Requests on a connection that have not been answered to the end. A look from here does not keep it from being
    /// forgotten (`htab_lru_map_lookup_elem_sys` of `kernel/bpf/hashtab.c`).
    pub(super) fn in_flight(&self, connection: &ConnectionKey) -> Result<u64> {
        match self.connections.get(connection, 0) {
            Ok(bytes) => Ok(bytes.read().and_then(|connection| connection.in_flight()).unwrap_or(0).into()),
            Err(MapError::KeyNotFound) => Ok(0),
            Err(error) => Err(error).context("look up a connection"),
        }
    }

    pub(super) fn service_bytes(&self, slot: u32) -> Result<ServiceBytes> {
        let values = self.service_bytes.get(&slot, 0).with_context(|| format!("read counter {slot}"))?;
        Ok(values.iter().fold(ServiceBytes::default(), |total, ServiceBytes { framed, lost }| ServiceBytes {
            framed: total.framed.wrapping_add(*framed),
            lost: total.lost.wrapping_add(*lost),
        }))
    }

    /// What became of SYNs to a service that answers them so.
    pub(super) fn syn_cookies(&self, slot: u32, mode: CookieMode) -> Result<SynCookieCounters> {
        let counters = total(&self.syns, slot, SynCounters::add)?;
        let active = match mode {
            CookieMode::Off => false,
            CookieMode::Always => true,
            CookieMode::Auto => {
                let words = self.paces.get(&slot, 0).context("read how fast SYNs come")?;
                let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
                Pace::from_words(words).is_active(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
            }
        };
        Ok(SynCookieCounters { counters, active })
    }

    /// Connections to a service, by the slot of the group of peers; those of [`FORMER_GROUPS`] last. Nothing, where no
    /// ruleset has had groups.
    pub(super) fn peers(&self, service: u32) -> Result<Vec<PeerConnections>> {
        if self.peers.len() == 1 {
            return Ok(Vec::new());
        }
        let slots = (0..=FORMER_GROUPS).map(|group| group_slot(group, service));
        slots.map(|slot| total(&self.peers, slot, PeerConnections::add)).collect()
    }

    /// Sets slots that have a new owner to zero; no program in force counts in them.
    pub(in crate::dataplane) fn clear(&mut self, fresh: &FreshSlots) -> Result<()> {
        let FreshSlots { rules, services, interfaces, peers } = fresh;
        for slot in rules {
            match place(*slot) {
                (maps::RULE_COUNTERS, slot) => self.rules.clear(slot)?,
                (_, slot) => self.more_rules.clear(slot)?,
            }
        }
        for port in services {
            if *port < self.http.len() {
                zero(&mut self.http, *port)?;
            }
            if *port < self.tls.len() {
                zero(&mut self.tls, *port)?;
            }
            if *port < self.proxied.len() {
                zero(&mut self.proxied, *port)?;
            }
            if *port < self.mysql.len() {
                zero(&mut self.mysql, *port)?;
            }
            if *port < self.dns.len() {
                zero(&mut self.dns, *port)?;
            }
            if *port < self.raw.len() {
                zero(&mut self.raw, *port)?;
            }
            if *port < self.syns.len() {
                zero(&mut self.syns, *port)?;
            }
            if *port < self.paces.len() {
                self.paces.set(*port, [0; 4], 0).with_context(|| format!("clear counter {port}"))?;
            }
            if *port < self.service_bytes.len() {
                zero(&mut self.service_bytes, *port)?;
            }
            if self.peers.len() > 1 {
                for group in 0..=FORMER_GROUPS {
                    zero(&mut self.peers, group_slot(group, *port))?;
                }
            }
            for interface in 0..=OTHER_INTERFACE {
                for direction in Direction::ALL {
                    self.ports.clear(port_slot(interface, direction, *port))?;
                }
            }
        }
        if self.peers.len() > 1 {
            for group in peers {
                self.empty_group(*group)?;
            }
        }
        let gone = |key: &NameKey| services.iter().any(|slot| u64::from(*slot) == key.service);
        for key in self.names.keys().filter_map(Result::ok).filter(gone).collect::<Vec<_>>() {
            self.names.remove(&key).context("forget the name of a server")?;
        }
        for interface in interfaces {
            for direction in Direction::ALL {
                for (verdict, reason) in pairs() {
                    self.verdicts.clear(verdict_slot(*interface, direction, verdict, reason))?;
                }
                for port in 0..PORT_SLOTS {
                    self.ports.clear(port_slot(*interface, direction, port))?;
                }
            }
        }
        Ok(())
    }

    /// Sets the slot of a group of peers to zero. What it had belongs to [`FORMER_GROUPS`] from here on: all connections
    /// to a service together must not become fewer.
    fn empty_group(&mut self, group: u32) -> Result<()> {
        for service in 0..SERVICE_SLOTS {
            let (slot, former) = (group_slot(group, service), group_slot(FORMER_GROUPS, service));
            let given = total(&self.peers, slot, PeerConnections::add)?;
            if given == PeerConnections::default() {
                continue;
            }
            let values = self.peers.get(&former, 0).with_context(|| format!("read counter {former}"))?;
            let mut values = values.to_vec();
            if let Some(first) = values.first_mut() {
                first.add(&given);
            }
            // No program counts in either.
            let values = PerCpuValues::try_from(values)?;
            self.peers.set(former, values, 0).with_context(|| format!("set counter {former}"))?;
            zero(&mut self.peers, slot)?;
        }
        Ok(())
    }
}

/// What all processors have counted in a slot.
pub(super) fn total<C: aya::Pod + Default>(
    map: &PerCpuArray<MapData, C>,
    slot: u32,
    add: impl Fn(&mut C, &C),
) -> Result<C> {
    let values = map.get(&slot, 0).with_context(|| format!("read counter {slot}"))?;
    let mut total = C::default();
    values.iter().for_each(|counters| add(&mut total, counters));
    Ok(total)
}

/// A map of counters of a ruleset.
fn open<C: aya::Pod>(loaded: &LoadedRuleset, name: &str) -> Result<PerCpuArray<MapData, C>> {
    PerCpuArray::try_from(loaded.second_handle(name)?).with_context(|| format!("open map {name}"))
}

fn open_hash<K: aya::Pod, V: aya::Pod>(loaded: &LoadedRuleset, name: &str) -> Result<HashMap<MapData, K, V>> {
    HashMap::try_from(loaded.second_handle(name)?).with_context(|| format!("open map {name}"))
}

/// Sets a slot to zero.
pub(super) fn zero<C: aya::Pod + Default>(
    map: &mut PerCpuArray<impl BorrowMut<MapData>, C>,
    slot: u32,
) -> Result<()> {
    let processors = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    let zeros = PerCpuValues::try_from(vec![C::default(); processors])?;
    map.set(slot, zeros, 0).with_context(|| format!("clear counter {slot}"))
}
