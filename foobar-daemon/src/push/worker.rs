//! What belongs to one target: its spool, its counts, its task, and when it is its turn.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::AbortHandle};

use super::{
    encode::{self, Encoder, Gathered},
    file::{Labels, Target},
    logs::{self, LogQueue},
    pace::Budget,
    sender::{self, Shared},
    spool::Spool,
    stats::{Counts, Loss, TargetFacts},
};
use crate::daemon::events::Hub;

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
    /// Log records until it is its turn.
    logs: Arc<LogQueue>,
    /// Once they run.
    tasks: Vec<AbortHandle>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        logs::leave_daemon(&self.logs);
    }
}

/// A gathering for a target.
#[derive(Debug)]
pub struct Turn {
    target: Arc<Target>,
    shared: Arc<Shared>,
    encoder: Arc<Mutex<Encoder>>,
    budget: Option<Arc<Mutex<Budget>>>,
    logs: Arc<LogQueue>,
}

impl Worker {
    /// One for this target, with this spool; nothing is sent yet.
    pub fn new(target: Arc<Target>, spool: Spool) -> Self {
        let now = Instant::now();
        let logs = Arc::default();
        follow_daemon(&logs, &target);
        Self {
            logs,
            told: watch::Sender::new(Arc::clone(&target)),
            shared: Arc::new(Shared::new(spool)),
            encoder: Arc::default(),
            budget: budget(&target, now),
            due: now,
            tasks: Vec::new(),
            target,
        }
    }

    /// What has been counted already.
    pub fn lose(&self, lost: Vec<(Loss, u64)>) {
        self.shared.lose(&self.target.name, lost);
    }

    /// Starts its tasks, unless they run. `hub` has the packets that rules draw.
    pub fn start(&mut self, hub: &Hub) {
        if self.tasks.is_empty() {
            let sender = sender::run(Arc::clone(&self.shared), self.told.subscribe());
            self.tasks.push(tokio::spawn(sender).abort_handle());
            let packets = logs::follow_packets(hub.clone(), Arc::clone(&self.logs), self.told.subscribe());
            self.tasks.push(tokio::spawn(packets).abort_handle());
        }
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
        follow_daemon(&self.logs, &target);
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
            logs: Arc::clone(&self.logs),
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

/// Has a queue get the daemon's log if the target wants it.
fn follow_daemon(queue: &Arc<LogQueue>, target: &Target) {
    if target.logs.is_some_and(|logs| logs.daemon) {
        logs::follow_daemon(queue);
    } else {
        logs::leave_daemon(queue);
    }
}

impl Turn {
    /// Whether it is one of log records, for which nothing is gathered.
    pub fn is_logs(&self) -> bool {
        self.target.kind.is_logs()
    }

    /// Puts the log records that wait into the spool, as far as the budget goes.
    pub fn take_logs(&self, labels: &Labels, unix_ms: u64) {
        let Self { target, shared, encoder: _, budget, logs } = self;
        let (records, lost) = logs.take();
        shared.lose(&target.name, vec![(Loss::Bytes, lost)]);
        let count = records.len() as u64;
        if let Some(budget) = budget {
            let mut budget = budget.lock().unwrap_or_else(PoisonError::into_inner);
            if budget.take(count, Instant::now()).is_err() {
                return shared.lose(&target.name, vec![(Loss::Budget, count)]);
            }
        }
        encode::encode_logs(&records, target, labels, unix_ms, &mut |record| {
            let lost = shared.spool().push(&record, unix_ms);
            shared.lose(&target.name, lost);
        });
        shared.filled.notify_one();
    }

    /// Puts a gathering into the spool, as far as the budget goes.
    pub fn take(&self, gathered: &Gathered, labels: &Labels) {
        let Self { target, shared, encoder, budget, logs: _ } = self;
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
