//! From compiled rules to programs and maps in the kernel.

use std::{collections::BTreeMap, os::fd::AsFd as _, thread};

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, Map, MapData},
    programs::{Program, SchedClassifier, Xdp},
};
use foobar_common::{
    classes::{ClassBlocks, ClassWords, OTHER_INTERFACE_CLASSES, Tier},
    counters::{MORE_RULE_SLOTS, OTHER_INTERFACE, RULE_SLOTS},
    event::{RING_BYTES, RING_BYTES_UNUSED},
    limit::{BUCKETS_MAX, Limit},
    maps,
    rule::{CardAddress, InterfaceRecord, Interfaces, Settings},
    syn_cookies::SynOffer,
    tracking::{FLOWS_MAX, Moment},
};

use super::{
    bans::{BanMaps, Lengths},
    events, features, flows,
    mapped::MappedArray,
    object,
    pins::PinFolder,
    programs::ProgramFacts,
    rejects, services,
    sets::LoadedSets,
    test_runs::TestRuns,
    timed_runs::TimedRuns,
};
use crate::{
    rules::{compile::CompiledRuleset, sets::SetTable},
    sysctls::Sysctls,
};

/// Sizes of maps that are as the settings of the daemon say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSizes {
    /// Bytes of the ring of events.
    pub ring_bytes: u32,
    /// How many flows with proof are kept, and twice as many as those without.
    pub flows: u32,
}

impl Default for MapSizes {
    fn default() -> Self {
        Self { ring_bytes: RING_BYTES, flows: FLOWS_MAX }
    }
}

/// Entries of a [`foobar_common::fields::Stride`].
const STRIDE_ENTRIES: usize = 256;

/// A ruleset in the kernel, attached to nothing by itself.
#[derive(Debug)]
pub struct LoadedRuleset {
    object: Ebpf,
    /// What each interface is, by name; for interfaces that come later.
    interfaces: InterfaceRecords,
    sets: LoadedSets,
}

impl LoadedRuleset {
    /// Loads a ruleset with counters of its own, which leaves its decisions to be read: for replay and tests.
    /// Packets come from the interface called `interface`.
    pub fn for_test_runs(compiled: &CompiledRuleset, interface: &str) -> Result<TestRuns> {
        let settings = Settings { trace: 1, ..compiled.settings };
        let mut loaded = Self::load(compiled, settings, None, None, MapSizes::default())?;
        loaded.name_interface(interface, TestRuns::INTERFACE_INDEX, None)?;
        TestRuns::new(loaded, compiled)
    }

    /// Loads a ruleset with counters of its own, as it would be in service: for benchmarks. Packets come from the
    /// interface called `interface`.
    pub fn for_timed_runs(compiled: &CompiledRuleset, interface: &str) -> Result<TimedRuns> {
        let mut loaded = Self::load(compiled, compiled.settings, None, None, MapSizes::default())?;
        loaded.name_interface(interface, TestRuns::INTERFACE_INDEX, None)?;
        TimedRuns::new(loaded, compiled)
    }

    /// Loads a ruleset for interfaces, with the counters that are pinned in `pins`, or pins new ones there. The
    /// sets of `present` are kept if the rules say so. Old connections are learnt until this moment.
    pub(super) fn for_interfaces(
        compiled: &CompiledRuleset,
        pins: &PinFolder,
        present: Option<&Self>,
        learns_until: Option<Moment>,
        sizes: MapSizes,
    ) -> Result<Self> {
        let settings = Settings { learns_until: learns_until.unwrap_or_default().0, ..compiled.settings };
        Self::load(compiled, settings, Some(pins), present, sizes)
    }

    fn load(
        compiled: &CompiledRuleset,
        settings: Settings,
        pins: Option<&PinFolder>,
        present: Option<&Self>,
        sizes: MapSizes,
    ) -> Result<Self> {
        let settings = Settings { answer_card: rejects::secret_card()?, ..settings };
        let set_lines = LoadedSets::map_lines(&compiled.sets, present.map(|present| &present.sets))?;
        let sizes = MapSizes { ring_bytes: events::ring_bytes(compiled, pins, sizes.ring_bytes), ..sizes };
        let mut object = create_maps(compiled, &settings, set_lines, pins, sizes)?;
        fill(&object, compiled)?;
        fill_limits(&mut object, &compiled.limits)?;
        events::fill(&mut object, &compiled.rule_logs)?;
        rejects::fill(&mut object, compiled)?;
        let sets = LoadedSets::fill(
            &object,
            &compiled.sets,
            present.map(|present| (&present.object, &present.sets)),
        )?;
        let mut loaded = Self { object, interfaces: InterfaceRecords::new(compiled), sets };
        // Before a program can ban: what it bans is heeded at once.
        BanMaps::of(&loaded)?.add_lengths(Lengths::of_limits(&compiled.limits))?;
        let more: Vec<_> = services::programs(compiled)
            .into_iter()
            .chain(rejects::programs(compiled).iter().copied())
            .collect();
        load_programs(&mut loaded.object, &more)?;
        services::connect(&mut loaded.object, compiled)?;
        if services::sends_cookies(compiled) {
            let interfaces: Vec<String> = compiled.slots.interfaces.keys().cloned().collect();
            loaded.offer(Sysctls::read(&interfaces).offer())?;
        }
        Ok(loaded)
    }

    /// Says what answers to SYNs may offer.
    pub(super) fn offer(&mut self, offer: SynOffer) -> Result<()> {
        services::offer(&mut self.object, offer)
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

    /// The program for what goes out.
    pub(super) fn egress(&self) -> Result<&SchedClassifier> {
        let program = self.object.program(maps::EGRESS).context("the object has no program 'egress'")?;
        program.try_into().context("the program 'egress' is no classifier")
    }

    /// The same, for attaching.
    pub(super) fn egress_mut(&mut self) -> Result<&mut SchedClassifier> {
        let program = self.object.program_mut(maps::EGRESS).context("the object has no program 'egress'")?;
        program.try_into().context("the program 'egress' is no classifier")
    }

    /// Id of the XDP program in the kernel.
    pub(super) fn program_id(&self) -> Result<u32> {
        Ok(self.ingress()?.info()?.id())
    }

    /// Tells the program that packets from interface `index` are from the interface called `name`, which has this link-layer
    /// address, if that is known.
    pub(super) fn name_interface(&mut self, name: &str, index: u32, card: Option<[u8; 6]>) -> Result<()> {
        let record = self.interfaces.name(name, index, card)?;
        let map = self.object.map_mut(maps::INTERFACES).context("the object has no map of interfaces")?;
        let mut map: Array<_, Interfaces> = map.try_into()?;
        map.set(0, record, 0).with_context(|| format!("enter interface {name}"))
    }

    /// A map of the object.
    pub(super) fn map(&self, name: &str) -> Result<&Map> {
        self.object.map(name).ok_or_else(|| anyhow!("the object has no map {name}"))
    }

    /// A map of the object by a second handle, for whoever outlives it: opening a map by its id takes `CAP_SYS_ADMIN`.
    pub(super) fn second_handle(&self, name: &str) -> Result<Map> {
        let handle = features::map_data(self.map(name)?)?.fd().as_fd().try_clone_to_owned()?;
        Ok(Map::from_map_data(MapData::from_fd(handle)?)?)
    }

    /// Makes the TCP connections known that are open now. Where the kernel does not tell, the log says so.
    pub(super) fn learn_open_connections(&self) {
        if let Err(error) = flows::learn_open_connections(self) {
            tracing::warn!("connections that were open before are not known: {error:#}");
        }
    }

    /// A map of the object, to keep; the programs go on using it.
    pub(super) fn take_map(&mut self, name: &str) -> Result<Map> {
        self.object.take_map(name).ok_or_else(|| anyhow!("the object has no map {name}"))
    }

    /// The sets.
    pub(super) fn sets(&self) -> &LoadedSets {
        &self.sets
    }

    /// Puts other sets in force, from one packet to the next.
    pub(super) fn replace_sets(&mut self, table: &SetTable) -> Result<()> {
        self.sets.replace(&self.object, table)
    }

    /// Bytes of kernel memory that the maps take, by name.
    pub fn map_memory(&self) -> Result<BTreeMap<String, u64>> {
        self.object.maps().map(|(name, map)| Ok((name.to_owned(), features::map_memory(map)?))).collect()
    }

    /// What the kernel says of the loaded programs.
    pub fn facts(&self) -> Result<Vec<ProgramFacts>> {
        let (ingress, egress) = (self.ingress()?, self.egress()?);
        let mut facts = vec![
            ProgramFacts::of(maps::INGRESS, &ingress.info()?, ingress.fd()?)?,
            ProgramFacts::of(maps::EGRESS, &egress.info()?, egress.fd()?)?,
        ];
        for (name, program) in self.object.programs() {
            if ![maps::INGRESS, maps::EGRESS].contains(&name)
                && let Ok(info) = program.info()
            {
                facts.push(ProgramFacts::of(name, &info, program.fd()?)?);
            }
        }
        Ok(facts)
    }

    /// Keeps the programs of services in force for as long as `pins` holds this ruleset's; see [`services`].
    pub(super) fn pin_services<'pins>(&self, pins: &'pins PinFolder) -> Result<services::Pending<'pins>> {
        services::pin(&self.object, pins, self.program_id()?)
    }
}

/// Gives the programs to the kernel that every ruleset needs and `more` of them, all at a time: most of it is the
/// verifier's work.
fn load_programs(object: &mut Ebpf, more: &[&str]) -> Result<()> {
    let load = |name: &str, program: &mut Program| -> Result<()> {
        let loaded = if let Program::Xdp(program) = program {
            program.load()
        } else {
            <&mut SchedClassifier>::try_from(program)?.load()
        };
        loaded.map_err(|error| features::explain_load(name, &error))
    };
    let is_wanted = |name: &str| [maps::INGRESS, maps::EGRESS].contains(&name) || more.contains(&name);
    thread::scope(|scope| {
        let programs = object.programs_mut().filter(|(name, _)| is_wanted(name));
        let loads: Vec<_> =
            programs.map(|(name, program)| scope.spawn(move || load(name, program))).collect();
        loads.into_iter().try_for_each(|load| {
            load.join().map_err(|_payload| anyhow!("the thread that loads a program panicked"))?
        })
    })
}

/// Makes the maps, of the sizes that the ruleset needs.
fn create_maps(
    compiled: &CompiledRuleset,
    settings: &Settings,
    set_lines: usize,
    pins: Option<&PinFolder>,
    sizes: MapSizes,
) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    loader.override_global(maps::SETTINGS, settings, true);
    let CompiledRuleset { addresses, heads, clauses, word_rules, slots, .. } = compiled;
    let in_tier = |tier: Tier, entries: usize| if compiled.tier == tier { entries } else { 1 };
    let more_rule_slots =
        pins.is_some_and(|pins| pins.map(maps::MORE_RULE_COUNTERS).exists()) || settings.more_rule_slots != 0;
    let uses_buckets =
        pins.is_some_and(|pins| pins.map(maps::BUCKETS).exists()) || !compiled.limits.is_empty();
    // What a ruleset has needed once, others keep.
    let when_needed: BTreeMap<&str, Option<u32>> = services::maps(compiled)
        .into_iter()
        .chain(flows::maps(compiled, sizes.flows))
        .chain([rejects::map(compiled)])
        .map(|(name, (entries, is_used))| {
            let is_kept = is_used || pins.is_some_and(|pins| pins.map(name).exists());
            (name, is_kept.then_some(entries))
        })
        .collect();
    // Without pins nobody else's slots have to find room.
    let owned = slots.rules.values().chain(slots.over.values());
    let rule_slots = owned.map(|owned| owned.slot + 1).max().unwrap_or(1).min(RULE_SLOTS);
    for (name, entries) in [
        (maps::STRIDES, addresses.strides.len() / STRIDE_ENTRIES),
        (maps::HEADS, in_tier(Tier::Single, heads.len())),
        (maps::WORDS, in_tier(Tier::Words, heads.len())),
        (maps::CLASS_BLOCKS, in_tier(Tier::Blocks, heads.len())),
        (maps::BLOCKS, in_tier(Tier::Blocks, clauses.blocks.len())),
        (maps::WORD_RULES, word_rules.len()),
        (maps::LIMITS, compiled.limits.len()),
        (maps::RULE_LOGS, compiled.rule_logs.len()),
        (maps::EVENTS, sizes.ring_bytes as usize),
        (maps::BUCKETS, if uses_buckets { BUCKETS_MAX as usize } else { 1 }),
        (maps::SETS, set_lines),
        (maps::RULE_COUNTERS, if pins.is_some() { RULE_SLOTS as usize } else { rule_slots as usize }),
        (maps::MORE_RULE_COUNTERS, if more_rule_slots { MORE_RULE_SLOTS as usize } else { 1 }),
    ] {
        let entries = u32::try_from(entries.max(1)).with_context(|| format!("no room for map {name}"))?;
        loader.map_max_entries(name, entries);
    }
    for name in maps::OF_PROBES {
        // They are loaded by themselves.
        loader.map_max_entries(name, 1);
    }
    for (name, entries) in &when_needed {
        loader.map_max_entries(name, entries.unwrap_or(1));
    }
    if let Some(pins) = pins {
        for name in maps::SURVIVING {
            let is_used = match (name, when_needed.get(name)) {
                (maps::MORE_RULE_COUNTERS, _) => more_rule_slots,
                (maps::BUCKETS, _) => uses_buckets,
                (maps::EVENTS, _) => sizes.ring_bytes != RING_BYTES_UNUSED,
                (_, Some(entries)) => entries.is_some(),
                (_, None) => true,
            };
            if is_used {
                loader.map_pin_path(name, pins.map(name));
            }
        }
    }
    loader.load(object::BYTES).map_err(features::explain_create)
}

/// Writes the limits of rules.
fn fill_limits(object: &mut Ebpf, limits: &[(u32, Limit)]) -> Result<()> {
    let map = object.map_mut(maps::LIMITS).context("the object has no map of limits")?;
    let mut map: HashMap<_, u32, Limit> = map.try_into()?;
    for (slot, limit) in limits {
        map.insert(slot, limit, 0).context("enter the limit of a rule")?;
    }
    Ok(())
}

/// Writes the tables. Nothing runs yet, so the order does not matter.
fn fill(object: &Ebpf, compiled: &CompiledRuleset) -> Result<()> {
    let CompiledRuleset {
        settings: _,
        tier,
        addresses,
        tables,
        heads,
        clauses,
        first_rules,
        word_rules,
        interface_classes: _,
        sets: _,
        spoken: _,
        decrypted: _,
        limits: _,
        rule_logs: _,
        reject_rate: _,
        adopt: _,
        slots: _,
    } = compiled;
    write(object, maps::ROOTS, &addresses.roots)?;
    write(object, maps::STRIDES, &addresses.strides)?;
    write(object, maps::TABLES, &tables.concat())?;
    write(object, maps::FIRST_RULES, &first_rules.rules)?;
    write(object, maps::WORD_RULES, word_rules)?;
    let classes = heads.iter().zip(clauses.classes());
    match tier {
        Tier::Single => write(object, maps::HEADS, heads)?,
        Tier::Words => {
            let mut memory = mapped(object, maps::WORDS)?;
            for (place, (head, numbers)) in memory.as_mut_slice::<ClassWords>().iter_mut().zip(classes) {
                place.head = *head;
                for (word, clauses) in place.words.iter_mut().zip(clauses.words(numbers)) {
                    *word = clauses;
                }
            }
        }
        Tier::Blocks => {
            write(object, maps::BLOCKS, &clauses.blocks)?;
            let mut memory = mapped(object, maps::CLASS_BLOCKS)?;
            for (place, (head, numbers)) in memory.as_mut_slice::<ClassBlocks>().iter_mut().zip(classes) {
                place.head = *head;
                for (block, number) in place.blocks.iter_mut().zip(numbers) {
                    *block = *number;
                }
            }
        }
    }
    Ok(())
}

/// Writes the values of an array, from its beginning.
fn write<T: aya::Pod>(object: &Ebpf, name: &str, values: &[T]) -> Result<()> {
    mapped(object, name)?.write(values).with_context(|| format!("write map {name}"))
}

fn mapped(object: &Ebpf, name: &str) -> Result<MappedArray> {
    let map = object.map(name).with_context(|| format!("the object has no map {name}"))?;
    MappedArray::of(features::map_data(map)?).with_context(|| format!("open map {name}"))
}

/// The records of the interfaces that the ruleset knows.
#[derive(Clone, Debug)]
struct InterfaceRecords {
    slots: BTreeMap<String, u32>,
    classes: BTreeMap<String, [u32; 2]>,
    /// The index and address of each interface by which it was last named.
    named: BTreeMap<String, (u32, [u16; 3])>,
}

impl InterfaceRecords {
    fn new(compiled: &CompiledRuleset) -> Self {
        let (slots, classes) = (compiled.slots.interfaces.clone(), compiled.interface_classes.clone());
        Self { slots, classes, named: BTreeMap::new() }
    }

    /// Gives an interface its present index; it may have had another one. Packets of the others meet the same records
    /// while they are written, and the one that is new has no program yet.
    fn name(&mut self, name: &str, index: u32, card: Option<[u8; 6]>) -> Result<Interfaces> {
        let card = rejects::card_words(card.unwrap_or_default());
        self.named.insert(name.to_owned(), (index, card));
        let mut interfaces = Interfaces::default();
        let room = interfaces.records.len();
        ensure!(self.named.len() <= room, "there is room for {room} interfaces, not for {name}, too");
        let Interfaces { records, cards } = &mut interfaces;
        for ((record, address), (name, (index, card))) in records.iter_mut().zip(cards).zip(&self.named) {
            *record = InterfaceRecord {
                index: *index,
                slot: self.slots.get(name).copied().unwrap_or(OTHER_INTERFACE),
                classes: self.classes.get(name).copied().unwrap_or(OTHER_INTERFACE_CLASSES),
            };
            *address = CardAddress { words: *card, padding: 0 };
        }
        Ok(interfaces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_known_by_its_last_index_and_without_a_slot_is_counted_as_other() {
        let slots = BTreeMap::from([("eth0".to_owned(), 3)]);
        let mut records = InterfaceRecords { slots, classes: BTreeMap::new(), named: BTreeMap::new() };
        records.name("eth1", 7, None).unwrap();
        records.name("eth0", 8, Some([2; 6])).unwrap();
        let Interfaces { records: named, cards } = records.name("eth0", 9, Some([2, 3, 4, 5, 6, 7])).unwrap();
        let classes = OTHER_INTERFACE_CLASSES;
        assert_eq!(named[0], InterfaceRecord { index: 9, slot: 3, classes });
        assert_eq!(named[1], InterfaceRecord { index: 7, slot: OTHER_INTERFACE, classes });
        let card = [[2, 3], [4, 5], [6, 7]].map(u16::from_ne_bytes);
        assert_eq!([cards[0].known(), cards[1].known()], [Some(card), None]);
        assert!(named[2..].iter().all(|record| *record == InterfaceRecord::default()));
    }
}
