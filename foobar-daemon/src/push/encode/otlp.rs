//! OTLP: the messages of metrics, as far as foobar's have to do with them.
//!
//! <https://github.com/open-telemetry/opentelemetry-proto/tree/v1.5.0/opentelemetry/proto>: `collector/metrics/v1`,
//! `metrics/v1`, `resource/v1`, `common/v1`.

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use prometheus::proto::{self, MetricType};
use prost::Message;

use super::{Gathered, Labels, Since, chunks::Part};
use crate::metrics::catalogue::{self, Begin, Entry, Unit};

/// Whole numbers that a 64-bit float can tell from their neighbours.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// `ExportMetricsServiceRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(message, repeated, tag = "1")]
    pub(super) resource_metrics: Vec<ResourceMetrics>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ResourceMetrics {
    #[prost(message, optional, tag = "1")]
    pub(super) resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub(super) scope_metrics: Vec<ScopeMetrics>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub(super) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ScopeMetrics {
    #[prost(message, optional, tag = "1")]
    pub(super) scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    pub(super) metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Scope {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) description: String,
    #[prost(string, tag = "3")]
    pub(super) unit: String,
    #[prost(oneof = "Data", tags = "5, 7, 9")]
    pub(super) data: Option<Data>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Data {
    #[prost(message, tag = "5")]
    Gauge(Gauge),
    #[prost(message, tag = "7")]
    Sum(Sum),
    #[prost(message, tag = "9")]
    Histogram(Histogram),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Gauge {
    #[prost(message, repeated, tag = "1")]
    pub(super) data_points: Vec<NumberPoint>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Sum {
    #[prost(message, repeated, tag = "1")]
    pub(super) data_points: Vec<NumberPoint>,
    #[prost(int32, tag = "2")]
    pub(super) aggregation_temporality: i32,
    #[prost(bool, tag = "3")]
    pub(super) is_monotonic: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(message, repeated, tag = "1")]
    pub(super) data_points: Vec<HistogramPoint>,
    #[prost(int32, tag = "2")]
    pub(super) aggregation_temporality: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NumberPoint {
    #[prost(message, repeated, tag = "7")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "2")]
    pub(super) start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    pub(super) time_unix_nano: u64,
    #[prost(oneof = "Number", tags = "4, 6")]
    pub(super) value: Option<Number>,
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
pub(super) enum Number {
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(sfixed64, tag = "6")]
    Int(i64),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HistogramPoint {
    #[prost(message, repeated, tag = "9")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "2")]
    pub(super) start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    pub(super) time_unix_nano: u64,
    #[prost(fixed64, tag = "4")]
    pub(super) count: u64,
    #[prost(double, optional, tag = "5")]
    pub(super) sum: Option<f64>,
    #[prost(fixed64, repeated, tag = "6")]
    pub(super) bucket_counts: Vec<u64>,
    #[prost(double, repeated, tag = "7")]
    pub(super) explicit_bounds: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AnyValue {
    #[prost(string, optional, tag = "1")]
    pub(super) string_value: Option<String>,
}

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: i32 = 2;

/// `ExportMetricsServiceResponse`.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_data_points: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// How many points of a request a service has refused although it took it, and why; `None` if none.
pub fn rejected(answer: &[u8]) -> Option<(u64, String)> {
    let partial = Response::decode(answer).ok()?.partial_success?;
    let points = u64::try_from(partial.rejected_data_points).unwrap_or(0);
    (points > 0).then_some((points, partial.error_message))
}

static CATALOGUE: LazyLock<BTreeMap<&str, &Entry>> =
    LazyLock::new(|| catalogue::ALL.iter().map(|entry| (entry.name(), entry)).collect());

/// The body of a request.
pub(super) fn encode(parts: &[Part<'_>], gathered: &Gathered, labels: &Labels) -> Vec<u8> {
    let time = Duration::from_millis(gathered.unix_ms);
    let metrics = parts.iter().map(|part| metric(part, gathered.since, time)).collect();
    let of_resource = ResourceMetrics {
        resource: Some(resource(labels)),
        scope_metrics: vec![ScopeMetrics { scope: Some(scope()), metrics }],
    };
    Request { resource_metrics: vec![of_resource] }.encode_to_vec()
}

/// Who says all of it.
pub(super) fn resource(labels: &Labels) -> Resource {
    let pairs = labels.iter().map(|(key, value)| (resource_key(key), value.as_str()));
    Resource { attributes: attributes(pairs) }
}

/// What says it.
pub(super) fn scope() -> Scope {
    Scope { name: "foobar".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

/// What a label of all series is called as an attribute of the resource. Prometheus turns these back into what they were:
/// <https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/#resource-attributes-1>.
fn resource_key(label: &str) -> &str {
    match label {
        "job" => "service.name",
        "instance" => "service.instance.id",
        other => other,
    }
}

fn metric(Part { family, series }: &Part<'_>, since: Since, time: Duration) -> Metric {
    let entry = CATALOGUE.get(family.name());
    let since = match entry.map_or(Begin::Filter, |entry| entry.begin()) {
        Begin::Filter => since.filter,
        Begin::Account => since.account,
        Begin::Machine => since.machine,
    };
    let times = [since.min(time), time].map(nanoseconds);
    let data = match family.get_field_type() {
        MetricType::COUNTER => {
            let points = series.iter().map(|one| number(one, one.get_counter().get_value(), times));
            let data_points = points.collect();
            Data::Sum(Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic: true })
        }
        MetricType::HISTOGRAM => {
            let data_points = series.iter().map(|one| histogram(one, times)).collect();
            Data::Histogram(Histogram { data_points, aggregation_temporality: CUMULATIVE })
        }
        MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => {
            let [_, time] = times;
            let points = series.iter().map(|one| number(one, one.get_gauge().get_value(), [0, time]));
            Data::Gauge(Gauge { data_points: points.collect() })
        }
    };
    Metric {
        name: family.name().to_owned(),
        description: family.help().to_owned(),
        unit: entry.map_or("", |entry| unit(entry)).to_owned(),
        data: Some(data),
    }
}

/// In the words of UCUM, where it has any; <https://ucum.org/ucum>.
const fn unit(entry: &Entry) -> &'static str {
    match entry.unit() {
        Unit::Packets => "{packet}",
        Unit::Bytes => "By",
        Unit::Seconds | Unit::Timestamp => "s",
        Unit::Number | Unit::Flag | Unit::Info => "",
    }
}

fn number(series: &proto::Metric, value: f64, [start, time]: [u64; 2]) -> NumberPoint {
    #[expect(clippy::cast_possible_truncation, reason = "a whole number that a float tells exactly")]
    let value = if value.fract() == 0.0 && value.abs() <= EXACT_MAX {
        Number::Int(value as i64)
    } else {
        Number::Double(value)
    };
    NumberPoint {
        attributes: own_attributes(series),
        start_time_unix_nano: start,
        time_unix_nano: time,
        value: Some(value),
    }
}

fn histogram(series: &proto::Metric, [start, time]: [u64; 2]) -> HistogramPoint {
    let histogram = series.get_histogram();
    let mut before = 0;
    let mut bucket_counts: Vec<u64> = histogram
        .get_bucket()
        .iter()
        .map(|bucket| {
            let count = bucket.cumulative_count().saturating_sub(before);
            before = bucket.cumulative_count();
            count
        })
        .collect();
    bucket_counts.push(histogram.get_sample_count().saturating_sub(before));
    HistogramPoint {
        attributes: own_attributes(series),
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: histogram.get_sample_count(),
        sum: Some(histogram.get_sample_sum()),
        bucket_counts,
        explicit_bounds: histogram.get_bucket().iter().map(proto::Bucket::upper_bound).collect(),
    }
}

fn own_attributes(series: &proto::Metric) -> Vec<KeyValue> {
    attributes(series.get_label().iter().map(|pair| (pair.name(), pair.value())))
}

pub(super) fn attributes<'l>(labels: impl Iterator<Item = (&'l str, &'l str)>) -> Vec<KeyValue> {
    let pair = |(key, value): (&str, &str)| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { string_value: Some(value.to_owned()) }),
    };
    labels.map(pair).collect()
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
