//! Two looks at the counters, and what passed between them, as `foobar top` and the live page show it. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    control::{
        bans::BanStopping,
        protocol::{Counted, InterfaceCounted, ReasonCounted, ServiceFacts, SynFacts, Traffic},
    },
    rates::{
        SPANS, per_second,
        quantile::{quantile, since},
    },
    rules::rule_id::RuleId,
};

/// How many rules are told.
const RULES_MAX: usize = 100;

/// What passed; what `foobar top --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    /// That a daemon runs; an object without counters says that none does.
    pub running: bool,
    /// When the last look was, in milliseconds since 1970.
    pub unix_ms: u64,
    /// From the first look to the last.
    pub seconds: f64,
    /// SHA-256 of the rules in force.
    pub hash: String,
    /// How many times rules were put in force.
    pub generation: u64,
    /// Why rules are not in force on some interface.
    pub not_ready: Vec<String>,
    /// Each with each direction.
    pub interfaces: Vec<InterfaceRate>,
    /// In the order of the rules.
    pub services: Vec<ServiceRate>,
    /// Of services with `syn_cookies`.
    pub syn_cookies: Vec<SynRate>,
    /// What was accepted or answered; the most first.
    pub accepts: Vec<ReasonRate>,
    /// What was dropped or rejected; the most first.
    pub drops: Vec<ReasonRate>,
    /// Those that stop most first, of those that do; their rates are the daemon's, since somebody last looked.
    pub bans: Vec<BanStopping>,
    /// Those that decide most first, at most a hundred.
    pub rules: Vec<RuleRate>,
}

/// What passed an interface in one direction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InterfaceRate {
    /// Its name.
    pub interface: String,
    /// Label of the direction.
    pub direction: String,
    /// All packets up to now.
    pub packets: u64,
    /// Bytes of whole frames up to now.
    pub bytes: u64,
    /// Packets per second.
    pub packets_per_second: f64,
    /// Bytes of whole frames per second.
    pub bytes_per_second: f64,
}

/// What a service was asked, by the daemon's own account.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceRate {
    /// Its name.
    pub service: String,
    /// The port, as `tcp/443`.
    pub port: String,
    /// What is spoken there.
    pub protocol: String,
    /// `requests`, `handshakes`, `queries` or `connections`.
    pub what: String,
    /// How many there were.
    pub total: u64,
    /// The same per second, over 1, 10 and 60 seconds.
    pub per_second: [Option<f64>; SPANS.len()],
    /// How they ended, by word, per second between the two looks.
    pub outcomes_per_second: BTreeMap<String, f64>,
    /// The time in seconds that half of those between the two looks took at most; `None` if there were none, or it is not known.
    pub median_seconds: Option<f64>,
    /// The same of 99 in 100.
    pub p99_seconds: Option<f64>,
    /// How often one direction of a connection could not be followed to its end.
    pub framing_lost: u64,
}

/// What became of SYNs to a service that may answer them with cookies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SynRate {
    /// Name of the service.
    pub service: String,
    /// The port, as `tcp/443`.
    pub port: String,
    /// Whether they are answered now.
    pub active: bool,
    /// SYNs that were answered.
    pub answered: u64,
    /// The same per second.
    pub answered_per_second: f64,
    /// Cookies that came back.
    pub returned: u64,
    /// The same per second.
    pub returned_per_second: f64,
}

/// What was decided for a reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReasonRate {
    /// Label of the direction.
    pub direction: String,
    /// Label of the verdict.
    pub action: String,
    /// Label of the reason.
    pub reason: String,
    /// All packets up to now.
    pub packets: u64,
    /// The same per second.
    pub packets_per_second: f64,
}

/// What a rule decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleRate {
    /// Its id.
    pub rule: RuleId,
    /// All packets up to now.
    pub packets: u64,
    /// The same per second.
    pub packets_per_second: f64,
}

impl View {
    /// What passed between two looks; `None` if they are of two daemons, or of the same moment.
    pub fn between(before: &Traffic, after: &Traffic, unix_ms: u64) -> Option<Self> {
        let elapsed =
            after.since_start_ms.checked_sub(before.since_start_ms).filter(|elapsed| *elapsed > 0)?;
        if before.started_unix_ms != after.started_unix_ms {
            return None;
        }
        let seconds = std::time::Duration::from_millis(elapsed).as_secs_f64();
        let Traffic {
            started_unix_ms: _,
            since_start_ms: _,
            hash,
            generation,
            not_ready,
            interfaces,
            accepts,
            drops,
            rules,
            services,
            bans,
        } = after;
        Some(Self {
            running: true,
            unix_ms,
            seconds,
            hash: hash.clone(),
            generation: *generation,
            not_ready: not_ready.clone(),
            interfaces: interface_rates(&before.interfaces, interfaces, seconds),
            services: service_rates(&before.services, services, seconds),
            syn_cookies: syn_rates(&before.services, services, seconds),
            bans: bans.clone(),
            accepts: reason_rates(&before.accepts, accepts, seconds),
            drops: reason_rates(&before.drops, drops, seconds),
            rules: rule_rates(&before.rules, rules, seconds),
        })
    }
}

fn interface_rates(
    before: &[InterfaceCounted],
    after: &[InterfaceCounted],
    seconds: f64,
) -> Vec<InterfaceRate> {
    let earlier: BTreeMap<(&str, &str), Counted> =
        before.iter().map(|one| ((one.interface.as_str(), one.direction.as_str()), one.counted)).collect();
    after
        .iter()
        .map(|InterfaceCounted { interface, direction, counted }| {
            let earlier = earlier.get(&(interface.as_str(), direction.as_str())).copied().unwrap_or_default();
            InterfaceRate {
                interface: interface.clone(),
                direction: direction.clone(),
                packets: counted.packets,
                bytes: counted.bytes,
                packets_per_second: per_second(earlier.packets, counted.packets, seconds),
                bytes_per_second: per_second(earlier.bytes, counted.bytes, seconds),
            }
        })
        .collect()
}

fn syn_rates(before: &[ServiceFacts], after: &[ServiceFacts], seconds: f64) -> Vec<SynRate> {
    let earlier: BTreeMap<(&str, &str), &SynFacts> = before
        .iter()
        .filter_map(|facts| {
            Some(((facts.service.as_str(), facts.port.as_str()), facts.syn_cookies.as_ref()?))
        })
        .collect();
    after
        .iter()
        .filter_map(|facts| {
            let SynFacts { active, answered, returned, passed: _ } = facts.syn_cookies.as_ref()?;
            let earlier = earlier.get(&(facts.service.as_str(), facts.port.as_str()));
            let [answered_before, returned_before] =
                earlier.map_or([0, 0], |earlier| [earlier.answered, earlier.returned]);
            Some(SynRate {
                service: facts.service.clone(),
                port: facts.port.clone(),
                active: *active,
                answered: *answered,
                answered_per_second: per_second(answered_before, *answered, seconds),
                returned: *returned,
                returned_per_second: per_second(returned_before, *returned, seconds),
            })
        })
        .collect()
}

fn reason_rates(before: &[ReasonCounted], after: &[ReasonCounted], seconds: f64) -> Vec<ReasonRate> {
    let earlier: BTreeMap<[&str; 3], u64> =
        before.iter().map(|one| ([&*one.direction, &one.action, &one.reason], one.counted.packets)).collect();
    let mut rates: Vec<ReasonRate> = after
        .iter()
        .map(|ReasonCounted { direction, reason, action, counted: Counted { packets, bytes: _ } }| {
            let earlier = earlier.get(&[&**direction, action, reason]).copied().unwrap_or_default();
            ReasonRate {
                direction: direction.clone(),
                action: action.clone(),
                reason: reason.clone(),
                packets: *packets,
                packets_per_second: per_second(earlier, *packets, seconds),
            }
        })
        .collect();
    rates.sort_by(|one, other| {
        busiest((other.packets_per_second, other.packets), (one.packets_per_second, one.packets))
    });
    rates
}

fn rule_rates(
    before: &BTreeMap<RuleId, Counted>,
    after: &BTreeMap<RuleId, Counted>,
    seconds: f64,
) -> Vec<RuleRate> {
    let mut rates: Vec<RuleRate> = after
        .iter()
        .map(|(rule, Counted { packets, bytes: _ })| {
            let earlier = before.get(rule).map_or(0, |counted| counted.packets);
            RuleRate {
                rule: rule.clone(),
                packets: *packets,
                packets_per_second: per_second(earlier, *packets, seconds),
            }
        })
        .collect();
    rates.sort_by(|one, other| {
        busiest((other.packets_per_second, other.packets), (one.packets_per_second, one.packets))
    });
    rates.truncate(RULES_MAX);
    rates
}

/// By rate, and by count where rates are the same.
fn busiest(one: (f64, u64), other: (f64, u64)) -> std::cmp::Ordering {
    one.0.total_cmp(&other.0).then(one.1.cmp(&other.1))
}

/// What services were asked, and what became of it between two looks that are so many seconds apart.
pub fn service_rates(before: &[ServiceFacts], after: &[ServiceFacts], seconds: f64) -> Vec<ServiceRate> {
    let earlier: BTreeMap<[&str; 3], &ServiceFacts> =
        before.iter().map(|facts| (ServiceRate::name(facts), facts)).collect();
    after
        .iter()
        .map(|facts| ServiceRate::of(earlier.get(&ServiceRate::name(facts)).copied(), facts, seconds))
        .collect()
}

impl ServiceRate {
    /// What tells a service on a port from others; inside of TLS is another one.
    fn name(facts: &ServiceFacts) -> [&str; 3] {
        [&facts.service, &facts.port, &facts.protocol]
    }

    /// A service that was not there at the earlier look begins with this one.
    fn of(earlier: Option<&ServiceFacts>, facts: &ServiceFacts, seconds: f64) -> Self {
        let ServiceFacts {
            service,
            port,
            protocol,
            what,
            total,
            per_second: of_daemon,
            outcomes,
            durations,
            framing_lost,
            framed_bytes: _,
            lost_bytes: _,
            names: _,
            connections_active: _,
            requests_in_flight: _,
            resets: _,
            syn_cookies: _,
        } = facts;
        let earlier = earlier.unwrap_or(facts);
        let outcomes_per_second = outcomes.iter().map(|(outcome, count)| {
            let before = earlier.outcomes.get(outcome).copied().unwrap_or(*count);
            (outcome.clone(), per_second(before, *count, seconds))
        });
        let took = since(&earlier.durations, durations);
        Self {
            service: service.clone(),
            port: port.clone(),
            protocol: protocol.clone(),
            what: what.clone(),
            total: *total,
            per_second: *of_daemon,
            outcomes_per_second: outcomes_per_second.collect(),
            median_seconds: quantile(&took, 0.5),
            p99_seconds: quantile(&took, 0.99),
            framing_lost: *framing_lost,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bans::{Made, Origin};

    /// A look after some seconds, with this many packets everywhere and twice as many in the second rule.
    pub(crate) fn traffic(since_start_ms: u64, packets: u64) -> Traffic {
        let counted = Counted { packets, bytes: 100 * packets };
        let interface = |direction: &str| InterfaceCounted {
            interface: "eth0".to_owned(),
            direction: direction.to_owned(),
            counted,
        };
        let decided = |action: &str, reason: &str, packets: u64| ReasonCounted {
            direction: "in".to_owned(),
            reason: reason.to_owned(),
            action: action.to_owned(),
            counted: Counted { packets, bytes: 0 },
        };
        Traffic {
            started_unix_ms: 1_000,
            since_start_ms,
            hash: "0123456789abcdef".to_owned(),
            generation: 3,
            not_ready: Vec::new(),
            interfaces: vec![interface("in"), interface("out")],
            accepts: vec![decided("accept", "rule", 3 * packets)],
            drops: vec![
                decided("drop", "fragments", 7),
                decided("drop", "policy", packets),
                decided("reject", "policy", 3),
            ],
            rules: [("a".into(), counted), ("b".into(), Counted { packets: 2 * packets, bytes: 0 })].into(),
            services: vec![ServiceFacts {
                service: "www".to_owned(),
                port: "tcp/80".to_owned(),
                protocol: "http1".to_owned(),
                what: "requests".to_owned(),
                total: packets,
                per_second: [Some(12.0), Some(3.5), None],
                outcomes: [("2xx".to_owned(), packets), ("5xx".to_owned(), 7)].into(),
                durations: [vec![packets], vec![0; 18], vec![1]].concat(),
                framing_lost: 0,
                framed_bytes: 0,
                lost_bytes: 0,
                names: Vec::new(),
                connections_active: None,
                requests_in_flight: None,
                resets: None,
                syn_cookies: Some(SynFacts {
                    active: true,
                    answered: 10 * packets,
                    returned: packets / 10,
                    passed: BTreeMap::new(),
                }),
            }],
            bans: vec![BanStopping {
                address: "203.0.113.7".to_owned(),
                packets,
                packets_per_second: 70.0,
                made: Made { unix_ms: 0, origin: Origin::Kernel, by: "flood".to_owned(), reason: None },
            }],
        }
    }

    #[test]
    fn rates_are_those_between_two_looks() {
        let view = View::between(&traffic(5_000, 100), &traffic(7_000, 300), 9).unwrap();
        assert_eq!((view.unix_ms, view.seconds), (9, 2.0));
        let [incoming, _] = view.interfaces.as_slice() else { panic!("{view:?}") };
        assert_eq!((incoming.packets_per_second, incoming.bytes_per_second), (100.0, 10_000.0));
        let rates = |rates: &[ReasonRate]| -> Vec<_> {
            let told =
                |rate: &ReasonRate| format!("{} {} {}", rate.action, rate.reason, rate.packets_per_second);
            rates.iter().map(told).collect()
        };
        assert_eq!(rates(&view.accepts), ["accept rule 300"]);
        assert_eq!(rates(&view.drops), ["drop policy 100", "drop fragments 0", "reject policy 0"]);
        let [service] = view.services.as_slice() else { panic!("{view:?}") };
        let outcomes: Vec<_> = service.outcomes_per_second.values().copied().collect();
        assert_eq!(outcomes, [100.0, 0.0]);
        // All that came between the looks took less than 50 us.
        assert_eq!((service.median_seconds, service.p99_seconds), (Some(0.000_025), Some(0.99 * 0.000_05)));
        let rules: Vec<_> =
            view.rules.iter().map(|rule| (rule.rule.as_str(), rule.packets_per_second)).collect();
        assert_eq!(rules, [("b", 200.0), ("a", 100.0)]);
        let [syn] = view.syn_cookies.as_slice() else { panic!("{view:?}") };
        assert_eq!((syn.answered_per_second, syn.returned_per_second), (1_000.0, 10.0));
        assert_eq!((syn.answered, syn.returned, syn.active), (3_000, 30, true));
    }

    #[test]
    fn looks_of_two_daemons_have_nothing_between_them() {
        let before = traffic(5_000, 100);
        for after in [
            traffic(5_000, 300),
            traffic(1_000, 300),
            Traffic { started_unix_ms: 2_000, ..traffic(7_000, 300) },
        ] {
            assert_eq!(View::between(&before, &after, 9), None, "{after:?}");
        }
    }
}
