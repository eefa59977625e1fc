//! What the daemon remembers of its decisions: which rules are in force, and what would undo them.
//!
//! Everything here is computed from values; [`store`] puts it on disk, and [`sets`] what was changed of sets.

pub mod bans;
pub mod sets;
pub mod store;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::guard::Guard;

/// The decisions, as they lie in the state folder. Rulesets are named by their hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The ruleset in force.
    pub in_force: Option<String>,
    /// What the rule files of `--rules` were when that was decided, if they could be read. While they are
    /// still the same, the decision is newer than the files.
    pub files: Option<String>,
    /// What `rules rollback` brings back when nothing is pending.
    pub previous: Option<String>,
    /// Set while the ruleset in force waits for its confirmation.
    pub pending: Option<Pending>,
    /// How many times rules were put in force.
    pub generation: u64,
    /// When and by whom they were last.
    pub applied: Option<Applied>,
    /// What was decided of the ruleset that etcd had last, if rules come from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdDecision>,
}

/// What was decided of a ruleset that etcd had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EtcdDecision {
    /// Its hash.
    pub hash: String,
    /// The revision of etcd at which a key of it was last written.
    pub revision: i64,
    /// Why it was taken back, if it was: it is not put in force again until a key of it is written.
    pub refused: Option<String>,
}

/// A ruleset that goes away unless it is confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// Milliseconds since 1970 at which the time is over.
    pub deadline_unix_ms: u64,
    /// How long the time was, in milliseconds.
    pub confirm_within_ms: u64,
    /// The ruleset that comes back then.
    pub previous: String,
    /// With it, the time is one that services must not fall in; without it, one for a confirmation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<Guard>,
}

/// When and by whom rules were put in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// Who asked for it, in words.
    pub by: String,
}

/// A decision to be made: who asks, when, and what the rule files are at that time.
#[derive(Clone, Debug)]
pub struct Occasion<'a> {
    /// Who asked, in words.
    pub by: &'a str,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// Hash of the rule files of `--rules`, if they can be read.
    pub files: Option<String>,
}

/// Why a decision cannot be made, and what to do first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict(pub String);

impl Pending {
    /// How much of the time is left; nothing when it is over.
    ///
    /// A clock that was set back would make it longer than it ever was, so it is never more than all of it.
    /// That of a guard begins anew with the daemon: while there was none, nobody looked.
    pub fn left(&self, unix_ms: u64) -> Option<Duration> {
        if self.guard.is_some() {
            return Some(Duration::from_millis(self.confirm_within_ms));
        }
        match self.deadline_unix_ms.saturating_sub(unix_ms) {
            0 => None,
            left => Some(Duration::from_millis(left.min(self.confirm_within_ms))),
        }
    }
}

impl State {
    /// The state once `hash` is in force. With `confirm_within`, it waits for its confirmation.
    ///
    /// # Errors
    /// While another ruleset waits for its confirmation.
    pub fn with_ruleset(
        &self,
        hash: &str,
        confirm_within: Option<Duration>,
        occasion: &Occasion<'_>,
    ) -> Result<Self, Conflict> {
        self.nothing_waits(occasion.unix_ms)?;
        let mut next = self.decided(hash, occasion);
        let replaced = self.in_force.clone().filter(|old| old != hash);
        match (confirm_within, &self.in_force) {
            (Some(within), Some(old)) => {
                let confirm_within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
                next.pending = Some(Pending {
                    deadline_unix_ms: occasion.unix_ms.saturating_add(confirm_within_ms),
                    confirm_within_ms,
                    previous: old.clone(),
                    guard: None,
                });
            }
            _ => next.previous = replaced.or_else(|| self.previous.clone()),
        }
        Ok(next)
    }

    /// The state once `hash` is in force and guarded. Rules that are guarded still make way for it, and what comes back is what
    /// was there before them.
    ///
    /// # Errors
    /// While another ruleset waits for its confirmation.
    pub fn guarded(
        &self,
        hash: &str,
        within: Duration,
        guard: Guard,
        occasion: &Occasion<'_>,
    ) -> Result<Self, Conflict> {
        let base = self.unguarded();
        base.nothing_waits(occasion.unix_ms)?;
        let Some(previous) = base.in_force.clone() else {
            return base.with_ruleset(hash, None, occasion);
        };
        let mut next = base.decided(hash, occasion);
        if previous != hash {
            let confirm_within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
            let deadline_unix_ms = occasion.unix_ms.saturating_add(confirm_within_ms);
            next.pending =
                Some(Pending { deadline_unix_ms, confirm_within_ms, previous, guard: Some(guard) });
        }
        Ok(next)
    }

    /// The same as if rules that are guarded had never come; the number of changes stays.
    #[must_use]
    pub fn unguarded(&self) -> Self {
        match &self.pending {
            Some(Pending { guard: Some(_), previous, .. }) => {
                Self { in_force: Some(previous.clone()), pending: None, ..self.clone() }
            }
            Some(_) | None => self.clone(),
        }
    }

    /// The guard over the rules in force, if there is one.
    pub fn guard(&self) -> Option<&Guard> {
        self.pending.as_ref().and_then(|pending| pending.guard.as_ref())
    }

    /// Checks that other rules can be put in force.
    ///
    /// # Errors
    /// While those in force wait for their confirmation.
    pub fn nothing_waits(&self, unix_ms: u64) -> Result<(), Conflict> {
        match &self.pending {
            None => Ok(()),
            Some(Pending { guard: Some(_), .. }) => Err(Conflict(
                "the rules in force are guarded still (`foobar status` tells how long); `foobar rules confirm` keeps them, \
                 `foobar rules rollback` takes them back, then try again"
                    .to_owned(),
            )),
            Some(pending) => Err(Conflict(format!(
                "the rules in force still wait for their confirmation ({} s left); `foobar rules confirm` keeps \
                 them, `foobar rules rollback` takes them back, then try again",
                pending.left(unix_ms).unwrap_or_default().as_secs()
            ))),
        }
    }

    /// The state once the ruleset in force is confirmed.
    ///
    /// # Errors
    /// When nothing waits for a confirmation.
    pub fn confirmed(&self) -> Result<Self, Conflict> {
        let Some(pending) = &self.pending else {
            return Err(Conflict(
                "nothing waits for a confirmation; `foobar status` shows since when the rules are in force"
                    .to_owned(),
            ));
        };
        let mut next = Self { pending: None, ..self.clone() };
        if next.in_force.as_ref() != Some(&pending.previous) {
            next.previous = Some(pending.previous.clone());
        }
        Ok(next)
    }

    /// The state once the rules before those in force are back; a confirmation is then no longer waited for.
    ///
    /// # Errors
    /// When there are none.
    pub fn rolled_back(&self, occasion: &Occasion<'_>) -> Result<Self, Conflict> {
        if let Some(pending) = &self.pending {
            return Ok(Self { pending: None, ..self.decided(&pending.previous, occasion) });
        }
        let Some(previous) = &self.previous else {
            return Err(Conflict(
                "there are no earlier rules to go back to; put others in force with `foobar rules apply PATH`"
                    .to_owned(),
            ));
        };
        Ok(Self { previous: None, ..self.decided(previous, occasion) })
    }

    /// Every ruleset that is still needed.
    pub fn referenced(&self) -> impl Iterator<Item = &String> {
        let pending = self.pending.as_ref().map(|pending| &pending.previous);
        [self.in_force.as_ref(), self.previous.as_ref(), pending].into_iter().flatten()
    }

    fn decided(&self, hash: &str, occasion: &Occasion<'_>) -> Self {
        Self {
            in_force: Some(hash.to_owned()),
            files: occasion.files.clone(),
            generation: self.generation + 1,
            applied: Some(Applied { unix_ms: occasion.unix_ms, by: occasion.by.to_owned() }),
            ..self.clone()
        }
    }
}

/// Where a ruleset is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RulesetSource {
    /// The rule files of `--rules`.
    Files,
    /// The state folder, by its hash.
    Store(String),
}

/// What a daemon that starts does about rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where to read them from; the next one if that fails.
    pub sources: Vec<RulesetSource>,
    /// Why the first one is the right one, for the log.
    pub why: &'static str,
    /// What becomes of a confirmation that was waited for.
    pub confirmation: Confirmation,
}

/// What becomes of a confirmation that an earlier daemon waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// None was.
    NotWaited,
    /// There is this much time left.
    Left(Duration),
    /// It did not come in time.
    TooLate,
}

/// The same where rules come from etcd: with those that were in force last, also if etcd has others. These come then, under
/// guard, and a start does not wait for etcd.
pub fn plan_start_before_etcd(state: &State, unix_ms: u64) -> Plan {
    let plan = plan_start(state, None, unix_ms);
    match &state.in_force {
        Some(in_force) if state.pending.is_none() => Plan {
            sources: vec![RulesetSource::Store(in_force.clone()), RulesetSource::Files],
            why: "they were in force last; if etcd has others, these come after them",
            ..plan
        },
        _ => plan,
    }
}

/// Decides which rules a daemon starts with: whichever came last, the files or a decision of an earlier daemon.
/// `files` is the hash of the rule files, if they can be read.
pub fn plan_start(state: &State, files: Option<&str>, unix_ms: u64) -> Plan {
    let Some(in_force) = &state.in_force else {
        let why = "nothing was in force before";
        return Plan { sources: vec![RulesetSource::Files], why, confirmation: Confirmation::NotWaited };
    };
    let stored = RulesetSource::Store(in_force.clone());
    if let Some(pending) = &state.pending {
        let previous = RulesetSource::Store(pending.previous.clone());
        return match pending.left(unix_ms) {
            Some(left) => Plan {
                sources: vec![stored, previous, RulesetSource::Files],
                why: "these rules still wait for their confirmation",
                confirmation: Confirmation::Left(left),
            },
            None => Plan {
                sources: vec![previous, RulesetSource::Files, stored],
                why: "the newer rules were not confirmed in time",
                confirmation: Confirmation::TooLate,
            },
        };
    }
    let (sources, why) = match files {
        None => (vec![stored], "the rule files cannot be read, so the last rules stay in force"),
        Some(_) if files == state.files.as_deref() => (
            vec![stored, RulesetSource::Files],
            "the rule files have not changed since these rules were put in force",
        ),
        Some(_) => (
            vec![RulesetSource::Files, stored],
            "the rule files have changed since the last rules were put in force",
        ),
    };
    Plan { sources, why, confirmation: Confirmation::NotWaited }
}

impl Plan {
    /// The state once a daemon has started with `hash` from one of the sources of its plan.
    ///
    /// # Errors
    /// None that a plan of [`plan_start`] leads to.
    pub fn carried_out(
        &self,
        state: &State,
        taken: &RulesetSource,
        hash: &str,
        occasion: &Occasion<'_>,
    ) -> Result<State, Conflict> {
        let settled = State { pending: None, ..state.clone() };
        match (taken, &state.pending) {
            (RulesetSource::Files, _) => settled.with_ruleset(hash, None, occasion),
            (RulesetSource::Store(hash), Some(pending)) if *hash == pending.previous => {
                match self.confirmation {
                    // Both are the same: there is nothing to take back.
                    Confirmation::Left(_) if state.in_force.as_ref() == Some(hash) => Ok(state.clone()),
                    Confirmation::Left(_) | Confirmation::TooLate | Confirmation::NotWaited => {
                        state.rolled_back(occasion)
                    }
                }
            }
            (RulesetSource::Store(_), _) => match self.confirmation {
                Confirmation::Left(_) | Confirmation::NotWaited => Ok(state.clone()),
                Confirmation::TooLate => Ok(settled),
            },
        }
    }
}

/// A time of day as the state has it.
pub fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
