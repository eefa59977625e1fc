//! A per-CPU array of packets and bytes, summed over the processors.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, PerCpuArray};
use foobar_common::counters::Counter;

use super::maps::zero;
use crate::dataplane::{batches, features, load::LoadedRuleset};

/// Slots that nobody asked for are read, too, if there are no more of them in a row than this: that is faster than another system
/// call.
const GAP: u32 = 16;

/// The array.
pub(super) struct CounterArray(Map);

impl CounterArray {
    /// The one that a loaded program counts in.
    pub(super) fn of(loaded: &LoadedRuleset, name: &str) -> Result<Self> {
        loaded.second_handle(name).map(Self)
    }

    /// One that is pinned.
    pub(super) fn pinned(path: &Path) -> Result<Self> {
        let map = MapData::from_pin(path).with_context(|| format!("open {}", path.display()))?;
        Ok(Self(Map::from_map_data(map)?))
    }

    /// What is in a slot.
    pub(super) fn one(&self, slot: u32) -> Result<Counter> {
        let mut counter = Counter::default();
        self.read(slot, 1, |_, summed| counter = summed)?;
        Ok(counter)
    }

    /// What is in slots, by their numbers; others may be there besides.
    pub(super) fn many(&self, slots: impl IntoIterator<Item = u32>) -> Result<BTreeMap<u32, Counter>> {
        let mut slots: Vec<u32> = slots.into_iter().collect();
        slots.sort_unstable();
        let mut counters = Vec::with_capacity(slots.len());
        for run in slots.chunk_by(|slot, next| next - slot <= GAP) {
            if let (Some(first), Some(last)) = (run.first(), run.last()) {
                self.read(*first, last - first + 1, |slot, counter| counters.push((slot, counter)))?;
            }
        }
        Ok(counters.into_iter().collect())
    }

    /// Sets a slot to zero.
    pub(super) fn clear(&mut self, slot: u32) -> Result<()> {
        zero(&mut PerCpuArray::<_, Counter>::try_from(&mut self.0)?, slot)
    }

    fn read(&self, first: u32, count: u32, mut look: impl FnMut(u32, Counter)) -> Result<()> {
        let map = features::map_data(&self.0)?;
        batches::each_slot(map, first, count, |slot, values: &[Counter]| {
            look(slot, sum(values.iter().copied()));
        })
        .with_context(|| format!("read counters {first} to {}", first + count - 1))
    }
}

/// Adds up; counters wrap after 2^64 packets, which is after centuries.
pub(super) fn sum(counters: impl IntoIterator<Item = Counter>) -> Counter {
    counters.into_iter().fold(Counter::default(), |total, counter| Counter {
        packets: total.packets.wrapping_add(counter.packets),
        bytes: total.bytes.wrapping_add(counter.bytes),
    })
}
