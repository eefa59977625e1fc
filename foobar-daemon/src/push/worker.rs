//! What belongs to one target: its spool, its counts, its task, and when it is its turn.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::AbortHandle};

use super::{
    encode::{Encoder, Gathered},
    file::{Labels, Target},
    pace::Budget,
    sender::{self, Shared},
    spool::Spool,
    stats::{Counts, Loss, TargetFacts},
};

/// A target at work.
#[derive(Debug)]
pub struct Worker {
    target: Arc<Target>,
    told: watch::Sender<Arc<Target>>,
    shared: Arc<Shared>,
    encoder: Arc<Mutex<Encoder>>,
    budget: Option<Arc<Mutex<Budget>>>,
    /// When it is its turn.
    pub due: Instant,
    /// Once it runs.
    task: Option<AbortHandle>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// A gathering for a target.
#[derive(Debug)]
pub struct Turn {
    target: Arc<Target>,
    shared: Arc<Shared>,
    encoder: Arc<Mutex<Encoder>>,
    budget: Option<Arc<Mutex<Budget>>>,
}

impl Worker {
    /// One for this target, with this spool; nothing is sent yet.
    pub fn new(target: Arc<Target>, spool: Spool) -> Self {
        let now = Instant::now();
        Self {
            told: watch::Sender::new(Arc::clone(&target)),
            shared: Arc::new(Shared::new(spool)),
            encoder: Arc::default(),
            budget: budget(&target, now),
            due: now,
            task: None,
            target,
        }
    }

    /// What has been counted already.
    pub fn lose(&self, lost: Vec<(Loss, u64)>) {
        self.shared.lose(&self.target.name, lost);
    }

    /// Starts its task, unless it runs.
    pub fn start(&mut self) {
        let (shared, told) = (&self.shared, &self.told);
        let start = || tokio::spawn(sender::run(Arc::clone(shared), told.subscribe())).abort_handle();
        self.task.get_or_insert_with(start);
    }

    /// The target has changed.
    pub fn follow(&mut self, target: Arc<Target>, unix_ms: u64) {
        let lost = self.shared.spool().set_bounds(target.spool, unix_ms);
        self.lose(lost);
        let now = Instant::now();
        if target.points_per_minute != self.target.points_per_minute {
            self.budget = budget(&target, now);
        }
        self.due = self.due.min(now + target.interval);
        self.told.send_replace(Arc::clone(&target));
        self.target = target;
    }

    /// It is its turn; the next one is an interval later.
    pub fn turn(&mut self, now: Instant) -> Turn {
        // One that was missed, as the machine slept, is not made up for.
        self.due = (self.due + self.target.interval).max(now + Duration::from_millis(1));
        Turn {
            target: Arc::clone(&self.target),
            shared: Arc::clone(&self.shared),
            encoder: Arc::clone(&self.encoder),
            budget: self.budget.clone(),
        }
    }

    /// What there is to tell.
    pub fn facts(&self, unix_ms: u64) -> TargetFacts {
        let Target { name, kind, endpoint, interval, spool, .. } = &*self.target;
        let Counts { points, lost, failures, last_success_unix_ms, problem } = self.shared.stats.counts();
        let (waiting, disk_error) = {
            let spool = self.shared.spool();
            (spool.waiting(), spool.disk_error().map(|error| format!("the spool takes nothing: {error}")))
        };
        TargetFacts {
            name: name.clone(),
            kind: kind.label().to_owned(),
            endpoint: endpoint.to_string(),
            interval_seconds: interval.as_secs_f64(),
            points,
            lost,
            failures,
            spool_bytes: waiting.bytes,
            spool_bytes_max: spool.bytes,
            spool_points: waiting.points,
            lag_seconds: waiting.lag(unix_ms).as_secs_f64(),
            last_success_unix_ms,
            problem: problem.or(disk_error),
        }
    }
}

fn budget(target: &Target, now: Instant) -> Option<Arc<Mutex<Budget>>> {
    target.points_per_minute.map(|points| Arc::new(Mutex::new(Budget::new(points, now))))
}

impl Turn {
    /// Puts a gathering into the spool, as far as the budget goes.
    pub fn take(&self, gathered: &Gathered, labels: &Labels) {
        let Self { target, shared, encoder, budget } = self;
        let mut encoder = encoder.lock().unwrap_or_else(PoisonError::into_inner);
        let mut most = u64::MAX;
        if let Some(budget) = budget {
            let mut budget = budget.lock().unwrap_or_else(PoisonError::into_inner);
            let count = Encoder::count(gathered, target);
            most = budget.most();
            if budget.take(count.min(most), Instant::now()).is_err() {
                return shared.lose(&target.name, vec![(Loss::Budget, count)]);
            }
        }
        let encoded = encoder.encode(gathered, target, labels, most, &mut |record| {
            let lost = shared.spool().push(&record, gathered.unix_ms);
            shared.lose(&target.name, lost);
        });
        if encoded.left_out > 0 {
            shared.lose(&target.name, vec![(Loss::Budget, encoded.left_out)]);
        }
        shared.filled.notify_one();
    }
}
