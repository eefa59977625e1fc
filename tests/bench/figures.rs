//! Figures as they were seen, and how they are shown.

use std::{cmp::Reverse, collections::BTreeMap};

use serde_json::{Value, json};

/// The middle of some samples, and their ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    /// The one in the middle.
    pub(crate) median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    /// Of these samples; of none, zero.
    pub(crate) fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let at = |place: usize| samples.get(place).copied().unwrap_or(0.0);
        Self { median: at(samples.len() / 2), min: at(0), max: at(samples.len().saturating_sub(1)) }
    }
}

/// One figure of a row.
#[derive(Clone, Debug)]
pub(crate) enum Figure {
    /// Nanoseconds.
    Nanoseconds(Spread),
    /// Milliseconds.
    Milliseconds(Spread),
    /// Hundredths of a whole.
    Percent(Spread),
    /// How many in a second.
    Rate(Spread),
    /// A number of things.
    Count(u64),
    /// Memory.
    Bytes(u64),
    /// Memory by map; a person is told of the largest.
    Maps(BTreeMap<String, u64>),
    /// How many times as much.
    Ratio(f64),
    /// Anything else.
    Words(String),
}

impl Figure {
    /// For a person.
    pub(crate) fn shown(&self) -> String {
        let spread = |Spread { median, min, max }: &Spread, digits: usize| {
            format!("{median:.digits$} ({min:.digits$}..{max:.digits$})")
        };
        match self {
            Self::Nanoseconds(figure) | Self::Rate(figure) => spread(figure, 0),
            Self::Milliseconds(figure) | Self::Percent(figure) => spread(figure, 1),
            Self::Count(number) => number.to_string(),
            Self::Bytes(bytes) => megabytes(*bytes),
            Self::Maps(maps) => largest(maps),
            Self::Ratio(ratio) => format!("{ratio:.1}x"),
            Self::Words(words) => words.clone(),
        }
    }

    /// For a program.
    pub(crate) fn json(&self) -> Value {
        let spread = |Spread { median, min, max }: &Spread, unit: &str| json!({ "median": median, "min": min, "max": max, "unit": unit });
        match self {
            Self::Nanoseconds(figure) => spread(figure, "ns"),
            Self::Milliseconds(figure) => spread(figure, "ms"),
            Self::Percent(figure) => spread(figure, "%"),
            Self::Rate(figure) => spread(figure, "1/s"),
            Self::Count(number) => json!(number),
            Self::Bytes(bytes) => json!({ "value": bytes, "unit": "byte" }),
            Self::Maps(maps) => json!(maps),
            Self::Ratio(ratio) => json!(ratio),
            Self::Words(words) => json!(words),
        }
    }
}

/// The four largest.
fn largest(maps: &BTreeMap<String, u64>) -> String {
    let mut largest: Vec<(&String, &u64)> = maps.iter().collect();
    largest.sort_by_key(|(_, bytes)| Reverse(**bytes));
    let words = largest.iter().take(4).map(|(map, bytes)| format!("{map} {}", megabytes(**bytes)));
    words.collect::<Vec<_>>().join(", ")
}

/// Bytes in millions, as text.
fn megabytes(bytes: u64) -> String {
    let (whole, rest) = (bytes / 1_000_000, bytes % 1_000_000 / 100_000);
    format!("{whole}.{rest} MB")
}
