//! The maps of flows, and the connections that are older than they.

mod batches;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, PerCpuArray};
use foobar_common::{
    flow::Direction,
    maps,
    tracking::{
        DATAGRAMS_MAX, FLOWS_MAX, FlowCounters, FlowKey, Moment, TrackedFlow, UNPROVED_FLOWS_MAX, seconds,
    },
};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::load::LoadedRuleset;
use crate::{
    open_connections::{self, OpenConnection},
    rules::compile::CompiledRuleset,
};

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
}

/// Counts them.
pub(super) fn facts(loaded: &LoadedRuleset) -> Result<FlowFacts> {
    let counters: PerCpuArray<_, FlowCounters> = loaded.map(maps::FLOW_COUNTERS)?.try_into()?;
    let mut facts = FlowFacts {
        known: batches::count_known(loaded.map(maps::FLOWS)?, now())?,
        unproved: batches::count_known(loaded.map(maps::UNPROVED_FLOWS)?, now())?,
        ..FlowFacts::default()
    };
    for FlowCounters { begun, proved, failed } in counters.get(&0, 0)?.iter() {
        facts.begun += begun;
        facts.proved += proved;
        facts.failed += failed;
    }
    Ok(facts)
}

/// The maps of flows: how many entries each has where it is used, and whether this ruleset uses it.
pub(super) fn maps(compiled: &CompiledRuleset) -> [(&'static str, (u32, bool)); 4] {
    let is_used = compiled.adopt.is_some();
    [
        (maps::FLOWS, (FLOWS_MAX, is_used)),
        (maps::UNPROVED_FLOWS, (UNPROVED_FLOWS_MAX, is_used)),
        (maps::DATAGRAMS, (DATAGRAMS_MAX, is_used)),
        (maps::FLOW_COUNTERS, (1, is_used)),
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
pub(super) fn learn_open_connections(flows: &mut Map) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let listening = open_connections::listening(deadline)?;
    let connections = open_connections::all(deadline)?;
    let mut flows: HashMap<_, FlowKey, TrackedFlow> = flows.try_into()?;
    let now = now();
    for OpenConnection { local, remote } in connections {
        if local.ip().is_loopback() {
            continue;
        }
        let key = FlowKey::of_connection(local, remote);
        let began = if listening.contains(&local.port()) { Direction::In } else { Direction::Out };
        // What the programs know of it is newer.
        if !flows.get(&key, 0).is_ok_and(|flow| flow.is_known(now)) {
            flows.insert(key, TrackedFlow::older(began, &key, now), 0).context("enter an open connection")?;
        }
    }
    Ok(())
}

/// The time by the clock that the programs read, which has no hour and no date.
fn now() -> Moment {
    // There is no kernel without this clock.
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    Moment::from_nanoseconds(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}
