//! The text format of Prometheus with times, without comments, which Sumo Logic refuses.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>. The lines of a series here are what it has in all
//! formats that have no histograms.

use prometheus::proto::{Metric, MetricType};

use super::{Labels, chunks::Part};

/// One line: the end of the name, a label `le` if it is a bucket, the value.
pub(super) struct Line<'m> {
    pub(super) suffix: &'static str,
    pub(super) bound: Option<&'m str>,
    pub(super) value: f64,
}

/// Calls `each` with the lines of one series.
#[expect(clippy::cast_precision_loss, reason = "the text format has no integers")]
pub(super) fn lines(kind: MetricType, metric: &Metric, each: &mut dyn FnMut(Line<'_>)) {
    let mut plain = |value| each(Line { suffix: "", bound: None, value });
    match kind {
        MetricType::COUNTER => plain(metric.get_counter().get_value()),
        MetricType::GAUGE => plain(metric.get_gauge().get_value()),
        MetricType::HISTOGRAM => {
            let histogram = metric.get_histogram();
            let count = histogram.get_sample_count() as f64;
            for bucket in histogram.get_bucket() {
                let (bound, value) = (bucket.upper_bound().to_string(), bucket.cumulative_count() as f64);
                each(Line { suffix: "_bucket", bound: Some(&bound), value });
            }
            each(Line { suffix: "_bucket", bound: Some("+Inf"), value: count });
            each(Line { suffix: "_sum", bound: None, value: histogram.get_sample_sum() });
            each(Line { suffix: "_count", bound: None, value: count });
        }
        // foobar's catalogue has none.
        MetricType::SUMMARY | MetricType::UNTYPED => {}
    }
}

/// The labels of a series with those that all get. A label of its own is never overwritten: no other has its name.
pub(super) fn labels<'m>(metric: &'m Metric, all: &'m Labels) -> impl Iterator<Item = (&'m str, &'m str)> {
    let own = metric.get_label().iter().map(|pair| (pair.name(), pair.value()));
    own.chain(all.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        .filter(|(_, value)| !value.is_empty())
}

/// The body of a request.
pub(super) fn encode(parts: &[Part<'_>], all: &Labels, unix_ms: u64) -> Vec<u8> {
    let mut text = String::new();
    let time = unix_ms.to_string();
    for Part { family, series } in parts {
        for metric in *series {
            let mut shown = String::new();
            for (name, value) in labels(metric, all) {
                push_label(&mut shown, name, value);
            }
            lines(family.get_field_type(), metric, &mut |Line { suffix, bound, value }| {
                text.push_str(family.name());
                text.push_str(suffix);
                text.push('{');
                text.push_str(&shown);
                if let Some(bound) = bound {
                    push_label(&mut text, "le", bound);
                }
                if text.ends_with(',') {
                    text.pop();
                }
                for piece in ["} ", &number(value), " ", &time, "\n"] {
                    text.push_str(piece);
                }
            });
        }
    }
    text.into_bytes()
}

fn push_label(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push_str("=\"");
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
    text.push_str("\",");
}

fn number(value: f64) -> String {
    if value == f64::INFINITY {
        return "+Inf".to_owned();
    }
    if value == f64::NEG_INFINITY {
        return "-Inf".to_owned();
    }
    value.to_string()
}
