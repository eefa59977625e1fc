//! Events on their way from the ring in the kernel to those who watch.
//!
//! One task reads the ring and gives each event to every watcher that wants it. It waits for nobody: each watcher has a
//! queue, and what does not fit is counted for it. While nobody watches, the programs make no events.

use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use axum::body::Bytes;
use foobar_common::{
    event::{Event, EventCounters, EventReader},
    flow::Direction,
    verdict::{Reason, Verdict},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime,
    sync::mpsc::{Receiver, Sender, channel, error::TrySendError},
    task::yield_now,
    time::timeout,
};

use crate::{
    control::{
        events::{EventFacts, LostEvents, Told, ToldEvent, Wanted},
        protocol::Refusal,
    },
    dataplane::{
        events::{EventMaps, EventRing, boot_ns},
        filter::Filter,
        interfaces,
    },
    rules::{bundle::hexadecimal, compile::CompiledRuleset, rule_id::RuleId},
};

/// How many can watch at a time.
const WATCHERS_MAX: usize = 16;
/// Lines that wait for a watcher. One has up to about 900 bytes, and those of several are the same in memory.
const QUEUE: usize = 1_024;
/// Events that are handed out before others who wait for the state have their turn.
const BATCH: usize = 256;
/// Lines that are sent together.
const LINES: usize = 64;
/// How often a watcher is told what was lost, and how long names of interfaces and the time of day are taken as known.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Hands out events; cheap to clone.
#[derive(Clone)]
pub struct Hub {
    state: Arc<Mutex<State>>,
    runtime: runtime::Handle,
}

struct State {
    maps: EventMaps,
    /// What is said of the reader, and what the kernel has of that.
    reader: EventReader,
    written: EventReader,
    watchers: Vec<Watcher>,
    /// Of the next watcher.
    number: u64,
    draws: bool,
    rules: Rules,
    /// Names of interfaces by index, and when the first of them was looked up.
    interfaces: BTreeMap<u32, String>,
    looked_up: Option<Instant>,
    clock: Option<Clock>,
    has_ended: bool,
}

/// Ids of rules by counter slot: of the ruleset in force and the one before it, whose events may still be in the ring.
#[derive(Default)]
struct Rules {
    present: BTreeMap<u32, RuleId>,
    before: BTreeMap<u32, RuleId>,
}

impl Rules {
    fn follow(&mut self, compiled: &CompiledRuleset) {
        let slots = &compiled.slots;
        let drops = compiled.settings.log_drops != 0;
        let is_drawn =
            |slot: u32| drops || compiled.rule_logs.get(slot as usize).is_some_and(|one_in| *one_in != 0);
        let owned = slots.rules.iter().chain(&slots.over).filter(|(_, owned)| is_drawn(owned.slot));
        let present = owned.map(|(id, owned)| (owned.slot, id.clone())).collect();
        self.before = mem::replace(&mut self.present, present);
    }

    fn id(&self, slot: u32) -> Option<&RuleId> {
        self.present.get(&slot).or_else(|| self.before.get(&slot))
    }
}

/// The time of day at a moment of the clock that events have.
#[derive(Clone, Copy)]
struct Clock {
    unix_ns: u64,
    boot_ns: u64,
    looked_at: Instant,
}

impl Clock {
    fn now() -> Result<Self> {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ns = u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX);
        Ok(Self { unix_ns, boot_ns: boot_ns()?, looked_at: Instant::now() })
    }

    fn unix_ns(self, boot_ns: u64) -> u64 {
        let later = boot_ns.saturating_sub(self.boot_ns);
        let earlier = self.boot_ns.saturating_sub(boot_ns);
        self.unix_ns.saturating_add(later).saturating_sub(earlier)
    }
}

/// Somebody who watches.
struct Watcher {
    number: u64,
    wanted: Wanted,
    lines: Sender<Bytes>,
    lost: Arc<AtomicU64>,
}

impl Watcher {
    fn wants(&self, event: &ToldEvent) -> bool {
        let Wanted { rule, reason, verdict } = &self.wanted;
        (rule.is_none() || *rule == event.rule)
            && reason.as_ref().is_none_or(|reason| *reason == event.reason)
            && verdict.as_ref().is_none_or(|verdict| *verdict == event.verdict)
    }
}

impl Hub {
    /// That of a filter, in the runtime of this thread. Nobody watches, and what an earlier daemon has counted goes on.
    pub fn of(filter: &mut Filter, compiled: &CompiledRuleset) -> Result<Self> {
        let mut maps = filter.event_maps()?;
        let reader = EventReader { watchers: 0, ..maps.reader()? };
        maps.set_reader(reader)?;
        let state = State {
            maps,
            reader,
            written: reader,
            watchers: Vec::new(),
            number: 0,
            draws: false,
            rules: Rules::default(),
            interfaces: BTreeMap::new(),
            looked_up: None,
            clock: None,
            has_ended: false,
        };
        let hub = Self { state: Arc::new(Mutex::new(state)), runtime: runtime::Handle::current() };
        hub.follow(compiled, filter.take_ring());
        Ok(hub)
    }

    /// Goes on with another ruleset, and reads its ring if there is none that is read. Rules are not held up by what is
    /// told of them: if the ring cannot be read, the log says so.
    pub fn follow(&self, compiled: &CompiledRuleset, ring: Result<Option<EventRing>>) {
        let mut state = self.state();
        state.rules.follow(compiled);
        let drew = mem::replace(&mut state.draws, compiled.draws());
        if drew && !state.draws {
            let note = "the rules that are in force from here on draw no packets (`log`, `log_drops`)";
            let line = line(&Told::Note(note.to_owned()));
            state.tell_everyone(line.as_ref());
        }
        drop(state);
        match ring {
            Ok(Some(ring)) => {
                let hub = self.clone();
                self.runtime.spawn(async move {
                    if let Err(error) = hub.read(ring).await {
                        tracing::error!("events are no longer read: {error:#}");
                    }
                });
            }
            Ok(None) => {}
            Err(error) => tracing::error!("events are not read: {error:#}"),
        }
    }

    async fn read(&self, ring: EventRing) -> Result<()> {
        // SAFETY: the ring keeps one descriptor, open until it is dropped.
        let registered = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        let mut ring = registered.context("wait for events")?;
        // What an earlier daemon has left.
        while self.hand_out(ring.get_mut()) {}
        loop {
            let mut ready = ring.readable_mut().await.context("wait for events")?;
            if self.hand_out(ready.get_inner_mut()) {
                yield_now().await;
            } else {
                ready.clear_ready();
            }
        }
    }

    /// Gives some events to those who want them; whether there may be more.
    fn hand_out(&self, ring: &mut EventRing) -> bool {
        let mut state = self.state();
        let mut more = true;
        for _ in 0..BATCH {
            let Some(event) = ring.take_next() else {
                more = false;
                break;
            };
            state.hand_out(&event);
        }
        state.write_reader();
        more
    }

    /// Lets somebody watch from now on.
    ///
    /// # Errors
    /// When there would be nothing to see, and says why and what to do; and when there is no room.
    pub fn watch(&self, wanted: Wanted) -> Result<Watch, Refusal> {
        check(&wanted)?;
        let mut state = self.state();
        if state.has_ended {
            return Err(Refusal::failed("the daemon is ending"));
        }
        if !state.draws {
            return Err(Refusal::conflict(
                "there is nothing to watch: the rules in force draw no packets. Write log = \"1/1000\" into a rule, or \
                 log_drops = \"1/1000\" into [policy] for packets that are dropped, and apply the rules",
            ));
        }
        if let Some(rule) = &wanted.rule
            && !state.rules.present.values().any(|id| id == rule)
        {
            return Err(Refusal::conflict(format!(
                "there is nothing to watch of rule {rule:?}: it is not in force, or has no log = \"1/1000\""
            )));
        }
        if state.watchers.len() >= WATCHERS_MAX {
            return Err(Refusal::conflict(format!("{WATCHERS_MAX} watch already; end one of them")));
        }
        let failed = |error: anyhow::Error| Refusal::failed(format!("{error:#}"));
        let ring_lost = state.maps.counters().map_err(failed)?.lost;
        let (lines, received) = channel(QUEUE);
        let (number, lost) = (state.number, Arc::default());
        state.number += 1;
        state.watchers.push(Watcher { number, wanted, lines, lost: Arc::clone(&lost) });
        state.reader.watchers = state.watchers.len() as u64;
        let watch = Watch {
            hub: self.clone(),
            number,
            received,
            lost,
            ring_lost,
            looked: Instant::now(),
            is_over: false,
        };
        state.write_reader();
        drop(state);
        Ok(watch)
    }

    /// What became of all packets that were drawn.
    pub fn facts(&self) -> Result<EventFacts> {
        let state = self.state();
        let EventCounters { drawn, lost, unwatched } = state.maps.counters()?;
        Ok(EventFacts {
            draws: state.draws,
            drawn,
            lost_in_ring: lost,
            unwatched: unwatched + state.reader.unwatched,
            lost_by_watchers: state.reader.lost,
            watchers: state.reader.watchers,
        })
    }

    /// Ends for everyone who watches.
    pub fn end(&self) {
        let mut state = self.state();
        state.has_ended = true;
        state.watchers.clear();
        state.reader.watchers = 0;
        state.write_reader();
    }

    fn forget(&self, number: u64) {
        let mut state = self.state();
        state.watchers.retain(|watcher| watcher.number != number);
        state.reader.watchers = state.watchers.len() as u64;
        state.write_reader();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Words that no event can have would be waited for in vain.
fn check(wanted: &Wanted) -> Result<(), Refusal> {
    let Wanted { rule: _, reason, verdict } = wanted;
    let known = |what: &str, word: &Option<String>, labels: Vec<&str>| match word {
        Some(word) if !labels.contains(&word.as_str()) => {
            Err(Refusal::invalid(format!("{word:?} is no {what}; there are {}", labels.join(", "))))
        }
        _ => Ok(()),
    };
    known("reason", reason, Reason::ALL.iter().map(|reason| reason.label()).collect())?;
    known("verdict", verdict, Verdict::ALL.iter().map(|verdict| verdict.label()).collect())
}

impl State {
    fn hand_out(&mut self, event: &Event) {
        if self.watchers.is_empty() {
            self.reader.unwatched += 1;
            return;
        }
        let told = match self.told(event) {
            Ok(told) => told,
            Err(error) => return tracing::warn!("an event is passed over: {error:#}"),
        };
        let mut shared = None;
        for watcher in self.watchers.iter().filter(|watcher| watcher.wants(&told)) {
            let line = match &shared {
                Some(line) => Bytes::clone(line),
                None => match line(&Told::Event(Box::new(told.clone()))) {
                    Some(line) => shared.insert(line).clone(),
                    None => return,
                },
            };
            if let Err(TrySendError::Full(_)) = watcher.lines.try_send(line) {
                watcher.lost.fetch_add(1, Ordering::Relaxed);
                self.reader.lost += 1;
            }
        }
    }

    fn told(&mut self, event: &Event) -> Result<ToldEvent> {
        let Event {
            boot_ns, interface, direction, verdict, reason, rule, one_in, length, packets, tag, ..
        } = *event;
        let verdict = Verdict::from_number(verdict).context("its verdict has no name")?;
        let reason = Reason::from_number(reason).context("its reason has no name")?;
        let direction = Direction::ALL.into_iter().find(|one| *one as u32 == direction);
        let direction = direction.context("its direction has no name")?;
        let (bytes, length) = with_tag(event.frame(), length, tag);
        let unix_ns = self.clock()?.unix_ns(boot_ns);
        Ok(ToldEvent {
            unix_ns,
            interface: self.interface(interface),
            direction: direction.label().to_owned(),
            verdict: verdict.label().to_owned(),
            reason: reason.label().to_owned(),
            rule: self.rules.id(rule).map(ToString::to_string),
            one_in,
            packets,
            length,
            bytes: hexadecimal(&bytes),
        })
    }

    fn clock(&mut self) -> Result<Clock> {
        match self.clock {
            Some(clock) if clock.looked_at.elapsed() < LOOK_EVERY => Ok(clock),
            _ => Ok(*self.clock.insert(Clock::now()?)),
        }
    }

    fn interface(&mut self, index: u32) -> String {
        if self.looked_up.is_none_or(|looked_up| looked_up.elapsed() >= LOOK_EVERY) {
            self.interfaces.clear();
            self.looked_up = Some(Instant::now());
        }
        let name = || interfaces::name_of(index).unwrap_or_else(|| format!("#{index}"));
        self.interfaces.entry(index).or_insert_with(name).clone()
    }

    fn tell_everyone(&self, line: Option<&Bytes>) {
        let Some(line) = line else { return };
        for watcher in &self.watchers {
            if watcher.lines.try_send(line.clone()).is_err() {
                tracing::debug!("a watcher that does not read is not told of new rules");
            }
        }
    }

    /// Has the kernel know what is said of the reader.
    fn write_reader(&mut self) {
        if self.reader == self.written {
            return;
        }
        match self.maps.set_reader(self.reader) {
            Ok(()) => self.written = self.reader,
            Err(error) => tracing::error!("{error:#}"),
        }
    }
}

/// A frame and its length with the VLAN tag that lies beside it, as it goes over the wire.
fn with_tag(frame: &[u8], length: u32, tag: u32) -> (Vec<u8>, u32) {
    /// Both addresses of Ethernet.
    const ADDRESSES: usize = 12;
    match frame.split_at_checked(ADDRESSES) {
        Some((addresses, rest)) if tag != 0 => {
            ([addresses, &tag.to_be_bytes(), rest].concat(), length.saturating_add(u32::BITS / 8))
        }
        _ => (frame.to_vec(), length),
    }
}

fn line(told: &Told) -> Option<Bytes> {
    match serde_json::to_vec(told) {
        Ok(mut line) => {
            line.push(b'\n');
            Some(line.into())
        }
        Err(error) => {
            tracing::error!("write an event: {error}");
            None
        }
    }
}

/// What one watcher is told, until it is dropped.
pub struct Watch {
    hub: Hub,
    number: u64,
    received: Receiver<Bytes>,
    lost: Arc<AtomicU64>,
    /// How many the ring had lost when it was last told.
    ring_lost: u64,
    looked: Instant,
    is_over: bool,
}

impl Watch {
    /// The next lines, of which there is one at least; `None` when the daemon ends.
    pub async fn next_lines(&mut self) -> Option<Bytes> {
        loop {
            if self.is_over {
                return None;
            }
            let mut lines = Vec::new();
            self.is_over = timeout(LOOK_EVERY, self.received.recv_many(&mut lines, LINES)).await == Ok(0);
            if self.is_over || self.looked.elapsed() >= LOOK_EVERY {
                lines.extend(self.losses());
            }
            if !lines.is_empty() {
                return Some(lines.concat().into());
            }
        }
    }

    /// A line about what was lost since the last one, if something was.
    fn losses(&mut self) -> Option<Bytes> {
        self.looked = Instant::now();
        let watcher = self.lost.swap(0, Ordering::Relaxed);
        let counters = self.hub.state().maps.counters();
        let ring_lost = counters.map_or(self.ring_lost, |counters| counters.lost);
        let ring = ring_lost.saturating_sub(mem::replace(&mut self.ring_lost, ring_lost));
        if watcher == 0 && ring == 0 { None } else { line(&Told::Lost(LostEvents { ring, watcher })) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.hub.forget(self.number);
    }
}
