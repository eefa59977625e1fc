//! Log records on their way to targets that want them: what the daemon logs, and packets that rules draw as samples.
//!
//! Bans and changes of rules are in the daemon's log, with who asked for them. Records wait in a queue for each target until it is
//! its turn; a queue that is full loses the oldest, and counts them.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{sync::watch, time::sleep};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use super::file::Target;
use crate::{
    commands::watch::words,
    control::events::{Told, ToldEvent, Wanted},
    daemon::events::Hub,
    rules::bundle::bytes_of,
};

/// Records that wait for the turn of a target.
const QUEUE: usize = 10_000;
/// Longest text of a record, in bytes.
const TEXT_MAX: usize = 4_096;
/// How long until it is asked again whether there are packets to watch.
const AGAIN: Duration = Duration::from_secs(5);

/// A log record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Nanoseconds since 1970.
    pub unix_ns: u64,
    /// How bad it is.
    pub level: Level,
    /// The text.
    pub text: String,
    /// What else is known, by name; `source` is always there.
    pub attributes: Vec<(&'static str, String)>,
}

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
        let mut text = Text(String::new());
        event.record(&mut text);
        let Text(mut text) = text;
        cut(&mut text);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let record = Arc::new(LogRecord {
            unix_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
            level: *metadata.level(),
            text,
            attributes: vec![("source", "daemon".to_owned())],
        });
        let queues = QUEUES.lock().unwrap_or_else(PoisonError::into_inner);
        for queue in queues.iter().filter_map(Weak::upgrade) {
            queue.push(Arc::clone(&record));
        }
    }
}

/// The message of an event.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

fn cut(text: &mut String) {
    if text.len() > TEXT_MAX {
        let end = (0..=TEXT_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
}

/// Has a queue get the packets that rules draw, as long as its target wants them. Ends with its task.
pub async fn follow_packets(hub: Hub, queue: Arc<LogQueue>, mut targets: watch::Receiver<Arc<Target>>) {
    loop {
        let wants = targets.borrow_and_update().logs.is_some_and(|logs| logs.packets);
        tokio::select! {
            () = watch_packets(&hub, &queue), if wants => {}
            changed = targets.changed() => if changed.is_err() { return },
        }
    }
}

async fn watch_packets(hub: &Hub, queue: &LogQueue) {
    // There is nothing to watch as long as no rule draws any, and rules change.
    if let Ok(mut watch) = hub.watch(Wanted::default()) {
        while let Some(lines) = watch.next_lines().await {
            for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                if let Ok(Told::Event(event)) = serde_json::from_slice(line) {
                    queue.push(Arc::new(record(&event)));
                }
            }
        }
    }
    sleep(AGAIN).await;
}

/// A packet as a record.
fn record(event: &ToldEvent) -> LogRecord {
    let ToldEvent { unix_ns, interface, direction, verdict, reason, rule, one_in, packets, length, bytes } =
        event;
    let mut text = words::printable(&words::packet(event, &bytes_of(bytes).unwrap_or_default()));
    cut(&mut text);
    let mut attributes = vec![
        ("source", "packets".to_owned()),
        ("interface", interface.clone()),
        ("direction", direction.clone()),
        ("verdict", verdict.clone()),
        ("reason", reason.clone()),
        ("one_in", one_in.to_string()),
        ("packets", packets.to_string()),
        ("length", length.to_string()),
    ];
    attributes.extend(rule.clone().map(|rule| ("rule", rule)));
    LogRecord { unix_ns: *unix_ns, level: Level::INFO, text, attributes }
}
