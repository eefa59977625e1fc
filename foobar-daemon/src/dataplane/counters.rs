//! Counters, read from the kernel and summed over the processors.

use std::{
    collections::BTreeMap,
    os::fd::AsFd as _,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
use foobar_common::{
    counters::{Counter, OTHER_INTERFACE, PORT_SLOTS, RULE_SLOTS, Transport, port_slot, verdict_slot},
    flow::Direction,
    maps,
    verdict::{Reason, Verdict},
};

use super::{features, load::LoadedRuleset, pins::PinFolder};
use crate::{
    rules::{compile::CompiledRuleset, model::ServicePort},
    slots::{Assigned, FreshSlots},
};

/// The name under which interfaces without a slot are counted.
pub const OTHER: &str = "other";

/// All counters of the filter by what they count, since its pins were made. Zero ones are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By id of a rule that is in force; these are there even if zero.
    pub rules: BTreeMap<String, Counter>,
    /// By interface, direction, verdict and reason. The interface [`OTHER`] stands for those without a slot.
    pub verdicts: BTreeMap<(String, Direction, Verdict, Reason), Counter>,
    /// By interface, direction and port.
    pub ports: BTreeMap<(String, Direction, Port), Counter>,
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
    shared: Arc<Shared>,
}

struct Shared {
    maps: CounterMaps,
    /// Whose the slots are. A swap keeps the maps and changes only this.
    slots: RwLock<Assigned>,
}

impl CounterReader {
    pub(super) fn new(loaded: &LoadedRuleset, compiled: &CompiledRuleset) -> Result<Self> {
        let maps = CounterMaps::of(loaded)?;
        Ok(Self { shared: Arc::new(Shared { maps, slots: RwLock::new(compiled.slots.clone()) }) })
    }

    /// Names the owners of the slots after a swap.
    pub(super) fn set_slots(&self, slots: &Assigned) {
        *self.shared.slots.write().unwrap_or_else(PoisonError::into_inner) = slots.clone();
    }

    /// Reads all of them.
    pub fn read(&self) -> Result<Counters> {
        let Shared { maps, slots } = &*self.shared;
        let slots = slots.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut counters = Counters::default();
        for (id, owned) in &slots.rules {
            let live = maps.rules(owned.slot)?;
            counters.rules.insert(id.clone(), sum([live, owned.carried]));
        }
        let others = (OTHER.to_owned(), OTHER_INTERFACE);
        let ports = ports(&slots);
        for (name, interface) in slots.interfaces.into_iter().chain([others]) {
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

    /// What a rule slot holds, whoever owns it.
    pub fn rule_slot(&self, slot: u32) -> Result<Counter> {
        self.shared.maps.rules(slot)
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
}

impl CounterMaps {
    /// Opens the maps that a loaded program counts in.
    pub(super) fn of(loaded: &LoadedRuleset) -> Result<Self> {
        let open = |name: &str| -> Result<_> {
            // By a second handle: opening a map by its id takes CAP_SYS_ADMIN.
            let handle = features::map_data(loaded.map(name)?)?.fd().as_fd().try_clone_to_owned()?;
            PerCpuArray::try_from(Map::from_map_data(MapData::from_fd(handle)?)?)
                .with_context(|| format!("open map {name}"))
        };
        Ok(Self {
            rules: open(maps::RULE_COUNTERS)?,
            more_rules: open(maps::MORE_RULE_COUNTERS)?,
            verdicts: open(maps::VERDICT_COUNTERS)?,
            ports: open(maps::PORT_COUNTERS)?,
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
            for interface in 0..=OTHER_INTERFACE {
                for direction in Direction::ALL {
                    zero(&mut self.ports, port_slot(interface, direction, *port))?;
                }
            }
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

fn read(map: &PerCpuArray<MapData, Counter>, slot: u32) -> Result<Counter> {
    let values = map.get(&slot, 0).with_context(|| format!("read counter {slot}"))?;
    Ok(sum(values.iter().copied()))
}

fn zero(map: &mut PerCpuArray<MapData, Counter>, slot: u32) -> Result<()> {
    let zeros =
        PerCpuValues::try_from(vec![Counter::default(); aya::util::nr_cpus().map_err(|(_, error)| error)?])?;
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
