//! The push file in force: gathers for its targets, and reads it anew when it or a file that it names changes.

use std::{
    collections::BTreeMap,
    fs::{DirBuilder, File, TryLockError},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, bail};
use prometheus::Registry;
use tokio::{
    sync::Notify,
    task::spawn_blocking,
    time::{sleep_until, timeout_at},
};

use super::{
    encode::{Gathered, Since},
    file::{Config, Target},
    spool::{Lost, Spool},
    stats::PushFacts,
    worker::{Turn, Worker},
};
use crate::{
    daemon::events::Hub,
    outcome::InvalidInput,
    state::unix_ms,
    watched_files::{Files, Seen},
};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Targets that it is time for within this are gathered for at once.
const TOGETHER: Duration = Duration::from_millis(50);

/// Pushing, as a file says.
#[derive(Debug)]
pub struct Push {
    path: PathBuf,
    /// Folder of the spools.
    spool: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
    last: Mutex<Last>,
    seen: Mutex<Seen>,
    asked_to_read: Notify,
}

/// What came of the last reading.
#[derive(Debug)]
struct Last {
    config: Arc<Config>,
    workers: BTreeMap<String, Worker>,
    unix_ms: u64,
    error: Option<String>,
}

impl Push {
    /// Reads the file for the first time, and finds what waits still. Nothing is sent yet.
    ///
    /// # Errors
    /// [`InvalidInput`] with what is wrong in it, and a spool that cannot be used.
    pub fn open(path: &Path, state_folder: &Path) -> Result<Self> {
        let mut files = Files::default();
        let config = Config::load(path, &mut files).map_err(InvalidInput)?;
        warn(&config);
        let spool = config.spool.clone().unwrap_or_else(|| state_folder.join("push"));
        let lock = lock(&spool)?;
        let now = unix_ms(SystemTime::now());
        let mut last =
            Last { config: Arc::new(Config::default()), workers: BTreeMap::new(), unix_ms: now, error: None };
        let spools = last.open_spools(&config, &spool).map_err(anyhow::Error::msg)?;
        last.follow(config, spools);
        Ok(Self {
            path: path.to_owned(),
            spool,
            _lock: lock,
            last: Mutex::new(last),
            seen: Mutex::new(files.finish()),
            asked_to_read: Notify::new(),
        })
    }

    /// Has the file read again, even if it looks the same.
    pub fn reread(&self) {
        self.asked_to_read.notify_one();
    }

    /// What there is to tell.
    pub fn facts(&self) -> PushFacts {
        let now = unix_ms(SystemTime::now());
        let last = self.last();
        let Last { config: _, workers, unix_ms, error } = &*last;
        PushFacts {
            path: std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone()).display().to_string(),
            read_unix_ms: *unix_ms,
            error: error.clone(),
            targets: workers.values().map(|worker| worker.facts(now)).collect(),
        }
    }

    /// Gathers and sends for ever. Counters of the filter count since `since.filter`.
    pub async fn run(self: Arc<Self>, registry: Arc<Registry>, hub: Hub, since: Since) {
        self.start_senders(&hub);
        let mut next_look = Instant::now() + LOOK;
        loop {
            let due = self.last().workers.values().map(|worker| worker.due).min();
            let wake = due.map_or(next_look, |due| due.min(next_look));
            let asked = timeout_at(wake.into(), self.asked_to_read.notified()).await.is_ok();
            if asked || Instant::now() >= next_look {
                next_look = Instant::now() + LOOK;
                let push = Arc::clone(&self);
                if let Err(error) = spawn_blocking(move || push.look(asked)).await {
                    tracing::error!("look at the push file: {error}");
                }
                self.start_senders(&hub);
            }
            if self.last().workers.values().any(|worker| worker.due <= Instant::now() + TOGETHER) {
                let (push, registry) = (Arc::clone(&self), Arc::clone(&registry));
                if let Err(error) = spawn_blocking(move || push.gather(&registry, since)).await {
                    tracing::error!("gather for pushing: {error}");
                    // Whatever broke may break again at once.
                    sleep_until((Instant::now() + LOOK).into()).await;
                }
            }
        }
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_senders(&self, hub: &Hub) {
        for worker in self.last().workers.values_mut() {
            worker.start(hub);
        }
    }

    /// Gathers once for all targets that it is time for.
    fn gather(&self, registry: &Registry, since: Since) {
        let began = Instant::now();
        let (config, turns) = {
            let mut last = self.last();
            let config = Arc::clone(&last.config);
            let due = last.workers.values_mut().filter(|worker| worker.due <= began + TOGETHER);
            let turns: Vec<Turn> = due.map(|worker| worker.turn(began)).collect();
            (config, turns)
        };
        let time = SystemTime::now();
        let (logs, series): (Vec<Turn>, Vec<Turn>) = turns.into_iter().partition(Turn::is_logs);
        for turn in logs {
            turn.take_logs(&config.labels, began, unix_ms(time));
        }
        if series.is_empty() {
            return;
        }
        let gathered = Gathered { unix_ms: unix_ms(time), families: registry.gather(), since };
        for turn in series {
            turn.take(&gathered, &config.labels, began);
        }
    }

    /// Reads the files again if they have changed.
    fn look(&self, is_asked_for: bool) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_asked_for && seen.is_current() {
            return;
        }
        let mut files = Files::default();
        let result = Config::load(&self.path, &mut files);
        let now_seen = files.finish();
        let is_new = now_seen.digest != seen.digest;
        *seen = now_seen;
        if !is_new && !is_asked_for {
            return;
        }
        let mut last = self.last();
        last.unix_ms = unix_ms(SystemTime::now());
        let opened = result.and_then(|config| {
            let spools = last.open_spools(&config, &self.spool)?;
            Ok((config, spools))
        });
        match opened {
            Ok((config, spools)) => {
                tracing::info!("the push file was read anew: {}", names(&config));
                warn(&config);
                if config.spool.as_ref().is_some_and(|spool| *spool != self.spool) {
                    tracing::warn!("another `spool` of the push file is used from the next start on");
                }
                last.follow(config, spools);
                last.error = None;
            }
            Err(error) => {
                tracing::error!("the push file cannot be used, the one before stays in force: {error}");
                last.error = Some(error);
            }
        }
    }
}

impl Last {
    /// Opens the spools of targets that have none yet.
    fn open_spools(&self, config: &Config, folder: &Path) -> Result<BTreeMap<String, (Spool, Lost)>, String> {
        let now = unix_ms(SystemTime::now());
        let new = config.targets.iter().filter(|target| !self.workers.contains_key(&target.name));
        let open = |target: &Arc<Target>| {
            Spool::open(&folder.join(&target.name), target.spool, now)
                .map(|opened| (target.name.clone(), opened))
        };
        new.map(open).collect::<Result<_>>().map_err(|error| format!("{error:#}"))
    }

    /// Puts a configuration in force. Targets that are no longer named end; what waits for them stays on the disk.
    fn follow(&mut self, config: Config, mut spools: BTreeMap<String, (Spool, Lost)>) {
        let now = unix_ms(SystemTime::now());
        let mut before = std::mem::take(&mut self.workers);
        for target in &config.targets {
            let name = &target.name;
            if let Some(mut worker) = before.remove(name) {
                worker.follow(Arc::clone(target), now);
                self.workers.insert(name.clone(), worker);
            } else if let Some((spool, lost)) = spools.remove(name) {
                let points = spool.waiting().points;
                if points > 0 {
                    tracing::info!("{points} points wait for the target {name} from before");
                }
                let worker = Worker::new(Arc::clone(target), spool);
                worker.lose(lost);
                self.workers.insert(name.clone(), worker);
            }
        }
        self.config = Arc::new(config);
    }
}

/// Makes the folder of the spools, and locks it.
fn lock(folder: &Path) -> Result<File> {
    let shown = folder.display();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("make the spool {shown}; name another folder by `spool` in the push file"))?;
    let path = folder.join("lock");
    let lock = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            bail!(
                "the spool {shown} is in use by another foobar daemon; name another by `spool` in the push file"
            )
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

fn warn(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
}

fn names(config: &Config) -> String {
    let names: Vec<&str> = config.targets.iter().map(|target| target.name.as_str()).collect();
    if names.is_empty() { "no targets".to_owned() } else { format!("targets {}", names.join(", ")) }
}
