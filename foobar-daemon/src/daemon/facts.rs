//! What `status`, `/readyz` and the metrics tell of the daemon.

use std::{collections::BTreeMap, path::Path, time::Instant};

use anyhow::Result;
use foobar_common::service::Losses;

use super::{handle::Facts, kept_rules::KeptRules, writer::Writer};
use crate::{
    control::{
        events::EventFacts,
        protocol::{PendingFacts, Rates, RulesetFacts, ServiceFacts, Status},
    },
    dataplane::{
        attach::Attachment,
        counters::{DECRYPTED, Open, ProtocolCounters, http_outcomes},
        object,
    },
    fleet::{
        FleetFacts,
        members::{Member, RefusedRules},
    },
    rates::Sample,
    rules::model::Ruleset,
};

/// Gathers everything that can be found out.
pub(super) fn gather(writer: &Writer) -> Facts {
    let Writer { settings, state, filter, rules, deadline, last_reload, .. } = writer;
    let mut problems = Vec::new();
    let mut or_problem = |what: &str, error: anyhow::Error| problems.push(format!("{what}: {error:#}"));
    let flows = filter.flows().unwrap_or_else(|error| {
        or_problem("count the flows", error);
        None
    });
    let rejects = filter.rejects().unwrap_or_else(|error| {
        or_problem("count what came of rejected packets", error);
        None
    });
    let maps = filter.maps(writer.bans.in_kernel(), flows.as_ref()).unwrap_or_else(|error| {
        or_problem("ask how full the maps are", error);
        Vec::new()
    });
    let mut programs = filter.programs().unwrap_or_else(|error| {
        or_problem("ask for the programs", error);
        Vec::new()
    });
    for program in &mut programs {
        if let Some(before) = writer.runs_before.get(&program.program) {
            program.runs += before.runs;
            program.run_time_ns += before.run_time_ns;
        }
    }
    programs.extend(filter.probes().unwrap_or_else(|error| {
        or_problem("ask for the programs that read inside of TLS", error);
        Vec::new()
    }));
    let rates = rates(writer).unwrap_or_else(|error| {
        or_problem("read the counters", error);
        None
    });
    let services = services(writer).unwrap_or_else(|error| {
        or_problem("read the counters of services", error);
        Vec::new()
    });
    let events = writer.events.facts().unwrap_or_else(|error| {
        or_problem("count the events", error);
        EventFacts::default()
    });
    let interfaces = filter.attachments();
    let not_ready: Vec<String> = interfaces.iter().filter_map(not_filtered).collect();
    let status = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        object: object::ORIGIN.to_owned(),
        pid: std::process::id(),
        started_unix_ms: writer.started_unix_ms,
        ready: not_ready.is_empty(),
        not_ready,
        mode: settings.mode,
        interfaces,
        ruleset: ruleset(writer),
        pending: state.pending.as_ref().zip(*deadline).map(|(pending, deadline)| PendingFacts {
            previous: pending.previous.clone(),
            seconds_left: deadline.saturating_duration_since(Instant::now()).as_secs_f64(),
            guarded: pending.guard.is_some(),
        }),
        guard: writer.guard_facts(),
        few_sources: Vec::new(),
        // What is known of etcd is put there by whoever asks.
        fleet: settings
            .fleet
            .as_ref()
            .map(|_| FleetFacts { decision: state.etcd.clone(), ..FleetFacts::default() }),
        last_reload: last_reload.clone(),
        maps,
        flows,
        rejects,
        programs,
        rates,
        services,
        decryption: filter.decryption(),
        bans: writer.bans.counts(),
        busiest_bans: Vec::new(),
        events,
        reconcile: writer.reconciler.facts(),
        syn_cookies: writer.syn_cookie_facts(),
        problems,
        web_config: None,
        push: None,
        certificates: Vec::new(),
        page_viewers: 0,
        listen: settings.exposure.listen.to_string(),
        control: absolute(&settings.control),
        state: settings.state.as_ref().map_or_else(
            || "a temporary folder, as the run is ephemeral".to_owned(),
            |state| absolute(state),
        ),
        pins: settings.pins.display().to_string(),
        ephemeral: settings.ephemeral,
    };
    let mut service_ports: Vec<_> =
        rules.services.iter().flat_map(|service| &service.ports).copied().collect();
    service_ports.sort_unstable();
    service_ports.dedup();
    Facts { status, service_ports }
}

/// How much passed of late; `None` before there is anything to compare with.
fn rates(writer: &Writer) -> Result<Option<Rates>> {
    let sample = Sample::of(&writer.filter.counter_reader().verdicts()?, writer.started.elapsed());
    // The last sample may be a moment old only, which gives no useful rate.
    let [older, last] = writer.samples;
    let long_ago = |earlier: &Sample| sample.at.abs_diff(earlier.at).as_secs_f64() >= 1.0;
    Ok(last.filter(long_ago).or(older).or(last).and_then(|earlier| sample.since(&earlier)))
}

fn ruleset(writer: &Writer) -> RulesetFacts {
    let Writer { settings, state, rules, overlays, .. } = writer;
    RulesetFacts {
        hash: rules.hash.clone(),
        generation: state.generation,
        applied: state.applied.clone(),
        previous: match &state.pending {
            Some(pending) => Some(pending.previous.clone()),
            None => state.previous.clone(),
        },
        path: match &settings.fleet {
            Some(fleet) => fleet.place.to_string(),
            None => absolute(&settings.rules),
        },
        rules: rules.actions.len(),
        services: rules.services.len(),
        sets: rules.sets.len(),
        edited_sets: overlays.keys().cloned().collect(),
    }
}

/// The rules in force, without the entries of sets, if some of them ban by source.
pub(super) fn banning_rules(writer: &Writer) -> Option<Box<Ruleset>> {
    let KeptRules { banning, failsafe, services, .. } = &writer.rules;
    if banning.is_empty() {
        return None;
    }
    Some(Box::new(Ruleset {
        failsafe: failsafe.clone(),
        services: services.clone(),
        rules: banning.clone(),
        ..Ruleset::default()
    }))
}

/// What the other members of the fleet are told.
pub(super) fn member(writer: &Writer) -> Member {
    let Writer { settings, state, filter, rules, .. } = writer;
    let decision = state.etcd.as_ref();
    let refused = decision.and_then(|decision| {
        Some(RefusedRules { revision: Some(decision.revision), why: decision.refused.clone()? })
    });
    Member {
        name: String::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        listen: settings.exposure.listen.to_string(),
        started_unix_ms: writer.started_unix_ms,
        ready: filter.attachments().iter().all(|attachment| not_filtered(attachment).is_none()),
        hash: rules.hash.clone(),
        generation: state.generation,
        revision: decision.filter(|decision| decision.hash == rules.hash).map(|decision| decision.revision),
        pending: state.pending.is_some(),
        refused,
    }
}

/// What was counted of services, by their names.
pub(super) fn services(writer: &Writer) -> Result<Vec<ServiceFacts>> {
    let reader = writer.filter.counter_reader();
    let (counters, mut names) = (reader.services()?, reader.names()?);
    let decrypted = reader.decrypted()?;
    let mut facts = Vec::new();
    for service in &writer.rules.services {
        for port in &service.ports {
            let Some(counted) = counters.get(port) else { continue };
            let mut names = names.remove(port).unwrap_or_default();
            names.truncate(NAMES_SHOWN);
            facts.push(ServiceFacts {
                service: service.name.clone(),
                port: port.to_string(),
                protocol: counted.protocol().label().to_owned(),
                what: counted.request_word().to_owned(),
                total: counted.requests(),
                per_second: writer.requests.per_second(*port),
                outcomes: named(counted.outcomes()),
                durations: counted
                    .durations()
                    .map(|durations| durations.buckets.to_vec())
                    .unwrap_or_default(),
                framing_lost: counted.losses().map_or(0, Losses::total),
                framed_bytes: counted.bytes.framed,
                lost_bytes: counted.bytes.lost,
                names,
                connections_active: None,
                requests_in_flight: None,
                resets: match &counted.of_protocol {
                    ProtocolCounters::Raw(counters) => Some((*counters).into()),
                    ProtocolCounters::Http1(_)
                    | ProtocolCounters::Http1Requests(_)
                    | ProtocolCounters::H2c(_)
                    | ProtocolCounters::Tls(_)
                    | ProtocolCounters::Mysql(..)
                    | ProtocolCounters::Dns(_) => None,
                },
                syn_cookies: counted.syn_cookies.map(Into::into),
            });
            let Some(inside) = decrypted.get(port) else { continue };
            facts.push(ServiceFacts {
                service: service.name.clone(),
                port: port.to_string(),
                protocol: DECRYPTED.to_owned(),
                what: "requests".to_owned(),
                total: inside.requests.iter().sum(),
                per_second: writer.decrypted_requests.per_second(*port),
                outcomes: named(http_outcomes(inside)),
                durations: inside.last_byte.buckets.to_vec(),
                framing_lost: inside.lost.total(),
                framed_bytes: 0,
                lost_bytes: 0,
                names: Vec::new(),
                connections_active: None,
                requests_in_flight: None,
                resets: None,
                syn_cookies: None,
            });
        }
    }
    Ok(facts)
}

fn named(outcomes: BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    outcomes.into_iter().map(|(outcome, count)| (outcome.to_owned(), count)).collect()
}

/// Adds what is open now to the services of a status, or why that is not known.
pub(super) fn add_open(status: &mut Status, open: Result<Open>) {
    let Open { connections, requests } = match open {
        Ok(open) => open,
        Err(error) => return status.problems.push(format!("{error:#}")),
    };
    for (port, count) in connections {
        let name = port.to_string();
        let outside = |facts: &&mut ServiceFacts| facts.port == name && facts.protocol != DECRYPTED;
        if let Some(facts) = status.services.iter_mut().find(outside) {
            facts.connections_active = Some(count);
            facts.requests_in_flight = requests.get(&port).copied();
        }
    }
}

/// How many names of servers are told.
const NAMES_SHOWN: usize = 100;

/// A path that is the same in every folder.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string()
}

/// Why no rules are in force on an interface, if none are.
pub(super) fn not_filtered(attachment: &Attachment) -> Option<String> {
    let Attachment { interface, index, mode, fallback, obstacle: _, expected_program, found_program, egress } =
        attachment;
    let why = match (index, mode, expected_program, found_program) {
        (None, ..) => "the interface does not exist".to_owned(),
        (_, None, ..) => match fallback {
            Some(why) => format!("not attached: {why}"),
            None => "not attached".to_owned(),
        },
        (_, _, _, None) => "no program is attached".to_owned(),
        (_, _, Some(expected), Some(found)) if expected != found => {
            format!("program {found} is attached, not foobar's program {expected}")
        }
        (_, _, None, Some(_)) => "it is not known which program should be attached".to_owned(),
        (_, _, Some(_), Some(_)) if egress.is_none() => "no program is attached for what goes out".to_owned(),
        (_, _, Some(_), Some(_)) => return None,
    };
    Some(format!("{interface}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::{attach::AttachedMode, egress::EgressHook};

    #[test]
    fn only_the_expected_program_makes_an_interface_ready() {
        let good = Attachment {
            interface: "eth0".to_owned(),
            index: Some(2),
            mode: Some(AttachedMode::Native),
            fallback: None,
            obstacle: None,
            expected_program: Some(7),
            found_program: Some(7),
            egress: Some(EgressHook::Tcx),
        };
        assert_eq!(not_filtered(&good), None);
        for (attachment, said) in [
            (Attachment { index: None, ..good.clone() }, "does not exist"),
            (Attachment { mode: None, fallback: Some("because".to_owned()), ..good.clone() }, "because"),
            (Attachment { found_program: None, ..good.clone() }, "no program"),
            (Attachment { egress: None, ..good.clone() }, "what goes out"),
            (Attachment { found_program: Some(8), ..good.clone() }, "program 8 is attached"),
            (Attachment { expected_program: None, ..good }, "not known"),
        ] {
            let why = not_filtered(&attachment).unwrap();
            assert!(why.starts_with("eth0: ") && why.contains(said), "{why}");
        }
    }
}
