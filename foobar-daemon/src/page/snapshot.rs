//! What a viewer of the live page is told, as JSON.

use std::{collections::HashMap, fs};

use foobar_common::verdict::Verdict;
use serde::Serialize;

use super::{document, viewers::Snapshot};
use crate::{
    control::protocol::Traffic,
    daemon::live::{LiveFacts, RuleActions},
    dataplane::attach::{AttachedMode, Attachment},
    rates::view::{InterfaceRate, ReasonRate, RuleRate, ServiceRate, SynRate, View},
    rules::rule_id::RuleId,
};

/// How many rules are told one by one.
const RULES_SHOWN: usize = 100;

/// What passed, and what it passed through.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// [`document::version`] of the page that knows how to show this: an older one asks for it.
    page: &'static str,
    /// Version of the daemon.
    version: &'static str,
    /// Name of this machine.
    host: String,
    unix_ms: u64,
    /// Over how many seconds rates are, but for those of services.
    seconds: f64,
    hash: String,
    generation: u64,
    not_ready: Vec<String>,
    taken_back_in: Option<f64>,
    /// Requests and queries of all services; handshakes and connections are none.
    requests_per_second: f64,
    /// How often a direction of a connection could not be followed.
    lost: u64,
    attached: Vec<Attached>,
    interfaces: Vec<InterfaceRate>,
    services: Vec<Service>,
    syn_cookies: Vec<SynRate>,
    verdicts: Vec<ReasonRate>,
    rules: Rules,
    bans: u64,
    /// Connections that are tracked and proved, where they are tracked.
    connections: Option<u32>,
}

/// How an interface is filtered.
#[derive(Clone, Debug, Serialize)]
struct Attached {
    interface: String,
    mode: Option<&'static str>,
    /// Why not as was asked for.
    why: Option<String>,
}

/// A service.
#[derive(Clone, Debug, Serialize)]
struct Service {
    #[serde(flatten)]
    rate: ServiceRate,
    /// Requests in each of the last seconds, the oldest first.
    each_second: Vec<f64>,
}

/// The rules in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Rules {
    /// How many there are.
    count: usize,
    /// How many have decided something.
    hit: usize,
    /// The busiest, or all of them.
    shown: Vec<Rule>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Rule {
    /// Where it stands, from 1; `None` for one that is no longer in force.
    place: Option<usize>,
    action: Option<&'static str>,
    #[serde(flatten)]
    rate: RuleRate,
}

impl Shown {
    /// Of rates, whose facts and rules these are.
    pub fn of(view: View, facts: &LiveFacts, rules: &RuleActions) -> Self {
        let View {
            running: _,
            unix_ms,
            seconds,
            hash,
            generation,
            not_ready,
            interfaces,
            services,
            syn_cookies,
            accepts,
            drops,
            bans: _,
            rules: rates,
        } = view;
        let asked = |service: &&ServiceRate| matches!(&*service.what, "requests" | "queries");
        let [addresses, prefixes] =
            [facts.bans.addresses, facts.bans.prefixes].map(|count| count.iter().sum::<u64>());
        Self {
            page: document::version(),
            version: env!("CARGO_PKG_VERSION"),
            host: host(),
            unix_ms,
            seconds,
            hash,
            generation,
            not_ready,
            taken_back_in: facts.taken_back_in,
            requests_per_second: services
                .iter()
                .filter(asked)
                .filter_map(|service| service.per_second[0])
                .sum(),
            lost: services.iter().map(|service| service.framing_lost).sum(),
            attached: facts.interfaces.iter().map(Attached::of).collect(),
            interfaces,
            services: services.into_iter().map(|rate| Service::of(rate, facts)).collect(),
            syn_cookies,
            verdicts: [accepts, drops].concat(),
            rules: Rules::of(rates, &facts.traffic, rules),
            bans: addresses + prefixes,
            connections: facts.flows.map(|flows| flows.known()),
        }
    }

    /// Ready to be sent, as the one of this number.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn snapshot(mut self, number: u64) -> serde_json::Result<Snapshot> {
        let whole = serde_json::to_string(&self)?;
        for service in &mut self.services {
            service.each_second.drain(..service.each_second.len().saturating_sub(1));
        }
        Ok(Snapshot { number, whole, step: serde_json::to_string(&self)? })
    }
}

impl Attached {
    fn of(attachment: &Attachment) -> Self {
        let Attachment { interface, mode, fallback, .. } = attachment;
        Self { interface: interface.clone(), mode: mode.map(AttachedMode::label), why: fallback.clone() }
    }
}

impl Service {
    fn of(rate: ServiceRate, facts: &LiveFacts) -> Self {
        let each_second = facts.each_second(&rate.port, &rate.protocol);
        // A picture needs no more.
        let each_second = each_second.iter().map(|requests| (10.0 * requests).round() / 10.0).collect();
        Self { rate, each_second }
    }
}

impl Rules {
    /// The busiest of those that have decided something, and then the first of the others, as long as there is room.
    fn of(rates: Vec<RuleRate>, counted: &Traffic, rules: &RuleActions) -> Self {
        let mut shown: Vec<Rule> = rates
            .into_iter()
            .take(RULES_SHOWN)
            .map(|rate| Rule { place: None, action: None, rate })
            .collect();
        let mut without: HashMap<RuleId, usize> =
            shown.iter().enumerate().map(|(row, rule)| (rule.rate.rule.clone(), row)).collect();
        for (place, (id, action)) in (1..).zip(&rules.actions) {
            let row = without.remove(id);
            if let Some(rule) = row.and_then(|row| shown.get_mut(row)) {
                (rule.place, rule.action) = (Some(place), Some(action.label()));
            } else if shown.len() < RULES_SHOWN && !counted.rules.contains_key(id) {
                shown.push(Rule::not_hit(place, id, *action));
            }
        }
        Self { count: rules.actions.len(), hit: counted.rules.len(), shown }
    }
}

impl Rule {
    fn not_hit(place: usize, id: &RuleId, action: Verdict) -> Self {
        let rate = RuleRate { rule: id.clone(), packets: 0, packets_per_second: 0.0 };
        Self { place: Some(place), action: Some(action.label()), rate }
    }
}

/// Name of this machine; empty if the kernel does not tell.
fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rates::view::tests::traffic;

    #[test]
    fn of_many_rules_the_busiest_are_told() {
        let mut counted = traffic(7_000, 300);
        let rule = |number: usize| RuleId::from(format!("rule {number}"));
        // Every third of 300 has decided something, the later ones more.
        counted.rules = (0..300).step_by(3).map(|number| (rule(number), counted.rules["a"])).collect();
        let actions = |count| RuleActions {
            generation: 1,
            actions: (0..count).map(|number| (rule(number), Verdict::Drop)).collect(),
        };
        let rates = |count: usize| -> Vec<RuleRate> {
            let rate = |number| RuleRate { rule: rule(number), packets: 7, packets_per_second: 1.0 };
            (0..count).rev().map(|number| rate(3 * number)).collect()
        };
        let told = Rules::of(rates(100), &counted, &actions(300));
        assert_eq!((told.count, told.hit, told.shown.len()), (300, 100, 100));
        assert_eq!((told.shown[0].place, told.shown[0].rate.rule.as_str()), (Some(298), "rule 297"));
        assert!(told.shown.iter().all(|rule| rule.action == Some("drop") && rule.rate.packets == 7));
        // Of few, those that have not are told, too, in their order.
        counted.rules.retain(|id, _| id == "rule 3");
        let told = Rules::of(rates(2).into_iter().take(1).collect(), &counted, &actions(5));
        let places: Vec<_> = told.shown.iter().map(|rule| rule.place.unwrap()).collect();
        assert_eq!(places, [4, 1, 2, 3, 5]);
        assert_eq!(Rules::of(Vec::new(), &counted, &RuleActions::default()).shown, []);
    }
}
