//! Flows in maps of another size than the settings say now.

use std::{fs, io};

use anyhow::{Context as _, Result};
use aya::{
    Pod,
    maps::{HashMap, Map, MapData, MapInfo},
};
use foobar_common::{
    maps,
    tracking::{FlowKey, FlowKeyV4, TrackedFlow},
};

use crate::dataplane::{
    batches, features,
    load::LoadedRuleset,
    pins::{self, PinFolder},
};

/// Maps of flows whose size is another one now. Unless they are [forgotten](Self::forget) in the end, they are back where they
/// were.
pub(in crate::dataplane) struct FormerFlows<'pins> {
    pins: &'pins PinFolder,
    /// Those that were set aside now, and those of a start that was cut off when others were in their places.
    names: Vec<&'static str>,
    older: Vec<&'static str>,
    is_done: bool,
}

impl<'pins> FormerFlows<'pins> {
    /// Sets maps aside that have not room for so many flows of each family, or for more.
    ///
    /// # Errors
    /// Names the pin; all are where they were then.
    pub(in crate::dataplane) fn set_aside(pins: &'pins PinFolder, flows: u32) -> Result<Self> {
        let mut former = Self { pins, names: Vec::new(), older: Vec::new(), is_done: false };
        let sizes =
            [(maps::FLOWS_V4, flows), (maps::FLOWS_V6, flows), (maps::UNPROVED_FLOWS, flows.div_ceil(2))];
        for (name, wanted) in sizes {
            let (place, aside) = (pins.map(name), pins.map(&aside(name)));
            if aside.exists() {
                if place.exists() {
                    former.older.push(name);
                    continue;
                }
                fs::rename(&aside, &place).with_context(|| format!("put {} back", aside.display()))?;
            }
            if !place.exists() {
                continue;
            }
            let info = MapInfo::from_pin(&place).with_context(|| format!("open {}", place.display()))?;
            if info.max_entries() != wanted {
                fs::rename(&place, &aside).with_context(|| format!("set {} aside", place.display()))?;
                former.names.push(name);
            }
        }
        Ok(former)
    }

    /// Enters their flows into the maps of a ruleset. What the programs in force change of them from now on is not in there.
    ///
    /// # Errors
    /// When a map cannot be read or written.
    pub(in crate::dataplane) fn carry_over(&self, loaded: &LoadedRuleset) -> Result<()> {
        for name in self.names.iter().chain(&self.older) {
            let map = loaded.second_handle(name)?;
            if !pins::is_whole(name, features::map_data(&map)?.info()?.max_entries()) {
                // These rules track no flows.
                continue;
            }
            let aside = self.pins.map(&aside(name));
            let former = MapData::from_pin(&aside).with_context(|| format!("open {}", aside.display()))?;
            if *name == maps::FLOWS_V4 {
                carry::<FlowKeyV4>(&former, map)?;
            } else {
                carry::<FlowKey>(&former, map)?;
            }
        }
        Ok(())
    }

    /// Takes them away: others are in force.
    pub(in crate::dataplane) fn forget(mut self) {
        self.is_done = true;
        for name in self.names.iter().chain(&self.older) {
            let aside = self.pins.map(&aside(name));
            if let Err(error) = fs::remove_file(&aside) {
                tracing::warn!("remove {}: {error}", aside.display());
            }
        }
    }
}

impl Drop for FormerFlows<'_> {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        for name in &self.names {
            let (place, aside) = (self.pins.map(name), self.pins.map(&aside(name)));
            if let Err(error) = replace(&aside, &place) {
                tracing::warn!("put {} back: {error}", aside.display());
            }
        }
    }
}

/// Enters the flows of one map into another.
fn carry<K: Pod>(former: &MapData, map: Map) -> Result<()> {
    let mut flows: HashMap<_, K, TrackedFlow> = map.try_into()?;
    batches::each(former, |key: &K, flow: &TrackedFlow| {
        if flows.get(key, 0).is_ok() {
            return Ok(());
        }
        flows.insert(key, flow, 0).context("carry a flow over to a map of another size")
    })
}

/// bpffs refuses dots in names.
fn aside(name: &str) -> String {
    format!("{name}-former")
}

/// Renames a pin, in place of one that may be there: bpffs does not rename over others.
fn replace(from: &std::path::Path, to: &std::path::Path) -> io::Result<()> {
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::rename(from, to),
    }
}
