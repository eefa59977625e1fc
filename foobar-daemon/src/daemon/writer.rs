//! The one writer: a thread that owns the filter, the state and the book of slots, and does one thing at a time.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result};
use foobar_common::{
    flow::Direction,
    verdict::{Reason, Verdict},
};
use sd_notify::NotifyState;

use super::{
    bans::Bans,
    events::Hub,
    guarding::GuardFacts,
    handle::{Asked, AskedEdit, Change, Facts, QUEUE, Request},
    kept_rules::KeptRules,
    notify,
    sets::{Laid, edits},
    start::{Rules, compile_with, files_hash},
};
use crate::{
    config::Settings,
    control::protocol::{Changed, Counted, ReasonCounted, Refusal, Reload, RulesInForce},
    dataplane::filter::{Filter, Tended},
    memory,
    outcome::InvalidInput,
    rates::{RequestHistory, Sample},
    reconcile::Reconciler,
    rules::{
        compile::CompiledRuleset,
        sets::{masked_words, overlay::Overlay},
    },
    slots::Slots,
    state::{Conflict, Occasion, State, store::Store, unix_ms},
    sysctls::Sysctls,
};

/// How often interfaces are looked after even if nobody says that they changed.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// How often all packets are counted up, for rates.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// How long after a failed attempt to take unconfirmed rules back the next one follows.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Shortest and longest time for a confirmation.
const CONFIRM_WITHIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(24));

/// What the writer owns.
pub struct Writer {
    /// The settings of this run.
    pub settings: Settings,
    /// The state folder.
    pub store: Store,
    /// What is remembered; the store has the same.
    pub state: State,
    /// The book of slots; the store has the same.
    pub slots: Slots,
    /// The filter.
    pub filter: Filter,
    /// Those who watch.
    pub events: Hub,
    /// The comparisons with what servers count.
    pub reconciler: Reconciler,
    /// The rules in force.
    pub rules: KeptRules,
    /// What of their sets was changed at runtime; the store has the same.
    pub overlays: BTreeMap<String, Overlay>,
    /// The bans; the store and the kernel have the same.
    pub bans: Bans,
    /// When unconfirmed rules are taken back, or guarded ones stay.
    pub deadline: Option<Instant>,
    /// When the guard over the rules in force began, since the daemon started.
    pub guarded_since: Option<Duration>,
    /// Since when services get what they usually do, since the daemon started.
    pub known_since: Duration,
    /// What became of guards.
    pub guards: GuardFacts,
    /// How the last attempt to put rules in force ended.
    pub last_reload: Reload,
    /// The time of day.
    pub now: fn() -> SystemTime,
    /// Milliseconds since 1970 at which the daemon started.
    pub started_unix_ms: u64,
    /// When the daemon started.
    pub started: Instant,
    /// The last two samples of all packets, the older first.
    pub samples: [Option<Sample>; 2],
    /// Requests of the last minute.
    pub requests: RequestHistory,
    /// The same of those inside of TLS.
    pub decrypted_requests: RequestHistory,
    /// When interfaces were last looked after.
    pub tended: Option<Instant>,
    /// When the last sample was taken.
    pub sampled: Option<Instant>,
    /// The kernel's settings that SYN cookies depend on, as they were last told; `None` while no service sends any.
    pub sysctls: Option<Sysctls>,
    /// Runs of programs that this daemon has replaced, by name.
    pub runs_before: BTreeMap<String, Runs>,
}

/// How often a program ran.
#[derive(Clone, Copy, Debug, Default)]
pub struct Runs {
    /// Times.
    pub runs: u64,
    /// Nanoseconds they took in all.
    pub run_time_ns: u64,
}

/// How the writer ended.
pub enum End {
    /// The daemon was asked to end.
    Stopped,
    /// The filter was taken away.
    Detached,
}

impl Writer {
    /// Works until it is told to end.
    ///
    /// # Errors
    /// When the filter could not be taken away at the end.
    pub fn run(mut self, requests: &Receiver<Request>) -> Result<End> {
        let mut changes: VecDeque<Asked> = VecDeque::new();
        loop {
            self.do_what_is_due();
            let patience = if changes.is_empty() { self.until_due() } else { Duration::ZERO };
            let mut next = requests.recv_timeout(patience);
            // Looks go before changes: a row of reloads must not hold up a scrape.
            loop {
                match next {
                    Ok(Request::Facts(reply)) => drop(reply.send(self.facts())),
                    Ok(Request::Member(reply)) => drop(reply.send(super::facts::member(&self))),
                    Ok(Request::BanningRules(reply)) => drop(reply.send(super::facts::banning_rules(&self))),
                    Ok(Request::Rules(reply)) => drop(reply.send(self.rules_in_force())),
                    Ok(Request::Traffic(reply)) => {
                        drop(reply.send(super::traffic::gather(&self).map_err(failed)));
                    }
                    Ok(Request::Live(flows, reply)) => {
                        drop(reply.send(super::live::gather(&self, flows).map_err(failed)));
                    }
                    Ok(Request::RuleActions(reply)) => drop(reply.send(super::live::rule_actions(&self))),
                    Ok(Request::Sets(reply)) => drop(reply.send(self.sets())),
                    Ok(Request::Set(name, reply)) => drop(reply.send(self.set(&name))),
                    Ok(Request::Bans(reply)) => {
                        self.note_bans_by_rules();
                        self.tend_bans();
                        drop(reply.send(self.bans.list()));
                    }
                    Ok(Request::BansOf(prefixes, reply)) => {
                        self.note_bans_by_rules();
                        drop(reply.send(self.bans.of(&prefixes)));
                    }
                    Ok(Request::Tend) => self.tend(),
                    // Nobody can tell one reload from two that have not begun.
                    Ok(Request::Change(asked))
                        if asked.is_signal() && changes.back().is_some_and(Asked::is_signal) => {}
                    Ok(Request::Change(asked)) => changes.push_back(asked),
                    Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => return self.stop(),
                    Err(RecvTimeoutError::Timeout) => break,
                }
                if changes.len() >= QUEUE {
                    break;
                }
                next = requests.recv_timeout(Duration::ZERO);
            }
            match changes.pop_front() {
                Some(Asked { change: Change::Detach, by, reply }) => return self.detach(&by, reply),
                Some(Asked { change, by, reply }) => {
                    let result = self.change(change, &by);
                    if let Some(reply) = reply {
                        drop(reply.send(result));
                    }
                    memory::give_back();
                }
                None => {}
            }
        }
    }

    fn do_what_is_due(&mut self) {
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            match self.state.guard() {
                Some(_) => self.end_guard(),
                None => self.take_back_unconfirmed(),
            }
            memory::give_back();
        }
        let is_due = |last: Option<Instant>, every| last.is_none_or(|last| now.duration_since(last) >= every);
        self.tend_bans();
        if is_due(self.tended, TEND_EVERY) {
            self.tended = Some(now);
            self.note_bans_by_rules();
            self.tend_ban_journal();
            self.tend();
            self.look_after_guard(false);
            // What a scrape has used need not be given back after each.
            memory::give_back();
        }
        if is_due(self.sampled, SAMPLE_EVERY) {
            self.sampled = Some(now);
            self.sample();
        }
    }

    fn until_due(&self) -> Duration {
        if self.has_leaving_bans() {
            return Duration::ZERO;
        }
        let deadline = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // However often somebody asks, requests are noted once a second.
        let tend = self.tended.map_or(Duration::ZERO, |tended| TEND_EVERY.saturating_sub(tended.elapsed()));
        deadline.map_or(tend, |left| left.min(tend))
    }

    /// Makes a change, and says in the log how it went.
    fn change(&mut self, change: Change, by: &str) -> Result<Changed, Refusal> {
        let (what, result) = match change {
            Change::Apply { rules, confirm_within, guard: None } => {
                ("apply", self.apply(*rules, confirm_within, by))
            }
            Change::Apply { rules, confirm_within: _, guard: Some(within) } => {
                ("apply", self.apply_guarded(*rules, within, by))
            }
            Change::Offer(offered) => return self.take_offered(*offered, by),
            Change::Confirm => ("confirm", self.confirm()),
            Change::Rollback => ("rollback", self.roll_back(by)),
            Change::Reload => ("reload", self.reload(by)),
            Change::EditSet(asked) => return self.edit_set_and_tell(asked, by),
            Change::Ban(asked) => return self.ban(asked, by),
            Change::Lift(asked) => return self.lift(asked, by),
            Change::Detach => ("detach", Err(Refusal::failed("the daemon is ending"))),
        };
        self.report(what, by, &result);
        result
    }

    /// A change of a set is none of the rules, so `status` goes on telling how the last one of these went.
    fn edit_set_and_tell(&mut self, asked: AskedEdit, by: &str) -> Result<Changed, Refusal> {
        let name = asked.name.clone();
        let result = self.edit_set(asked, by);
        match &result {
            Ok(changed) => tracing::info!(event = "set", set = name, by, "{} by {by}", changed.message),
            Err(refusal) => {
                tracing::error!(
                    event = "set",
                    set = name,
                    by,
                    "change of the set {name} by {by} failed: {}",
                    refusal.error
                );
            }
        }
        result
    }

    pub(super) fn report(&mut self, what: &str, by: &str, result: &Result<Changed, Refusal>) {
        let error = result.as_ref().err().map(|refusal| refusal.error.clone());
        match (result, &error) {
            (Ok(changed), _) => {
                let generation = changed.generation;
                tracing::info!(event = what, by, generation, "{what} by {by}: {}", changed.message);
            }
            (Err(_), Some(error)) => {
                tracing::error!(event = what, by, "{what} by {by} failed, the rules in force stay: {error}");
            }
            (Err(_), None) => {}
        }
        self.remember_change(&format!("{what} by {by}"), error);
    }

    /// Has `status` tell how a change ended.
    pub(super) fn remember_change(&mut self, what: &str, error: Option<String>) {
        let unix_ms = unix_ms((self.now)());
        self.last_reload = Reload { success: error.is_none(), unix_ms, what: what.to_owned(), error };
    }

    fn apply(
        &mut self,
        rules: Rules,
        confirm_within: Option<Duration>,
        by: &str,
    ) -> Result<Changed, Refusal> {
        let (shortest, longest) = CONFIRM_WITHIN;
        if confirm_within.is_some_and(|within| within < shortest || within > longest) {
            return Err(Refusal::invalid("the time for a confirmation is from 1s to 24h"));
        }
        let occasion = self.occasion(by);
        let next = self.state.with_ruleset(&rules.hash, confirm_within, &occasion).map_err(conflict)?;
        let void = self.put_in_force(next, rules)?;
        self.deadline = confirm_within.map(|within| Instant::now() + within);
        let kept = match confirm_within {
            Some(within) => format!(
                "; the old ones come back in {} unless `foobar rules confirm` is said",
                humantime::format_duration(within)
            ),
            None => String::new(),
        };
        Ok(self.changed(format!("{} are in force{kept}{void}", self.rules_words())))
    }

    pub(super) fn confirm(&mut self) -> Result<Changed, Refusal> {
        let next = self.state.confirmed().map_err(conflict)?;
        self.store.set_state(&next).map_err(failed)?;
        self.state = next;
        self.begin_guard(None);
        Ok(self.changed(format!("{} stay in force", self.rules_words())))
    }

    fn roll_back(&mut self, by: &str) -> Result<Changed, Refusal> {
        self.roll_back_because(by, &format!("taken back by {by}"))
    }

    fn reload(&mut self, by: &str) -> Result<Changed, Refusal> {
        notify::reloading();
        let result = self.reload_files(by);
        notify::state(&[NotifyState::Ready]);
        result
    }

    fn reload_files(&mut self, by: &str) -> Result<Changed, Refusal> {
        if self.settings.fleet.is_some() {
            return Err(Refusal::conflict(
                "the rules come from etcd: send SIGHUP to have them read there again",
            ));
        }
        // Whether it is the time for new rules at all is asked first: reading them may take long.
        self.state.nothing_waits(unix_ms((self.now)())).map_err(conflict)?;
        let rules = Rules::from_files(&self.settings).map_err(refusal)?;
        let occasion = Occasion { by, unix_ms: unix_ms((self.now)()), files: Some(rules.hash.clone()) };
        let next = self.state.with_ruleset(&rules.hash, None, &occasion).map_err(conflict)?;
        let void = self.put_in_force(next, rules)?;
        Ok(self.changed(format!("{} are in force{void}", self.rules_words())))
    }

    fn take_back_unconfirmed(&mut self) {
        let by = "the daemon, as no confirmation came in time";
        let result = self.roll_back(by);
        if result.is_err() {
            self.deadline = Some(Instant::now() + RETRY_AFTER);
        }
        self.report("rollback", by, &result);
    }

    /// Puts rules in force and remembers `next`; if anything fails, the old rules are in force and remembered. Gives
    /// what there is to say of changes of sets that the rules make void, and of bans that they lift.
    pub(super) fn put_in_force(&mut self, next: State, mut rules: Rules) -> Result<String, Refusal> {
        let laid = Laid::over(&mut rules.ruleset, &self.overlays, |name, _, set| {
            let present = self.rules.sets.get(name).unwrap_or(set);
            Ok(present.entries.clone())
        })
        .map_err(failed)?;
        let mut slots = self.slots.clone();
        let reader = self.filter.counter_reader();
        let counted = |slot| reader.rule_slot(slot);
        let sets = Some(self.filter.sets());
        let compiled = compile_with(&mut slots, &rules.ruleset, &self.settings.interfaces, &counted, sets)
            .map_err(refusal)?;
        // All is written before the swap: a daemon that is killed after it knows what is in force, and who owns
        // the slots that count it.
        self.store.add_ruleset(&rules.bundle).map_err(failed)?;
        slots.save(&self.store.slots()).map_err(failed)?;
        let swapped =
            self.store.set_state(&next).and_then(|()| self.swap(&compiled).context("put the rules in force"));
        if let Err(error) = swapped {
            self.remember_old(slots);
            return Err(failed(error));
        }
        for masked in masked_words(&rules.ruleset) {
            tracing::warn!("{masked}");
        }
        // A daemon that is killed before this finds at its start that they are void.
        laid.forget_void(&self.store);
        let mut void = laid.void_words();
        self.overlays = laid.overlays;
        self.slots = slots;
        self.state = next;
        self.rules = KeptRules::of(rules, &compiled.slots);
        self.reconciler.follow(&self.rules.services);
        self.begin_syn_cookies();
        void += &self.spare();
        Ok(void)
    }

    /// Swaps the programs, and goes on with the account of their runs.
    pub(super) fn swap(&mut self, compiled: &CompiledRuleset) -> Result<()> {
        let old_programs = self.filter.programs();
        // By the names that counter slots have had.
        self.note_bans_by_rules();
        self.filter.swap(compiled)?;
        self.bans.follow(compiled);
        // Lengths that no rule names any more are asked for as long as there are bans of them.
        self.note_bans_by_rules();
        self.events.follow(compiled, self.filter.take_ring());
        for program in old_programs.unwrap_or_default() {
            let before = self.runs_before.entry(program.program).or_default();
            before.runs += program.runs;
            before.run_time_ns += program.run_time_ns;
        }
        memory::much_is_free();
        Ok(())
    }

    /// After a failed swap: slots that were given to the new rules stay theirs, as they may have been emptied
    /// already, but the rules in force are once more the last that used the book.
    fn remember_old(&mut self, mut slots: Slots) {
        let reader = self.filter.counter_reader();
        let counted = |slot| reader.rule_slot(slot);
        let remembered = self
            .rules
            .read(&self.store)
            .and_then(|ruleset| slots.assign(&ruleset, &self.settings.interfaces, &counted))
            .and_then(|_| slots.save(&self.store.slots()))
            .and_then(|()| self.store.set_state(&self.state));
        if let Err(error) = remembered {
            tracing::error!("remember that the old rules are in force: {error:#}");
        }
        self.slots = slots;
    }

    /// Counts what services got up to this moment.
    pub(super) fn count_requests(&mut self) {
        match self.filter.counter_reader().services() {
            Ok(services) => self.requests.add(self.started.elapsed(), &services),
            Err(error) => tracing::debug!("read the counters of services: {error:#}"),
        }
    }

    fn tend(&mut self) {
        self.count_requests();
        match self.filter.counter_reader().decrypted() {
            Ok(decrypted) => {
                let totals = decrypted.iter().map(|(port, counted)| (*port, counted.requests.iter().sum()));
                self.decrypted_requests.add_totals(self.started.elapsed(), totals.collect());
            }
            Err(error) => tracing::debug!("read the counters of what is inside of TLS: {error:#}"),
        }
        self.filter.tend_decryption();
        self.tend_syn_cookies();
        for news in self.filter.tend() {
            match news {
                Tended::Vanished(name) => {
                    tracing::warn!("interface {name} is gone; it is filtered when it returns");
                }
                Tended::Returned(name) => tracing::info!("interface {name} is back, and filtered"),
                Tended::Failed(name, why) => {
                    tracing::error!(
                        "interface {name} is there and not filtered: {why}; trying again every second"
                    );
                }
            }
        }
    }

    fn sample(&mut self) {
        match self.filter.counter_reader().verdicts() {
            Ok(verdicts) => {
                let [_, last] = self.samples;
                self.samples = [last, Some(Sample::of(&verdicts, self.started.elapsed()))];
            }
            Err(error) => tracing::debug!("read the counters: {error:#}"),
        }
    }

    fn facts(&self) -> Facts {
        super::facts::gather(self)
    }

    fn rules_in_force(&self) -> Result<RulesInForce, Refusal> {
        let counters = self.filter.counters().context("read the counters").map_err(failed)?;
        let mut reasons: BTreeMap<(Reason, Direction, Verdict), Counted> = BTreeMap::new();
        for ((_, direction, verdict, reason), counter) in &counters.verdicts {
            let counted = reasons.entry((*reason, *direction, *verdict)).or_default();
            counted.packets = counted.packets.wrapping_add(counter.packets);
            counted.bytes = counted.bytes.wrapping_add(counter.bytes);
        }
        let reasons = reasons.into_iter().map(|((reason, direction, verdict), counted)| ReasonCounted {
            direction: direction.label().to_owned(),
            reason: reason.label().to_owned(),
            action: verdict.label().to_owned(),
            counted,
        });
        Ok(RulesInForce {
            hash: self.rules.hash.clone(),
            generation: self.state.generation,
            bundle: self.store.ruleset(&self.rules.hash).map_err(failed)?,
            rules: counters.rules.into_iter().map(|(id, counter)| (id, counter.into())).collect(),
            reasons: reasons.collect(),
            edited_sets: self.overlays.iter().map(|(name, overlay)| (name.clone(), edits(overlay))).collect(),
        })
    }

    fn detach(self, by: &str, reply: Option<SyncSender<Result<Changed, Refusal>>>) -> Result<End> {
        let generation = self.state.generation;
        let interfaces = self.settings.interfaces.join(", ");
        let detached = self.filter.detach().context("take the filter away; try `foobar detach` again");
        let answer = match &detached {
            Ok(()) => {
                let message = format!("the filter is taken away from {interfaces}; the daemon ends");
                tracing::info!("detach by {by}: {message}");
                Ok(Changed { message, hash: None, generation, set: None, bans: None })
            }
            Err(error) => {
                tracing::error!("detach by {by} failed: {error:#}");
                Err(Refusal::failed(format!("{error:#}")))
            }
        };
        if let Some(reply) = reply {
            drop(reply.send(answer));
        }
        detached.map(|()| End::Detached)
    }

    fn stop(self) -> Result<End> {
        if self.settings.ephemeral {
            self.filter.detach().context("take the filter away")?;
            tracing::info!("ended; the filter is taken away");
            return Ok(End::Detached);
        }
        if let Some(deadline) = self.deadline.filter(|_| self.state.guard().is_none()) {
            let left = deadline.saturating_duration_since(Instant::now()).as_secs();
            tracing::warn!(
                "ended while rules wait for their confirmation ({left} s left): they stay in force until a daemon \
                 starts again and takes them back"
            );
        }
        tracing::info!("ended; the filter stays in force (`foobar detach` takes it away)");
        Ok(End::Stopped)
    }

    pub(super) fn occasion<'a>(&self, by: &'a str) -> Occasion<'a> {
        Occasion { by, unix_ms: unix_ms((self.now)()), files: files_hash(&self.settings) }
    }

    pub(super) fn changed(&self, message: String) -> Changed {
        let hash = Some(self.rules.hash.clone());
        Changed { message, hash, generation: self.state.generation, set: None, bans: None }
    }

    pub(super) fn rules_words(&self) -> String {
        let short = self.rules.hash.get(..12).unwrap_or(&self.rules.hash);
        format!(
            "the rules of ruleset {short} ({} in all, generation {})",
            self.rules.actions.len(),
            self.state.generation
        )
    }
}

pub(super) fn conflict(Conflict(text): Conflict) -> Refusal {
    Refusal::conflict(text)
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
pub(super) fn failed(error: anyhow::Error) -> Refusal {
    Refusal::failed(format!("{error:#}"))
}

pub(super) fn refusal(error: anyhow::Error) -> Refusal {
    if error.chain().any(<dyn std::error::Error>::is::<InvalidInput>) {
        Refusal::invalid(format!("{error:#}"))
    } else {
        failed(error)
    }
}
