//! Follows the rules in etcd: reads them when they change, and hands them to the writer.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};

use super::{
    Fleet, Offered,
    client::{Client, Failure},
    ruleset::{self, Listing, is_of_rules, range_of},
    watch::Watch,
};
use crate::{
    control::protocol::{Refusal, RefusalKind},
    daemon::handle::{Change, Handle},
};

/// How often the keys are looked at even if the watch tells nothing.
const LOOK_EVERY: Duration = Duration::from_secs(4);
/// The same while the writer has rules wait.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long it is waited after the daemon could not put rules in force that are right.
const TRY_EVERY: Duration = Duration::from_secs(30);
/// Keys that are written one after the other are waited for this long each, so that they are one change.
const QUIET: Duration = Duration::from_millis(300);
/// How often they are waited for at most.
const QUIET_MOST: usize = 20;
/// The first pause while etcd is away, and the longest one.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Follows for ever.
pub(super) async fn follow(fleet: Arc<Fleet>, handle: Handle) {
    let mut follower = Follower {
        client: fleet.client(),
        watch: None,
        settled: None,
        is_forced: false,
        failed: None,
        told: None,
        fleet,
        handle,
    };
    let mut pause = PAUSE.0;
    loop {
        match follower.look().await {
            Ok(()) => pause = PAUSE.0,
            Err(failure) => {
                follower.watch = None;
                follower.fleet.lost(&failure.to_string());
                sleep(with_jitter(pause)).await;
                pause = pause.saturating_mul(2).min(PAUSE.1);
                continue;
            }
        }
        follower.wait().await;
    }
}

struct Follower {
    client: Client,
    watch: Option<Watch>,
    /// The keys of the rules about which the writer has decided.
    settled: Option<Listing>,
    /// Whether they are to be put in force also if they were refused.
    is_forced: bool,
    /// The keys of rules that the daemon could not put in force, and until when that is not tried again.
    failed: Option<(Listing, Instant)>,
    /// What was last said of rules that could not be put in force yet.
    told: Option<String>,
    fleet: Arc<Fleet>,
    handle: Handle,
}

impl Follower {
    /// Looks at the keys, and has the writer judge them if they are not those of before.
    ///
    /// # Errors
    /// When etcd does not answer. What it says may be wrong; that is told and waited out.
    async fn look(&mut self) -> Result<(), Failure> {
        let place = Arc::clone(&self.fleet.settings.place);
        let mut listing = match ruleset::list(&mut self.client, &place).await {
            Ok(listing) => listing,
            Err(Failure::Answer(why) | Failure::Long(why)) => {
                self.fleet.contact(&self.client.endpoint().1);
                self.invalid(None, &why);
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        self.fleet.contact(&self.client.endpoint().1);
        self.watch_from(listing.revision).await;
        if self.settled.as_ref().is_some_and(|settled| settled.keys == listing.keys) && !self.is_forced {
            return Ok(());
        }
        let is_failed =
            |(failed, until): &(Listing, Instant)| failed.keys == listing.keys && Instant::now() < *until;
        if self.failed.as_ref().is_some_and(is_failed) && !self.is_forced {
            return Ok(());
        }
        if self.settled.is_some() {
            for _ in 0..QUIET_MOST {
                sleep(QUIET).await;
                let later = ruleset::list(&mut self.client, &place).await?;
                let is_quiet = later.keys == listing.keys;
                listing = later;
                if is_quiet {
                    break;
                }
            }
        }
        match ruleset::read(&mut self.client, &place, &listing).await {
            Ok(Ok(rules)) => self.offer(rules, listing).await,
            Ok(Err(error)) => {
                self.invalid(Some(&listing), &format!("{error:#}"));
                self.settled = Some(listing);
            }
            // The next look begins anew, with a newer revision.
            Err(Failure::Compacted | Failure::Answer(_)) => {}
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    /// Has the writer judge rules, and remembers what it is not to be asked again.
    async fn offer(&mut self, rules: ruleset::EtcdRules, listing: Listing) {
        let (revision, hash) = (rules.revision, rules.bundle.hash());
        {
            let mut facts = self.fleet.locked();
            facts.revision = Some(revision);
            facts.hash = Some(hash);
        }
        let offered = Offered { rules, is_forced: self.is_forced };
        let by = format!("etcd, revision {revision}");
        let handle = self.handle.clone();
        let asked = spawn_blocking(move || handle.change(Change::Offer(Box::new(offered)), &by)).await;
        let answer =
            asked.unwrap_or_else(|error| Err(Refusal::failed(format!("judge rules from etcd: {error}"))));
        self.fleet.changed.notify_one();
        match answer {
            Ok(_) => {
                self.fleet.locked().invalid = None;
                self.told = None;
                self.is_forced = false;
                self.settled = Some(listing);
            }
            Err(Refusal { error, kind: RefusalKind::Invalid }) => {
                // The writer has logged it.
                self.fleet.locked().invalid = Some(error);
                self.is_forced = false;
                self.settled = Some(listing);
            }
            // The writer has logged it.
            Err(Refusal { error: _, kind: RefusalKind::Failed }) => {
                self.failed = Some((listing, Instant::now() + TRY_EVERY));
            }
            // It is asked again at the next look.
            Err(Refusal { error, kind: RefusalKind::Conflict }) => {
                if self.told.as_ref() != Some(&error) {
                    tracing::info!("the rules of revision {revision} of etcd wait: {error}");
                }
                self.told = Some(error);
            }
        }
    }

    fn invalid(&self, listing: Option<&Listing>, why: &str) {
        let mut facts = self.fleet.locked();
        if facts.invalid.as_deref() != Some(why) {
            tracing::error!("the rules in etcd cannot be put in force, those in force stay: {why}");
        }
        facts.invalid = Some(why.to_owned());
        facts.hash = None;
        facts.revision = listing.and_then(|listing| listing.keys.values().max().copied());
    }

    /// Sees to it that there is a watch at the endpoint that is asked. Without one, only the looks notice changes.
    async fn watch_from(&mut self, revision: i64) {
        if self.watch.as_ref().is_some_and(|watch| watch.is_at(&self.client)) {
            return;
        }
        let (begin, end) = range_of(&self.fleet.settings.place.prefix);
        let begun = Watch::begin(&mut self.client, &begin, &end, revision.saturating_add(1)).await;
        self.watch = begun.inspect_err(|failure| tracing::debug!("watch the rules in etcd: {failure}")).ok();
    }

    /// Waits until it is time to look again.
    async fn wait(&mut self) {
        let prefix = &self.fleet.settings.place.prefix;
        let watch = &mut self.watch;
        let changed = async {
            match watch {
                Some(watch) => watch.changed(|key| is_of_rules(prefix, key)).await,
                None => std::future::pending().await,
            }
        };
        let most = if self.told.is_some() { ASK_EVERY } else { LOOK_EVERY };
        let ended = tokio::select! {
            changed = timeout(with_jitter(most), changed) => matches!(changed, Ok(Err(_))),
            () = self.fleet.reread.notified() => {
                self.is_forced = true;
                false
            }
        };
        if ended {
            self.watch = None;
            // Not to ask without end an etcd that ends each watch at once.
            sleep(QUIET).await;
        }
    }
}

/// A time that is up to a fifth shorter or longer, so that not all members ask at once.
fn with_jitter(time: Duration) -> Duration {
    let mut random = [0; 4];
    // Without randomness, all wait alike.
    let drawn = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random);
    let share = if drawn.is_ok() { f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX) } else { 0.5 };
    time.mul_f64(0.8 + 0.4 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_differ_and_stay_near() {
        let pauses: Vec<Duration> = (0..20).map(|_| with_jitter(Duration::from_secs(10))).collect();
        assert!(pauses.iter().all(|pause| (8.0..=12.0).contains(&pause.as_secs_f64())), "{pauses:?}");
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
    }
}
