//! How rules come into force at a start.

use anyhow::{Result, bail};
use foobar_common::{flow::Direction, maps};

use super::{Filter, FilterOptions, Line, Pins, confirm, update};
use crate::{
    dataplane::{
        attach,
        bans::BanMaps,
        counters::{CounterMaps, CounterReader},
        detach, egress, events, features, fill,
        flows::{self, Evictions, FormerFlows},
        interfaces,
        load::LoadedRuleset,
        pins::PinFolder,
        probes::Decryption,
        services,
    },
    rules::compile::CompiledRuleset,
};

/// What a start has done so far, which is undone unless the rules come into force.
struct Started<'pins> {
    pins: &'pins PinFolder,
    /// Programs that were not on their interfaces before. What an earlier filter has attached is not among them.
    attached: Vec<(Direction, String)>,
    /// Whether there is nothing of an earlier filter, neither attached nor counted.
    is_first: bool,
    is_in_force: bool,
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        if self.is_in_force {
            return;
        }
        for (direction, name) in &self.attached {
            detach::remove_pin(self.pins, *direction, name);
        }
        if self.is_first
            && let Err(error) = self.pins.remove()
        {
            tracing::warn!("{error:#}");
        }
    }
}

/// The interfaces with these names.
///
/// # Errors
/// Names the first that does not exist.
fn find_all(names: Vec<String>) -> Result<Vec<(String, interfaces::Interface)>> {
    let find = |name: String| -> Result<(String, interfaces::Interface)> {
        let Some(interface) = interfaces::find(&name)? else {
            bail!("interface {name} does not exist ('ip link' lists those that do)");
        };
        Ok((name, interface))
    };
    names.into_iter().map(find).collect()
}

impl Filter {
    /// Puts rules in force: updates the links that an earlier daemon pinned, attaches where there are none.
    ///
    /// # Errors
    /// Says which interface, why, and what to do. Adopted interfaces then keep the rules that they had, and
    /// interfaces that had none are left without. (Should the kernel update one adopted link and refuse the next,
    /// for which no way is known, the first keeps the new rules.)
    pub fn start(options: FilterOptions, compiled: &CompiledRuleset) -> Result<Self> {
        Self::start_with_bans(options, compiled, |_| Ok(()))
    }

    /// The same; when the first packet is judged, the bans are in force that `put_bans` puts there.
    pub fn start_with_bans(
        options: FilterOptions,
        compiled: &CompiledRuleset,
        put_bans: impl FnOnce(&mut BanMaps) -> Result<()>,
    ) -> Result<Self> {
        let FilterOptions { interfaces, mode, pins, sizes } = options;
        let (pins, ephemeral) = match pins {
            Pins::Lasting(folder) => (PinFolder::new(&folder), false),
            Pins::Ephemeral(folder) => (PinFolder::new(&folder), true),
        };
        let found = find_all(interfaces)?;
        features::check_privileges()?;
        features::check_kernel()?;
        pins.prepare()?;
        pins.verify_maps()?;
        events::forget_ring_of_other_size(&pins, sizes.ring_bytes)?;
        let former_flows = FormerFlows::set_aside(&pins, sizes.flows)?;
        let is_first = !pins.map(maps::RULE_COUNTERS).exists() && pins.interfaces()?.is_empty();
        let mut started = Started { pins: &pins, attached: Vec::new(), is_first, is_in_force: false };
        let learns_until = flows::learns_until(compiled);
        let mut loaded = LoadedRuleset::for_interfaces(compiled, &pins, None, learns_until, sizes)?;
        former_flows.carry_over(&loaded)?;
        if learns_until.is_some() {
            loaded.learn_open_connections();
        }
        CounterMaps::of(&loaded)?.clear(&compiled.slots.fresh)?;
        for (name, interface) in &found {
            loaded.name_interface(name, interface.index, interface.card)?;
        }
        let reader = CounterReader::new(&loaded, compiled)?;
        let mut bans = BanMaps::of(&loaded)?;
        put_bans(&mut bans)?;
        let mut pending = if ephemeral { None } else { Some(loaded.pin_services(&pins)?) };
        // New links first: if one of them is refused, the adopted ones have not been touched.
        let mut lines = Vec::new();
        let mut adopted = Vec::new();
        for (name, interface) in found {
            let link = if let Some(link) = attach::adopt(&name, &interface, mode, &pins)? {
                adopted.push((Direction::In, name.clone()));
                link
            } else {
                let link = attach::attach(&mut loaded, &name, &interface, mode, &pins)?;
                started.attached.push((Direction::In, name.clone()));
                link
            };
            lines.push(Line {
                name,
                index: Some(interface.index),
                card: interface.card,
                link: Some(link),
                egress: None,
                failure: None,
            });
        }
        for line in &mut lines {
            let name = line.name.clone();
            let link = if let Some(link) = egress::adopt(&name, &pins)? {
                adopted.push((Direction::Out, name));
                link
            } else {
                let link = egress::attach(loaded.egress_mut()?, &name, &pins, ephemeral)?;
                started.attached.push((Direction::Out, name));
                link
            };
            line.egress = Some(link);
        }
        for (direction, name) in &adopted {
            let Some(line) = lines.iter_mut().find(|line| line.name == *name) else { continue };
            match update(&mut loaded, line, *direction, &pins) {
                // `tend` will find it missing, and attach the rules when it returns.
                Err(error) if attach::is_gone(&error) => {}
                updated => {
                    updated?;
                    confirm(&mut pending);
                }
            }
        }
        confirm(&mut pending);
        drop(pending);
        if learns_until.is_some() {
            // Those that came in between.
            loaded.learn_open_connections();
        }
        started.is_in_force = true;
        drop(started);
        former_flows.forget();
        let mut decryption = Decryption::default();
        decryption.follow(compiled, &pins);
        let filter = Self {
            mode,
            pins,
            ephemeral,
            sizes,
            ring_is_read: false,
            learns_until,
            rejects: compiled.reject_rate.is_some(),
            loaded,
            evictions: Evictions::default(),
            fill: fill::of(compiled),
            lines,
            reader,
            bans,
            decryption,
        };
        filter.forget_other_interfaces()?;
        services::forget_others(&filter.pins, filter.loaded.program_id()?);
        filter.unpin_if_ephemeral()?;
        Ok(filter)
    }
}
