//! Two looks at the counters, and what passed between them. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    control::{
        bans::BanStopping,
        protocol::{Counted, InterfaceCounted, ReasonCounted, ServiceFacts, SynFacts, Traffic},
    },
    rates::{SPANS, per_second},
};

/// How many rules are told.
const RULES_MAX: usize = 50;

/// What passed; what `--json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct View {
    pub(super) running: bool,
    /// When the last look was, in milliseconds since 1970.
    pub(super) unix_ms: u64,
    /// From the first look to the last.
    pub(super) seconds: f64,
    /// SHA-256 of the rules in force.
    pub(super) hash: String,
    /// How many times rules were put in force.
    pub(super) generation: u64,
    /// Why rules are not in force on some interface.
    pub(super) not_ready: Vec<String>,
    pub(super) interfaces: Vec<InterfaceRate>,
    pub(super) services: Vec<ServiceRate>,
    /// Of services with `syn_cookies`.
    pub(super) syn_cookies: Vec<SynRate>,
    /// Those that drop most first.
    pub(super) drops: Vec<DropRate>,
    /// Those that stop most first, of those that do; their rates are the daemon's, since somebody last looked.
    pub(super) bans: Vec<BanStopping>,
    /// Those that decide most first, at most [`RULES_MAX`].
    pub(super) rules: Vec<RuleRate>,
}

/// What passed an interface in one direction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct InterfaceRate {
    pub(super) interface: String,
    pub(super) direction: String,
    pub(super) packets_per_second: f64,
    /// Of whole frames.
    pub(super) bytes_per_second: f64,
}

/// What a service was asked, by the daemon's own account.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct ServiceRate {
    pub(super) service: String,
    pub(super) port: String,
    pub(super) protocol: String,
    /// `requests`, `handshakes` or `queries`.
    pub(super) what: String,
    pub(super) total: u64,
    /// Over 1, 10 and 60 seconds.
    pub(super) per_second: [Option<f64>; SPANS.len()],
    pub(super) framing_lost: u64,
}

/// What became of SYNs to a service that may answer them with cookies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct SynRate {
    pub(super) service: String,
    pub(super) port: String,
    /// Whether they are answered now.
    pub(super) active: bool,
    /// SYNs that were answered.
    pub(super) answered: u64,
    pub(super) answered_per_second: f64,
    /// Cookies that came back.
    pub(super) returned: u64,
    pub(super) returned_per_second: f64,
}

/// What was dropped for a reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct DropRate {
    pub(super) direction: String,
    pub(super) reason: String,
    pub(super) packets: u64,
    pub(super) packets_per_second: f64,
}

/// What a rule decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct RuleRate {
    pub(super) rule: String,
    pub(super) packets: u64,
    pub(super) packets_per_second: f64,
}

impl View {
    /// What passed between two looks; `None` if they are of two daemons, or of the same moment.
    pub(super) fn between(before: &Traffic, after: &Traffic, unix_ms: u64) -> Option<Self> {
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
            services: services.iter().map(ServiceRate::of).collect(),
            syn_cookies: syn_rates(&before.services, services, seconds),
            bans: bans.clone(),
            drops: drop_rates(&before.drops, drops, seconds),
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

fn drop_rates(before: &[ReasonCounted], after: &[ReasonCounted], seconds: f64) -> Vec<DropRate> {
    let earlier: BTreeMap<(&str, &str), u64> = before
        .iter()
        .map(|one| ((one.direction.as_str(), one.reason.as_str()), one.counted.packets))
        .collect();
    let mut rates: Vec<DropRate> = after
        .iter()
        .map(|ReasonCounted { direction, reason, action: _, counted: Counted { packets, bytes: _ } }| {
            let earlier = earlier.get(&(direction.as_str(), reason.as_str())).copied().unwrap_or_default();
            DropRate {
                direction: direction.clone(),
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
    before: &BTreeMap<String, Counted>,
    after: &BTreeMap<String, Counted>,
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

impl ServiceRate {
    fn of(facts: &ServiceFacts) -> Self {
        let ServiceFacts {
            service,
            port,
            protocol,
            what,
            total,
            per_second,
            framing_lost,
            framed_bytes: _,
            lost_bytes: _,
            names: _,
            connections_active: _,
            requests_in_flight: _,
            resets: _,
            syn_cookies: _,
        } = facts;
        Self {
            service: service.clone(),
            port: port.clone(),
            protocol: protocol.clone(),
            what: what.clone(),
            total: *total,
            per_second: *per_second,
            framing_lost: *framing_lost,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bans::{Made, Origin};

    /// A look after some seconds, with this many packets everywhere and twice as many in the second rule.
    pub(in super::super) fn traffic(since_start_ms: u64, packets: u64) -> Traffic {
        let counted = Counted { packets, bytes: 100 * packets };
        let interface = |direction: &str| InterfaceCounted {
            interface: "eth0".to_owned(),
            direction: direction.to_owned(),
            counted,
        };
        let dropped = |reason: &str, packets: u64| ReasonCounted {
            direction: "in".to_owned(),
            reason: reason.to_owned(),
            action: "drop".to_owned(),
            counted: Counted { packets, bytes: 0 },
        };
        Traffic {
            started_unix_ms: 1_000,
            since_start_ms,
            hash: "0123456789abcdef".to_owned(),
            generation: 3,
            not_ready: Vec::new(),
            interfaces: vec![interface("in"), interface("out")],
            drops: vec![dropped("fragments", 7), dropped("policy", packets)],
            rules: [("a".to_owned(), counted), ("b".to_owned(), Counted { packets: 2 * packets, bytes: 0 })]
                .into(),
            services: vec![ServiceFacts {
                service: "www".to_owned(),
                port: "tcp/80".to_owned(),
                protocol: "http1".to_owned(),
                what: "requests".to_owned(),
                total: packets,
                per_second: [Some(12.0), Some(3.5), None],
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
        let drops: Vec<_> =
            view.drops.iter().map(|drop| (drop.reason.as_str(), drop.packets_per_second)).collect();
        assert_eq!(drops, [("policy", 100.0), ("fragments", 0.0)]);
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
