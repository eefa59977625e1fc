//! A scrape, read.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};

/// The samples of a scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    samples: Vec<Sample>,
    types: BTreeMap<String, String>,
}

/// One line of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name of the metric.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// Name and labels in one line, the same for the same series.
    pub fn series(&self) -> String {
        format!("{}{:?}", self.name, self.labels)
    }
}

impl Metrics {
    /// Reads the text format of Prometheus, version 0.0.4.
    pub fn parse(text: &str) -> Result<Self> {
        let mut metrics = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix('#') {
                if let Some((name, kind)) =
                    comment.strip_prefix(" TYPE ").and_then(|rest| rest.split_once(' '))
                {
                    metrics.types.insert(name.to_owned(), kind.to_owned());
                }
            } else {
                metrics.samples.push(sample(line).with_context(|| format!("read the sample {line}"))?);
            }
        }
        Ok(metrics)
    }

    /// Every sample.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Every metric with its type.
    pub fn types(&self) -> &BTreeMap<String, String> {
        &self.types
    }

    /// Samples of one metric that have all these labels.
    pub fn select<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(label, value)| sample.labels.get(*label).is_some_and(|found| found == value))
        })
    }

    /// The sum of the samples of a counter that have all these labels; zero if there are none.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of tests are whole and far below 2^53"
    )]
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.select(name, labels).map(|sample| sample.value as u64).sum()
    }

    /// The only sample of a metric that has all these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let mut found = self.select(name, labels);
        let sample = found.next().with_context(|| format!("no sample {name}{labels:?}"))?;
        ensure!(found.next().is_none(), "more than one sample {name}{labels:?}");
        Ok(sample.value)
    }

    /// Packets of the filter that came in, by labels.
    pub fn packets(&self, labels: &[(&str, &str)]) -> u64 {
        self.count("foobar_firewall_packets_total", &[labels, &[("direction", "in")]].concat())
    }

    /// Packets of the filter that went out or should have, by labels.
    pub fn packets_out(&self, labels: &[(&str, &str)]) -> u64 {
        self.count("foobar_firewall_packets_total", &[labels, &[("direction", "out")]].concat())
    }

    /// Bytes of the filter that came in, by labels.
    pub fn bytes(&self, labels: &[(&str, &str)]) -> u64 {
        self.count("foobar_firewall_bytes_total", &[labels, &[("direction", "in")]].concat())
    }

    /// Packets that met a rule.
    pub fn rule(&self, id: &str) -> u64 {
        self.count("foobar_firewall_rule_hits_total", &[("rule", id)])
    }

    /// Series of counters with their values.
    pub fn counters(&self) -> BTreeMap<String, f64> {
        self.samples
            .iter()
            .filter(|sample| self.types.get(&sample.name).is_some_and(|kind| kind == "counter"))
            .map(|sample| (sample.series(), sample.value))
            .collect()
    }
}

/// The highest value that each counter ever had.
#[derive(Clone, Debug, Default)]
pub struct Highest {
    counters: BTreeMap<String, f64>,
    scrapes: u64,
}

impl Highest {
    /// Takes the counters of a scrape.
    ///
    /// # Errors
    /// Names the first counter that is less than it was, or not there though it was. Only those with one of
    /// these labels may be gone, and must return with what they had: rules and services that some rulesets
    /// have and others do not. What the kernel counts of the machine (`foobar_host_`) goes with its interfaces and disks.
    pub fn observe(&mut self, metrics: &Metrics, passing: &[(&str, &str)]) -> Result<()> {
        let mut counters = metrics.counters();
        counters.retain(|series, _| !series.starts_with("foobar_host_"));
        for (series, before) in &self.counters {
            match counters.get(series) {
                Some(value) if value >= before => {}
                Some(value) => bail!("{series} went back from {before} to {value}"),
                None if passing
                    .iter()
                    .any(|(label, value)| series.contains(&format!("{label:?}: {value:?}"))) => {}
                None => bail!("{series} is gone; it was {before}"),
            }
        }
        self.counters.extend(counters);
        self.scrapes += 1;
        Ok(())
    }

    /// How many scrapes were taken.
    pub fn scrapes(&self) -> u64 {
        self.scrapes
    }
}

fn sample(line: &str) -> Result<Sample> {
    let (series, value) = line.rsplit_once(' ').context("no value")?;
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (name, read_labels(rest.strip_suffix('}').context("no closing brace")?)?),
        None => (series, BTreeMap::new()),
    };
    Ok(Sample { name: name.to_owned(), labels, value: value.parse()? })
}

/// Reads `a="b",c="d"`; in values, a backslash stands before `"`, `\` and `n`.
fn read_labels(text: &str) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").context("a label without value")?;
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next().context("a value without end")? {
                (at, '"') => break at,
                (_, '\\') => match characters.next().context("a value without end")? {
                    (_, 'n') => value.push('\n'),
                    (_, other) => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.trim_start_matches(',').to_owned(), value);
        rest = after.get(end + 1..).unwrap_or_default();
    }
    Ok(labels)
}
