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
    pub fn take_logs(&self, labels: &Labels, now: Instant, unix_ms: u64) {
        let Self { target, shared, logs, .. } = self;
        let (records, lost) = logs.take();
        shared.lose(&target.name, vec![(Loss::Bytes, lost)]);
        let count = records.len() as u64;
        if !self.is_affordable(count, now) {
            return shared.lose(&target.name, vec![(Loss::Budget, count)]);
        }
        encode::encode_logs(&records, target, labels, unix_ms, &mut |record| {
            let lost = shared.spool().push(&record, unix_ms);
            shared.lose(&target.name, lost);
        });
        shared.filled.notify_one();
    }

    /// Puts a gathering into the spool, as far as the budget goes.
    pub fn take(&self, gathered: &Gathered, labels: &Labels, now: Instant) {
        let Self { target, shared, encoder, .. } = self;
        let mut encoder = encoder.lock().unwrap_or_else(PoisonError::into_inner);
        let most = target.points_per_minute.unwrap_or(u64::MAX);
        let count = Encoder::count(gathered, target);
        if !self.is_affordable(count.min(most), now) {
            return shared.lose(&target.name, vec![(Loss::Budget, count)]);
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
    /// Whether there is a budget for so many new points, which are taken from it then.
    fn is_affordable(&self, points: u64, now: Instant) -> bool {
        let Some(budget) = &self.budget else { return true };
        let others_wait = !self.shared.spool().is_empty();
        budget.lock().unwrap_or_else(PoisonError::into_inner).take_new(points, others_wait, now)
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::{
        metrics::catalogue,
        push::{encode::Since, file::Config},
        watched_files::Files,
    };

    /// Points of a gathering, one each 15 seconds.
    const POINTS: u64 = 60;
    const BUDGET: u64 = 240;

    /// A worker whose time is told, and its sender.
    struct Told {
        _folder: TempDir,
        worker: Worker,
        now: Instant,
        unix_ms: u64,
        budget: Budget,
    }

    impl Told {
        fn start(points_per_minute: u64) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("push.toml");
            let text = format!(
                "[[target]]\nname = \"t\"\nkind = \"otlp\"\nurl = \"http://h/\"\ninterval = \"15s\"\npoints_per_minute = {points_per_minute}\n"
            );
            std::fs::write(&path, text).unwrap();
            let target = Config::load(&path, &mut Files::default()).unwrap().targets.remove(0);
            let unix_ms = 1_700_000_000_000;
            let (spool, _) = Spool::open(&folder.path().join("spool"), target.spool, unix_ms).unwrap();
            let worker = Worker::new(target, spool);
            let now = Instant::now();
            Self { _folder: folder, worker, now, unix_ms, budget: Budget::new(points_per_minute, now) }
        }

        /// So many minutes go by; what waits is sent unless the target is away.
        fn minutes(&mut self, minutes: u32, is_away: bool) {
            for _ in 0..minutes * 4 {
                let mut family = catalogue::RULE_HITS.family();
                for rule in 0..POINTS {
                    family.add_integer([&rule.to_string()], 1);
                }
                let since = Duration::ZERO;
                let since = Since { filter: since, account: since, machine: since };
                let gathered = Gathered { families: vec![family.into_proto()], unix_ms: self.unix_ms, since };
                self.worker.turn(self.now).take(&gathered, &Labels::new(), self.now);
                for _ in 0..15 {
                    self.send(is_away);
                    self.now += Duration::from_secs(1);
                    self.unix_ms += 1_000;
                }
            }
        }

        /// What the sender does within a second.
        fn send(&mut self, is_away: bool) {
            let mut spool = self.worker.shared.spool();
            while !is_away && let (Some((number, record)), _) = spool.first(self.unix_ms) {
                if self.budget.take(record.points, self.now).is_err() {
                    return;
                }
                spool.remove(number);
            }
        }

        fn facts(&self) -> (u64, u64) {
            let facts = self.worker.facts(self.unix_ms);
            (facts.spool_points, facts.lost.get(&Loss::Budget).copied().unwrap_or(0))
        }
    }

    #[test]
    fn what_waits_gets_less_although_what_is_new_takes_all_of_the_budget() {
        let mut told = Told::start(BUDGET);
        told.minutes(10, false);
        assert_eq!(told.facts(), (0, 0));
        told.minutes(20, true);
        let (waiting, lost_while_away) = told.facts();
        assert_eq!(waiting + lost_while_away, 20 * BUDGET);
        assert_eq!(
            waiting,
            20 * BUDGET * 3 / 4 + BUDGET * 3 / 4,
            "new points had three quarters, and what was saved"
        );
        let mut minutes = 0;
        while told.facts().0 > 0 {
            let (before, _) = told.facts();
            told.minutes(4, false);
            minutes += 4;
            assert!(
                told.facts().0 + BUDGET <= before || told.facts().0 == 0,
                "{:?} after {before}",
                told.facts()
            );
        }
        assert_eq!(minutes, 60, "three times the outage");
        // And then nothing is lost any more.
        let (_, lost) = told.facts();
        told.minutes(60, false);
        assert_eq!(told.facts(), (0, lost));
    }

    #[test]
    fn a_budget_that_leaves_room_loses_nothing() {
        let mut told = Told::start(BUDGET * 4 / 3);
        told.minutes(20, true);
        assert_eq!(told.facts(), (20 * BUDGET, 0));
        told.minutes(60, false);
        assert_eq!(told.facts(), (0, 0));
    }
}
