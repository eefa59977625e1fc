//! Servers that have the same rules, which lie in etcd.
//!
//! Three tasks of the daemon, which nothing else waits for: `follow` reads the rules and has the writer judge and guard
//! them, `members` tells the others what is in force here, `endpoints` looks which members of etcd answer. etcd is asked
//! over its gRPC gateway (`client`).

pub mod access;
pub mod members;
pub mod place;
pub mod push;
pub mod ruleset;
pub mod settings;

mod client;
mod endpoints;
mod follow;
mod messages;
mod watch;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, task::JoinHandle, time::Duration};

use self::{access::Keys, client::Client, ruleset::EtcdRules, settings::FleetSettings};
use crate::{
    daemon::handle::Handle,
    outcome::InvalidInput,
    rules::model::{Ruleset, Service},
    state::{EtcdDecision, unix_ms},
};

/// How long a start without any rules waits for etcd.
const START_TIME: Duration = Duration::from_secs(10);

/// What is known of etcd, for `status` and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetFacts {
    /// Where the rules are.
    pub place: String,
    /// The name of this member.
    pub member: String,
    /// Whether etcd has answered when it was last asked.
    pub connected: bool,
    /// Why not, or what is wrong with what it says.
    pub problem: Option<String>,
    /// Milliseconds since 1970 at which it last answered.
    pub last_contact_unix_ms: Option<u64>,
    /// The revision at which a key of the rules there was last written.
    pub revision: Option<i64>,
    /// SHA-256 of the rules there.
    pub hash: Option<String>,
    /// Why those are no rules that can be put in force, if so.
    pub invalid: Option<String>,
    /// Why the other members are not told what is in force here, if so.
    pub untold: Option<String>,
    /// The members of etcd that are named, and whether each has a cluster behind it; `None` before that is known.
    pub endpoints: Vec<(String, Option<bool>)>,
    /// What was decided of the rules there.
    pub decision: Option<EtcdDecision>,
}

/// What the tasks share with whoever asks for it.
#[derive(Debug)]
pub struct Fleet {
    settings: FleetSettings,
    keys: Arc<Keys>,
    facts: Mutex<FleetFacts>,
    /// Has the rules read again.
    reread: Notify,
    /// Has the other members told.
    changed: Notify,
}

impl Fleet {
    /// Reads the keys that it takes to speak to etcd.
    ///
    /// # Errors
    /// [`InvalidInput`]: which of them cannot be used, and why.
    pub fn open(settings: &FleetSettings) -> Result<Self, InvalidInput> {
        let keys = settings.access.open(settings.place.is_tls)?;
        let facts = FleetFacts {
            place: settings.place.to_string(),
            member: settings.member.clone(),
            endpoints: settings.place.endpoints.iter().map(|one| (one.to_string(), None)).collect(),
            ..FleetFacts::default()
        };
        Ok(Self {
            settings: settings.clone(),
            keys: Arc::new(keys),
            facts: Mutex::new(facts),
            reread: Notify::new(),
            changed: Notify::new(),
        })
    }

    /// Reads the rules once, for a start without any others.
    ///
    /// # Errors
    /// When etcd does not answer within ten seconds, and [`InvalidInput`] when it has no rules.
    pub async fn read(&self) -> Result<EtcdRules> {
        let mut client = self.client();
        let place = &self.settings.place;
        let asked = async {
            loop {
                let read = match ruleset::list(&mut client, place).await {
                    Ok(listing) => ruleset::read(&mut client, place, &listing).await,
                    Err(failure) => Err(failure),
                };
                match read {
                    Ok(rules) => return rules,
                    Err(failure) => self.lost(&failure.to_string()),
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::time::timeout(START_TIME, asked).await.unwrap_or_else(|_| {
            let why = self.facts().problem.unwrap_or_default();
            Err(anyhow!(
                "read rules from {place}: {why}; there are none from an earlier run to go on with, so start etcd first, or name \
                 a file with --rules"
            ))
        })
    }

    /// Starts the tasks, which go on until they are aborted.
    pub fn spawn(self: &Arc<Self>, handle: &Handle) -> [JoinHandle<()>; 3] {
        [
            tokio::spawn(follow::follow(Arc::clone(self), handle.clone())),
            tokio::spawn(members::tell(Arc::clone(self), handle.clone())),
            tokio::spawn(endpoints::look(Arc::clone(self))),
        ]
    }

    /// Has the rules read and judged again.
    pub fn reread(&self) {
        self.reread.notify_one();
    }

    /// What is known; the decision is the writer's to tell.
    pub fn facts(&self) -> FleetFacts {
        self.locked().clone()
    }

    /// A client that asks another endpoint first than those of other members do.
    fn client(&self) -> Client {
        // By the sum of the letters: members of a fleet have different names.
        let first = self.settings.member.bytes().map(usize::from).sum();
        Client::new(Arc::clone(&self.settings.place), Arc::clone(&self.keys), first)
    }

    fn contact(&self, endpoint: &str) {
        let mut facts = self.locked();
        if !facts.connected {
            tracing::info!("etcd answers at {endpoint}");
        }
        facts.connected = true;
        facts.problem = None;
        facts.last_contact_unix_ms = Some(unix_ms(SystemTime::now()));
    }

    fn lost(&self, why: &str) {
        let mut facts = self.locked();
        if facts.connected || facts.problem.is_none() {
            tracing::warn!("etcd does not answer, the rules in force stay: {why}");
        }
        facts.connected = false;
        facts.problem = Some(why.to_owned());
    }

    fn locked(&self) -> MutexGuard<'_, FleetFacts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rules of etcd that the writer is to judge.
#[derive(Debug)]
pub struct Offered {
    /// Revision and texts.
    pub rules: EtcdRules,
    /// Whether they are to be put in force also if they were refused.
    pub is_forced: bool,
}

/// Which services of old rules the new ones do not name any more, though a guard watches them.
pub fn vanished<'r>(old: &'r [Service], new: &Ruleset) -> Vec<(&'r str, String)> {
    let ports: Vec<_> = new.services.iter().flat_map(|service| &service.ports).collect();
    let watched = old.iter().filter(|service| new.guard.watches(&service.name));
    watched
        .flat_map(|service| service.ports.iter().map(|port| (service.name.as_str(), port)))
        .filter(|(_, port)| !ports.contains(port))
        .map(|(name, port)| (name, port.to_string()))
        .collect()
}
