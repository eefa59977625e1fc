//! Bans, as the daemon knows them: which there are, who made them and why. Values in, values out: the kernel has its
//! own copy ([`crate::dataplane::bans`]), and the state folder the journal ([`crate::state::bans`]).

pub mod book;
pub mod busiest;
pub mod journal;
pub mod never;
pub mod report;
pub mod request;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::{dataplane::bans::now_ns, state::unix_ms};

/// A ban of an address or a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// When it ends, in nanoseconds since the machine started (as [`Moment::boot_ns`]); `None`: it does not.
    pub until_ns: Option<u64>,
    /// By whom and why.
    pub made: Arc<Made>,
}

/// When, by whom and why a ban was made, or last made longer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// What made it.
    pub origin: Origin,
    /// Who asked for it, in words.
    pub by: String,
    /// Why, in the words of who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Made {
    /// By whom and why, in words.
    pub fn words(&self) -> String {
        let Self { unix_ms: _, origin, by, reason } = self;
        let by = match origin {
            Origin::Command => by.clone(),
            Origin::Kernel => format!("the limit of rule {by}"),
        };
        match reason {
            Some(reason) => format!("{by}: {reason}"),
            None => by,
        }
    }
}

/// What made a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Somebody, by a command.
    Command,
    /// A program in the kernel.
    Kernel,
}

/// A point in time, by both clocks: bans are measured by the one that nobody sets, and told by the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// Nanoseconds since the machine started, time asleep included.
    pub boot_ns: u64,
}

impl Moment {
    /// The time since the machine started, time asleep included.
    pub const fn since_boot(self) -> Duration {
        Duration::from_nanos(self.boot_ns)
    }

    /// This one.
    ///
    /// # Errors
    /// None that a kernel that foobar runs on has.
    pub fn now(time: SystemTime) -> Result<Self> {
        Ok(Self { unix_ms: unix_ms(time), boot_ns: now_ns()? })
    }

    /// The time of day at another point on the clock that nobody sets, in milliseconds since 1970.
    pub fn unix_ms_at(self, boot_ns: u64) -> u64 {
        let later = Duration::from_nanos(boot_ns.saturating_sub(self.boot_ns)).as_millis();
        let earlier = Duration::from_nanos(self.boot_ns.saturating_sub(boot_ns)).as_millis();
        let milliseconds = |span: u128| u64::try_from(span).unwrap_or(u64::MAX);
        self.unix_ms.saturating_add(milliseconds(later)).saturating_sub(milliseconds(earlier))
    }
}
