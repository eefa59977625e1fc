//! The web configuration in force, read anew when one of its files changes.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    time::SystemTime,
};

use anyhow::{Result, anyhow};
use ring::{hmac, rand::SystemRandom};
use serde::{Deserialize, Serialize};

use super::{
    WebConfig,
    exposure::{Exposure, Protection},
};
use crate::{
    outcome::InvalidInput,
    state::unix_ms,
    watched_files::{Files, Seen},
};

/// The configuration in force; that of no file protects nothing.
#[derive(Debug)]
pub struct Live {
    path: Option<PathBuf>,
    exposure: Exposure,
    /// For keyed hashes of passwords.
    key: hmac::Key,
    last: Mutex<Last>,
    /// Who has this looks at the files; nobody else waits for that.
    seen: Mutex<Seen>,
}

/// What came of the last reading.
#[derive(Debug)]
struct Last {
    in_force: Arc<WebConfig>,
    unix_ms: u64,
    error: Option<String>,
}

/// What `status` tells of a web configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebConfigFacts {
    /// Path of the file.
    pub path: String,
    /// What it asks for.
    #[serde(flatten)]
    pub protection: Protection,
    /// When something new was last read, or tried, in milliseconds since 1970.
    pub read_unix_ms: u64,
    /// Why that could not be used, if so; what was read before is in force then.
    pub error: Option<String>,
}

impl Live {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// [`InvalidInput`] with what is wrong in it, or why the metrics may not be served so.
    pub fn open(path: Option<&Path>, exposure: Exposure) -> Result<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).map_err(|error| {
            anyhow!("prepare to check passwords: the kernel gives no random numbers: {error}")
        })?;
        let mut files = Files::default();
        let config = if let Some(path) = path {
            load(path, exposure, &key, &mut files).map_err(InvalidInput)?
        } else {
            exposure.check(Protection::default()).map_err(InvalidInput)?;
            WebConfig::none(key.clone())
        };
        warn(&config, path, exposure);
        let last = Last { in_force: Arc::new(config), unix_ms: unix_ms(SystemTime::now()), error: None };
        Ok(Self {
            path: path.map(Path::to_owned),
            exposure,
            key,
            last: Mutex::new(last),
            seen: Mutex::new(files.finish()),
        })
    }

    /// The configuration in force, after a look whether its files are still the same. May wait for the disk.
    pub fn current(&self) -> Arc<WebConfig> {
        self.look();
        Arc::clone(&self.last().in_force)
    }

    /// Reads the file again, even if it looks the same.
    pub fn reread(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.read(&mut seen, true);
    }

    /// What there is to tell, after a look; nothing if there is no file.
    pub fn facts(&self) -> Option<WebConfigFacts> {
        let path = self.path.as_ref()?;
        self.look();
        let last = self.last();
        let Last { in_force, unix_ms, error } = &*last;
        Some(WebConfigFacts {
            path: std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string(),
            protection: in_force.protection(),
            read_unix_ms: *unix_ms,
            error: error.clone(),
        })
    }

    /// Where the metrics are, as a person would ask for them.
    pub fn url(&self) -> String {
        let protection = self.last().in_force.protection();
        format!("{}metrics", url(protection, &self.exposure.listen.to_string()))
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the files again if they have changed. A disk that does not answer holds up one reader alone.
    fn look(&self) {
        let mut seen = match self.seen.try_lock() {
            Ok(seen) => seen,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if !seen.is_current() {
            self.read(&mut seen, false);
        }
    }

    /// Reads the files, and puts in force what they say if it can be used. What says the same as before, in other files or
    /// just written again, changes nothing and is not told.
    fn read(&self, seen: &mut Seen, is_asked_for: bool) {
        let Some(path) = &self.path else { return };
        let mut files = Files::default();
        let result = load(path, self.exposure, &self.key, &mut files);
        let now_seen = files.finish();
        let is_new = now_seen.digest != seen.digest;
        *seen = now_seen;
        if !is_new && !is_asked_for {
            return;
        }
        let mut last = self.last();
        last.unix_ms = unix_ms(SystemTime::now());
        match result {
            Ok(config) => {
                tracing::info!("the web configuration was read anew: {}", config.protection());
                warn(&config, Some(path), self.exposure);
                last.in_force = Arc::new(config);
                last.error = None;
            }
            Err(error) => {
                tracing::error!(
                    "the web configuration cannot be used, the one before stays in force: {error}"
                );
                last.error = Some(error);
            }
        }
    }
}

/// The metrics of a server.
pub fn url(protection: Protection, listen: &str) -> String {
    let scheme = if protection.tls { "https" } else { "http" };
    format!("{scheme}://{listen}/")
}

/// Reads a file, and checks whether it protects enough.
fn load(path: &Path, exposure: Exposure, key: &hmac::Key, files: &mut Files) -> Result<WebConfig, String> {
    let config = WebConfig::load(path, key, files)?;
    exposure.check(config.protection()).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(config)
}

/// Says what somebody who reads along could do.
fn warn(config: &WebConfig, path: Option<&Path>, exposure: Exposure) {
    let Exposure { listen, .. } = exposure;
    let protection = config.protection();
    if protection.passwords && !protection.tls {
        let path = path.map_or_else(String::new, |path| format!("{}: ", path.display()));
        tracing::warn!(
            "{path}basic_auth_users without tls_server_config: who reads along on the way to {listen} learns the passwords"
        );
    }
    if !protection.is_any() && !exposure.is_local() {
        tracing::warn!("whoever reaches {listen} can read the metrics, as --insecure-listen says");
    }
    if let Some(warning) = config.warning() {
        tracing::warn!("{warning}");
    }
}
