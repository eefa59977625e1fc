//! The state folder: what the daemon remembers, on disk.

use std::{
    collections::BTreeSet,
    fs::{self, File, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::State;
use crate::rules::bundle::Bundle;

/// Version of the files; another one is refused.
pub(super) const VERSION: u32 = 1;
/// How many rulesets are kept beside those that the state refers to.
const KEPT_RULESETS: usize = 10;

/// The state folder, locked: one daemon has it at a time.
#[derive(Debug)]
pub struct Store {
    pub(super) folder: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Versioned<T> {
    pub(super) version: u32,
    pub(super) state: T,
}

impl Store {
    /// Makes the folder if there is none, and locks it.
    ///
    /// # Errors
    /// When another daemon has it, with its process id, and when it cannot be written to.
    pub fn open(folder: &Path) -> Result<Self> {
        let shown = folder.display();
        for part in ["rulesets", "sets"] {
            fs::create_dir_all(folder.join(part))
                .with_context(|| format!("make the state folder {shown}; name another with --state"))?;
        }
        let path = folder.join("lock");
        let mut lock =
            File::options().create(true).read(true).write(true).truncate(false).open(&path).with_context(
                || format!("open {}; name another state folder with --state", path.display()),
            )?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "the state folder {shown} is in use by another foobar daemon{}; ask it with `foobar status`, \
                     end it, or name another folder with --state",
                    holder(&mut lock)
                )
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", path.display()));
            }
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .with_context(|| format!("write {}", path.display()))?;
        Ok(Self { folder: folder.to_path_buf(), _lock: lock })
    }

    /// Who has a state folder: the words ` with process id N`, or `None` when nobody has.
    pub fn in_use(folder: &Path) -> Option<String> {
        let mut lock = File::options().read(true).open(folder.join("lock")).ok()?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => Some(holder(&mut lock)),
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }

    /// Where the book of counter slots lies.
    pub fn slots(&self) -> PathBuf {
        self.folder.join("slots.json")
    }

    /// Reads the state; a missing one is empty.
    ///
    /// # Errors
    /// A state that cannot be understood is an error: guessing could bring back rules that locked people out.
    pub fn state(&self) -> Result<State> {
        let path = self.folder.join("state.json");
        let Versioned { version, state } = match read_json::<Versioned<State>>(&path) {
            Ok(Some(versioned)) => versioned,
            Ok(None) => return Ok(State::default()),
            Err(error) => {
                return Err(error.context(format!(
                    "read the state {}; move it away to start with the rule files",
                    path.display()
                )));
            }
        };
        if version != VERSION {
            bail!(
                "the state {} is of version {version}, this foobar writes {VERSION}; use the foobar that wrote \
                 it, or move it away to start with the rule files",
                path.display()
            );
        }
        Ok(state)
    }

    /// Writes the state, wholly or not at all, and forgets rulesets that nothing needs.
    pub fn set_state(&self, state: &State) -> Result<()> {
        let path = self.folder.join("state.json");
        write_json(&path, &Versioned { version: VERSION, state })
            .with_context(|| format!("write the state {}", path.display()))?;
        if let Err(error) = self.forget_old(state) {
            tracing::warn!("forget old rulesets in {}: {error:#}", self.folder.display());
        }
        Ok(())
    }

    /// Reads a ruleset.
    pub fn ruleset(&self, hash: &str) -> Result<Bundle> {
        let path = self.ruleset_path(hash);
        let bundle: Bundle = read_json(&path)
            .and_then(|bundle| bundle.ok_or_else(|| anyhow!("the file is missing")))
            .with_context(|| format!("read the applied ruleset {}", path.display()))?;
        if bundle.hash() != hash {
            bail!("read the applied ruleset {}: the file was changed or is damaged", path.display());
        }
        Ok(bundle)
    }

    /// Writes a ruleset and gives its hash.
    pub fn add_ruleset(&self, bundle: &Bundle) -> Result<String> {
        let hash = bundle.hash();
        let path = self.ruleset_path(&hash);
        write_json(&path, bundle).with_context(|| format!("write the ruleset {}", path.display()))?;
        Ok(hash)
    }

    fn ruleset_path(&self, hash: &str) -> PathBuf {
        self.folder.join("rulesets").join(format!("{hash}.json"))
    }

    fn forget_old(&self, state: &State) -> io::Result<()> {
        let needed: BTreeSet<PathBuf> = state.referenced().map(|hash| self.ruleset_path(hash)).collect();
        let mut others: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(self.folder.join("rulesets"))? {
            let entry = entry?;
            if !needed.contains(&entry.path()) {
                others.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        others.sort();
        let surplus = others.len().saturating_sub(KEPT_RULESETS);
        others.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
    }
}

/// Reads the process id that the holder of a lock wrote.
fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.rewind().and_then(|()| lock.take(32).read_to_string(&mut text));
    match (read, text.trim()) {
        (Ok(_), pid) if !pid.is_empty() => format!(" with process id {pid}"),
        _ => String::new(),
    }
}

/// Reads a JSON file; `None` if there is none.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Writes a JSON file; see [`write_file`].
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    write_file(path, &serde_json::to_vec(value)?)
}

/// Writes a file so that after a crash either the old or the new one is there, whole.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder(path)
}

/// Has the names in the folder of a file outlive a crash.
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::state::Occasion;

    #[test]
    fn state_and_rulesets_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = Bundle::of_text("rules.toml", "schema = 1\n");
        let state = {
            let store = Store::open(folder.path()).unwrap();
            assert_eq!(store.state().unwrap(), State::default());
            let hash = store.add_ruleset(&bundle).unwrap();
            let occasion = Occasion { by: "a test", unix_ms: 7, files: None };
            let state = State::default().with_ruleset(&hash, None, &occasion).unwrap();
            store.set_state(&state).unwrap();
            state
        };
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.state().unwrap(), state);
        assert_eq!(store.ruleset(state.in_force.as_ref().unwrap()).unwrap(), bundle);
    }

    #[test]
    fn a_second_daemon_is_told_who_has_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let pid = std::process::id().to_string();
        let error = Store::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process id {pid}")), "{error}");
        assert!(Store::in_use(folder.path()).unwrap().contains(&pid));
        drop(store);
        assert_eq!(Store::in_use(folder.path()), None);
    }

    #[test]
    fn only_the_last_rulesets_and_the_needed_ones_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let hashes: Vec<String> = (0..15)
            .map(|number| store.add_ruleset(&Bundle::of_text("r.toml", &format!("# {number}\n"))).unwrap())
            .collect();
        // Written within one tick of the clock, they would be of the same age.
        for (number, hash) in (0..).zip(&hashes) {
            let file = File::options().append(true).open(store.ruleset_path(hash)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(number)).unwrap();
        }
        let state = State { in_force: Some(hashes[0].clone()), ..State::default() };
        store.set_state(&state).unwrap();
        assert!(store.ruleset(&hashes[0]).is_ok(), "needed");
        assert!(store.ruleset(&hashes[14]).is_ok(), "the last one");
        let kept = fs::read_dir(folder.path().join("rulesets")).unwrap().count();
        assert_eq!(kept, 1 + KEPT_RULESETS);
    }

    #[test]
    fn what_cannot_be_understood_is_an_error_with_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for text in ["", "{", "{\"version\":2,\"state\":{\"generation\":1}}", "\0\0\0"] {
            fs::write(folder.path().join("state.json"), text).unwrap();
            let error = format!("{:#}", store.state().unwrap_err());
            assert!(error.contains("move it away"), "{text}: {error}");
        }
        let hash = store.add_ruleset(&Bundle::of_text("r.toml", "schema = 1\n")).unwrap();
        let other = serde_json::to_vec(&Bundle::of_text("r.toml", "schema = 2\n")).unwrap();
        fs::write(store.ruleset_path(&hash), other).unwrap();
        assert!(store.ruleset(&hash).unwrap_err().to_string().contains("damaged"));
    }
}
