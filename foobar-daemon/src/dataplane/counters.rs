//! Counters, read from the kernel and summed over the processors.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd as _,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, MapData, PerCpuArray, PerCpuValues};
use foobar_common::{
    connection::NameKey,
    counters::{Counter, OTHER_INTERFACE, PORT_SLOTS, RULE_SLOTS, Transport, port_slot, verdict_slot},
    dns::DnsCounters,
    flow::Direction,
    maps,
    mysql::ReplicaKey,
    proxy::ProxyCounters,
    service::{HttpCounters, Losses, MysqlCounters, Protocol, ServiceBytes, TlsCounters},
    verdict::{Reason, Verdict},
};

use nix::time::{ClockId, clock_gettime};

use super::{features, load::LoadedRuleset, pins::PinFolder};
use crate::{
    rules::{
        compile::CompiledRuleset,
        model::{ServicePort, Spoken},
    },
    slots::{Assigned, FreshSlots},
};

/// A replica that nothing went to for so long is gone: a server sends a sign of life every 30 seconds unless told
/// otherwise (half of `slave_net_timeout`).
const REPLICA_ALIVE: Duration = Duration::from_secs(90);

/// The name under which interfaces without a slot are counted.
pub const OTHER: &str = "other";

/// The word for what probes have read inside of TLS, where others have that for a protocol.
pub const DECRYPTED: &str = "https1";

/// All counters of the filter by what they count, since its pins were made. Zero ones are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By id of a rule that is in force; these are there even if zero.
    pub rules: BTreeMap<String, Counter>,
    /// By interface, direction, verdict and reason. The interface [`OTHER`] stands for those without a slot.
    pub verdicts: BTreeMap<(String, Direction, Verdict, Reason), Counter>,
    /// By interface, direction and port.
    pub ports: BTreeMap<(String, Direction, Port), Counter>,
    /// By port of a service of which more is counted than this; these are there even if zero.
    pub services: BTreeMap<ServicePort, ServiceCounters>,
    /// What probes have read inside of TLS, by the first port of the service; these are there even if zero.
    pub decrypted: BTreeMap<ServicePort, HttpCounters>,
}

/// What is counted of a service beyond packets and bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCounters {
    /// Name of the service.
    pub service: String,
    /// How much of it could be followed.
    pub bytes: ServiceBytes,
    /// How its connections begin, if proxies speak first there.
    pub proxied: Option<ProxyCounters>,
    /// What its protocol has.
    pub of_protocol: ProtocolCounters,
}

/// What is counted of a protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProtocolCounters {
    /// HTTP/1.x.
    Http1(HttpCounters),
    /// HTTP/2 in the clear, and HTTP/1.x beside it.
    H2c(HttpCounters),
    /// TLS.
    Tls(TlsCounters),
    /// MySQL, with the number of replicas that it tells what changes.
    Mysql(Box<MysqlCounters>, u64),
    /// DNS.
    Dns(DnsCounters),
}

impl ProtocolCounters {
    /// Adds another port's; nothing, if something else is spoken there.
    pub fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Http1(sum), Self::Http1(more)) | (Self::H2c(sum), Self::H2c(more)) => sum.add(more),
            (Self::Tls(sum), Self::Tls(more)) => sum.add(more),
            (Self::Mysql(sum, replicas), Self::Mysql(more, more_replicas)) => {
                sum.add(more);
                *replicas += more_replicas;
            }
            (Self::Dns(sum), Self::Dns(more)) => sum.add(more),
            (Self::Http1(_) | Self::H2c(_) | Self::Tls(_) | Self::Mysql(..) | Self::Dns(_), _) => {}
        }
    }
}

impl ServiceCounters {
    /// What is spoken there.
    pub const fn protocol(&self) -> Protocol {
        match self.of_protocol {
            ProtocolCounters::Http1(_) => Protocol::Http1,
            ProtocolCounters::H2c(_) => Protocol::H2c,
            ProtocolCounters::Tls(_) => Protocol::Tls,
            ProtocolCounters::Mysql(..) => Protocol::Mysql,
            ProtocolCounters::Dns(_) => Protocol::Dns,
        }
    }

    /// How many requests there were, handshakes, or queries.
    pub fn requests(&self) -> u64 {
        match &self.of_protocol {
            ProtocolCounters::Http1(counters) | ProtocolCounters::H2c(counters) => {
                counters.requests.iter().sum()
            }
            ProtocolCounters::Tls(counters) => counters.handshakes.as_flattened().iter().sum(),
            ProtocolCounters::Mysql(counters, _) => counters.queries.iter().sum(),
            ProtocolCounters::Dns(counters) => counters.queries.iter().sum(),
        }
    }

    /// What could not be followed.
    pub const fn losses(&self) -> &Losses {
        match &self.of_protocol {
            ProtocolCounters::Http1(counters) | ProtocolCounters::H2c(counters) => &counters.lost,
            ProtocolCounters::Tls(counters) => &counters.lost,
            ProtocolCounters::Mysql(counters, _) => &counters.lost,
            ProtocolCounters::Dns(counters) => &counters.lost,
        }
    }

    /// What it has of them.
    pub const fn request_word(&self) -> &'static str {
        match self.of_protocol {
            ProtocolCounters::Http1(_) | ProtocolCounters::H2c(_) => "requests",
            ProtocolCounters::Tls(_) => "handshakes",
            ProtocolCounters::Mysql(..) | ProtocolCounters::Dns(_) => "queries",
        }
    }
}

/// What a packet is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Port {
    /// The port of a service.
    Service(ServicePort),
    /// Any other port, or no port, of this protocol.
    Other(Transport),
}

/// Reads the counters of a filter; independent of its thread and of swaps.
#[derive(Clone)]
pub struct CounterReader {
    in_force: Arc<RwLock<Arc<InForce>>>,
}

/// The counters of one ruleset.
pub(super) struct InForce {
    /// Most are those of all rulesets; some are there only since one needed them.
    maps: CounterMaps,
    slots: Assigned,
    spoken: BTreeMap<ServicePort, Spoken>,
    /// Slots of services whose TLS is read.
    decrypted: BTreeSet<u32>,
}

impl CounterReader {
    pub(super) fn new(loaded: &LoadedRuleset, compiled: &CompiledRuleset) -> Result<Self> {
        let in_force = InForce::of(loaded, compiled)?;
        Ok(Self { in_force: Arc::new(RwLock::new(Arc::new(in_force))) })
    }

    /// Reads those of another ruleset from here on.
    pub(super) fn follow(&self, in_force: InForce) {
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(in_force);
    }

    fn in_force(&self) -> Arc<InForce> {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads all of them.
    pub fn read(&self) -> Result<Counters> {
        let in_force = self.in_force();
        let InForce { maps, slots, .. } = &*in_force;
        let (services, decrypted) = (in_force.services()?, in_force.decrypted()?);
        let mut counters = Counters { services, decrypted, ..Counters::default() };
        for (id, owned) in &slots.rules {
            let live = maps.rules(owned.slot)?;
            counters.rules.insert(id.clone(), sum([live, owned.carried]));
        }
        let others = (OTHER.to_owned(), OTHER_INTERFACE);
        let ports = ports(slots);
        for (name, interface) in slots.interfaces.clone().into_iter().chain([others]) {
            for direction in Direction::ALL {
                for (verdict, reason) in pairs() {
                    let counter = maps.verdicts(verdict_slot(interface, direction, verdict, reason))?;
                    if counter != Counter::default() {
                        counters.verdicts.insert((name.clone(), direction, verdict, reason), counter);
                    }
                }
                for (port, slot) in &ports {
                    let counter = maps.ports(port_slot(interface, direction, *slot))?;
                    if counter != Counter::default() {
                        counters.ports.insert((name.clone(), direction, *port), counter);
                    }
                }
            }
        }
        Ok(counters)
    }

    /// Reads those of services alone.
    pub fn services(&self) -> Result<BTreeMap<ServicePort, ServiceCounters>> {
        self.in_force().services()
    }

    /// Reads what probes have read inside of TLS alone.
    pub fn decrypted(&self) -> Result<BTreeMap<ServicePort, HttpCounters>> {
        self.in_force().decrypted()
    }

    /// How often each server was asked for by name, by port of the service; those that are text, the most asked for
    /// first.
    pub fn names(&self) -> Result<BTreeMap<ServicePort, Vec<(String, u64)>>> {
        let in_force = self.in_force();
        let owners: BTreeMap<u64, ServicePort> =
            in_force.slots.services.iter().map(|(port, slot)| (u64::from(*slot), *port)).collect();
        let mut names: BTreeMap<ServicePort, Vec<(String, u64)>> = BTreeMap::new();
        for entry in &in_force.maps.names {
            let (NameKey { name, service }, count) = entry.context("read the names of servers")?;
            if let (Some(port), Some(name)) = (owners.get(&service), name.text()) {
                names.entry(*port).or_default().push((name.to_owned(), count));
            }
        }
        for list in names.values_mut() {
            list.sort_by(|one, other| (other.1, &one.0).cmp(&(one.1, &other.0)));
        }
        Ok(names)
    }

    /// What a rule slot holds, whoever owns it.
    pub fn rule_slot(&self, slot: u32) -> Result<Counter> {
        self.in_force().maps.rules(slot)
    }
}

impl InForce {
    pub(super) fn of(loaded: &LoadedRuleset, compiled: &CompiledRuleset) -> Result<Self> {
        let CompiledRuleset { slots, spoken, decrypted, .. } = compiled;
        Ok(Self {
            maps: CounterMaps::of(loaded)?,
            slots: slots.clone(),
            spoken: spoken.clone(),
            decrypted: decrypted.iter().map(|service| service.slot).collect(),
        })
    }

    fn decrypted(&self) -> Result<BTreeMap<ServicePort, HttpCounters>> {
        let Self { maps, slots, decrypted, .. } = self;
        let services = slots.services.iter().filter(|(_, slot)| decrypted.contains(slot));
        services.map(|(port, slot)| Ok((*port, total(&maps.http, *slot, HttpCounters::add)?))).collect()
    }

    fn services(&self) -> Result<BTreeMap<ServicePort, ServiceCounters>> {
        let Self { maps, slots, spoken, .. } = self;
        let mut services = BTreeMap::new();
        for (port, Spoken { service, protocol, tls: _, proxy_protocol }) in spoken {
            let Some(slot) = slots.services.get(port) else { continue };
            let of_protocol = match protocol {
                Protocol::Raw => continue,
                Protocol::Http1 => ProtocolCounters::Http1(total(&maps.http, *slot, HttpCounters::add)?),
                Protocol::H2c => ProtocolCounters::H2c(total(&maps.http, *slot, HttpCounters::add)?),
                Protocol::Tls => ProtocolCounters::Tls(total(&maps.tls, *slot, TlsCounters::add)?),
                Protocol::Mysql => {
                    let counters = total(&maps.mysql, *slot, MysqlCounters::add)?;
                    ProtocolCounters::Mysql(Box::new(counters), maps.replicas(*slot)?)
                }
                Protocol::Dns => ProtocolCounters::Dns(total(&maps.dns, *slot, DnsCounters::add)?),
            };
            let bytes = maps.service_bytes(*slot)?;
            let proxied = if *proxy_protocol {
                Some(total(&maps.proxied, *slot, |sum: &mut ProxyCounters, more| {
                    for (sum, more) in sum.headers.iter_mut().zip(more.headers) {
                        *sum = sum.wrapping_add(more);
                    }
                })?)
            } else {
                None
            };
            let service = service.clone();
            services.insert(*port, ServiceCounters { service, bytes, proxied, of_protocol });
        }
        Ok(services)
    }
}

/// What a rule slot holds in the maps that are pinned in `pins`; zero if there are none.
pub fn pinned_rule_slot(pins: &Path, slot: u32) -> Result<Counter> {
    let (name, slot) = place(slot);
    let path = PinFolder::new(pins).map(name);
    if !path.exists() {
        return Ok(Counter::default());
    }
    let map = MapData::from_pin(&path).context("open the pinned rule counters")?;
    let map = Map::from_map_data(map)?;
    read(&PerCpuArray::try_from(map)?, slot)
}

/// In which map a rule slot is, and where in it.
fn place(slot: u32) -> (&'static str, u32) {
    match slot.checked_sub(RULE_SLOTS) {
        None => (maps::RULE_COUNTERS, slot),
        Some(slot) => (maps::MORE_RULE_COUNTERS, slot),
    }
}

/// The maps of counters.
pub(super) struct CounterMaps {
    rules: PerCpuArray<MapData, Counter>,
    more_rules: PerCpuArray<MapData, Counter>,
    verdicts: PerCpuArray<MapData, Counter>,
    ports: PerCpuArray<MapData, Counter>,
    /// With room for one slot where no ruleset has needed more.
    http: PerCpuArray<MapData, HttpCounters>,
    /// The same.
    tls: PerCpuArray<MapData, TlsCounters>,
    /// The same.
    mysql: PerCpuArray<MapData, MysqlCounters>,
    /// The same.
    replicas: HashMap<MapData, ReplicaKey, u64>,
    /// The same.
    proxied: PerCpuArray<MapData, ProxyCounters>,
    /// The same.
    names: HashMap<MapData, NameKey, u64>,
    /// The same.
    dns: PerCpuArray<MapData, DnsCounters>,
    /// The same.
    service_bytes: PerCpuArray<MapData, ServiceBytes>,
}

impl CounterMaps {
    /// Opens the maps that a loaded program counts in.
    pub(super) fn of(loaded: &LoadedRuleset) -> Result<Self> {
        Ok(Self {
            rules: open(loaded, maps::RULE_COUNTERS)?,
            more_rules: open(loaded, maps::MORE_RULE_COUNTERS)?,
            verdicts: open(loaded, maps::VERDICT_COUNTERS)?,
            ports: open(loaded, maps::PORT_COUNTERS)?,
            http: open(loaded, maps::HTTP_COUNTERS)?,
            tls: open(loaded, maps::TLS_COUNTERS)?,
            mysql: open(loaded, maps::MYSQL_COUNTERS)?,
            replicas: open_hash(loaded, maps::MYSQL_REPLICAS)?,
            proxied: open(loaded, maps::PROXY_HEADERS)?,
            names: open_hash(loaded, maps::TLS_NAMES)?,
            dns: open(loaded, maps::DNS_COUNTERS)?,
            service_bytes: open(loaded, maps::SERVICE_BYTES)?,
        })
    }

    fn rules(&self, slot: u32) -> Result<Counter> {
        match place(slot) {
            (maps::RULE_COUNTERS, slot) => read(&self.rules, slot),
            (_, slot) => read(&self.more_rules, slot),
        }
    }

    fn verdicts(&self, slot: u32) -> Result<Counter> {
        read(&self.verdicts, slot)
    }

    fn ports(&self, slot: u32) -> Result<Counter> {
        read(&self.ports, slot)
    }

    /// How many replicas of a service something went to within [`REPLICA_ALIVE`].
    fn replicas(&self, slot: u32) -> Result<u64> {
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        let mut count = 0;
        for entry in &self.replicas {
            let (ReplicaKey { service, .. }, last) = entry.context("read the replicas")?;
            let age = now.saturating_sub(Duration::from_nanos(last));
            count += u64::from(service == u64::from(slot) && age < REPLICA_ALIVE);
        }
        Ok(count)
    }

    fn service_bytes(&self, slot: u32) -> Result<ServiceBytes> {
        let values = self.service_bytes.get(&slot, 0).with_context(|| format!("read counter {slot}"))?;
        Ok(values.iter().fold(ServiceBytes::default(), |total, ServiceBytes { framed, lost }| ServiceBytes {
            framed: total.framed.wrapping_add(*framed),
            lost: total.lost.wrapping_add(*lost),
        }))
    }

    /// Sets slots that have a new owner to zero; no program in force counts in them.
    pub(super) fn clear(&mut self, fresh: &FreshSlots) -> Result<()> {
        let FreshSlots { rules, services, interfaces } = fresh;
        for slot in rules {
            match place(*slot) {
                (maps::RULE_COUNTERS, slot) => zero(&mut self.rules, slot)?,
                (_, slot) => zero(&mut self.more_rules, slot)?,
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
            if *port < self.service_bytes.len() {
                zero(&mut self.service_bytes, *port)?;
            }
            for interface in 0..=OTHER_INTERFACE {
                for direction in Direction::ALL {
                    zero(&mut self.ports, port_slot(interface, direction, *port))?;
                }
            }
        }
        let gone = |key: &NameKey| services.iter().any(|slot| u64::from(*slot) == key.service);
        for key in self.names.keys().filter_map(Result::ok).filter(gone).collect::<Vec<_>>() {
            self.names.remove(&key).context("forget the name of a server")?;
        }
        for interface in interfaces {
            for direction in Direction::ALL {
                for (verdict, reason) in pairs() {
                    zero(&mut self.verdicts, verdict_slot(*interface, direction, verdict, reason))?;
                }
                for port in 0..PORT_SLOTS {
                    zero(&mut self.ports, port_slot(*interface, direction, port))?;
                }
            }
        }
        Ok(())
    }
}

/// What all processors have counted in a slot.
fn total<C: aya::Pod + Default>(
    map: &PerCpuArray<MapData, C>,
    slot: u32,
    add: impl Fn(&mut C, &C),
) -> Result<C> {
    let values = map.get(&slot, 0).with_context(|| format!("read counter {slot}"))?;
    let mut total = C::default();
    values.iter().for_each(|counters| add(&mut total, counters));
    Ok(total)
}

fn read(map: &PerCpuArray<MapData, Counter>, slot: u32) -> Result<Counter> {
    let values = map.get(&slot, 0).with_context(|| format!("read counter {slot}"))?;
    Ok(sum(values.iter().copied()))
}

/// A map of counters of a ruleset, by a second handle: opening a map by its id takes `CAP_SYS_ADMIN`.
fn open<C: aya::Pod>(loaded: &LoadedRuleset, name: &str) -> Result<PerCpuArray<MapData, C>> {
    PerCpuArray::try_from(second_handle(loaded, name)?).with_context(|| format!("open map {name}"))
}

fn open_hash<K: aya::Pod, V: aya::Pod>(loaded: &LoadedRuleset, name: &str) -> Result<HashMap<MapData, K, V>> {
    HashMap::try_from(second_handle(loaded, name)?).with_context(|| format!("open map {name}"))
}

fn second_handle(loaded: &LoadedRuleset, name: &str) -> Result<Map> {
    let handle = features::map_data(loaded.map(name)?)?.fd().as_fd().try_clone_to_owned()?;
    Ok(Map::from_map_data(MapData::from_fd(handle)?)?)
}

fn zero<C: aya::Pod + Default>(map: &mut PerCpuArray<MapData, C>, slot: u32) -> Result<()> {
    let processors = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    let zeros = PerCpuValues::try_from(vec![C::default(); processors])?;
    map.set(slot, zeros, 0).with_context(|| format!("clear counter {slot}"))
}

/// Adds up; counters wrap after 2^64 packets, which is after centuries.
fn sum(counters: impl IntoIterator<Item = Counter>) -> Counter {
    counters.into_iter().fold(Counter::default(), |total, counter| Counter {
        packets: total.packets.wrapping_add(counter.packets),
        bytes: total.bytes.wrapping_add(counter.bytes),
    })
}

fn pairs() -> impl Iterator<Item = (Verdict, Reason)> {
    Verdict::ALL.iter().flat_map(|verdict| Reason::ALL.iter().map(|reason| (*verdict, *reason)))
}

/// Every port slot in use and what it stands for.
fn ports(slots: &Assigned) -> Vec<(Port, u32)> {
    let services = slots.services.iter().map(|(port, slot)| (Port::Service(*port), *slot));
    let others = Transport::ALL.iter().map(|transport| (Port::Other(*transport), transport.other_port()));
    services.chain(others).collect()
}
