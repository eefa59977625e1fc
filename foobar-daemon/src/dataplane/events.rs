//! The events of programs: the ring that they put them into, and the counts of those.

use std::os::fd::{AsFd as _, AsRawFd, RawFd};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, MapData, MapInfo, PerCpuArray, RingBuf},
};
use foobar_common::{
    event::{Event, EventCounters, EventReader, RING_BYTES_UNUSED},
    maps,
};
use nix::time::{ClockId, clock_gettime};

use super::{load::LoadedRuleset, pins::PinFolder};
use crate::rules::compile::CompiledRuleset;

/// How many bytes the ring of a ruleset has: `wanted` where some ruleset of these pins draws samples, or has once.
pub(super) fn ring_bytes(compiled: &CompiledRuleset, pins: Option<&PinFolder>, wanted: u32) -> u32 {
    let is_kept = pins.is_some_and(|pins| pins.map(maps::EVENTS).exists());
    if is_kept || compiled.draws() { wanted } else { RING_BYTES_UNUSED }
}

/// Removes a pinned ring of another size. What is still in it was for watchers that are gone with their daemon.
pub(super) fn forget_ring_of_other_size(pins: &PinFolder, wanted: u32) -> Result<()> {
    let path = pins.map(maps::EVENTS);
    if !path.exists() {
        return Ok(());
    }
    let ring = MapInfo::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
    if ring.max_entries() == wanted {
        return Ok(());
    }
    std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))
}

/// Writes of how many packets of each rule one is drawn.
pub(super) fn fill(object: &mut Ebpf, rule_logs: &[u32]) -> Result<()> {
    let map = object.map_mut(maps::RULE_LOGS).context("the object has no map of how rules are logged")?;
    let mut map: Array<_, u32> = map.try_into()?;
    for (slot, one_in) in (0..).zip(rule_logs) {
        if *one_in != 0 {
            map.set(slot, one_in, 0).context("enter how a rule is logged")?;
        }
    }
    Ok(())
}

/// The ring, of which there is one reader at a time.
pub struct EventRing(RingBuf<MapData>);

impl EventRing {
    /// That of a loaded ruleset.
    pub(super) fn of(loaded: &LoadedRuleset) -> Result<Self> {
        let ring =
            RingBuf::try_from(loaded.second_handle(maps::EVENTS)?).context("open the ring of events")?;
        Ok(Self(ring))
    }

    /// Takes the next event out; `None` if there is none now. What is no event is passed over.
    pub fn take_next(&mut self) -> Option<Event> {
        while let Some(record) = self.0.next() {
            if let Some(event) = Event::read(&record) {
                return Some(event);
            }
        }
        None
    }
}

impl AsRawFd for EventRing {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// What became of the packets that were drawn.
pub struct EventMaps {
    counters: PerCpuArray<MapData, EventCounters>,
    reader: Array<MapData, EventReader>,
}

impl EventMaps {
    /// Those of a loaded ruleset.
    pub(super) fn of(loaded: &LoadedRuleset) -> Result<Self> {
        let counters = loaded.second_handle(maps::EVENT_COUNTERS)?;
        let reader = loaded.second_handle(maps::EVENT_READER)?;
        Ok(Self {
            counters: counters.try_into().context("open the counts of events")?,
            reader: reader.try_into().context("open what is said of the reader of events")?,
        })
    }

    /// What the programs have counted, over all processors.
    pub fn counters(&self) -> Result<EventCounters> {
        let mut sum = EventCounters::default();
        for EventCounters { drawn, lost, unwatched } in self.counters.get(&0, 0)?.iter() {
            sum.drawn += drawn;
            sum.lost += lost;
            sum.unwatched += unwatched;
        }
        Ok(sum)
    }

    /// What the reader has said last, perhaps another daemon.
    pub fn reader(&self) -> Result<EventReader> {
        self.reader.get(&0, 0).context("read what is said of the reader of events")
    }

    /// Says something of the reader: whether anybody watches decides whether there are events.
    pub fn set_reader(&mut self, reader: EventReader) -> Result<()> {
        self.reader.set(0, reader, 0).context("tell the kernel who watches")
    }
}

/// Nanoseconds since the machine started, time asleep included, by the clock that events have.
pub fn boot_ns() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).context("read the clock")?;
    Ok(u64::try_from(std::time::Duration::from(time).as_nanos()).unwrap_or(u64::MAX))
}
