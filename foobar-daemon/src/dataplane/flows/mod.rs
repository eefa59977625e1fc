//! The maps of flows, and the connections that are older than they.

mod evictions;
mod former;
mod proved;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use aya::{
    Pod,
    maps::{PerCpuArray, PerCpuValues},
};
use foobar_common::{
    flow::Direction,
    maps,
    tracking::{
        BY_DAEMON, BY_PROGRAMS, DATAGRAMS_MAX, FLOW_COUNTER_ENTRIES, FlowCounters, FlowKey, FlowKeyV4,
        FlowMapCounters, Moment, TrackedFlow, seconds,
    },
};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use self::proved::ProvedFlows;
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
    /// Began, since the filter was first attached.
    pub begun: u64,
    /// Had proof, of those.
    pub proved: u64,
    /// The map of those of IPv4 with proof.
    pub proved_v4: FlowMapFacts,
    /// The map of those of IPv6 with proof.
    pub proved_v6: FlowMapFacts,
    /// The map of the others.
    pub unproved: FlowMapFacts,
}

/// A map of flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowMapFacts {
    /// Known now.
    pub known: u32,
    /// How many there is room for.
    pub room: u32,
    /// Found no room, since the filter was first attached.
    pub failed: u64,
    /// Were pushed out by others, since then.
    pub evicted: u64,
}

impl FlowFacts {
    /// Each map by its name.
    pub fn maps(&self) -> [(&'static str, FlowMapFacts); 3] {
        let Self { begun: _, proved: _, proved_v4, proved_v6, unproved } = *self;
        [(maps::FLOWS_V4, proved_v4), (maps::FLOWS_V6, proved_v6), (maps::UNPROVED_FLOWS, unproved)]
    }

    /// How many with proof are known now.
    pub const fn known(&self) -> u32 {
        self.proved_v4.known.saturating_add(self.proved_v6.known)
    }
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
    let FlowCounters { begun, proved, proved_v4, proved_v6, unproved } = sum;
    Ok(FlowFacts {
        begun,
        proved,
        proved_v4: map_facts::<FlowKeyV4>(loaded, maps::FLOWS_V4, proved_v4)?,
        proved_v6: map_facts::<FlowKey>(loaded, maps::FLOWS_V6, proved_v6)?,
        unproved: map_facts::<FlowKey>(loaded, maps::UNPROVED_FLOWS, unproved)?,
    })
}

/// Counts what is in a map with such keys, of which so much was counted.
fn map_facts<K: Pod>(loaded: &LoadedRuleset, name: &str, counted: FlowMapCounters) -> Result<FlowMapFacts> {
    let map = features::map_data(loaded.map(name)?)?;
    let (now, mut known, mut all) = (now(), 0, 0);
    batches::each(map, |_: &K, flow: &TrackedFlow| {
        all += 1;
        known += u32::from(flow.is_known(now));
        Ok(())
    })?;
    let FlowMapCounters { entered, taken, failed } = counted;
    let evicted = entered.saturating_sub(taken).saturating_sub(all);
    Ok(FlowMapFacts { known, room: map.info()?.max_entries(), failed, evicted })
}

/// The maps of flows: how many entries each has where it is used, if so many flows of each family with proof are kept, and
/// whether this ruleset uses it.
pub(super) fn maps(compiled: &CompiledRuleset, flows: u32) -> [(&'static str, (u32, bool)); 5] {
    let is_used = compiled.adopt.is_some();
    [
        (maps::FLOWS_V4, (flows, is_used)),
        (maps::FLOWS_V6, (flows, is_used)),
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

/// Makes the TCP connections known to a ruleset that are open now, in the network namespace of this thread. Those to a port
/// where somebody listens were begun by the other end.
///
/// # Errors
/// Says why the kernel does not tell; nobody is known then but who was before.
pub(super) fn learn_open_connections(loaded: &LoadedRuleset) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let listening = open_connections::listening(deadline)?;
    let connections = open_connections::all(deadline)?;
    let mut flows = ProvedFlows::of(loaded)?;
    let (now, mut entered) = (now(), FlowCounters::default());
    for OpenConnection { local, remote } in connections {
        if local.ip().is_loopback() {
            continue;
        }
        let key = FlowKey::of_connection(local, remote);
        let began = if listening.contains(&local.port()) { Direction::In } else { Direction::Out };
        // What the programs know of it is newer.
        if flows.get(&key).is_some_and(|flow| flow.is_known(now)) {
            continue;
        }
        let flow = TrackedFlow::older(began, &key, now);
        if flows.insert(&key, flow, BPF_NOEXIST).is_ok() {
            entered.proved_of(&key).entered += 1;
        } else {
            flows.insert(&key, flow, 0).context("enter an open connection")?;
        }
    }
    let mut counters: PerCpuArray<_, FlowCounters> = loaded.second_handle(maps::FLOW_COUNTERS)?.try_into()?;
    let before = counters.get(&BY_DAEMON, 0).context("read how many flows were entered")?;
    let mut values = before.to_vec();
    if let Some(first) = values.first_mut() {
        first.add(&entered);
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
