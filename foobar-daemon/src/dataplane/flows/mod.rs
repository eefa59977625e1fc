//! The maps of flows, and the connections that are older than they.

mod evictions;
mod former;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, PerCpuArray, PerCpuValues};
use foobar_common::{
    flow::Direction,
    maps,
    tracking::{
        BY_DAEMON, BY_PROGRAMS, DATAGRAMS_MAX, FLOW_COUNTER_ENTRIES, FlowCounters, FlowKey, Moment,
        TrackedFlow, seconds,
    },
};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

pub(super) use self::{evictions::Evictions, former::FormerFlows};
use super::{batches, features, load::LoadedRuleset};
use crate::{
    open_connections::{self, OpenConnection},
    rules::compile::CompiledRuleset,
};

/// Of `include/uapi/linux/bpf.h`: enters nothing where something is.
const BPF_NOEXIST: u64 = 1;
/// How long the kernel may take to list the connections that are open.
const PATIENCE: Duration = Duration::from_secs(5);

/// Flows that are known, and what became of all that there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowFacts {
    /// Known now, with proof.
    pub known: u32,
    /// Known now, without.
    pub unproved: u32,
    /// Began, since the filter was first attached.
    pub begun: u64,
    /// Had proof, of those.
    pub proved: u64,
    /// Found no room.
    pub failed: u64,
    /// Were pushed out by others, since the filter was first attached: of those with proof.
    pub evicted: u64,
    /// The same of those without.
    pub evicted_unproved: u64,
    /// How many with proof there is room for.
    pub room: u32,
    /// And without.
    pub room_unproved: u32,
}

/// Counts them.
///
/// The kernel does not tell what it pushes out of its maps: that is what entered, and neither was taken out nor is there. The
/// counters are read first, so that it is never more than there was.
pub(super) fn facts(loaded: &LoadedRuleset) -> Result<FlowFacts> {
    let counters: PerCpuArray<_, FlowCounters> = loaded.map(maps::FLOW_COUNTERS)?.try_into()?;
    let mut sum = FlowCounters::default();
    for entry in [BY_PROGRAMS, BY_DAEMON] {
        for counters in counters.get(&entry, 0)?.iter() {
            sum.add(counters);
        }
    }
    let proved = Count::of(loaded.map(maps::FLOWS)?, now())?;
    let unproved = Count::of(loaded.map(maps::UNPROVED_FLOWS)?, now())?;
    let room = |name| Ok::<_, anyhow::Error>(features::map_data(loaded.map(name)?)?.info()?.max_entries());
    let evicted = |entered: u64, there: Count| entered.saturating_sub(there.all.into());
    Ok(FlowFacts {
        known: proved.known,
        unproved: unproved.known,
        begun: sum.begun,
        proved: sum.proved,
        failed: sum.failed,
        evicted: evicted(sum.entered_proved.saturating_sub(sum.taken_proved), proved),
        evicted_unproved: evicted(sum.entered_unproved.saturating_sub(sum.taken_unproved), unproved),
        room: room(maps::FLOWS)?,
        room_unproved: room(maps::UNPROVED_FLOWS)?,
    })
}

/// How many flows a map has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    /// All.
    all: u32,
    /// Those whose time is not over.
    known: u32,
}

impl Count {
    /// How many there are at this moment.
    fn of(map: &Map, now: Moment) -> Result<Self> {
        let mut count = Self::default();
        batches::each(features::map_data(map)?, |_: &FlowKey, flow: &TrackedFlow| {
            count.all += 1;
            count.known += u32::from(flow.is_known(now));
            Ok(())
        })?;
        Ok(count)
    }
}

/// The maps of flows: how many entries each has where it is used, if so many flows with proof are kept, and whether this
/// ruleset uses it.
pub(super) fn maps(compiled: &CompiledRuleset, flows: u32) -> [(&'static str, (u32, bool)); 4] {
    let is_used = compiled.adopt.is_some();
    [
        (maps::FLOWS, (flows, is_used)),
        (maps::UNPROVED_FLOWS, (flows.div_ceil(2), is_used)),
        (maps::DATAGRAMS, (DATAGRAMS_MAX, is_used)),
        (maps::FLOW_COUNTERS, (FLOW_COUNTER_ENTRIES, is_used)),
    ]
}

/// Until when a ruleset that begins to track flows now learns connections from what this server sends in them; `None` if it
/// does not track them. Zero is never.
pub(super) fn learns_until(compiled: &CompiledRuleset) -> Option<Moment> {
    let adopt = compiled.adopt?;
    let units = seconds(u32::try_from(adopt.as_secs()).unwrap_or(u32::MAX));
    Some(if adopt.is_zero() { Moment::default() } else { now().after(units) })
}

/// Makes the TCP connections known that are open now, in the network namespace of this thread. Those to a port where
/// somebody listens were begun by the other end.
///
/// # Errors
/// Says why the kernel does not tell; nobody is known then but who was before.
pub(super) fn learn_open_connections(flows: &mut Map, counters: &mut Map) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let listening = open_connections::listening(deadline)?;
    let connections = open_connections::all(deadline)?;
    let mut flows: HashMap<_, FlowKey, TrackedFlow> = flows.try_into()?;
    let (now, mut entered) = (now(), 0);
    for OpenConnection { local, remote } in connections {
        if local.ip().is_loopback() {
            continue;
        }
        let key = FlowKey::of_connection(local, remote);
        let began = if listening.contains(&local.port()) { Direction::In } else { Direction::Out };
        // What the programs know of it is newer.
        if flows.get(&key, 0).is_ok_and(|flow| flow.is_known(now)) {
            continue;
        }
        let flow = TrackedFlow::older(began, &key, now);
        if flows.insert(key, flow, BPF_NOEXIST).is_ok() {
            entered += 1;
        } else {
            flows.insert(key, flow, 0).context("enter an open connection")?;
        }
    }
    let mut counters: PerCpuArray<_, FlowCounters> = counters.try_into()?;
    let before = counters.get(&BY_DAEMON, 0).context("read how many flows were entered")?;
    let mut values = before.to_vec();
    if let Some(first) = values.first_mut() {
        first.entered_proved += entered;
    }
    let values = PerCpuValues::try_from(values).context("count the flows that are entered")?;
    counters.set(BY_DAEMON, values, 0).context("count the flows that are entered")
}

/// The time by the clock that the programs read, which has no hour and no date.
fn now() -> Moment {
    // There is no kernel without this clock.
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    Moment::from_nanoseconds(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}
