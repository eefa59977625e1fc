//! Which processes serve what, as the kernel tells in `/proc`.
//!
//! Processes come and go while they are looked at; one that is gone is passed over.

mod libraries;
mod sockets;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

pub use self::libraries::{Library, tls_library};
use crate::rules::model::DecryptFrom;

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// By what its processes are known.
    pub from: DecryptFrom,
    /// Its TCP ports.
    pub ports: BTreeSet<u16>,
}

/// A process that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its name (`/proc/PID/comm`).
    pub name: String,
    /// Which of those that were looked for it is one of, by their places.
    pub serves: BTreeSet<usize>,
}

/// Looks through all processes. Listeners are found in the network namespace of this thread.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn find(wanted: &[Wanted]) -> Result<BTreeMap<u32, Process>> {
    let of_listeners = wanted.iter().filter(|wanted| wanted.from == DecryptFrom::Listeners);
    let ports: BTreeSet<u16> = of_listeners.flat_map(|wanted| wanted.ports.iter().copied()).collect();
    let listening = if ports.is_empty() { BTreeMap::new() } else { sockets::listening(&ports)? };
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("read /proc")? {
        let Ok(entry) = entry else { continue };
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let folder = entry.path();
        let listens_on =
            if listening.is_empty() { BTreeSet::new() } else { sockets::ports_of(&folder, &listening) };
        let serves: BTreeSet<usize> = wanted
            .iter()
            .enumerate()
            .filter(|(_, Wanted { from, ports })| match from {
                DecryptFrom::Listeners => !listens_on.is_disjoint(ports),
                DecryptFrom::Unit(unit) => is_in_unit(&folder, unit),
                DecryptFrom::Path(path) => program(&folder).is_some_and(|program| program == Path::new(path)),
            })
            .map(|(place, _)| place)
            .collect();
        if !serves.is_empty() {
            found.insert(process, Process { name: name(&folder), serves });
        }
    }
    Ok(found)
}

/// The name of a process; a question mark if it is gone.
pub fn name_of(process: u32) -> String {
    name(&Path::new("/proc").join(process.to_string()))
}

/// Whether a process is there.
pub fn exists(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

fn name(folder: &Path) -> String {
    fs::read_to_string(folder.join("comm")).map_or_else(|_| "?".to_owned(), |name| name.trim().to_owned())
}

/// A unit of systemd is a control group of that name.
fn is_in_unit(folder: &Path, unit: &str) -> bool {
    let groups = fs::read_to_string(folder.join("cgroup")).unwrap_or_default();
    groups.lines().any(|line| line.split(['/', ':']).any(|part| part == unit))
}

/// The file of the program. The kernel marks one that is no longer there, after an upgrade.
fn program(folder: &Path) -> Option<PathBuf> {
    let path = fs::read_link(folder.join("exe")).ok()?;
    let text = path.to_str()?;
    Some(PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(text)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn this_process_is_found_by_its_socket_and_by_its_path() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let program = std::env::current_exe().unwrap();
        let wanted = [
            Wanted { from: DecryptFrom::Listeners, ports: BTreeSet::from([port]) },
            Wanted { from: DecryptFrom::Path(program.display().to_string()), ports: BTreeSet::new() },
            Wanted { from: DecryptFrom::Unit("none.service".to_owned()), ports: BTreeSet::from([port]) },
        ];
        let found = find(&wanted).unwrap();
        assert_eq!(found[&std::process::id()].serves, BTreeSet::from([0, 1]));
        drop(listener);
        let found = find(&wanted[..1]).unwrap();
        assert!(!found.contains_key(&std::process::id()), "{found:?}");
    }
}
