//! The task of one target: takes what waits in its order, and sends it until it is taken.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime},
};

use tokio::{
    sync::{Notify, watch},
    task::spawn_blocking,
    time::sleep,
};

use super::{
    answers::{Verdict, judge},
    client::{Client, Problem},
    file::Target,
    pace::{Backoff, Budget},
    record::Record,
    spool::{Lost, Spool},
    stats::{Loss, Stats},
};
use crate::state::unix_ms;

/// What a sender has in common with who gathers.
#[derive(Debug)]
pub struct Shared {
    /// What waits.
    spool: Mutex<Spool>,
    /// What was counted.
    pub stats: Stats,
    /// Something was put into the spool.
    pub filled: Notify,
}

impl Shared {
    /// Of a spool.
    pub fn new(spool: Spool) -> Self {
        Self { spool: Mutex::new(spool), stats: Stats::default(), filled: Notify::new() }
    }

    /// What waits. Whoever has it may wait for the disk.
    pub fn spool(&self) -> MutexGuard<'_, Spool> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what is lost, and says so.
    pub fn lose(&self, name: &str, lost: Lost) {
        let points: u64 = lost.iter().map(|(_, points)| points).sum();
        if points > 0 {
            let reasons: std::collections::BTreeSet<_> = lost.iter().map(|(loss, _)| loss.label()).collect();
            let reasons = reasons.into_iter().collect::<Vec<_>>().join(", ");
            tracing::debug!("the target {name}: {points} points are lost ({reasons})");
        }
        self.stats.lost(lost);
    }
}

/// Sends for ever.
pub async fn run(shared: Arc<Shared>, mut targets: watch::Receiver<Arc<Target>>) {
    loop {
        let target = Arc::clone(&targets.borrow_and_update());
        let mut sender = Sender {
            shared: Arc::clone(&shared),
            client: Client::new(Arc::clone(&target)),
            backoff: Backoff::default(),
            budget: target.points_per_minute.map(|points| Budget::new(points, Instant::now())),
            target,
            failing_since: None,
        };
        tokio::select! {
            () = sender.work() => {}
            changed = targets.changed() => if changed.is_err() { return },
        }
    }
}

struct Sender {
    shared: Arc<Shared>,
    target: Arc<Target>,
    client: Client,
    backoff: Backoff,
    budget: Option<Budget>,
    failing_since: Option<Instant>,
}

impl Sender {
    async fn work(&mut self) {
        loop {
            let Some((number, record)) = self.next().await else {
                self.shared.filled.notified().await;
                continue;
            };
            let points = record.points;
            if !record.media.is_for(self.target.kind) {
                self.shared.lose(&self.target.name, vec![(Loss::Kind, points)]);
                self.remove(number).await;
                continue;
            }
            self.wait_for_budget(points).await;
            let verdict = match self.client.send(record).await {
                Ok(answer) => judge(&answer, &self.target),
                Err(Problem { failure, words, may_have_arrived }) => {
                    if !may_have_arrived {
                        self.give_back(points);
                    }
                    Verdict::Again(failure, words, None)
                }
            };
            match verdict {
                Verdict::Taken(refused) => {
                    self.taken(points, refused);
                    self.remove(number).await;
                }
                Verdict::Lost(loss, words) => {
                    self.give_back(points);
                    if self.shared.stats.refused(loss, points, &words) {
                        let how = if loss == Loss::GivenUp {
                            "fails in a way that is not to be tried again, and points are lost"
                        } else {
                            "refuses points, which are lost"
                        };
                        tracing::error!("the target {} {how}: {words}", self.target.name);
                    }
                    self.remove(number).await;
                    if loss == Loss::GivenUp {
                        // It may be in trouble: what comes next shall not be lost, too.
                        sleep(self.backoff.failed(None)).await;
                    } else {
                        self.backoff.succeeded();
                    }
                }
                Verdict::Again(failure, words, asked) => {
                    let pause = self.backoff.failed(asked);
                    if self.shared.stats.failed(failure, &words) {
                        tracing::warn!(
                            "the target {} is away, points wait for it: {words}",
                            self.target.name
                        );
                    } else {
                        tracing::debug!("the target {}: {words}; again in {pause:?}", self.target.name);
                    }
                    self.failing_since.get_or_insert_with(Instant::now);
                    sleep(pause).await;
                }
            }
        }
    }

    /// The record whose turn it is.
    async fn next(&self) -> Option<(u64, Record)> {
        let shared = Arc::clone(&self.shared);
        let taken = spawn_blocking(move || shared.spool().first(unix_ms(SystemTime::now()))).await;
        let (first, lost) = taken.unwrap_or_default();
        self.shared.lose(&self.target.name, lost);
        first
    }

    async fn remove(&self, number: u64) {
        let shared = Arc::clone(&self.shared);
        if let Err(error) = spawn_blocking(move || shared.spool().remove(number)).await {
            tracing::error!("remove what was sent: {error}");
        }
    }

    /// Waits until so many points may be sent, and takes them.
    async fn wait_for_budget(&mut self, points: u64) {
        while let Some(budget) = &mut self.budget
            && let Err(pause) = budget.take(points, Instant::now())
        {
            sleep(pause).await;
        }
    }

    fn give_back(&mut self, points: u64) {
        if let Some(budget) = &mut self.budget {
            budget.give_back(points);
        }
    }

    fn taken(&mut self, points: u64, refused: Option<(u64, String)>) {
        let name = &self.target.name;
        self.backoff.succeeded();
        let lost = refused.as_ref().map_or(0, |(lost, _)| *lost).min(points);
        let before = self.shared.stats.sent(points - lost, unix_ms(SystemTime::now()));
        if let Some(since) = self.failing_since.take() {
            let waiting = self.shared.spool().waiting();
            tracing::info!(
                "the target {name} is there again after {} s; {} points wait still",
                since.elapsed().as_secs(),
                waiting.points.saturating_sub(points)
            );
        }
        if let Some((lost, words)) = refused {
            let words = format!("it took a request but for {lost} points: {words}");
            self.shared.stats.refused(Loss::Refused, lost, &words);
            if before.as_ref() != Some(&words) {
                tracing::error!("the target {name}: {words}");
            }
        }
    }
}
