//! Counters, read from the kernel and summed over the processors.

mod array;
mod connections;
mod maps;
mod peers;
mod services;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use anyhow::{Context as _, Result};
use foobar_common::{
    connection::NameKey,
    counters::{Counter, OTHER_INTERFACE, Transport, port_slot, verdict_slot},
    dns::DnsCounters,
    flow::Direction,
    proxy::ProxyCounters,
    raw::RawCounters,
    service::{HttpCounters, MysqlCounters, Protocol, ServiceBytes, TlsCounters},
    verdict::{Reason, Verdict},
};

pub(super) use self::maps::CounterMaps;
use self::{
    array::{CounterArray, sum},
    maps::{place, total},
};
pub use self::{
    connections::Open,
    peers::Peers,
    services::{ProtocolCounters, ServiceCounters, SynCookieCounters, http_outcomes},
};
use super::{bans::KernelBan, load::LoadedRuleset, pins::PinFolder};
use crate::{
    rules::{
        compile::CompiledRuleset,
        model::{ServicePort, Spoken},
        rule_id::RuleId,
    },
    slots::Assigned,
};

/// The name under which interfaces without a slot are counted.
pub const OTHER: &str = "other";

/// The word for what probes have read inside of TLS, where others have that for a protocol.
pub const DECRYPTED: &str = "https";

/// What became of packets, by interface, direction, verdict and reason.
pub type Verdicts = BTreeMap<(String, Direction, Verdict, Reason), Counter>;

/// All counters of the filter by what they count, since its pins were made. Zero ones are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By id of a rule that is in force; these are there even if zero.
    pub rules: BTreeMap<RuleId, Counter>,
    /// What was over the limit, by id of a rule that has one; these are there even if zero.
    pub over: BTreeMap<RuleId, Counter>,
    /// By interface, direction, verdict and reason. The interface [`OTHER`] stands for those without a slot.
    pub verdicts: Verdicts,
    /// By interface, direction and port.
    pub ports: BTreeMap<(String, Direction, Port), Counter>,
    /// By port of a service of which more is counted than this; these are there even if zero.
    pub services: BTreeMap<ServicePort, ServiceCounters>,
    /// What probes have read inside of TLS, by the first port of the service; these are there even if zero.
    pub decrypted: BTreeMap<ServicePort, HttpCounters>,
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
        let (verdicts, ports) = (in_force.verdicts()?, in_force.ports()?);
        let mut counters = Counters { verdicts, ports, services, decrypted, ..Counters::default() };
        let live = maps.rules(slots.rules.values().chain(slots.over.values()).map(|owned| owned.slot))?;
        for (owned, counted) in [(&slots.rules, &mut counters.rules), (&slots.over, &mut counters.over)] {
            *counted = owned
                .iter()
                .map(|(id, owned)| {
                    let live = live.get(&owned.slot).copied().unwrap_or_default();
                    (id.clone(), sum([live, owned.carried]))
                })
                .collect();
        }
        Ok(counters)
    }

    /// Reads alone what became of packets.
    pub fn verdicts(&self) -> Result<Verdicts> {
        self.in_force().verdicts()
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

    /// The bans in the kernel that have stopped something, also those that are over.
    pub fn bans(&self) -> Result<Vec<KernelBan>> {
        self.in_force().maps.bans.list_stopping()
    }

    /// What a rule slot holds, whoever owns it.
    pub fn rule_slot(&self, slot: u32) -> Result<Counter> {
        self.in_force().maps.rule(slot)
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

    /// Every interface that has a slot, and the one for all others.
    fn interfaces(&self) -> impl Iterator<Item = (&str, u32)> {
        let named = self.slots.interfaces.iter().map(|(name, slot)| (name.as_str(), *slot));
        named.chain([(OTHER, OTHER_INTERFACE)])
    }

    fn verdicts(&self) -> Result<Verdicts> {
        let mut owners = BTreeMap::new();
        for (name, interface) in self.interfaces() {
            for direction in Direction::ALL {
                owners.extend(pairs().map(|(verdict, reason)| {
                    let slot = verdict_slot(interface, direction, verdict, reason);
                    (slot, (name, direction, verdict, reason))
                }));
            }
        }
        let counted = counted(&self.maps.verdicts, owners)?;
        Ok(counted
            .map(|((name, direction, verdict, reason), counter)| {
                ((name.to_owned(), direction, verdict, reason), counter)
            })
            .collect())
    }

    fn ports(&self) -> Result<BTreeMap<(String, Direction, Port), Counter>> {
        let ports = ports(&self.slots);
        let mut owners = BTreeMap::new();
        for (name, interface) in self.interfaces() {
            for direction in Direction::ALL {
                owners.extend(
                    ports.iter().map(|(port, slot)| {
                        (port_slot(interface, direction, *slot), (name, direction, *port))
                    }),
                );
            }
        }
        let counted = counted(&self.maps.ports, owners)?;
        Ok(counted
            .map(|((name, direction, port), counter)| ((name.to_owned(), direction, port), counter))
            .collect())
    }

    fn decrypted(&self) -> Result<BTreeMap<ServicePort, HttpCounters>> {
        let Self { maps, slots, decrypted, .. } = self;
        let services = slots.services.iter().filter(|(_, slot)| decrypted.contains(slot));
        services.map(|(port, slot)| Ok((*port, total(&maps.http, *slot, HttpCounters::add)?))).collect()
    }

    fn services(&self) -> Result<BTreeMap<ServicePort, ServiceCounters>> {
        let Self { maps, slots, spoken, .. } = self;
        let mut services = BTreeMap::new();
        for (port, spoken) in spoken.iter().filter(|(port, spoken)| spoken.is_counted(**port)) {
            let Spoken { service, protocol, tls: _, proxy_protocol, responses, syn_cookies } = spoken;
            let Some(slot) = slots.services.get(port) else { continue };
            let mut of_protocol = match protocol {
                Protocol::Raw => ProtocolCounters::Raw(total(&maps.raw, *slot, RawCounters::add)?),
                Protocol::Http1 => {
                    let counters = total(&maps.http, *slot, HttpCounters::add)?;
                    if *responses {
                        ProtocolCounters::Http1(counters)
                    } else {
                        ProtocolCounters::Http1Requests(counters)
                    }
                }
                Protocol::H2c => ProtocolCounters::H2c(total(&maps.http, *slot, HttpCounters::add)?),
                Protocol::Tls => ProtocolCounters::Tls(total(&maps.tls, *slot, TlsCounters::add)?),
                Protocol::Mysql => {
                    let counters = total(&maps.mysql, *slot, MysqlCounters::add)?;
                    ProtocolCounters::Mysql(Box::new(counters), maps.replicas(*slot)?)
                }
                Protocol::Dns => ProtocolCounters::Dns(total(&maps.dns, *slot, DnsCounters::add)?),
            };
            let bytes = if protocol.is_read() { maps.service_bytes(*slot)? } else { ServiceBytes::default() };
            let proxied = if *proxy_protocol {
                Some(total(&maps.proxied, *slot, |sum: &mut ProxyCounters, more| {
                    for (sum, more) in sum.headers.iter_mut().zip(more.headers) {
                        *sum = sum.wrapping_add(more);
                    }
                })?)
            } else {
                None
            };
            let peers = Peers::new(&of_protocol, &slots.peers, &maps.peers(*slot)?);
            peers.complete(&mut of_protocol);
            let service = service.clone();
            let syn_cookies = if syn_cookies.reach(*port) {
                Some(maps.syn_cookies(*slot, syn_cookies.mode)?)
            } else {
                None
            };
            let counted = ServiceCounters { service, bytes, proxied, peers, syn_cookies, of_protocol };
            services.insert(*port, counted);
        }
        Ok(services)
    }
}

/// What is in slots, by what they stand for, but zeros.
fn counted<O>(
    array: &CounterArray,
    mut owners: BTreeMap<u32, O>,
) -> Result<impl Iterator<Item = (O, Counter)>> {
    let counters = array.many(owners.keys().copied())?;
    let counters = counters.into_iter().filter(|(_, counter)| *counter != Counter::default());
    Ok(counters.filter_map(move |(slot, counter)| Some((owners.remove(&slot)?, counter))))
}

/// What a rule slot holds in the maps that are pinned in `pins`; zero if there are none.
pub fn pinned_rule_slot(pins: &Path, slot: u32) -> Result<Counter> {
    let (name, slot) = place(slot);
    let path = PinFolder::new(pins).map(name);
    if !path.exists() {
        return Ok(Counter::default());
    }
    CounterArray::pinned(&path)?.one(slot)
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
