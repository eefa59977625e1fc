//! What became of the points of a target, since the daemon started.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

/// Why points never arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// More than `points_per_minute`.
    Budget,
    /// The spool was full: the oldest.
    Bytes,
    /// They had waited for too long.
    Age,
    /// The target refused them.
    Refused,
    /// The target failed in a way that is not to be tried again.
    GivenUp,
    /// The file was not what had been written.
    Broken,
    /// The disk took nothing.
    Disk,
    /// They were gathered for another kind of target of this name.
    Kind,
}

/// Why a request failed, so that it is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// There is no address, or nobody answers there.
    Connect,
    /// TLS: above all, a certificate that is not to be trusted.
    Tls,
    /// No answer in time.
    Timeout,
    /// The answer broke off or was no HTTP.
    Answer,
    /// A status that says to try again.
    Status,
    /// The same, as there were too many requests.
    Throttled,
}

macro_rules! labels {
    ($kind:ident: $( $variant:ident = $label:literal ),+) => {
        impl $kind {
            /// Every one.
            pub const ALL: &[Self] = &[$( Self::$variant ),+];

            /// Its value of the label `reason`.
            pub const fn label(self) -> &'static str {
                match self { $( Self::$variant => $label ),+ }
            }
        }
    };
}

labels!(Loss: Budget = "budget", Bytes = "bytes", Age = "age", Refused = "refused", GivenUp = "given_up", Broken = "broken", Disk = "disk", Kind = "kind");
labels!(Failure: Connect = "connect", Tls = "tls", Timeout = "timeout", Answer = "answer", Status = "status", Throttled = "throttled");

/// The counts of a target.
#[derive(Debug, Default)]
pub struct Stats(Mutex<Counts>);

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Points that the target took.
    pub points: u64,
    /// Points that never arrive.
    pub lost: BTreeMap<Loss, u64>,
    /// Requests that failed.
    pub failures: BTreeMap<Failure, u64>,
    /// When a request last succeeded, in milliseconds since 1970.
    pub last_success_unix_ms: Option<u64>,
    /// What is wrong, as long as it is.
    pub problem: Option<String>,
}

impl Stats {
    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    /// Points never arrive.
    pub fn lost(&self, lost: impl IntoIterator<Item = (Loss, u64)>) {
        let mut counts = self.lock();
        for (loss, points) in lost {
            *counts.lost.entry(loss).or_default() += points;
        }
    }

    /// A request was taken. Gives what was wrong before.
    pub fn sent(&self, points: u64, unix_ms: u64) -> Option<String> {
        let mut counts = self.lock();
        counts.points += points;
        counts.last_success_unix_ms = Some(unix_ms);
        counts.problem.take()
    }

    /// A request failed. Says whether there was nothing wrong before.
    pub fn failed(&self, failure: Failure, problem: &str) -> bool {
        let mut counts = self.lock();
        *counts.failures.entry(failure).or_default() += 1;
        counts.problem.replace(problem.to_owned()).is_none()
    }

    /// A request was refused or given up. Says whether that is another problem than before.
    pub fn refused(&self, loss: Loss, points: u64, problem: &str) -> bool {
        let mut counts = self.lock();
        *counts.lost.entry(loss).or_default() += points;
        counts.problem.replace(problem.to_owned()).is_none_or(|before| before != problem)
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `status` tells of pushing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PushFacts {
    /// Path of the file.
    pub path: String,
    /// When something new was last read, or tried, in milliseconds since 1970.
    pub read_unix_ms: u64,
    /// Why that could not be used, if so; what was read before is in force then.
    pub error: Option<String>,
    /// The targets.
    pub targets: Vec<TargetFacts>,
}

/// What it tells of a target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetFacts {
    /// Its name.
    pub name: String,
    /// What is spoken.
    pub kind: String,
    /// Where, without what may be secret.
    pub endpoint: String,
    /// How often, in seconds.
    pub interval_seconds: f64,
    /// Points that it took, since the daemon started.
    pub points: u64,
    /// Points that never arrive, by why.
    pub lost: BTreeMap<Loss, u64>,
    /// Requests that failed, by why.
    pub failures: BTreeMap<Failure, u64>,
    /// Bytes that wait for it.
    pub spool_bytes: u64,
    /// How many bytes may.
    pub spool_bytes_max: u64,
    /// Points that wait for it.
    pub spool_points: u64,
    /// How long the oldest have waited, in seconds.
    pub lag_seconds: f64,
    /// When a request last succeeded, in milliseconds since 1970.
    pub last_success_unix_ms: Option<u64>,
    /// What is wrong, as long as it is.
    pub problem: Option<String>,
}
