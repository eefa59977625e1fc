//! Looks at the counters once a second as long as somebody looks at the live page, whatever their number.

use std::{
    collections::VecDeque,
    mem,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep_until},
};

use super::{snapshot::Shown, viewers::Told};
use crate::{
    control::protocol::{Refusal, ServiceFacts, Traffic},
    daemon::{handle::Handle, live::RuleActions},
    dataplane::flows::FlowFacts,
    rates::view::{View, service_rates},
    state::unix_ms,
};

/// Between two looks.
const SECOND: Duration = Duration::from_secs(1);
/// Between the first two, so that who comes first need not wait a second.
const FIRST: Duration = Duration::from_millis(300);
/// Over how many milliseconds it is told how requests ended and how long they took: in a single second there are few.
const SPAN_MS: u64 = 10_000;
/// How often the flows that are known are counted, which takes longer than everything else.
const FLOWS_EVERY: Duration = Duration::from_secs(5);

/// Looks for ever. Nothing is kept from one time that somebody looks to the next.
pub async fn run(handle: Handle) {
    loop {
        handle.viewers.somebody().await;
        let mut looks = Looks::default();
        while handle.viewers.count() > 0 {
            let begun = Instant::now();
            let (asked, mut taken) = (handle.clone(), mem::take(&mut looks));
            let looked = spawn_blocking(move || {
                let told = taken.look(&asked);
                (taken, told)
            });
            let told = match looked.await {
                Ok((taken, told)) => {
                    looks = taken;
                    told
                }
                Err(error) => {
                    tracing::error!("look at what passes: {error}");
                    Some(Told::Trouble("what passes cannot be told: a defect of foobar".into()))
                }
            };
            tracing::debug!("looked for {} viewers, within {:?}", handle.viewers.count(), begun.elapsed());
            let pause = if told.is_some() { SECOND } else { FIRST };
            handle.viewers.tell(told.unwrap_or(Told::Nothing));
            sleep_until(begun + pause).await;
        }
        handle.viewers.tell(Told::Nothing);
    }
}

/// What was seen up to now.
#[derive(Default)]
struct Looks {
    number: u64,
    before: Option<Traffic>,
    /// Services at earlier looks, with milliseconds since the daemon started; the oldest first.
    services: VecDeque<(u64, Vec<ServiceFacts>)>,
    rules: RuleActions,
    flows: Option<FlowFacts>,
    flows_counted: Option<Instant>,
}

impl Looks {
    /// What there is to tell; nothing at the first look.
    fn look(&mut self, handle: &Handle) -> Option<Told> {
        match self.shown(handle) {
            Ok(shown) => shown.map(|shown| {
                self.number += 1;
                shown.snapshot(self.number).map_or_else(
                    |error| Told::Trouble(format!("what passes cannot be written: {error}").into()),
                    |snapshot| Told::Snapshot(Arc::new(snapshot)),
                )
            }),
            Err(refusal) => Some(Told::Trouble(refusal.error.into())),
        }
    }

    fn shown(&mut self, handle: &Handle) -> Result<Option<Shown>, Refusal> {
        let counts_flows = self.flows_counted.is_none_or(|counted| counted.elapsed() >= FLOWS_EVERY);
        let mut facts = handle.live(counts_flows)?;
        if counts_flows {
            (self.flows, self.flows_counted) = (facts.flows, Some(Instant::now()));
        }
        facts.flows = self.flows;
        if self.rules.generation != facts.traffic.generation || self.before.is_none() {
            self.rules = handle.rule_actions()?;
        }
        let after = &facts.traffic;
        let view =
            self.before.as_ref().and_then(|before| View::between(before, after, unix_ms(SystemTime::now())));
        let shown = view.map(|mut view| {
            if let Some((then, services)) = self.services.front() {
                let seconds = Duration::from_millis(after.since_start_ms.saturating_sub(*then)).as_secs_f64();
                view.services = service_rates(services, &after.services, seconds);
            }
            Shown::of(view, &facts, &self.rules)
        });
        let is_old = |then: &u64| after.since_start_ms.saturating_sub(*then) >= SPAN_MS;
        // One that is as old as the span stays.
        while self.services.get(1).is_some_and(|(then, _)| is_old(then)) {
            self.services.pop_front();
        }
        self.services.push_back((after.since_start_ms, after.services.clone()));
        self.before = Some(facts.traffic);
        Ok(shown)
    }
}
