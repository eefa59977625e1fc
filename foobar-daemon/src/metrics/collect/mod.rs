//! A scrape: the counters and the daemon's facts as metric families.

mod bans;
mod certificates;
mod events;
mod fleet;
mod host;
mod push;
mod reconcile;
mod services;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use foobar_common::{
    counters::{Counter, Transport},
    flow::Direction,
    maps,
    reject::Outcome,
    verdict::{Reason, Verdict},
};
use prometheus::{
    core::{Collector, Desc},
    proto::{self, MetricFamily, MetricType},
};

use super::catalogue::{self, Family, Metric};
use crate::{
    control::protocol::Status,
    daemon::handle::{Facts, Handle},
    dataplane::{
        attach::Attachment,
        counters::{Counters, Open, Port},
        flows::{FlowFacts, FlowMapFacts},
        probes::DecryptionFacts,
        rejects::RejectFacts,
    },
    host::Readings,
    rules::model::{PortProtocol, ServicePort},
};

/// Collector of what the BPF maps hold.
const COUNTERS: &str = "counters";
/// Collector of what the kernel knows of connections.
const CONNECTIONS: &str = "connections";
/// Collector of the health of the machine.
const HOST: &str = "host";
/// Collector of what the daemon knows.
const DAEMON: &str = "daemon";

/// Where a scrape comes from.
pub trait Source: Send + Sync {
    /// The counters.
    fn counters(&self) -> Result<Counters, String>;
    /// What the daemon knows.
    fn facts(&self) -> Result<Facts, String>;
    /// What is open now.
    fn open(&self) -> Result<Open, String>;
    /// Has counters that began with this daemon go on where an earlier one has stopped.
    fn go_on(&self, families: &mut [MetricFamily]);
    /// How the machine is, if that is told.
    fn host(&self) -> Option<Readings>;
}

impl Source for Handle {
    fn counters(&self) -> Result<Counters, String> {
        self.counters.read().map_err(|error| format!("{error:#}"))
    }

    fn facts(&self) -> Result<Facts, String> {
        Self::facts(self).map_err(|refusal| refusal.error)
    }

    fn open(&self) -> Result<Open, String> {
        self.counters.open().map_err(|error| format!("{error:#}"))
    }

    fn go_on(&self, families: &mut [MetricFamily]) {
        self.account.lock().unwrap_or_else(PoisonError::into_inner).settle(families);
    }

    fn host(&self) -> Option<Readings> {
        self.host.as_ref().map(|host| host.read())
    }
}

/// Reads everything at each scrape.
pub struct ScrapeCollector {
    source: Box<dyn Source>,
    descriptors: Vec<Desc>,
    /// One scrape at a time, and what the last good ones gave: counters that cannot be read must not vanish.
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    counters: Option<Counters>,
    facts: Option<Facts>,
    /// Why it is not known what is open. What was open before is no answer to what is now, so that is not kept.
    not_open: Option<String>,
    /// What of the machine could not be read.
    host_problems: Vec<String>,
}

impl fmt::Debug for ScrapeCollector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ScrapeCollector").finish_non_exhaustive()
    }
}

impl ScrapeCollector {
    /// A collector of this source.
    ///
    /// # Errors
    /// When a name of the catalogue is none that Prometheus takes.
    pub fn new(source: Box<dyn Source>) -> prometheus::Result<Self> {
        let descriptors = catalogue::ALL
            .iter()
            .map(|entry| {
                let labels = entry.labels().iter().map(|label| (*label).to_owned()).collect();
                Desc::new(entry.name().to_owned(), entry.help().to_owned(), labels, [].into())
            })
            .collect::<prometheus::Result<_>>()?;
        Ok(Self { source, descriptors, last: Mutex::default() })
    }
}

impl Collector for ScrapeCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptors.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut success = catalogue::COLLECTOR_SUCCESS.family();
        let mut seconds = catalogue::SCRAPE_SECONDS.family();
        let mut families = Vec::new();

        let started = Instant::now();
        match self.source.facts() {
            Ok(facts) => {
                success.add_flag([DAEMON], facts.status.problems.is_empty());
                last.facts = Some(facts);
            }
            Err(error) => {
                tracing::warn!("scrape: {error}");
                success.add_flag([DAEMON], false);
            }
        }
        seconds.add([DAEMON], started.elapsed().as_secs_f64());

        let started = Instant::now();
        match self.source.counters() {
            Ok(counters) => {
                success.add_flag([COUNTERS], true);
                last.counters = Some(counters);
            }
            Err(error) => {
                tracing::warn!("scrape: read the counters: {error}");
                success.add_flag([COUNTERS], false);
            }
        }
        let Last { counters, facts, not_open: _, host_problems: _ } = &*last;
        if let Some(counters) = counters {
            counter_families(counters, facts.as_ref(), &mut families);
        }
        seconds.add([COUNTERS], started.elapsed().as_secs_f64());

        let started = Instant::now();
        let open = self.source.open();
        success.add_flag([CONNECTIONS], open.is_ok());
        match &open {
            Ok(open) => services::open(open, &mut families),
            // Once, and not at each scrape.
            Err(error) if last.not_open.as_ref() != Some(error) => tracing::warn!("scrape: {error}"),
            Err(_) => {}
        }
        last.not_open = open.err();
        seconds.add([CONNECTIONS], started.elapsed().as_secs_f64());

        let started = Instant::now();
        if let Some(readings) = self.source.host() {
            success.add_flag([HOST], readings.problems.is_empty());
            host::families(&readings, &mut families);
            // Once, too.
            if last.host_problems != readings.problems {
                readings.problems.iter().for_each(|problem| tracing::warn!("scrape: {problem}"));
                last.host_problems = readings.problems;
            }
            seconds.add([HOST], started.elapsed().as_secs_f64());
        }

        if let Some(facts) = &last.facts {
            status_families(&facts.status, &mut families);
            if let Some(cookies) = &facts.status.syn_cookies {
                families.push(flag(catalogue::SYN_COOKIES_POSSIBLE, cookies.problem.is_none()));
            }
        }
        self.source.go_on(&mut families);
        families.extend([success.into_proto(), seconds.into_proto()]);
        families.retain(|family| !family.get_metric().is_empty());
        families.push(series_family(&families));
        families
    }
}

/// How many series each family has, this one included.
fn series_family(families: &[MetricFamily]) -> MetricFamily {
    let mut series = catalogue::SERIES.family();
    for family in families {
        series.add_integer([family.name()], lines(family));
    }
    series.add_integer([catalogue::SERIES.name()], families.len() as u64 + 1);
    series.into_proto()
}

/// How many lines the family has.
fn lines(family: &MetricFamily) -> u64 {
    let of_one = |metric: &proto::Metric| match family.get_field_type() {
        // One for all buckets, the sum and the count besides.
        MetricType::HISTOGRAM => metric.get_histogram().get_bucket().len() + 3,
        MetricType::COUNTER | MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => 1,
    };
    family.get_metric().iter().map(of_one).sum::<usize>() as u64
}

fn counter_families(counters: &Counters, facts: Option<&Facts>, families: &mut Vec<MetricFamily>) {
    let interfaces: Vec<&str> = facts
        .iter()
        .flat_map(|facts| &facts.status.interfaces)
        .map(|attachment| attachment.interface.as_str())
        .collect();
    let services: &[ServicePort] = facts.map_or(&[], |facts| &facts.service_ports);

    // Zeros are told too: a counter that appears with its first packet hides that packet from rate().
    let mut ports: BTreeMap<(&str, Direction, Port), Counter> = BTreeMap::new();
    let others = Transport::ALL.into_iter().map(Port::Other);
    for port in services.iter().copied().map(Port::Service).chain(others) {
        ports
            .extend(ways(&interfaces).map(|(name, direction)| ((name, direction, port), Counter::default())));
    }
    let told = counters
        .ports
        .iter()
        .map(|((name, direction, port), counter)| ((name.as_str(), *direction, *port), *counter));
    ports.extend(told);
    let mut packets = catalogue::PACKETS.family();
    let mut bytes = catalogue::BYTES.family();
    for ((interface, direction, port), counter) in ports {
        let (number, transport) = port_labels(port);
        let labels = [interface, direction.label(), &number, transport];
        packets.add_integer(labels, counter.packets);
        bytes.add_integer(labels, counter.bytes);
    }
    families.extend([packets.into_proto(), bytes.into_proto()]);

    let mut verdicts: BTreeMap<(&str, Direction, Verdict, Reason), Counter> = BTreeMap::new();
    let rejects = facts.is_some_and(|facts| facts.status.rejects.is_some());
    for (verdict, reason) in usual_verdicts(rejects) {
        let usual = ways(&interfaces).map(|(name, direction)| (name, direction, verdict, reason));
        verdicts.extend(usual.map(|key| (key, Counter::default())));
    }
    let told = counters.verdicts.iter().map(|((name, direction, verdict, reason), counter)| {
        ((name.as_str(), *direction, *verdict, *reason), *counter)
    });
    verdicts.extend(told);
    let mut packets = catalogue::FIREWALL_PACKETS.family();
    let mut bytes = catalogue::FIREWALL_BYTES.family();
    for ((interface, direction, verdict, reason), counter) in verdicts {
        let labels = [interface, direction.label(), verdict.label(), reason.label()];
        packets.add_integer(labels, counter.packets);
        bytes.add_integer(labels, counter.bytes);
    }
    families.extend([packets.into_proto(), bytes.into_proto()]);

    let mut hits = catalogue::RULE_HITS.family();
    hits.reserve(counters.rules.len());
    for (id, counter) in &counters.rules {
        hits.add_integer([id.as_str()], counter.packets);
    }
    let mut over = catalogue::RULE_OVER.family();
    for (id, counter) in &counters.over {
        over.add_integer([id.as_str()], counter.packets);
    }
    families.extend([hits.into_proto(), over.into_proto()]);
    services::families(&counters.services, &counters.decrypted, families);
}

/// Each interface with each direction.
fn ways<'n>(interfaces: &[&'n str]) -> impl Iterator<Item = (&'n str, Direction)> {
    interfaces.iter().flat_map(|name| Direction::ALL.map(|direction| (*name, direction)))
}

/// The pairs of verdict and reason that any ruleset can lead to, also one that rejects.
fn usual_verdicts(rejects: bool) -> impl Iterator<Item = (Verdict, Reason)> {
    let accepted = [Reason::Policy, Reason::Rule, Reason::Infrastructure, Reason::Failsafe];
    let dropped = Reason::ALL.iter().copied().filter(|reason| {
        matches!(reason, Reason::Policy | Reason::Rule | Reason::Fragments | Reason::Ban)
            || reason.is_malformed()
    });
    let rejected = if rejects { &[Reason::Policy, Reason::Rule][..] } else { &[] };
    accepted
        .into_iter()
        .map(|reason| (Verdict::Accept, reason))
        .chain(dropped.map(|reason| (Verdict::Drop, reason)))
        .chain(rejected.iter().map(|reason| (Verdict::Reject, *reason)))
}

/// The labels `port` and `l4`.
fn port_labels(port: Port) -> (String, &'static str) {
    match port {
        Port::Service(ServicePort { protocol, port }) => {
            let transport = match protocol {
                PortProtocol::Tcp => Transport::Tcp,
                PortProtocol::Udp => Transport::Udp,
                PortProtocol::Sctp => Transport::Sctp,
            };
            (port.to_string(), transport.label())
        }
        Port::Other(transport) => ("other".to_owned(), transport.label()),
    }
}

fn flow_families(flows: Option<&FlowFacts>, rejects: Option<&RejectFacts>, families: &mut Vec<MetricFamily>) {
    reject_families(rejects, families);
    let Some(flows) = flows else { return };
    let mut failures = catalogue::MAP_FAILURES.family();
    let mut evictions = catalogue::MAP_EVICTIONS.family();
    for (map, FlowMapFacts { failed, evicted, .. }) in flows.maps() {
        failures.add_integer([map], failed);
        evictions.add_integer([map], evicted);
    }
    let mut now = catalogue::FLOWS.family();
    now.add_integer(["proved"], flows.known().into());
    now.add_integer(["unproved"], flows.unproved.known.into());
    let mut seen = catalogue::FLOWS_SEEN.family();
    seen.add_integer(["begun"], flows.begun);
    seen.add_integer(["proved"], flows.proved);
    families.extend([failures.into_proto(), evictions.into_proto(), now.into_proto(), seen.into_proto()]);
}

fn decryption_families(decryption: &[DecryptionFacts], families: &mut Vec<MetricFamily>) {
    let mut watched = catalogue::DECRYPT_PROCESSES.family();
    let mut complete = catalogue::DECRYPT_COMPLETE.family();
    let mut missed = catalogue::DECRYPT_MISSED.family();
    for DecryptionFacts { service: _, port, processes, missed_connections, problems } in decryption {
        let port = port.to_string();
        watched.add_integer([&port], processes.len() as u64);
        complete.add_flag([&port], problems.is_empty());
        missed.add_integer([&port], *missed_connections);
    }
    families.extend([watched.into_proto(), complete.into_proto(), missed.into_proto()]);
}

fn reject_families(rejects: Option<&RejectFacts>, families: &mut Vec<MetricFamily>) {
    let Some(rejects) = rejects else { return };
    let mut answers = catalogue::REJECT_ANSWERS.family();
    let mut unanswered = catalogue::REJECT_UNANSWERED.family();
    for direction in Direction::ALL {
        for outcome in Outcome::ALL {
            let packets = rejects.of(direction).get(outcome.label()).copied().unwrap_or(0);
            let family = if outcome.is_answer() { &mut answers } else { &mut unanswered };
            family.add_integer([direction.label(), outcome.label()], packets);
        }
    }
    families.extend([answers.into_proto(), unanswered.into_proto()]);
}

fn status_families(status: &Status, families: &mut Vec<MetricFamily>) {
    let Status {
        version,
        object,
        interfaces,
        ruleset,
        maps,
        flows,
        rejects,
        programs,
        decryption,
        bans,
        events,
        reconcile,
        web_config,
        push,
        certificates,
        page_viewers,
        busiest_bans: _,
        syn_cookies: _,
        ready: _,
        pending: _,
        guard: _,
        few_sources: _,
        fleet: _,
        last_reload: _,
        pid: _,
        started_unix_ms: _,
        not_ready: _,
        mode: _,
        rates: _,
        services: _,
        problems: _,
        listen: _,
        control: _,
        state: _,
        pins: _,
        ephemeral: _,
    } = status;

    let mut entries = catalogue::MAP_ENTRIES.family();
    let mut max_entries = catalogue::MAP_MAX_ENTRIES.family();
    let mut memory = catalogue::MAP_MEMORY.family();
    for map in maps {
        entries.add_integer([&map.map], map.entries.into());
        max_entries.add_integer([&map.map], map.max_entries.into());
        memory.add_integer([&map.map], map.bytes);
    }
    families.extend([entries.into_proto(), max_entries.into_proto(), memory.into_proto()]);
    flow_families(flows.as_ref(), rejects.as_ref(), families);

    let mut runs = catalogue::PROGRAM_RUNS.family();
    let mut run_seconds = catalogue::PROGRAM_RUN_SECONDS.family();
    for program in programs {
        runs.add_integer([&program.program], program.runs);
        run_seconds
            .add([&program.program], std::time::Duration::from_nanos(program.run_time_ns).as_secs_f64());
    }
    families.extend([runs.into_proto(), run_seconds.into_proto()]);

    decryption_families(decryption, families);
    reconcile::families(reconcile, families);
    bans::families(bans, families);
    events::families(events, families);

    let mut attached = catalogue::PROGRAM_ATTACHED.family();
    let mut modes = catalogue::ATTACH_MODE.family();
    let mut fallbacks = catalogue::ATTACH_FALLBACK.family();
    for Attachment {
        interface,
        index,
        mode,
        fallback: _,
        obstacle,
        expected_program,
        found_program,
        egress,
    } in interfaces
    {
        let is_attached = index.is_some() && expected_program.is_some() && expected_program == found_program;
        attached.add_flag([maps::INGRESS, interface], is_attached);
        attached.add_flag([maps::EGRESS, interface], index.is_some() && egress.is_some());
        if let Some(mode) = mode {
            modes.add([interface, mode.label()], 1.0);
        }
        if let Some(obstacle) = obstacle {
            fallbacks.add([interface, obstacle.label()], 1.0);
        }
    }
    families.extend([attached.into_proto(), modes.into_proto(), fallbacks.into_proto()]);

    let mut hash = catalogue::RULESET.family();
    hash.add([&ruleset.hash], 1.0);
    let mut build = catalogue::BUILD.family();
    build.add([version, object], 1.0);
    families.extend([hash.into_proto(), build.into_proto()]);

    families.push(counted(catalogue::RULESET_GENERATION, ruleset.generation));
    families.push(counted(catalogue::PAGE_VIEWERS, *page_viewers));
    if let Some(applied) = &ruleset.applied {
        let seconds = std::time::Duration::from_millis(applied.unix_ms).as_secs_f64();
        families.push(single(catalogue::RULES_LOADED, seconds));
    }
    change_families(status, families);
    push::families(push.as_ref(), families);
    certificates::families(certificates, families);
    families.extend(web_config.iter().map(|web| flag(catalogue::WEB_CONFIG_SUCCESS, web.error.is_none())));
}

/// How changes of the rules ended, and what may still become of the last one.
fn change_families(status: &Status, families: &mut Vec<MetricFamily>) {
    let Status { last_reload, pending, guard, fleet, ready, ruleset, .. } = status;
    let is_guarded = pending.as_ref().is_some_and(|pending| pending.guarded);
    families.extend([
        flag(catalogue::RELOAD_SUCCESS, last_reload.success),
        flag(catalogue::CONFIRM_PENDING, pending.is_some() && !is_guarded),
        flag(catalogue::UP, *ready),
    ]);
    fleet::guard_families(guard, is_guarded, families);
    if let Some(fleet) = fleet {
        fleet::families(fleet, &ruleset.hash, families);
    }
}

fn single(metric: Metric<0>, value: f64) -> MetricFamily {
    let mut family: Family<0> = metric.family();
    family.add([], value);
    family.into_proto()
}

fn counted(metric: Metric<0>, value: u64) -> MetricFamily {
    let mut family: Family<0> = metric.family();
    family.add_integer([], value);
    family.into_proto()
}

fn flag(metric: Metric<0>, yes: bool) -> MetricFamily {
    single(metric, if yes { 1.0 } else { 0.0 })
}

#[cfg(test)]
mod tests;
