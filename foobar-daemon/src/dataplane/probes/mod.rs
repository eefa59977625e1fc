//! HTTP inside of TLS: probes on the TLS library of the processes that serve a service.
//!
//! They are no part of a ruleset: they stay where they are when rules change, and end with the daemon. Whatever fails
//! here is told, and nothing else fails because of it.

mod attached;
mod library;
mod tasks;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use self::attached::Probes;
use super::{features, pins::PinFolder, programs::ProgramFacts};
use crate::{
    processes::{self, Process, Wanted},
    rules::compile::{CompiledRuleset, DecryptedService},
};

/// A look through all processes may take this part of the time.
const SHARE: u32 = 50;

/// The services whose TLS is read, and the processes that serve them.
#[derive(Default)]
pub(super) struct Decryption {
    services: Vec<DecryptedService>,
    /// Slots of services that have been known by something else before: what is watched for them may be none of theirs.
    changed: BTreeSet<u32>,
    probes: Option<Probes>,
    /// Why there are no probes, though there should be.
    failure: Option<String>,
    facts: Vec<DecryptionFacts>,
    next_look: Option<Instant>,
}

/// What is known of a service whose TLS is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecryptionFacts {
    /// Name of the service.
    pub service: String,
    /// Its first port, under which all is counted.
    pub port: u16,
    /// The processes that are watched.
    pub processes: Vec<ProcessFacts>,
    /// Connections that processes of the service took before they were found: what was asked there is not counted.
    pub missed_connections: u64,
    /// Why not all is counted, if something is known to be missing.
    pub problems: Vec<String>,
}

/// A process that is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFacts {
    /// Its id.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Path of its TLS library.
    pub library: String,
}

impl Decryption {
    /// Goes over to the services of a ruleset that comes into force. Its counters have to be pinned.
    pub(super) fn follow(&mut self, compiled: &CompiledRuleset, pins: &PinFolder) {
        let before = std::mem::take(&mut self.facts);
        let is_same = |service: &&DecryptedService| {
            self.services
                .iter()
                .any(|before| wanted(before) == wanted(service) && before.slot == service.slot)
        };
        let changed = compiled.decrypted.iter().filter(|service| !is_same(service));
        self.changed.extend(changed.map(|service| service.slot));
        self.services.clone_from(&compiled.decrypted);
        self.facts = self.services.iter().map(|service| DecryptionFacts::of(service, &before)).collect();
        self.failure = None;
        if self.services.is_empty() {
            self.probes = None;
            return;
        }
        if self.probes.is_none() {
            let loaded = features::check_probe_privileges()
                .and_then(|()| features::check_probe_kernel())
                .and_then(|()| Probes::load(pins));
            match loaded {
                Ok(probes) => self.probes = Some(probes),
                Err(error) => self.failure = Some(format!("{error:#}")),
            }
        }
        self.next_look = None;
        self.tend();
    }

    /// Looks which processes there are, unless that was done a moment ago.
    pub(super) fn tend(&mut self) {
        let now = Instant::now();
        if self.services.is_empty() || self.next_look.is_some_and(|next| now < next) {
            return;
        }
        let before: Vec<_> = self.facts.iter().map(|facts| facts.problems.clone()).collect();
        for facts in &mut self.facts {
            facts.problems.clear();
        }
        if let Err(error) = self.look() {
            let problem = format!("{error:#}");
            for facts in &mut self.facts {
                facts.problems.push(problem.clone());
            }
        }
        for (facts, before) in self.facts.iter().zip(before) {
            for problem in facts.problems.iter().filter(|problem| !before.contains(problem)) {
                tracing::warn!("decrypt_by of the service {}: {problem}", facts.service);
            }
        }
    }

    /// What is known of each service.
    pub(super) fn facts(&self) -> Vec<DecryptionFacts> {
        self.facts.clone()
    }

    /// What the kernel says of the programs, if there are any.
    pub(super) fn programs(&self) -> Result<Vec<ProgramFacts>> {
        self.probes.as_ref().map_or(Ok(Vec::new()), Probes::facts)
    }

    fn look(&mut self) -> Result<()> {
        let Some(probes) = &mut self.probes else {
            return Err(anyhow::anyhow!(self.failure.clone().unwrap_or_default()));
        };
        let known = probes.watched()?;
        let wanted: Vec<Wanted> = self.services.iter().map(wanted).collect();
        let begun = Instant::now();
        let found = processes::find(&wanted)?;
        self.next_look = Some(Instant::now() + begun.elapsed() * SHARE);
        tracing::debug!("looked through all processes in {:?}", begun.elapsed());
        let slots: Vec<u32> = self.services.iter().map(|service| service.slot).collect();
        probes.forget(&known, &slots)?;
        let serves = |pid: &u32, slot: u64| {
            let served = found.get(pid).into_iter().flat_map(|process| &process.serves);
            served.into_iter().any(|place| u64::from(slots[*place]) == slot)
        };
        for (pid, watched) in &known {
            let is_changed = self.changed.iter().any(|slot| u64::from(*slot) == watched.service);
            if is_changed && !serves(pid, watched.service) {
                probes.unwatch(*pid)?;
            }
        }
        self.changed.clear();
        let mut served: BTreeSet<usize> = BTreeSet::new();
        for (pid, Process { name, serves }) in &found {
            served.extend(serves);
            let [place] = serves.iter().copied().collect::<Vec<_>>()[..] else {
                probes.unwatch(*pid)?;
                for place in serves {
                    let problem = format!(
                        "process {pid} ({name}) serves several services, and its requests cannot be told apart: list \
                         their ports in one service, or leave decrypt_by out of all but one"
                    );
                    self.facts[*place].problems.push(problem);
                }
                continue;
            };
            let facts = &mut self.facts[place];
            match probes.watch(*pid, slots[place]) {
                Ok(missed) => facts.missed_connections += missed,
                Err(error) => facts.problems.push(format!("process {pid} ({name}): {error:#}")),
            }
        }
        for (place, facts) in self.facts.iter_mut().enumerate() {
            if !served.contains(&place) {
                facts.problems.push(format!("there is no process that {}", self.services[place].from));
            }
        }
        self.tell_watched(&found)
    }

    /// Tells what is watched: what was found, and what those processes have made.
    fn tell_watched(&mut self, found: &BTreeMap<u32, Process>) -> Result<()> {
        let Some(probes) = &mut self.probes else { return Ok(()) };
        let watched = probes.watched()?;
        for (service, facts) in self.services.iter().zip(&mut self.facts) {
            let before = std::mem::take(&mut facts.processes);
            let mine = watched.iter().filter(|(_, watched)| watched.service == u64::from(service.slot));
            facts.processes = mine
                .map(|(pid, _)| {
                    let name =
                        found.get(pid).map_or_else(|| processes::name_of(*pid), |found| found.name.clone());
                    ProcessFacts { pid: *pid, name, library: probes.library_of(*pid) }
                })
                .collect();
            for process in facts.processes.iter().filter(|process| !before.contains(process)) {
                let ProcessFacts { pid, name, library } = process;
                tracing::info!(
                    "requests to {} are counted in process {pid} ({name}) by {library}",
                    facts.service
                );
            }
        }
        probes.detach_unused(&watched);
        Ok(())
    }
}

impl DecryptionFacts {
    fn of(service: &DecryptedService, before: &[Self]) -> Self {
        let port = service.ports.first().copied().unwrap_or_default();
        // Metrics have no names of services.
        let before = before.iter().find(|facts| facts.port == port);
        Self {
            service: service.name.clone(),
            port,
            processes: before.map(|facts| facts.processes.clone()).unwrap_or_default(),
            missed_connections: before.map_or(0, |facts| facts.missed_connections),
            problems: before.map(|facts| facts.problems.clone()).unwrap_or_default(),
        }
    }
}

fn wanted(service: &DecryptedService) -> Wanted {
    Wanted { from: service.from.clone(), ports: service.ports.iter().copied().collect() }
}
