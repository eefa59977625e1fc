//! Dividing a gathering into requests.

use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::POINTS_OF_REQUEST;
use crate::push::series::Series;

/// How the points of a histogram are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counting {
    /// One.
    Whole,
    /// One for each bucket, and two for sum and count, as in the text format.
    Lines,
}

/// What goes into one request.
#[derive(Debug, Default)]
pub(super) struct Chunk<'g> {
    pub(super) points: u64,
    pub(super) families: Vec<Part<'g>>,
}

/// Some series of a family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'g> {
    pub(super) family: &'g MetricFamily,
    pub(super) series: &'g [Metric],
}

impl Counting {
    fn points(self, kind: MetricType, metric: &Metric) -> u64 {
        match (self, kind) {
            (Self::Lines, MetricType::HISTOGRAM) => metric.get_histogram().get_bucket().len() as u64 + 3,
            _ => 1,
        }
    }
}

/// How many points are for a target.
pub(super) fn count(families: &[MetricFamily], wanted: &Series, counting: Counting) -> u64 {
    let of_family = |family: &MetricFamily| {
        let kind = family.get_field_type();
        family.get_metric().iter().map(|metric| counting.points(kind, metric)).sum::<u64>()
    };
    families.iter().filter(|family| wanted.allows(family.name())).map(of_family).sum()
}

/// What is for a target, up to `most` points, and how many more there were.
pub(super) fn split<'g>(
    families: &'g [MetricFamily],
    wanted: &Series,
    counting: Counting,
    most: u64,
) -> (Vec<Chunk<'g>>, u64) {
    let mut chunks = Vec::new();
    let mut chunk = Chunk::default();
    let (mut taken, mut left_out) = (0, 0);
    for family in families.iter().filter(|family| wanted.allows(family.name())) {
        let kind = family.get_field_type();
        let series = family.get_metric();
        let mut begun = 0;
        for (number, metric) in series.iter().enumerate() {
            let points = counting.points(kind, metric);
            if left_out > 0 || taken + points > most {
                // What comes first stays, whatever fits behind it: the same series each time.
                if left_out == 0 {
                    chunk.add(family, series.get(begun..number));
                }
                left_out += points;
                continue;
            }
            if chunk.points > 0 && chunk.points + points > POINTS_OF_REQUEST {
                chunk.add(family, series.get(begun..number));
                begun = number;
                chunks.push(std::mem::take(&mut chunk));
            }
            chunk.points += points;
            taken += points;
        }
        if left_out == 0 {
            chunk.add(family, series.get(begun..));
        }
    }
    if chunk.points > 0 {
        chunks.push(chunk);
    }
    (chunks, left_out)
}

impl<'g> Chunk<'g> {
    fn add(&mut self, family: &'g MetricFamily, series: Option<&'g [Metric]>) {
        if let Some(series) = series.filter(|series| !series.is_empty()) {
            self.families.push(Part { family, series });
        }
    }
}
