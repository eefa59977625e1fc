//! What a replay prints: a line per frame, and a summary.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use foobar_common::{
    counters::Counter,
    verdict::{Reason, Verdict},
};
use serde::Serialize;

use super::{
    judge::{Judged, Totals, sum},
    services::{OfProtocol, Ordered},
};
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
            let mut spoken: Option<ProtocolCounters> = None;
            let mut sni: BTreeMap<String, u64> = BTreeMap::new();
            for port in &service.ports {
                sum(&mut counter, totals.services.get(port).copied().unwrap_or_default());
                if let Some(counters) = totals.protocols.get(port) {
                    match &mut spoken {
                        Some(sum) => sum.add(counters),
                        None => spoken = Some(counters.clone()),
                    }
                }
                for (name, count) in totals.names.get(port).into_iter().flatten() {
                    *sni.entry(name.clone()).or_default() += count;
                }
            }
            let of_protocol = spoken.as_ref().map(|counters| OfProtocol::of(counters, sni));
            (service.name.clone(), ServiceSummary { traffic: counter.into(), of_protocol })
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
            rules: Ordered(rules.map(|(id, counter)| (id.to_string(), counter.into())).collect()),
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
    of_protocol: Option<OfProtocol>,
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
            for line in service.of_protocol.iter().flat_map(OfProtocol::lines) {
                writeln!(out, "\n{name}: {line}")?;
            }
        }
        Ok(())
    }
}

fn width(heading: &str, names: impl Iterator<Item = impl AsRef<str>>) -> usize {
    names.map(|name| name.as_ref().len()).chain([heading.len()]).max().unwrap_or(0)
}
