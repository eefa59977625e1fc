//! How full the maps of a ruleset are.

use std::collections::BTreeMap;

use foobar_common::{
    bans::BANS_MAX,
    classes::Tier,
    counters::{MORE_RULE_SLOTS, PORT_ENTRIES, PORT_SLOTS, RULE_SLOTS, VERDICT_ENTRIES},
    maps,
};
use serde::{Deserialize, Serialize};

use super::flows::FlowFacts;
use crate::rules::compile::CompiledRuleset;

/// Entries of one map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapFill {
    /// Its name.
    pub map: String,
    /// Entries in use.
    pub entries: u32,
    /// Entries there is room for.
    pub max_entries: u32,
    /// Bytes of kernel memory, by the kernel's own account.
    pub bytes: u64,
}

/// By names of maps.
pub(super) type Fills = BTreeMap<&'static str, Fill>;

/// Entries of a map, without its memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fill {
    entries: usize,
    max_entries: u32,
}

/// Those of a ruleset.
pub(super) fn of(compiled: &CompiledRuleset) -> Fills {
    let slots = &compiled.slots;
    let classes = match compiled.tier {
        Tier::Single => maps::HEADS,
        Tier::Words => maps::WORDS,
        Tier::Blocks => maps::CLASS_BLOCKS,
    };
    let ports = slots.interfaces.len() * PORT_SLOTS as usize;
    let owned = || slots.rules.values().chain(slots.over.values());
    let more_slots = owned().filter(|owned| owned.slot >= RULE_SLOTS).count();
    BTreeMap::from([
        (maps::STRIDES, sized(compiled.addresses.strides.len() / 256)),
        (classes, sized(compiled.heads.len())),
        (maps::BLOCKS, sized(compiled.clauses.blocks.len())),
        (maps::WORD_RULES, sized(compiled.word_rules.len())),
        (maps::SETS, sized(compiled.sets.facts().stored)),
        (maps::RULE_COUNTERS, Fill { entries: owned().count() - more_slots, max_entries: RULE_SLOTS }),
        (maps::MORE_RULE_COUNTERS, Fill { entries: more_slots, max_entries: MORE_RULE_SLOTS }),
        (maps::VERDICT_COUNTERS, sized(VERDICT_ENTRIES as usize)),
        (maps::PORT_COUNTERS, Fill { entries: ports, max_entries: PORT_ENTRIES }),
    ])
}

/// The same and so many bans and flows, with the memory of each map in bytes.
pub(super) fn with_memory(
    fills: &Fills,
    bans: usize,
    flows: Option<&FlowFacts>,
    memory: &BTreeMap<String, u64>,
) -> Vec<MapFill> {
    let bans = [(maps::BANS, Fill { entries: bans, max_entries: BANS_MAX })];
    let flows = flows
        .into_iter()
        .flat_map(FlowFacts::maps)
        .map(|(name, of_map)| (name, Fill { entries: of_map.known as usize, max_entries: of_map.room }));
    fills
        .iter()
        .map(|(name, fill)| (*name, *fill))
        .chain(bans)
        .chain(flows)
        .map(|(name, Fill { entries, max_entries })| MapFill {
            map: name.to_owned(),
            entries: u32::try_from(entries).unwrap_or(u32::MAX),
            max_entries,
            bytes: memory.get(name).copied().unwrap_or(0),
        })
        .collect()
}

/// A map that has just the size that it needs.
pub(super) fn sized(entries: usize) -> Fill {
    Fill { entries, max_entries: u32::try_from(entries).unwrap_or(u32::MAX) }
}
