//! What passes, told once a second: a block that renews itself on a terminal, else a line each.

use std::{
    collections::BTreeMap,
    time::{Instant, UNIX_EPOCH},
};

use anyhow::Result;
use foobar_common::{
    counters::Counter,
    flow::Direction,
    verdict::{Reason, Verdict},
};

use super::handle::Handle;
use crate::{
    dataplane::counters::{Counters, Port, ServiceCounters},
    env::Env,
    rates::per_second,
    rules::{
        model::{Service, ServicePort},
        rule_id::RuleId,
    },
};

/// Longest line on a terminal: one that wraps would break the renewing.
const WIDTH: usize = 78;

/// Remembers the last look.
pub struct Summary {
    names: BTreeMap<ServicePort, String>,
    last: Option<(Instant, Counters)>,
    terminal: bool,
    /// Lines that stand on the terminal.
    shown: usize,
}

impl Summary {
    /// Names services as this ruleset does.
    pub fn new(services: &[Service], terminal: bool) -> Self {
        let names = services
            .iter()
            .flat_map(|service| service.ports.iter().map(|port| (*port, service.name.clone())))
            .collect();
        Self { names, last: None, terminal, shown: 0 }
    }

    /// Looks at the counters and tells what passed since the last time.
    ///
    /// # Errors
    /// When counters cannot be read or nothing can be written.
    pub fn show(&mut self, handle: &Handle, env: &mut Env<'_>) -> Result<()> {
        let (now, counters) = (Instant::now(), handle.counters.read()?);
        if let Some((then, before)) = &self.last {
            let rates = Passed::between(before, &counters, (now - *then).as_secs_f64());
            if self.terminal {
                let lines = rates.block(&self.names);
                if self.shown > 0 {
                    write!(env.out, "\x1b[{}A", self.shown)?;
                }
                for line in &lines {
                    let line: String = line.chars().take(WIDTH).collect();
                    writeln!(env.out, "\x1b[2K{line}")?;
                }
                // Lines of a longer block before.
                write!(env.out, "\x1b[J")?;
                self.shown = lines.len();
            } else {
                let time = (env.now)().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let (hour, minute, second) = (time / 3600 % 24, time / 60 % 60, time % 60);
                writeln!(env.out, "{hour:02}:{minute:02}:{second:02}Z {}", rates.line(&self.names))?;
            }
            env.out.flush()?;
        }
        self.last = Some((now, counters));
        Ok(())
    }
}

/// Packets and bits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Traffic {
    packets: f64,
    bits: f64,
}

/// What passed per second.
#[derive(Clone, Debug, Default, PartialEq)]
struct Passed {
    traffic: BTreeMap<Direction, Traffic>,
    verdicts: BTreeMap<Verdict, BTreeMap<Reason, f64>>,
    services: BTreeMap<ServicePort, f64>,
    /// Of services that have requests.
    requests: BTreeMap<ServicePort, (f64, &'static str)>,
    rules: BTreeMap<RuleId, f64>,
}

impl Passed {
    fn between(before: &Counters, after: &Counters, seconds: f64) -> Self {
        let traffic = Direction::ALL.map(|direction| (direction, Traffic::default())).into();
        let mut passed = Self { traffic, ..Self::default() };
        let grown = |old: Option<&Counter>, new: &Counter| {
            let old = old.copied().unwrap_or_default();
            (per_second(old.packets, new.packets, seconds), per_second(old.bytes, new.bytes, seconds))
        };
        for (key, counter) in &after.verdicts {
            let (_, direction, verdict, reason) = key;
            let (packets, bytes) = grown(before.verdicts.get(key), counter);
            let traffic = passed.traffic.entry(*direction).or_default();
            traffic.packets += packets;
            traffic.bits += 8.0 * bytes;
            *passed.verdicts.entry(*verdict).or_default().entry(*reason).or_default() += packets;
        }
        for (key, counter) in &after.ports {
            if let (_, _, Port::Service(port)) = key {
                *passed.services.entry(*port).or_default() += grown(before.ports.get(key), counter).0;
            }
        }
        for (port, service) in &after.services {
            let before = before.services.get(port).map_or(0, ServiceCounters::requests);
            let word = service.request_word();
            passed.requests.insert(*port, (per_second(before, service.requests(), seconds), word));
        }
        for (id, counter) in &after.rules {
            let (packets, _) = grown(before.rules.get(id), counter);
            if packets > 0.0 {
                passed.rules.insert(id.clone(), packets);
            }
        }
        passed
    }

    fn line(&self, names: &BTreeMap<ServicePort, String>) -> String {
        let mut parts: Vec<String> =
            self.traffic_words().map(|(way, text)| format!("{way} {text}")).collect();
        parts.extend(self.verdict_words().into_iter().map(|(verdict, text)| format!("{verdict} {text}")));
        // A line for the log names only what is in use.
        parts.extend(names.iter().filter_map(|(port, name)| {
            let packets = self.services.get(port).copied().unwrap_or_default();
            (packets > 0.0).then(|| format!("{name} {port} {packets:.0}/s{}", self.request_words(*port)))
        }));
        parts.join("; ")
    }

    fn block(&self, names: &BTreeMap<ServicePort, String>) -> Vec<String> {
        let mut lines: Vec<String> =
            self.traffic_words().map(|(way, text)| format!("{way:<8} {text}")).collect();
        for (verdict, text) in self.verdict_words() {
            lines.push(format!("{verdict:<8} {text}"));
        }
        for (port, name) in names {
            let packets = self.services.get(port).copied().unwrap_or_default();
            let requests = self.request_words(*port);
            lines.push(format!("service  {name} {port}: {packets:.0} packets/s{requests}"));
        }
        let mut rules: Vec<(&RuleId, &f64)> = self.rules.iter().collect();
        rules.sort_by(|one, other| other.1.total_cmp(one.1));
        for (id, packets) in rules.into_iter().take(5) {
            lines.push(format!("rule     {id}: {packets:.0} packets/s"));
        }
        lines
    }

    /// Nothing for a service that has none.
    fn request_words(&self, port: ServicePort) -> String {
        self.requests.get(&port).map_or(String::new(), |(count, word)| format!(", {count:.0} {word}/s"))
    }

    /// For each direction: how much.
    fn traffic_words(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.traffic.iter().map(|(direction, traffic)| {
            let Traffic { packets, bits } = *traffic;
            (direction.label(), format!("{packets:.0} packets/s, {}", self::bits(bits)))
        })
    }

    /// For each verdict that some packet got: how many per second, and for which reasons.
    fn verdict_words(&self) -> Vec<(&'static str, String)> {
        let mut words = Vec::new();
        for (verdict, reasons) in &self.verdicts {
            let total: f64 = reasons.values().sum();
            let some: Vec<String> = reasons
                .iter()
                .filter(|(_, packets)| **packets > 0.0)
                .map(|(reason, packets)| format!("{} {packets:.0}", reason.label()))
                .collect();
            let why = if some.is_empty() { String::new() } else { format!(" ({})", some.join(", ")) };
            let text = format!("{total:.0}/s{why}");
            words.push((verdict.label(), text));
        }
        words
    }
}

/// Bits per second in the unit that fits.
pub fn bits(per_second: f64) -> String {
    let units = [(1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")];
    match units.into_iter().find(|(size, _)| per_second >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", per_second / size),
        None => format!("{per_second:.0} bit/s"),
    }
}

#[cfg(test)]
mod tests {
    use foobar_common::service::{HttpCounters, ServiceBytes};

    use super::*;
    use crate::{
        dataplane::counters::{Peers, ProtocolCounters},
        rules::model::PortProtocol,
    };

    const WEB: ServicePort = ServicePort { protocol: PortProtocol::Tcp, port: 443 };

    fn counters(packets: u64) -> Counters {
        let counter = Counter { packets, bytes: packets * 1000 };
        let mut counters = Counters::default();
        counters.verdicts.insert(("eth0".to_owned(), Direction::In, Verdict::Accept, Reason::Rule), counter);
        counters
            .verdicts
            .insert(("eth0".to_owned(), Direction::In, Verdict::Drop, Reason::Policy), Counter::default());
        counters.ports.insert(("eth0".to_owned(), Direction::In, Port::Service(WEB)), counter);
        counters.rules.insert("web".into(), counter);
        let http =
            HttpCounters { requests: [packets, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], ..HttpCounters::default() };
        let of_protocol = ProtocolCounters::Http1(http);
        counters.services.insert(
            WEB,
            ServiceCounters {
                service: "www".to_owned(),
                bytes: ServiceBytes::default(),
                proxied: None,
                peers: Peers::default(),
                syn_cookies: None,
                of_protocol,
            },
        );
        counters
    }

    #[test]
    fn a_summary_tells_what_passed_between_two_looks() {
        let passed = Passed::between(&counters(100), &counters(300), 2.0);
        let names = BTreeMap::from([(WEB, "www".to_owned())]);
        assert_eq!(
            passed.line(&names),
            "in 100 packets/s, 800.0 kbit/s; out 0 packets/s, 0 bit/s; accept 100/s (rule 100); drop 0/s; www tcp/443 100/s, 100 requests/s"
        );
        assert_eq!(
            passed.block(&names),
            [
                "in       100 packets/s, 800.0 kbit/s",
                "out      0 packets/s, 0 bit/s",
                "accept   100/s (rule 100)",
                "drop     0/s",
                "service  www tcp/443: 100 packets/s, 100 requests/s",
                "rule     web: 100 packets/s",
            ]
        );
    }

    #[test]
    fn bits_have_a_fitting_unit() {
        for (rate, text) in [
            (0.0, "0 bit/s"),
            (999.0, "999 bit/s"),
            (1500.0, "1.5 kbit/s"),
            (2e6, "2.0 Mbit/s"),
            (1e10, "10.0 Gbit/s"),
        ] {
            assert_eq!(bits(rate), text);
        }
    }
}
