//! A gathering in the words of a target: bodies of requests, none of them long.

mod carbon2;
mod chunks;
mod logs;
mod otlp;
mod remote_write;
mod text;

use std::{io::Write as _, sync::Arc, time::Duration};

use flate2::{Compression, write::GzEncoder};
use prometheus::proto::MetricFamily;

use self::chunks::{Chunk, Counting};
pub use self::otlp::rejected;
use super::{
    file::{Kind, Labels, SumoFormat, Target},
    record::{Media, Record},
};
use crate::log::record::LogRecord;

/// Log records of one request.
const RECORDS_OF_REQUEST: usize = 1_000;
/// Points of one request. Prometheus sends 2,000 in one by itself; of Sumo's prescription, 100 kB to 1 MB, it is the
/// middle.
pub const POINTS_OF_REQUEST: u64 = 2_000;

/// All series at one time.
#[derive(Debug)]
pub struct Gathered {
    /// The series.
    pub families: Vec<MetricFamily>,
    /// When.
    pub unix_ms: u64,
    /// Since when they count.
    pub since: Since,
}

/// Since when counters count, as time since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// Those that the filter keeps.
    pub filter: Duration,
    /// Those that the daemon keeps.
    pub account: Duration,
    /// Those that begin with the machine.
    pub machine: Duration,
}

/// What keeps being known of a target from one gathering to the next.
#[derive(Debug, Default)]
pub struct Encoder {
    remote_write: remote_write::Before,
}

/// What came of encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Points that are in records.
    pub points: u64,
    /// Points that would have been too many.
    pub left_out: u64,
}

impl Encoder {
    /// How many points a gathering has for a target.
    pub fn count(gathered: &Gathered, target: &Target) -> u64 {
        chunks::count(&gathered.families, &target.series, counting(target.kind))
    }

    /// Encodes up to `most` points of a gathering, and gives each record away as it is ready.
    pub fn encode(
        &mut self,
        gathered: &Gathered,
        target: &Target,
        labels: &Labels,
        most: u64,
        put: &mut dyn FnMut(Record),
    ) -> Encoded {
        let (chunks, left_out) =
            chunks::split(&gathered.families, &target.series, counting(target.kind), most);
        let mut encoded = Encoded { points: 0, left_out };
        let mut keep = |media, gzip, points, body| {
            encoded.points += points;
            put(Record { media, gzip, points, unix_ms: gathered.unix_ms, body });
        };
        for Chunk { points, families } in &chunks {
            let (media, body) = match target.kind {
                Kind::Otlp => (Media::Otlp, otlp::encode(families, gathered, labels)),
                Kind::RemoteWrite => {
                    let series = self.remote_write.series(families, labels, gathered.unix_ms);
                    keep(Media::RemoteWrite, false, *points, remote_write::compressed(&series));
                    continue;
                }
                Kind::Sumo(SumoFormat::Prometheus) => {
                    (Media::SumoPrometheus, text::encode(families, labels, gathered.unix_ms))
                }
                Kind::Sumo(SumoFormat::Carbon2) => {
                    (Media::SumoCarbon2, carbon2::encode(families, labels, gathered.unix_ms))
                }
                Kind::OtlpLogs | Kind::SumoLogs => return encoded,
            };
            let body = if target.gzip { compressed(&body) } else { body };
            keep(media, target.gzip, *points, body);
        }
        if target.kind == Kind::RemoteWrite {
            for (points, body) in self.remote_write.stale(gathered.unix_ms) {
                keep(Media::RemoteWrite, false, points, body);
            }
        }
        encoded
    }
}

/// Encodes log records for a target, and gives each record of the spool away as it is ready.
pub fn encode_logs(
    logs: &[Arc<LogRecord>],
    target: &Target,
    labels: &Labels,
    unix_ms: u64,
    put: &mut dyn FnMut(Record),
) {
    for chunk in logs.chunks(RECORDS_OF_REQUEST) {
        let (media, body) = if target.kind == Kind::OtlpLogs {
            (Media::OtlpLogs, logs::otlp(chunk, labels))
        } else {
            (Media::SumoLogs, logs::json_lines(chunk, labels))
        };
        let body = if target.gzip { compressed(&body) } else { body };
        put(Record { media, gzip: target.gzip, points: chunk.len() as u64, unix_ms, body });
    }
}

/// How histograms are counted: OTLP has one point for all that others have a line each for.
const fn counting(kind: Kind) -> Counting {
    match kind {
        Kind::Otlp => Counting::Whole,
        Kind::RemoteWrite | Kind::Sumo(_) | Kind::OtlpLogs | Kind::SumoLogs => Counting::Lines,
    }
}

/// In gzip (RFC 1952).
fn compressed(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::default());
    // Writing to memory does not fail.
    drop(encoder.write_all(body));
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests;
