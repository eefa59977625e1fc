//! Prometheus remote write 1.0: <https://prometheus.io/docs/specs/prw/remote_write_spec/>.

use std::collections::HashSet;

use prost::Message;

use super::{
    Labels, POINTS_OF_REQUEST,
    chunks::Part,
    text::{Line, labels, lines},
};

/// The value that says of a series that it is no longer there ("stale markers" of the specification).
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// `prometheus.WriteRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Message)]
pub(super) struct Label {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Sample {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    #[prost(int64, tag = "2")]
    pub(super) timestamp: i64,
}

/// The series of the last gathering, as their encoded labels: those that are gone are told to be.
#[derive(Debug, Default)]
pub(super) struct Before {
    last: HashSet<Box<[u8]>>,
    present: HashSet<Box<[u8]>>,
}

impl Before {
    /// The series of a request, which are in the present gathering.
    pub(super) fn series(&mut self, parts: &[Part<'_>], all: &Labels, unix_ms: u64) -> Vec<TimeSeries> {
        let mut series = Vec::new();
        for Part { family, series: metrics } in parts {
            for metric in *metrics {
                lines(family.get_field_type(), metric, &mut |Line { suffix, bound, value }| {
                    let name = format!("{}{suffix}", family.name());
                    let bound = bound.map(|bound| ("le", bound));
                    let mut labels: Vec<Label> = labels(metric, all)
                        .chain(bound)
                        .chain([("__name__", name.as_str())])
                        .map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() })
                        .collect();
                    labels.sort_unstable();
                    let mut one = TimeSeries { labels, samples: Vec::new() };
                    self.present.insert(one.encode_to_vec().into());
                    one.samples = vec![Sample { value, timestamp: milliseconds(unix_ms) }];
                    series.push(one);
                });
            }
        }
        series
    }

    /// Ends the present gathering: requests, with their points, that say which series are gone.
    pub(super) fn stale(&mut self, unix_ms: u64) -> Vec<(u64, Vec<u8>)> {
        let present = std::mem::take(&mut self.present);
        let last = std::mem::replace(&mut self.last, present);
        let mut gone: Vec<Box<[u8]>> =
            last.into_iter().filter(|labels| !self.last.contains(labels)).collect();
        gone.sort_unstable();
        let sample = Sample { value: f64::from_bits(STALE), timestamp: milliseconds(unix_ms) };
        let series: Vec<TimeSeries> = gone
            .iter()
            .filter_map(|labels| TimeSeries::decode(&**labels).ok())
            .map(|series| TimeSeries { samples: vec![sample], ..series })
            .collect();
        let chunks = series.chunks(usize::try_from(POINTS_OF_REQUEST).unwrap_or(usize::MAX));
        chunks.map(|chunk| (chunk.len() as u64, compressed(chunk))).collect()
    }
}

/// The body of a request: snappy in its block format.
pub(super) fn compressed(series: &[TimeSeries]) -> Vec<u8> {
    let body = WriteRequest { timeseries: series.to_vec() }.encode_to_vec();
    // Only a body of 4 GiB has no such form.
    snap::raw::Encoder::new().compress_vec(&body).unwrap_or_default()
}

fn milliseconds(unix_ms: u64) -> i64 {
    i64::try_from(unix_ms).unwrap_or(i64::MAX)
}
