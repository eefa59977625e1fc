//! The probes in the kernel.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, MapData, MapError},
    programs::{
        RawTracePoint, UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope},
    },
};
use foobar_common::{
    maps,
    plaintext::{Done, WatchedProcess},
};

use super::{
    library::{self, CallPoint, Points},
    tasks,
};
use crate::{
    dataplane::{features, object, pins::PinFolder, programs::ProgramFacts},
    memory,
    processes::{self, Library},
};

/// Programs on functions of the library.
const PROBES: [&str; 7] = [
    maps::TLS_ACCEPTING,
    maps::TLS_CONNECTING,
    maps::TLS_FREED,
    maps::TLS_CALLED,
    maps::TLS_READ,
    maps::TLS_WRITTEN,
    maps::TLS_FILE_SENT,
];
/// Programs on what processes do, and where.
const TRACES: [(&str, &str); 3] = [
    (maps::PROCESS_FORKED, "sched_process_fork"),
    (maps::PROCESS_EXECUTED, "sched_process_exec"),
    (maps::PROCESS_ENDED, "sched_process_exit"),
];
/// Enters an entry only where there is none (`BPF_NOEXIST`).
const NEW: u64 = 1;

/// Loaded probes, and the libraries that they are on. All of it ends when this is dropped.
pub(super) struct Probes {
    object: Ebpf,
    processes: HashMap<MapData, u32, WatchedProcess>,
    strangers: HashMap<MapData, u32, u64>,
    /// By the file of the library.
    libraries: BTreeMap<(String, u64), Attached>,
    /// The library of each process that is watched, as far as user space has found it.
    library_of: BTreeMap<u32, Library>,
    /// How many processes have been entered.
    entered: u64,
}

/// The probes on a library; dropping a link takes its probe away.
struct Attached {
    _links: Vec<UProbeLink>,
}

impl Probes {
    /// Loads the programs. They count where the pinned counters are.
    pub(super) fn load(pins: &PinFolder) -> Result<Self> {
        let task_process_id = tasks::process_id_offset().unwrap_or_else(|error| {
            tracing::warn!("{error:#}; processes that others make are found a second later");
            0
        });
        let mut loader = EbpfLoader::new();
        loader.override_global(maps::TASK_PROCESS_ID, &task_process_id, true);
        for name in maps::OF_RULESET.into_iter().chain(maps::SURVIVING) {
            if name == maps::HTTP_COUNTERS {
                loader.map_pin_path(name, pins.map(name));
            } else {
                // Nothing that is loaded uses it.
                loader.map_max_entries(name, 1);
            }
        }
        let mut object = loader.load(object::BYTES).map_err(features::explain_create)?;
        for name in PROBES {
            probe(&mut object, name)?.load().map_err(|error| features::explain_load(name, &error))?;
        }
        for (name, trace) in TRACES {
            let program =
                object.program_mut(name).with_context(|| format!("the object has no program '{name}'"))?;
            let program: &mut RawTracePoint = program.try_into()?;
            program.load().map_err(|error| features::explain_load(name, &error))?;
            program.attach(trace).with_context(|| format!("attach '{name}' to the tracepoint {trace}"))?;
        }
        let processes = HashMap::try_from(take(&mut object, maps::PROCESSES)?)?;
        let strangers = HashMap::try_from(take(&mut object, maps::STRANGERS)?)?;
        // It holds the kernel's types.
        drop(loader);
        memory::much_is_free();
        let (libraries, library_of) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { object, processes, strangers, libraries, library_of, entered: 0 })
    }

    /// What the kernel says of the programs.
    pub(super) fn facts(&self) -> Result<Vec<ProgramFacts>> {
        let names = PROBES.into_iter().chain(TRACES.map(|(name, _)| name));
        names
            .map(|name| {
                let program = self
                    .object
                    .program(name)
                    .with_context(|| format!("the object has no program '{name}'"))?;
                ProgramFacts::of(name, &program.info()?, program.fd()?)
            })
            .collect()
    }

    /// The processes that are watched, by their ids.
    pub(super) fn watched(&self) -> Result<BTreeMap<u32, WatchedProcess>> {
        let mut watched = BTreeMap::new();
        for process in self.processes.keys() {
            let process = process.context("read which processes are watched")?;
            // It may have ended meanwhile.
            if let Ok(entry) = self.processes.get(&process, 0) {
                watched.insert(process, entry);
            }
        }
        Ok(watched)
    }

    /// Forgets those of `known` that are gone, and those of services that are no longer among `slots`.
    pub(super) fn forget(&mut self, known: &BTreeMap<u32, WatchedProcess>, slots: &[u32]) -> Result<()> {
        for (process, watched) in known {
            let is_wanted = slots.iter().any(|slot| u64::from(*slot) == watched.service);
            if !is_wanted || !processes::exists(*process) {
                self.unwatch(*process)?;
            }
        }
        let processes = &self.processes;
        self.library_of.retain(|process, _| processes.get(process, 0).is_ok());
        Ok(())
    }

    /// Watches a process for a service. Gives how many connections it had taken before.
    ///
    /// # Errors
    /// Says why it cannot be watched.
    pub(super) fn watch(&mut self, process: u32, slot: u32) -> Result<u64> {
        let service = u64::from(slot);
        let watched = self.processes.get(&process, 0).ok();
        let is_watched = watched.is_some_and(|watched| watched.service == service);
        if is_watched && self.library_of.contains_key(&process) {
            return Ok(0);
        }
        let Some(library) = processes::tls_library(process) else {
            bail!(
                "it has no libssl in its memory: it is linked statically, or encrypts by another library, which cannot be \
                 watched"
            );
        };
        self.attach(&library)?;
        self.library_of.insert(process, library);
        if is_watched {
            return Ok(0);
        }
        if watched.is_some() {
            self.unwatch(process)?;
        }
        self.entered += 1;
        let instance = WatchedProcess::NUMBERED | self.entered;
        match self.processes.insert(process, WatchedProcess { service, instance }, NEW) {
            // What it was made by has been found, and it is watched since.
            Err(MapError::ElementNotFound | MapError::KeyNotFound) | Ok(()) => {}
            Err(error) if is_there(&error) => {}
            Err(error) => return Err(anyhow!(error).context("enter it among those that are watched")),
        }
        let missed = self.strangers.get(&process, 0).unwrap_or(0);
        // Ids of processes come back.
        if missed > 0 {
            self.strangers.remove(&process).context("forget what it did before")?;
        }
        Ok(missed)
    }

    /// The path of the TLS library of a process.
    pub(super) fn library_of(&mut self, process: u32) -> String {
        if !self.library_of.contains_key(&process)
            && let Some(library) = processes::tls_library(process)
        {
            self.library_of.insert(process, library);
        }
        self.library_of.get(&process).map_or_else(String::new, |library| library.name.clone())
    }

    /// Takes probes away from libraries that no watched process has. Those of the last one stay: a server that restarts has
    /// the same, and what it does before it is found is to be noticed.
    pub(super) fn detach_unused(&mut self, watched: &BTreeMap<u32, WatchedProcess>) {
        let of_watched = watched.keys().filter_map(|process| self.library_of.get(process));
        let used: BTreeSet<_> = of_watched.map(|library| library.file.clone()).collect();
        if !used.is_empty() {
            self.libraries.retain(|file, _| used.contains(file));
        }
    }

    /// Watches a process no longer.
    pub(super) fn unwatch(&mut self, process: u32) -> Result<()> {
        match self.processes.remove(&process) {
            Ok(()) | Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
            // The kernel forgets those that end.
            Err(_) if self.processes.get(&process, 0).is_err() => Ok(()),
            Err(error) => Err(anyhow!(error).context(format!("forget process {process}"))),
        }
    }

    /// Puts probes on a library that has none. What begins and ends connections first: a call that is seen belongs to one
    /// whose beginning was.
    fn attach(&mut self, library: &Library) -> Result<()> {
        if self.libraries.contains_key(&library.file) {
            return Ok(());
        }
        let Library { path, name, .. } = library;
        let bytes = fs::read(path).with_context(|| format!("read {name}"))?;
        let points = library::points(&bytes).with_context(|| format!("find where probes go in {name}"))?;
        let Points { accepting, connecting, freed, reads, writes, files } = points;
        let mut links = Vec::new();
        for (program, offset) in
            [(maps::TLS_ACCEPTING, accepting), (maps::TLS_CONNECTING, connecting), (maps::TLS_FREED, freed)]
        {
            links.push(self.attach_at(program, path, offset, None)?);
        }
        for (program, points) in
            [(maps::TLS_READ, reads), (maps::TLS_WRITTEN, writes), (maps::TLS_FILE_SENT, files)]
        {
            for CallPoint { offset, done } in points {
                links.push(self.attach_at(maps::TLS_CALLED, path, offset, Some(done))?);
                links.push(self.attach_at(program, path, offset, None)?);
            }
        }
        self.libraries.insert(library.file.clone(), Attached { _links: links });
        Ok(())
    }

    fn attach_at(&mut self, name: &str, path: &Path, offset: u64, done: Option<Done>) -> Result<UProbeLink> {
        let program = probe(&mut self.object, name)?;
        let location = UProbeAttachLocation::AbsoluteOffset(offset);
        let point = UProbeAttachPoint { location, cookie: done.map(|done| done as u64) };
        let id = program
            .attach(point, path, UProbeScope::AllProcesses)
            .with_context(|| format!("attach '{name}' to {} at {offset:#x}", path.display()))?;
        Ok(program.take_link(id)?)
    }
}

fn probe<'o>(object: &'o mut Ebpf, name: &str) -> Result<&'o mut UProbe> {
    let program = object.program_mut(name).with_context(|| format!("the object has no program '{name}'"))?;
    program.try_into().with_context(|| format!("the program '{name}' is no probe"))
}

fn take(object: &mut Ebpf, name: &str) -> Result<aya::maps::Map> {
    object.take_map(name).ok_or_else(|| anyhow!("the object has no map {name}"))
}

/// Whether a new entry was refused because there is one.
fn is_there(error: &MapError) -> bool {
    let MapError::SyscallError(error) = error else { return false };
    error.io_error.raw_os_error() == Some(nix::libc::EEXIST)
}
