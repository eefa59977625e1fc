//! Log records on their way to targets that want them: what the daemon logs, and packets that rules draw as samples.
//!
//! Bans and changes of rules are in the daemon's log, with who asked for them. Records wait in a queue for each target until it is
//! its turn; a queue that is full loses the oldest, and counts them.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::watch;
use tracing::{Event, Subscriber};
use tracing_subscriber::{Layer, layer::Context};

use super::file::Target;
use crate::{
    daemon::events::Hub,
    log::{
        packets,
        record::{LogRecord, TEXT_MAX},
    },
};

/// Records that wait for the turn of a target.
const QUEUE: usize = 10_000;

/// What waits for one target.
#[derive(Debug, Default)]
pub struct LogQueue(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<Arc<LogRecord>>,
    lost: u64,
}

impl LogQueue {
    /// Puts a record behind the others.
    pub fn push(&self, record: Arc<LogRecord>) {
        let mut waiting = self.lock();
        if waiting.records.len() >= QUEUE {
            waiting.records.pop_front();
            waiting.lost += 1;
        }
        waiting.records.push_back(record);
    }

    /// Takes all of them, and how many were lost since it was last asked.
    pub fn take(&self) -> (Vec<Arc<LogRecord>>, u64) {
        let mut waiting = self.lock();
        (waiting.records.drain(..).collect(), std::mem::take(&mut waiting.lost))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether anybody wants the daemon's log, so that nobody pays for it otherwise.
static WANTED: AtomicBool = AtomicBool::new(false);
/// Who does.
static QUEUES: Mutex<Vec<Weak<LogQueue>>> = Mutex::new(Vec::new());

/// Has a queue get what the daemon logs, as long as it is there.
pub fn follow_daemon(queue: &Arc<LogQueue>) {
    let mut queues = QUEUES.lock().unwrap_or_else(PoisonError::into_inner);
    queues.retain(|queue| queue.strong_count() > 0);
    let queue = Arc::downgrade(queue);
    if !queues.iter().any(|known| known.ptr_eq(&queue)) {
        queues.push(queue);
    }
    WANTED.store(true, Ordering::Relaxed);
}

/// Has a queue no longer get it.
pub fn leave_daemon(queue: &Arc<LogQueue>) {
    let mut queues = QUEUES.lock().unwrap_or_else(PoisonError::into_inner);
    let queue = Arc::downgrade(queue);
    queues.retain(|known| known.strong_count() > 0 && !known.ptr_eq(&queue));
    WANTED.store(!queues.is_empty(), Ordering::Relaxed);
}

/// A layer of the log that gives it to those who want it. What pushing itself says is left out: a record about a
/// record would never end. So is what other crates say.
#[derive(Clone, Copy, Debug)]
pub struct LogLayer;

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        let target = metadata.target();
        let is_ours = target.starts_with("foobar_daemon") && !target.starts_with("foobar_daemon::push");
        if !is_ours || !WANTED.load(Ordering::Relaxed) {
            return;
        }
        let record = Arc::new(LogRecord::of(event, TEXT_MAX));
        let queues = QUEUES.lock().unwrap_or_else(PoisonError::into_inner);
        for queue in queues.iter().filter_map(Weak::upgrade) {
            queue.push(Arc::clone(&record));
        }
    }
}

/// Has a queue get the packets that rules draw, as long as its target wants them. Ends with its task.
pub async fn follow_packets(hub: Hub, queue: Arc<LogQueue>, mut targets: watch::Receiver<Arc<Target>>) {
    loop {
        let wants = targets.borrow_and_update().logs.is_some_and(|logs| logs.packets);
        tokio::select! {
            () = packets::follow(&hub, |record| queue.push(Arc::new(record))), if wants => {}
            changed = targets.changed() => if changed.is_err() { return },
        }
    }
}
