//! What each member of the fleet tells the others: a key below `PREFIX/members/` that vanishes with the daemon.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::{
    Fleet,
    access::Keys,
    client::{Client, Failure, SHORT},
    messages::{
        Accepted, Lease, LeaseRequest, OfLease, PutRequest, RangeRequest, RangeResponse, Streamed, bytes,
    },
    place::EtcdPlace,
    ruleset::{self, EtcdRules, MEMBERS, range_of},
};
use crate::daemon::handle::Handle;

/// After how many seconds without a sign a member is gone.
const TIME_TO_LIVE: i64 = 12;
/// How often a sign is given.
const SIGN_EVERY: Duration = Duration::from_secs(4);
/// How often it is looked whether there is something new to tell.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long it is waited where nothing may be written.
const DENIED_PAUSE: Duration = Duration::from_mins(1);
/// How many members are shown.
const MEMBERS_MAX: usize = 1_000;
/// Longest answer with all of them, in bytes.
const ANSWER_MAX: usize = 4 << 20;
/// Longest reason that is told to the others, in characters.
const WHY_MAX: usize = 500;

/// What a member tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Version of its foobar.
    pub version: String,
    /// Where it serves its metrics.
    pub listen: String,
    /// Milliseconds since 1970 at which the daemon started.
    pub started_unix_ms: u64,
    /// Whether rules are in force on every interface.
    pub ready: bool,
    /// SHA-256 of the rules in force.
    pub hash: String,
    /// How many times rules were put in force.
    pub generation: u64,
    /// The revision of etcd that they come from, if they do.
    pub revision: Option<i64>,
    /// Whether a guard or a confirmation may take them back still.
    pub pending: bool,
    /// What of etcd was refused.
    pub refused: Option<RefusedRules>,
}

/// Rules of etcd that a member does not put in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRules {
    /// Their revision.
    pub revision: Option<i64>,
    /// Why.
    pub why: String,
}

/// All of a fleet.
#[derive(Debug)]
pub struct FleetView {
    /// By name; what a member tells that cannot be understood is missing.
    pub members: Vec<(String, Option<Member>)>,
    /// The rules in etcd.
    pub rules: Result<EtcdRules>,
}

/// Reads what all members tell, and the rules.
///
/// # Errors
/// When etcd does not answer.
pub async fn view(place: Arc<EtcdPlace>, keys: Arc<Keys>) -> Result<FleetView> {
    let failed = |failure: Failure| anyhow!("ask {place}: {failure}");
    let mut client = Client::new(Arc::clone(&place), keys, 0);
    let (begin, end) = range_of(&format!("{}/{MEMBERS}", place.prefix));
    let request = RangeRequest {
        key: bytes(&begin),
        range_end: Some(bytes(end)),
        limit: Some(MEMBERS_MAX.to_string()),
        ..RangeRequest::default()
    };
    let answer: RangeResponse = client.ask("/v3/kv/range", &request, ANSWER_MAX).await.map_err(failed)?;
    let member = |name: String, value: &[u8]| (name, serde_json::from_slice(value).ok());
    let members = answer.kvs.iter().map(|found| {
        let name = String::from_utf8_lossy(found.key.strip_prefix(begin.as_bytes()).unwrap_or_default());
        member(name.into_owned(), &found.value)
    });
    let members = members.collect();
    let rules = match ruleset::list(&mut client, &place).await {
        Ok(listing) => ruleset::read(&mut client, &place, &listing).await,
        Err(failure) => Err(failure),
    };
    Ok(FleetView { members, rules: rules.unwrap_or_else(|failure| Err(failed(failure))) })
}

/// Tells the others, for ever.
pub(super) async fn tell(fleet: Arc<Fleet>, handle: Handle) {
    let mut teller = Teller {
        client: fleet.client(),
        lease: None,
        told: None,
        is_denied: false,
        signed: Instant::now(),
        fleet,
        handle,
    };
    loop {
        let pause = match teller.tell().await {
            Ok(()) => {
                teller.is_denied = false;
                teller.fleet.locked().untold = None;
                LOOK_EVERY
            }
            Err(failure) => {
                (teller.lease, teller.told) = (None, None);
                let why = failure.to_string();
                let is_denied = matches!(failure, Failure::Denied(_));
                let mut facts = teller.fleet.locked();
                if is_denied && !teller.is_denied {
                    tracing::warn!(
                        "the others are not told what is in force here: {why}; for `foobar fleet status`, give the user of etcd the \
                         right to write below {}/{MEMBERS}/",
                        teller.fleet.settings.place.prefix
                    );
                }
                teller.is_denied |= is_denied;
                facts.untold = Some(why);
                if is_denied { DENIED_PAUSE } else { SIGN_EVERY }
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = teller.fleet.changed.notified() => {}
        }
    }
}

struct Teller {
    client: Client,
    lease: Option<i64>,
    /// What the others know.
    told: Option<Member>,
    /// Whether it was said that nothing may be written.
    is_denied: bool,
    /// When a sign was last given.
    signed: Instant,
    fleet: Arc<Fleet>,
    handle: Handle,
}

impl Teller {
    async fn tell(&mut self) -> Result<(), Failure> {
        let handle = self.handle.clone();
        let Ok(Ok(mut member)) = spawn_blocking(move || handle.member()).await else { return Ok(()) };
        member.name.clone_from(&self.fleet.settings.member);
        let facts = self.fleet.facts();
        if let Some(why) = facts.invalid {
            member.refused = Some(RefusedRules { revision: facts.revision, why });
        }
        if let Some(refused) = &mut member.refused {
            refused.why = refused.why.chars().take(WHY_MAX).collect();
        }
        let lease = self.lease().await?;
        if self.told.as_ref() == Some(&member) {
            return Ok(());
        }
        let value = serde_json::to_vec(&member).map_err(|error| Failure::Answer(error.to_string()))?;
        let key = format!("{}/{MEMBERS}/{}", self.fleet.settings.place.prefix, member.name);
        let request = PutRequest { key: bytes(key), value: bytes(value), lease: lease.to_string() };
        let Accepted {} = self.client.ask("/v3/kv/put", &request, SHORT).await?;
        self.told = Some(member);
        Ok(())
    }

    /// A lease that goes on.
    async fn lease(&mut self) -> Result<i64, Failure> {
        if let Some(lease) = self.lease {
            if self.signed.elapsed() < SIGN_EVERY {
                return Ok(lease);
            }
            let request = OfLease { id: lease.to_string() };
            let signed: Streamed<Lease> = self.client.ask("/v3/lease/keepalive", &request, SHORT).await?;
            if signed.result.is_some_and(|lease| lease.seconds > 0) {
                self.signed = Instant::now();
                return Ok(lease);
            }
        }
        self.told = None;
        let request = LeaseRequest { seconds: TIME_TO_LIVE.to_string() };
        let Lease { id, .. } = self.client.ask("/v3/lease/grant", &request, SHORT).await?;
        self.lease = Some(id);
        self.signed = Instant::now();
        Ok(id)
    }
}
