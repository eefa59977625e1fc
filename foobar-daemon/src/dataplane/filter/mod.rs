//! The filter on all its interfaces.

mod facts;
mod start;

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use foobar_common::{flow::Direction, maps, syn_cookies::SynOffer, tracking::Moment};

use super::{
    attach::{self, Link, Mode},
    bans::BanMaps,
    counters::{CounterMaps, CounterReader, InForce},
    detach,
    egress::{self, EgressLink},
    events::{EventMaps, EventRing},
    features,
    fill::{self, Fills},
    flows::{self, Evictions},
    interfaces,
    load::{LoadedRuleset, MapSizes},
    pins::{self, PinFolder},
    probes::Decryption,
    services,
};
use crate::rules::{
    compile::CompiledRuleset,
    sets::{SetFacts, SetTable},
};

/// Where and how to filter.
#[derive(Clone, Debug)]
pub struct FilterOptions {
    /// Names of the interfaces.
    pub interfaces: Vec<String>,
    /// Native, generic, or whichever works.
    pub mode: Mode,
    /// Where links and maps are pinned.
    pub pins: Pins,
    /// How large maps are.
    pub sizes: MapSizes,
}

/// Whether the filter outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pins {
    /// Pinned below this folder of a bpffs: it stays in force when the daemon ends, however it ends.
    Lasting(PathBuf),
    /// Gone with the process, however it ends. The folder is used for moments, while maps are handed over.
    Ephemeral(PathBuf),
}

/// A ruleset in force on interfaces.
pub struct Filter {
    mode: Mode,
    pins: PinFolder,
    ephemeral: bool,
    sizes: MapSizes,
    /// Whether somebody reads the ring of events, which all rulesets share.
    ring_is_read: bool,
    /// Until when old connections are learnt; `None` while flows are not tracked.
    learns_until: Option<Moment>,
    /// Whether packets are rejected.
    rejects: bool,
    loaded: LoadedRuleset,
    evictions: Evictions,
    fill: Fills,
    lines: Vec<Line>,
    reader: CounterReader,
    /// The bans in the kernel.
    pub bans: BanMaps,
    decryption: Decryption,
}

/// One interface of the filter, with its index when it was last seen.
#[derive(Debug)]
struct Line {
    name: String,
    index: Option<u32>,
    /// Its link-layer address.
    card: Option<[u8; 6]>,
    link: Option<Link>,
    /// The program for what goes out.
    egress: Option<EgressLink>,
    /// Why it could not be filtered again, so that the same failure is told once.
    failure: Option<String>,
}

impl Filter {
    /// Replaces the rules on every interface. Each packet is judged wholly by the old or wholly by the new.
    ///
    /// # Errors
    /// The old rules are in force on every interface.
    pub fn swap(&mut self, compiled: &CompiledRuleset) -> Result<()> {
        self.pin_if_ephemeral()?;
        let swapped = self.swap_pinned(compiled);
        self.unpin_if_ephemeral()?;
        swapped
    }

    fn swap_pinned(&mut self, compiled: &CompiledRuleset) -> Result<()> {
        // What was learnt before nobody tracked is long out of date.
        let begins = self.learns_until.is_none() && compiled.adopt.is_some();
        let learns_until =
            if begins { flows::learns_until(compiled) } else { compiled.adopt.and(self.learns_until) };
        let mut next = LoadedRuleset::for_interfaces(
            compiled,
            &self.pins,
            Some(&self.loaded),
            learns_until,
            self.sizes,
        )?;
        if begins {
            next.learn_open_connections();
        }
        CounterMaps::of(&next)?.clear(&compiled.slots.fresh)?;
        for line in &self.lines {
            if let Some(index) = line.index {
                next.name_interface(&line.name, index, line.card)?;
            }
        }
        // What can fail comes before the first interface has the new rules.
        let counted = InForce::of(&next, compiled)?;
        let (program, bans) = (next.program_id()?, BanMaps::of(&next)?);
        let mut pending = if self.ephemeral { None } else { Some(next.pin_services(&self.pins)?) };
        let mut updated: Vec<(usize, Direction)> = Vec::new();
        for (number, direction) in self.attached() {
            match update(&mut next, &mut self.lines[number], direction, &self.pins) {
                Ok(()) => updated.push((number, direction)),
                // `tend` will find it missing, and attach the new rules when it returns.
                Err(error) if attach::is_gone(&error) => {}
                Err(error) => {
                    for (number, direction) in updated {
                        let line = &mut self.lines[number];
                        update(&mut self.loaded, line, direction, &self.pins)
                            .with_context(|| {
                                format!("put the old rules back on {}, after: {error:#}", line.name)
                            })
                            .inspect_err(|_| confirm(&mut pending))?;
                    }
                    return Err(error);
                }
            }
        }
        confirm(&mut pending);
        drop(pending);
        if begins {
            // Those that came in between.
            next.learn_open_connections();
        }
        self.learns_until = learns_until;
        self.rejects = compiled.reject_rate.is_some();
        self.loaded = next;
        self.bans = bans;
        self.fill = fill::of(compiled);
        self.reader.follow(counted);
        services::forget_others(&self.pins, program);
        self.decryption.follow(compiled, &self.pins);
        Ok(())
    }

    /// The programs on interfaces: the number of the line, and the direction.
    fn attached(&self) -> Vec<(usize, Direction)> {
        let lines = self.lines.iter().enumerate();
        let ways = lines.flat_map(|(number, line)| {
            let ingress = line.link.is_some().then_some((number, Direction::In));
            let egress = line.egress.is_some().then_some((number, Direction::Out));
            [ingress, egress]
        });
        ways.flatten().collect()
    }

    /// What the sets in force hold.
    pub fn sets(&self) -> Arc<SetFacts> {
        self.loaded.sets().facts().clone()
    }

    /// Whether a table of sets can take the place of the one in force without compiling the rules again: the same sets
    /// overlap in no new way, and there is room for it.
    pub fn takes_sets(&self, table: &SetTable) -> bool {
        table.fits(&self.sets()) && self.loaded.sets().has_room(table.lines.len())
    }

    /// Puts other entries of the same sets in force, in one step for each packet, without touching the rules.
    ///
    /// # Errors
    /// The sets in force stay. So they do if the filter does not [take](Filter::takes_sets) them.
    pub fn replace_sets(&mut self, table: &SetTable) -> Result<()> {
        ensure!(self.takes_sets(table), "the rules have to be compiled for these sets");
        self.loaded.replace_sets(table)?;
        self.fill.insert(maps::SETS, fill::sized(table.facts.stored));
        Ok(())
    }

    /// Looks whether interfaces vanished or came back, and filters those again that did.
    pub fn tend(&mut self) -> Vec<Tended> {
        let mut news = Vec::new();
        for line in &mut self.lines {
            let interface = match interfaces::find(&line.name) {
                Ok(interface) => interface,
                Err(error) => {
                    tracing::warn!(interface = line.name, "{error:#}");
                    continue;
                }
            };
            let Some(interface) = interface else {
                if line.index.take().is_some() {
                    line.link = None;
                    line.egress = None;
                    line.failure = None;
                    detach::remove_pins(&self.pins, &line.name);
                    news.push(Tended::Vanished(line.name.clone()));
                }
                continue;
            };
            let expected = line.link.as_ref().and_then(|link| Some(link.handle.info().ok()?.program_id()));
            let found = interface.program.map(|program| program.id);
            let is_same = line.index == Some(interface.index);
            let is_in = is_same && expected.is_some() && expected == found;
            let is_out = is_same && line.egress.as_ref().is_some_and(|link| link.is_on(&line.name));
            if is_in && is_out {
                if line.card != interface.card {
                    line.card = interface.card;
                    if let Err(error) =
                        self.loaded.name_interface(&line.name, interface.index, interface.card)
                    {
                        tracing::warn!(interface = line.name, "enter its new address: {error:#}");
                    }
                }
                continue;
            }
            // Gone and back between two looks is news of its own. What is still there stays.
            line.index = Some(interface.index);
            line.card = interface.card;
            let mut attach_again = || -> Result<()> {
                self.loaded.name_interface(&line.name, interface.index, interface.card)?;
                self.pins.prepare()?;
                if !is_in {
                    line.link = None;
                    detach::remove_pin(&self.pins, Direction::In, &line.name);
                    let link =
                        attach::attach(&mut self.loaded, &line.name, &interface, self.mode, &self.pins)?;
                    line.link = Some(link);
                }
                if !is_out {
                    line.egress = None;
                    detach::remove_pin(&self.pins, Direction::Out, &line.name);
                    let program = self.loaded.egress_mut()?;
                    line.egress = Some(egress::attach(program, &line.name, &self.pins, self.ephemeral)?);
                }
                Ok(())
            };
            match attach_again() {
                Ok(()) => {
                    line.failure = None;
                    news.push(Tended::Returned(line.name.clone()));
                }
                Err(error) => {
                    let failure = format!("{error:#}");
                    if line.failure.as_ref() != Some(&failure) {
                        news.push(Tended::Failed(line.name.clone(), failure.clone()));
                    }
                    line.failure = Some(failure);
                }
            }
        }
        if let Err(error) = self.unpin_if_ephemeral() {
            tracing::warn!("{error:#}");
        }
        news
    }

    /// Says what answers to SYNs may offer.
    pub fn offer(&mut self, offer: SynOffer) -> Result<()> {
        self.loaded.offer(offer)
    }

    /// Looks whether processes of services whose TLS is read have come or gone.
    pub fn tend_decryption(&mut self) {
        self.decryption.tend();
    }

    /// The ring of events, for its one reader: once, as soon as a ruleset draws samples. Later ones put theirs into the same.
    pub fn take_ring(&mut self) -> Result<Option<EventRing>> {
        let entries = features::map_data(self.loaded.map(maps::EVENTS)?)?.info()?.max_entries();
        if self.ring_is_read || !pins::is_whole(maps::EVENTS, entries) {
            return Ok(None);
        }
        let ring = EventRing::of(&self.loaded)?;
        self.ring_is_read = true;
        Ok(Some(ring))
    }

    /// What became of the packets that were drawn, over all rulesets.
    pub fn event_maps(&self) -> Result<EventMaps> {
        EventMaps::of(&self.loaded)
    }

    /// Takes the filter away: links, pins and counters.
    pub fn detach(self) -> Result<()> {
        for line in &self.lines {
            egress::remove_clsact(&line.name);
        }
        self.pins.remove()
    }

    /// Ends the filter of interfaces that a former daemon had and this one does not.
    fn forget_other_interfaces(&self) -> Result<()> {
        for name in self.pins.interfaces()? {
            if !self.lines.iter().any(|line| line.name == name) {
                tracing::warn!(interface = name, "no longer named: its filter is taken away");
                detach::remove_pins(&self.pins, &name);
            }
        }
        Ok(())
    }

    /// An ephemeral filter is pinned only while maps and links are handed over.
    fn pin_if_ephemeral(&mut self) -> Result<()> {
        if !self.ephemeral {
            return Ok(());
        }
        self.pins.prepare()?;
        for name in maps::SURVIVING {
            let map = self.loaded.map(name)?;
            let entries = features::map_data(map)?.info()?.max_entries();
            // What is not in use is not of its true size, and is made anew once it is.
            if pins::is_whole(name, entries) {
                let path = self.pins.map(name);
                map.pin(&path).with_context(|| format!("pin {}", path.display()))?;
            }
        }
        for line in &mut self.lines {
            if let Some(Link { handle, mode, fallback }) = line.link.take() {
                let path = self.pins.link(Direction::In, &line.name);
                let pinned = handle.pin(&path).with_context(|| format!("pin {}", path.display()))?;
                line.link = Some(Link { handle: pinned.into(), mode, fallback });
            }
            line.egress = match line.egress.take() {
                Some(EgressLink::Tcx(handle)) => {
                    let path = self.pins.link(Direction::Out, &line.name);
                    let pinned = handle.pin(&path).with_context(|| format!("pin {}", path.display()))?;
                    Some(EgressLink::Tcx(pinned.into()))
                }
                other => other,
            };
        }
        Ok(())
    }

    fn unpin_if_ephemeral(&self) -> Result<()> {
        if self.ephemeral { self.pins.remove() } else { Ok(()) }
    }
}

fn confirm(pending: &mut Option<services::Pending<'_>>) {
    if let Some(pending) = pending {
        pending.confirm();
    }
}

/// Puts the programs of a ruleset on an interface that has older ones.
fn update(loaded: &mut LoadedRuleset, line: &mut Line, direction: Direction, pins: &PinFolder) -> Result<()> {
    match (direction, &mut line.egress) {
        (Direction::In, _) => attach::update(loaded.ingress_mut()?, &line.name, pins),
        (Direction::Out, Some(link)) => egress::update(loaded.egress_mut()?, &line.name, link, pins),
        (Direction::Out, None) => Ok(()),
    }
}

/// What [`Filter::tend`] found, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tended {
    /// The interface is gone; nothing arrives through it.
    Vanished(String),
    /// The interface is back and filtered.
    Returned(String),
    /// The interface is back, and not filtered, because of this.
    Failed(String, String),
}
