//! Rules under guard: those of etcd, and those that are applied with `--guard`. They go if services lose traffic.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    start::Rules,
    writer::{Writer, conflict, failed, refusal},
};
use crate::{
    control::protocol::{Changed, Refusal, RefusalKind},
    fleet::{Offered, ruleset::EtcdRules, vanished},
    guard::{Fallen, Guard, Rate, Watched},
    memory,
    rules::{
        file::{GUARD_WITHIN, parse_service_port},
        model::{GuardTerms, Ruleset, ServicePort},
    },
    state::{EtcdDecision, Occasion, State, unix_ms},
};

/// How long it is counted before rules are put in force under guard, after a start and after rules were taken back: what services
/// usually get has to be known.
const WARM_UP: Duration = Duration::from_secs(5);

/// What became of guards, for `status` and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardFacts {
    /// The services that are watched now, while rules are guarded.
    pub watched: Vec<Watched>,
    /// How often rules were taken back since the daemon started.
    pub taken_back: u64,
    /// Which services had fallen the last time.
    pub fallen: Vec<Fallen>,
}

impl Writer {
    /// Judges the ruleset that etcd has.
    ///
    /// # Errors
    /// [`Refusal`]: they are invalid; they have to wait; or they could not be put in force.
    pub(super) fn take_offered(&mut self, offered: Offered, by: &str) -> Result<Changed, Refusal> {
        let Offered { rules: EtcdRules { bundle, revision }, is_forced } = offered;
        let bundle = bundle.lenient(self.settings.lenient);
        let hash = bundle.hash();
        if let Some(decision) = self.state.etcd.clone()
            && decision.hash == hash
            && !is_forced
            // Keys that were written again with the same texts are a wish to try again what was refused.
            && (decision.refused.is_none() || decision.revision == revision)
        {
            if decision.revision != revision {
                self.remember_decision(EtcdDecision { revision, ..decision })?;
            }
            return Ok(self.changed(format!("revision {revision} is known")));
        }
        let result =
            Rules::new(bundle).map_err(refusal).and_then(|rules| self.put_offered(rules, revision, by));
        match &result {
            // It waits, and is offered again.
            Err(Refusal { kind: RefusalKind::Conflict, .. }) => {}
            Ok(_) | Err(_) => self.report("apply", by, &result),
        }
        // What etcd has may be large and of no use.
        memory::much_is_free();
        result
    }

    fn put_offered(&mut self, rules: Rules, revision: i64, by: &str) -> Result<Changed, Refusal> {
        let decision = EtcdDecision { hash: rules.hash.clone(), revision, refused: None };
        if self.state.in_force.as_ref() == Some(&rules.hash) && self.state.guard().is_none() {
            self.remember_decision(decision)?;
            return Ok(self.changed(format!("{} are those of revision {revision}", self.rules_words())));
        }
        let terms = rules.ruleset.guard.clone();
        self.check_known()?;
        if let Err(refusal) = self.check_vanished(&rules.ruleset) {
            self.remember_decision(EtcdDecision { refused: Some(refusal.error.clone()), ..decision })?;
            return Err(refusal);
        }
        let occasion = Occasion { by, unix_ms: unix_ms((self.now)()), files: None };
        self.put_guarded(rules, &terms, Some(decision), &occasion)
    }

    /// Remembers what was decided of the ruleset in etcd.
    fn remember_decision(&mut self, decision: EtcdDecision) -> Result<(), Refusal> {
        let next = State { etcd: Some(decision), ..self.state.clone() };
        self.store.set_state(&next).map_err(failed)?;
        self.state = next;
        Ok(())
    }

    /// Puts rules in force that somebody has applied, under guard for this time.
    ///
    /// # Errors
    /// [`Refusal`]: other rules wait or are guarded; a service is missing; or they could not be put in force.
    pub(super) fn apply_guarded(
        &mut self,
        rules: Rules,
        within: Duration,
        by: &str,
    ) -> Result<Changed, Refusal> {
        if !(GUARD_WITHIN.0..=GUARD_WITHIN.1).contains(&within) {
            return Err(Refusal::invalid("the time of a guard is from 5s to 1h"));
        }
        let occasion = self.occasion(by);
        self.state.nothing_waits(occasion.unix_ms).map_err(conflict)?;
        self.check_known()?;
        self.check_vanished(&rules.ruleset)?;
        let terms = GuardTerms { within, ..rules.ruleset.guard.clone() };
        self.put_guarded(rules, &terms, None, &occasion)
    }

    /// Puts rules in force under guard, and says what is watched.
    pub(super) fn put_guarded(
        &mut self,
        rules: Rules,
        terms: &GuardTerms,
        decision: Option<EtcdDecision>,
        occasion: &Occasion<'_>,
    ) -> Result<Changed, Refusal> {
        let guard = match self.state.guard() {
            Some(guard) => {
                let watched = guard.watched.iter().filter(|one| terms.watches(&one.service)).cloned();
                Guard { fall: terms.fall, watched: watched.collect() }
            }
            None => self.guard(&rules.ruleset, terms),
        };
        let mut next = if guard.watched.is_empty() {
            // There is nothing that could fall.
            self.state.unguarded().with_ruleset(&rules.hash, None, occasion).map_err(conflict)?
        } else {
            self.state.guarded(&rules.hash, terms.within, guard.clone(), occasion).map_err(conflict)?
        };
        next.etcd = decision.or(next.etcd);
        let is_guarded = next.guard().is_some();
        let is_back = self.state.guard().is_some() && !is_guarded;
        let void = self.put_in_force(next, rules)?;
        self.begin_guard(is_guarded.then_some(terms.within));
        let watched = if is_guarded {
            let services: Vec<String> = guard
                .watched
                .iter()
                .map(|one| {
                    format!("{} ({}) with {} {} per second", one.service, one.port, one.before, one.what)
                })
                .collect();
            format!(
                "; they are guarded for {}: the old ones come back if one of these falls by {}%: {}",
                humantime::format_duration(terms.within),
                guard.fall,
                services.join(", ")
            )
        } else if is_back {
            "; they were in force before those that were guarded".to_owned()
        } else if terms.services.as_ref().is_some_and(Vec::is_empty) {
            "; they are not guarded".to_owned()
        } else {
            "; they are not guarded, as no service got enough before to judge by".to_owned()
        };
        Ok(self.changed(format!("{} are in force{watched}{void}", self.rules_words())))
    }

    /// Begins to look after services; without a time, ends it.
    pub(super) fn begin_guard(&mut self, within: Option<Duration>) {
        self.deadline = within.map(|within| Instant::now() + within);
        self.guarded_since = within.map(|_| self.started.elapsed());
        // The first look, which the others are compared with.
        self.count_requests();
    }

    /// What is to be compared with.
    fn guard(&self, new: &Ruleset, terms: &GuardTerms) -> Guard {
        let watched = self.watched_ports(terms);
        let is_left = |watched: &Watched| {
            new.services
                .iter()
                .flat_map(|service| &service.ports)
                .any(|port| port.to_string() == watched.port)
        };
        Guard { fall: terms.fall, watched: watched.into_iter().filter(is_left).collect() }
    }

    /// The ports of services in force that get enough to judge by.
    fn watched_ports(&self, terms: &GuardTerms) -> Vec<Watched> {
        let counted = self.filter.counter_reader().services().unwrap_or_else(|error| {
            tracing::warn!("read the counters of services: {error:#}");
            BTreeMap::default()
        });
        let services = self.rules.services.iter().filter(|service| terms.watches(&service.name));
        let ports = services.flat_map(|service| service.ports.iter().map(|port| (&service.name, *port)));
        ports
            .filter_map(|(name, port)| {
                let what = counted.get(&port)?.request_word();
                Watched::of(name, &port.to_string(), what, &self.samples(port, self.known_since))
            })
            .collect()
    }

    /// Nothing can be compared with what is not known for some seconds.
    fn check_known(&self) -> Result<(), Refusal> {
        let known = self.started.elapsed().saturating_sub(self.known_since);
        if self.rules.services.is_empty() || self.state.guard().is_some() || known >= WARM_UP {
            return Ok(());
        }
        Err(Refusal::conflict(format!(
            "what services usually get has to be counted for {} s before rules are guarded; try again then",
            WARM_UP.as_secs()
        )))
    }

    /// What a port got at moments from which on it can be compared.
    fn samples(&self, port: ServicePort, since: Duration) -> Vec<(Duration, u64)> {
        self.requests.samples(port).into_iter().filter(|(at, _)| *at >= since).collect()
    }

    /// Rules without a service that gets much are a mistake, or say so by `[guard]`.
    fn check_vanished(&self, new: &Ruleset) -> Result<(), Refusal> {
        let missing = vanished(&self.rules.services, new);
        let known = self.watched_ports(&new.guard);
        let lost: Vec<String> = known
            .iter()
            .filter(|watched| missing.iter().any(|(_, port)| *port == watched.port))
            .map(|watched| watched.fallen_to(Rate::default()).to_string())
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        Err(Refusal::invalid(format!(
            "the rules no longer have a service that is in use, as if {}; if that is meant, write [guard] with services = \
             [...] without it",
            lost.join(", and ")
        )))
    }

    /// Looks whether services have fallen, once their requests have been counted.
    pub(super) fn look_after_guard(&mut self, is_end: bool) {
        let (Some(guard), Some(since)) = (self.state.guard(), self.guarded_since) else { return };
        let mut fallen = Vec::new();
        for watched in &guard.watched {
            let Ok(port) = parse_service_port(&watched.port) else { continue };
            let samples = self.samples(port, since);
            fallen.extend(watched.judge(&samples, guard.fall, is_end));
        }
        if fallen.is_empty() {
            return;
        }
        let words: Vec<String> = fallen.iter().map(Fallen::to_string).collect();
        let why = words.join(", and ");
        let by = "the guard";
        match self.roll_back_because(by, &why) {
            Ok(changed) => {
                self.guards.taken_back += 1;
                self.guards.fallen = fallen;
                // What there was with the other rules is not what services usually get.
                self.known_since = self.started.elapsed();
                let told = format!("{why}, so the old rules came back");
                tracing::error!("{told}: {}", changed.message);
                self.remember_change("guard of the rules", Some(told));
            }
            // It is tried again at the next look.
            Err(refusal) => self.report("rollback", by, &Err(refusal)),
        }
    }

    /// The time of a guard is over: the rules stay.
    pub(super) fn end_guard(&mut self) {
        self.count_requests();
        self.look_after_guard(true);
        if self.state.guard().is_none() {
            return;
        }
        match self.confirm() {
            Ok(changed) => tracing::info!("the guard is over, no service has fallen: {}", changed.message),
            Err(refusal) => {
                tracing::error!("end the guard: {}", refusal.error);
                self.deadline = Some(Instant::now() + Duration::from_secs(2));
            }
        }
    }

    /// Takes the rules in force back; those of etcd are not put in force again until a key of them is written.
    pub(super) fn roll_back_because(&mut self, by: &str, why: &str) -> Result<Changed, Refusal> {
        let occasion = self.occasion(by);
        let mut next = self.state.rolled_back(&occasion).map_err(conflict)?;
        if let Some(decision) = &mut next.etcd
            && self.state.in_force.as_ref() == Some(&decision.hash)
        {
            decision.refused = Some(why.to_owned());
        }
        let hash = next.in_force.clone().unwrap_or_default();
        let rules = self.store.ruleset(&hash).and_then(Rules::new).map_err(failed)?;
        let void = self.put_in_force(next, rules)?;
        self.begin_guard(None);
        Ok(self.changed(format!("{} are back in force{void}", self.rules_words())))
    }

    /// What `status` tells of guards.
    pub(super) fn guard_facts(&self) -> GuardFacts {
        let watched = self.state.guard().map(|guard| guard.watched.clone()).unwrap_or_default();
        GuardFacts { watched, ..self.guards.clone() }
    }
}
