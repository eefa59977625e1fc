//! From compiled rules to programs and maps in the kernel.

use std::{collections::BTreeMap, num::NonZeroU32};

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, LpmTrie, Map, lpm_trie::Key},
    programs::{ProgramFd, Xdp},
};
use foobar_common::{
    counters::OTHER_INTERFACE,
    maps,
    rule::{Class, InterfaceRecord, OTHER_INTERFACE_CLASS, RuleRecord, Settings, Table},
};

use super::{
    features, filter::ProgramFacts, object, pins::PinFolder, test_runs::TestRuns, timed_runs::TimedRuns,
};
use crate::rules::compile::{CompiledRuleset, FieldTable, PrefixTable};

/// A ruleset in the kernel, attached to nothing by itself.
#[derive(Debug)]
pub struct LoadedRuleset {
    object: Ebpf,
    /// What each interface is, by name; for interfaces that come later.
    interfaces: InterfaceRecords,
}

impl LoadedRuleset {
    /// Loads a ruleset with counters of its own, which leaves its decisions to be read: for replay and tests.
    /// Packets come from the interface called `interface`.
    pub fn for_test_runs(compiled: &CompiledRuleset, interface: &str) -> Result<TestRuns> {
        let settings = Settings { trace: 1, ..compiled.settings };
        let mut loaded = Self::load(compiled, settings, None)?;
        loaded.name_interface(interface, TestRuns::INTERFACE_INDEX)?;
        TestRuns::new(loaded, compiled)
    }

    /// Loads a ruleset with counters of its own, as it would be in service: for benchmarks. Packets come from the
    /// interface called `interface`.
    pub fn for_timed_runs(compiled: &CompiledRuleset, interface: &str) -> Result<TimedRuns> {
        let mut loaded = Self::load(compiled, compiled.settings, None)?;
        loaded.name_interface(interface, TestRuns::INTERFACE_INDEX)?;
        TimedRuns::new(loaded, compiled)
    }

    /// Loads a ruleset for interfaces, with the counters that are pinned in `pins`, or pins new ones there.
    pub(super) fn for_interfaces(compiled: &CompiledRuleset, pins: &PinFolder) -> Result<Self> {
        Self::load(compiled, compiled.settings, Some(pins))
    }

    fn load(compiled: &CompiledRuleset, settings: Settings, pins: Option<&PinFolder>) -> Result<Self> {
        let mut object = create_maps(compiled, &settings, pins)?;
        fill(&mut object, compiled)?;
        let mut loaded = Self { object, interfaces: InterfaceRecords::new(compiled) };
        loaded.ingress_mut()?.load().map_err(|error| features::explain_load(&error))?;
        Ok(loaded)
    }

    /// The XDP program.
    pub(super) fn ingress(&self) -> Result<&Xdp> {
        let program = self.object.program(maps::INGRESS).context("the object has no program 'ingress'")?;
        program.try_into().context("the program 'ingress' is no XDP program")
    }

    /// The XDP program, for attaching.
    pub(super) fn ingress_mut(&mut self) -> Result<&mut Xdp> {
        let program =
            self.object.program_mut(maps::INGRESS).context("the object has no program 'ingress'")?;
        program.try_into().context("the program 'ingress' is no XDP program")
    }

    /// The XDP program, for an array of programs.
    pub(super) fn ingress_fd(&self) -> Result<&ProgramFd> {
        Ok(self.ingress()?.fd()?)
    }

    /// Id of the XDP program in the kernel.
    pub(super) fn program_id(&self) -> Result<u32> {
        Ok(self.ingress()?.info()?.id())
    }

    /// Tells the program that packets from interface `index` are from the interface called `name`.
    pub(super) fn name_interface(&mut self, name: &str, index: u32) -> Result<()> {
        let record = self.interfaces.get(name);
        let map = self.object.map_mut(maps::INTERFACES).context("the object has no map of interfaces")?;
        let mut map: HashMap<_, u32, InterfaceRecord> = map.try_into()?;
        map.insert(index, record, 0).with_context(|| format!("enter interface {name}"))
    }

    /// A map of the object.
    pub(super) fn map(&self, name: &str) -> Result<&Map> {
        self.object.map(name).ok_or_else(|| anyhow!("the object has no map {name}"))
    }

    /// A map of the object, to keep; the programs go on using it.
    pub(super) fn take_map(&mut self, name: &str) -> Result<Map> {
        self.object.take_map(name).ok_or_else(|| anyhow!("the object has no map {name}"))
    }

    /// Bytes of kernel memory that the maps take, by name.
    pub fn map_memory(&self) -> Result<BTreeMap<String, u64>> {
        self.object.maps().map(|(name, map)| Ok((name.to_owned(), features::map_memory(map)?))).collect()
    }

    /// What the kernel says of the loaded program.
    pub fn facts(&self) -> Result<ProgramFacts> {
        let info = self.ingress()?.info()?;
        let (runs, run_time_ns) = features::program_runs(self.ingress()?.fd()?)?;
        Ok(ProgramFacts {
            program: maps::INGRESS.to_owned(),
            id: info.id(),
            tag: format!("{:016x}", info.tag()),
            verified_instructions: info.verified_instruction_count(),
            runs,
            run_time_ns,
        })
    }
}

/// Makes the maps, of the sizes that the ruleset needs.
fn create_maps(compiled: &CompiledRuleset, settings: &Settings, pins: Option<&PinFolder>) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    loader.override_global(maps::SETTINGS, settings, true);
    for (name, entries) in [
        (maps::SOURCES_V4, compiled.sources_v4.entries.len()),
        (maps::SOURCES_V6, compiled.sources_v6.entries.len()),
        (maps::DESTINATIONS_V4, compiled.destinations_v4.entries.len()),
        (maps::DESTINATIONS_V6, compiled.destinations_v6.entries.len()),
        (maps::CLASSES, compiled.classes.len()),
    ] {
        let entries = u32::try_from(entries).ok().and_then(NonZeroU32::new);
        loader.map_max_entries(name, entries.with_context(|| format!("no room for map {name}"))?.get());
    }
    if let Some(pins) = pins {
        for name in maps::SURVIVING {
            loader.map_pin_path(name, pins.map(name));
        }
    }
    loader.load(object::BYTES).map_err(features::explain_create)
}

/// Writes the tables. Nothing runs yet, so the order does not matter.
fn fill(object: &mut Ebpf, compiled: &CompiledRuleset) -> Result<()> {
    let CompiledRuleset {
        settings: _,
        sources_v4,
        sources_v6,
        destinations_v4,
        destinations_v6,
        tables,
        classes,
        rules,
        interface_classes: _,
        slots: _,
    } = compiled;
    fill_prefixes(object, maps::SOURCES_V4, sources_v4, first_four)?;
    fill_prefixes(object, maps::SOURCES_V6, sources_v6, |address| address)?;
    fill_prefixes(object, maps::DESTINATIONS_V4, destinations_v4, first_four)?;
    fill_prefixes(object, maps::DESTINATIONS_V6, destinations_v6, |address| address)?;
    fill_array::<Class>(object, maps::CLASSES, classes.iter().copied())?;
    fill_array::<RuleRecord>(object, maps::RULES, rules.iter().copied())?;
    let map = object.map_mut(maps::TABLES).context("the object has no tables")?;
    let mut map: Array<_, Table> = map.try_into()?;
    let mut record = empty_table();
    for (number, FieldTable { classes }) in (0..).zip(tables) {
        record.classes.copy_from_slice(classes);
        map.set(number, record.as_ref(), 0).context("write a table")?;
    }
    Ok(())
}

/// A table on the heap; it is too large for the stack of a thread.
fn empty_table() -> Box<Table> {
    // SAFETY: all bits zero is a valid table.
    unsafe { Box::new_zeroed().assume_init() }
}

fn fill_prefixes<K: aya::Pod>(
    object: &mut Ebpf,
    name: &str,
    table: &PrefixTable,
    key: fn([u8; 16]) -> K,
) -> Result<()> {
    let map = object.map_mut(name).with_context(|| format!("the object has no map {name}"))?;
    let mut map: LpmTrie<_, K, u32> = map.try_into()?;
    for entry in &table.entries {
        let key = Key::new(u32::from(entry.length), key(entry.address));
        map.insert(&key, entry.class, 0).with_context(|| format!("write map {name}"))?;
    }
    Ok(())
}

fn fill_array<V: aya::Pod>(object: &mut Ebpf, name: &str, values: impl Iterator<Item = V>) -> Result<()> {
    let map = object.map_mut(name).with_context(|| format!("the object has no map {name}"))?;
    let mut map: Array<_, V> = map.try_into()?;
    for (number, value) in (0..).zip(values) {
        map.set(number, value, 0).with_context(|| format!("write map {name}"))?;
    }
    Ok(())
}

fn first_four(address: [u8; 16]) -> [u8; 4] {
    let [a, b, c, d, ..] = address;
    [a, b, c, d]
}

/// The records of the interfaces that the ruleset knows.
#[derive(Clone, Debug)]
struct InterfaceRecords {
    slots: BTreeMap<String, u32>,
    classes: BTreeMap<String, u32>,
}

impl InterfaceRecords {
    fn new(compiled: &CompiledRuleset) -> Self {
        Self { slots: compiled.slots.interfaces.clone(), classes: compiled.interface_classes.clone() }
    }

    fn get(&self, name: &str) -> InterfaceRecord {
        InterfaceRecord {
            slot: self.slots.get(name).copied().unwrap_or(OTHER_INTERFACE),
            class: self.classes.get(name).copied().unwrap_or(OTHER_INTERFACE_CLASS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_interface_is_counted_as_other() {
        let records = InterfaceRecords { slots: BTreeMap::new(), classes: BTreeMap::new() };
        assert_eq!(records.get("eth0").class, OTHER_INTERFACE_CLASS);
        assert_eq!(records.get("eth0").slot, OTHER_INTERFACE);
    }
}
