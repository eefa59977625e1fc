//! What a replay prints: a line per frame, and a summary.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use foobar_common::{
    counters::Counter,
    service::{FirstBytes, HttpCounters, Method, STATUS_CLASS_LABELS, TlsCounters},
    tls::{Alpn, TlsVersion},
    verdict::{Reason, Verdict},
};
use serde::{Serialize, Serializer};

use super::judge::{Judged, Totals, sum};
use crate::{dataplane::counters::ProtocolCounters, rules::model::Ruleset};

/// Writes the lines of a replay.
pub struct Report<'o> {
    out: &'o mut dyn Write,
    form: Form,
    frames: u64,
    verdicts: BTreeMap<Verdict, u64>,
    reasons: BTreeMap<Reason, u64>,
}

/// How a replay is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Columns, for people.
    Table,
    /// One JSON object per line.
    JsonLines,
}

impl<'o> Report<'o> {
    /// A report without lines.
    pub fn new(out: &'o mut dyn Write, form: Form) -> Self {
        Self { out, form, frames: 0, verdicts: BTreeMap::new(), reasons: BTreeMap::new() }
    }

    /// Adds a frame.
    pub fn frame(&mut self, number: u64, judged: &Judged) -> io::Result<()> {
        let Judged { direction, judgement } = judged;
        self.frames += 1;
        *self.verdicts.entry(judgement.verdict).or_default() += 1;
        *self.reasons.entry(judgement.reason).or_default() += 1;
        let (verdict, reason) = (judgement.verdict.label(), judgement.reason.label());
        let (direction, rule) = (direction.label(), judgement.rule.as_deref());
        match self.form {
            Form::JsonLines => {
                let line = FrameLine { frame: number, direction, verdict, reason, rule };
                serde_json::to_writer(&mut *self.out, &line)?;
                writeln!(self.out)
            }
            Form::Table => {
                if self.frames == 1 {
                    writeln!(
                        self.out,
                        "{:>8}  {:<3}  {:<7}  {:<20}  rule",
                        "frame", "dir", "verdict", "reason"
                    )?;
                }
                let rule = rule.unwrap_or("-");
                writeln!(self.out, "{number:>8}  {direction:<3}  {verdict:<7}  {reason:<20}  {rule}")
            }
        }
    }

    /// How many frames there were.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Ends with the summary.
    pub fn summary(self, ruleset: &Ruleset, totals: &Totals) -> io::Result<()> {
        let rules = ruleset
            .rules
            .iter()
            .map(|rule| (rule.id.clone(), totals.rules.get(&rule.id).copied().unwrap_or_default()));
        let services = ruleset.services.iter().map(|service| {
            let mut counter = Counter::default();
            let (mut http, mut tls) = (None, None);
            let mut sni: BTreeMap<String, u64> = BTreeMap::new();
            for port in &service.ports {
                sum(&mut counter, totals.services.get(port).copied().unwrap_or_default());
                match totals.protocols.get(port) {
                    Some(ProtocolCounters::Http1(counters)) => {
                        http.get_or_insert_with(HttpCounters::default).add(counters);
                    }
                    Some(ProtocolCounters::Tls(counters)) => {
                        tls.get_or_insert_with(TlsCounters::default).add(counters);
                    }
                    None => {}
                }
                for (name, count) in totals.names.get(port).into_iter().flatten() {
                    *sni.entry(name.clone()).or_default() += count;
                }
            }
            let (http, tls) = (http.as_ref().map(Http::of), tls.as_ref().map(|tls| Tls::of(tls, sni)));
            (service.name.clone(), ServiceSummary { traffic: counter.into(), http, tls })
        });
        let summary = Summary {
            frames: self.frames,
            // Every verdict, and those reasons that there were.
            verdicts: Ordered(
                Verdict::ALL
                    .iter()
                    .map(|one| (one.label().to_owned(), self.verdicts.get(one).copied().unwrap_or(0)))
                    .collect(),
            ),
            reasons: Ordered(
                self.reasons.iter().map(|(reason, frames)| (reason.label().to_owned(), *frames)).collect(),
            ),
            rules: Ordered(rules.map(|(id, counter)| (id, counter.into())).collect()),
            services: Ordered(services.collect()),
        };
        match self.form {
            Form::JsonLines => {
                serde_json::to_writer(&mut *self.out, &LastLine { summary })?;
                writeln!(self.out)?;
            }
            Form::Table => summary.write(self.out)?,
        }
        self.out.flush()
    }
}

#[derive(Serialize)]
struct FrameLine<'a> {
    frame: u64,
    direction: &'static str,
    verdict: &'static str,
    reason: &'static str,
    rule: Option<&'a str>,
}

#[derive(Serialize)]
struct LastLine {
    summary: Summary,
}

#[derive(Serialize)]
struct Summary {
    frames: u64,
    verdicts: Ordered<u64>,
    reasons: Ordered<u64>,
    rules: Ordered<Counted>,
    services: Ordered<ServiceSummary>,
}

#[derive(Serialize)]
struct ServiceSummary {
    #[serde(flatten)]
    traffic: Counted,
    #[serde(flatten)]
    http: Option<Http>,
    #[serde(flatten)]
    tls: Option<Tls>,
}

/// What was counted of TLS.
#[derive(Serialize)]
struct Tls {
    hellos: u64,
    /// Names of servers that clients asked for, the first hundred.
    sni: BTreeMap<String, u64>,
    handshakes: u64,
    /// Handshakes by the version that the server chose.
    versions: Ordered<u64>,
    /// The same by the protocol inside.
    alpn: Ordered<u64>,
    failures: u64,
    /// Connections that began with something else.
    plain: Ordered<u64>,
    framing_lost: u64,
    lost: Ordered<u64>,
}

/// How many names are shown.
const NAMES_SHOWN: usize = 100;

impl Tls {
    fn of(counters: &TlsCounters, sni: BTreeMap<String, u64>) -> Self {
        let TlsCounters { connections, offered, handshakes, failures, lost } = counters;
        let lost = some(lost.by_reason().map(|(loss, count)| (loss.label(), count)));
        let versions = TlsVersion::ALL.iter().zip(handshakes);
        let alpn = Alpn::ALL.iter().enumerate();
        let plain = FirstBytes::ALL.iter().zip(connections).filter(|(first, _)| **first != FirstBytes::Tls);
        Self {
            hellos: offered.iter().sum(),
            sni: sni.into_iter().take(NAMES_SHOWN).collect(),
            handshakes: handshakes.as_flattened().iter().sum(),
            versions: some(versions.map(|(version, by_alpn)| (version.label(), by_alpn.iter().sum()))),
            alpn: some(
                alpn.map(|(number, alpn)| (alpn.label(), handshakes.iter().map(|one| one[number]).sum())),
            ),
            failures: failures.iter().sum(),
            plain: some(plain.map(|(first, count)| (first.label(), *count))),
            framing_lost: lost.0.iter().map(|(_, count)| count).sum(),
            lost,
        }
    }

    /// Lines for people, without the name of the service.
    fn lines(&self) -> Vec<String> {
        let Self { hellos, sni, handshakes, versions, alpn, failures, plain, framing_lost, lost } = self;
        let mut lines = vec![format!(
            "{hellos} hellos, {handshakes} handshakes{}{}, {failures} failures",
            list(versions),
            list(alpn)
        )];
        if !plain.0.is_empty() {
            lines.push(format!("not TLS{}", list(plain)));
        }
        if !sni.is_empty() {
            let names: Vec<String> = sni.iter().map(|(name, count)| format!("{name} {count}")).collect();
            lines.push(format!("names: {}", names.join(", ")));
        }
        if *framing_lost > 0 {
            lines.push(format!("could not be followed {framing_lost} times{}", list(lost)));
        }
        lines
    }
}

/// Counts in brackets; nothing if there are none.
fn list(counts: &Ordered<u64>) -> String {
    let words: Vec<String> = counts.0.iter().map(|(label, count)| format!("{label} {count}")).collect();
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
}

/// What was counted of HTTP.
#[derive(Serialize)]
struct Http {
    connections: u64,
    requests: u64,
    methods: Ordered<u64>,
    responses: u64,
    status: Ordered<u64>,
    /// How often one direction of a connection could not be followed to its end.
    framing_lost: u64,
    /// The same by reason.
    lost: Ordered<u64>,
}

impl Http {
    fn of(counters: &HttpCounters) -> Self {
        let HttpCounters { connections, requests, responses, lost, untimed: _, first_byte: _, last_byte: _ } =
            counters;
        let lost = some(lost.by_reason().map(|(loss, count)| (loss.label(), count)));
        Self {
            connections: *connections,
            requests: requests.iter().sum(),
            methods: some(Method::ALL.iter().map(|method| method.label()).zip(requests.iter().copied())),
            responses: responses.iter().sum(),
            status: some(STATUS_CLASS_LABELS.into_iter().zip(responses.iter().copied())),
            framing_lost: lost.0.iter().map(|(_, count)| count).sum(),
            lost,
        }
    }

    /// Lines for people, without the name of the service.
    fn lines(&self) -> Vec<String> {
        let Self { connections, requests, methods, responses, status, framing_lost, lost } = self;
        let mut lines = vec![format!(
            "{requests} requests{} on {connections} connections, {responses} responses{}",
            list(methods),
            list(status)
        )];
        if *framing_lost > 0 {
            lines.push(format!("could not be followed {framing_lost} times{}", list(lost)));
        }
        lines
    }
}

/// Those that are not zero.
fn some(counts: impl Iterator<Item = (&'static str, u64)>) -> Ordered<u64> {
    Ordered(counts.filter(|(_, count)| *count > 0).map(|(label, count)| (label.to_owned(), count)).collect())
}

#[derive(Clone, Copy, Serialize)]
struct Counted {
    packets: u64,
    bytes: u64,
}

impl From<Counter> for Counted {
    fn from(counter: Counter) -> Self {
        let Counter { packets, bytes } = counter;
        Self { packets, bytes }
    }
}

/// A JSON object whose keys keep this order.
struct Ordered<V>(Vec<(String, V)>);

impl<V: Serialize> Serialize for Ordered<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl Summary {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.frames > 0 {
            writeln!(out)?;
        }
        write!(out, "{} frames", self.frames)?;
        for (verdict, frames) in &self.verdicts.0 {
            write!(out, ", {verdict} {frames}")?;
        }
        writeln!(out)?;
        if !self.reasons.0.is_empty() {
            let width = width("reason", self.reasons.0.iter().map(|(label, _)| label));
            writeln!(out, "\n{:<width$}  {:>10}", "reason", "frames")?;
            for (label, frames) in &self.reasons.0 {
                writeln!(out, "{label:<width$}  {frames:>10}")?;
            }
        }
        let services = self.services.0.iter();
        let services: Vec<_> = services.map(|(name, service)| (name.clone(), service.traffic)).collect();
        for (heading, lines) in [("rule", &self.rules.0), ("service", &services)] {
            if lines.is_empty() {
                continue;
            }
            let width = width(heading, lines.iter().map(|(name, _)| name));
            writeln!(out, "\n{heading:<width$}  {:>10}  {:>14}", "packets", "bytes")?;
            for (name, Counted { packets, bytes }) in lines {
                writeln!(out, "{name:<width$}  {packets:>10}  {bytes:>14}")?;
            }
        }
        for (name, service) in &self.services.0 {
            let lines =
                service.http.iter().flat_map(Http::lines).chain(service.tls.iter().flat_map(Tls::lines));
            for line in lines {
                writeln!(out, "\n{name}: {line}")?;
            }
        }
        Ok(())
    }
}

fn width(heading: &str, names: impl Iterator<Item = impl AsRef<str>>) -> usize {
    names.map(|name| name.as_ref().len()).chain([heading.len()]).max().unwrap_or(0)
}
