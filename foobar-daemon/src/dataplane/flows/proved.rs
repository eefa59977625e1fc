//! The flows of which there is proof, in one map for each family.

use anyhow::Result;
use aya::maps::{HashMap, MapData, MapError};
use foobar_common::{
    maps,
    tracking::{FlowKey, FlowKeyV4, TrackedFlow},
};

use crate::dataplane::load::LoadedRuleset;

/// Those of a ruleset.
pub(super) struct ProvedFlows {
    v4: HashMap<MapData, FlowKeyV4, TrackedFlow>,
    v6: HashMap<MapData, FlowKey, TrackedFlow>,
}

impl ProvedFlows {
    /// Those that the programs of a ruleset look at.
    ///
    /// # Errors
    /// When a map has no second handle.
    pub(super) fn of(loaded: &LoadedRuleset) -> Result<Self> {
        Ok(Self {
            v4: loaded.second_handle(maps::FLOWS_V4)?.try_into()?,
            v6: loaded.second_handle(maps::FLOWS_V6)?.try_into()?,
        })
    }

    /// What is kept of a flow, if anything is.
    pub(super) fn get(&self, key: &FlowKey) -> Option<TrackedFlow> {
        match key.v4() {
            Some(key) => self.v4.get(&key, 0).ok(),
            None => self.v6.get(key, 0).ok(),
        }
    }

    /// Keeps a flow, by flags of `bpf_map_update_elem`.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn insert(&mut self, key: &FlowKey, flow: TrackedFlow, flags: u64) -> Result<(), MapError> {
        match key.v4() {
            Some(key) => self.v4.insert(key, flow, flags),
            None => self.v6.insert(key, flow, flags),
        }
    }
}
