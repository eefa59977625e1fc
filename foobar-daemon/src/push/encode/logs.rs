//! Log records, as OTLP and as lines of JSON.
//!
//! <https://github.com/open-telemetry/opentelemetry-proto/tree/v1.5.0/opentelemetry/proto>: `collector/logs/v1`, `logs/v1`.

use std::sync::Arc;

use prost::Message;
use serde_json::{Map, Value};
use tracing::Level;

use super::{
    Labels,
    otlp::{AnyValue, KeyValue, Resource, Scope, attributes, resource, scope},
};
use crate::log::record::LogRecord;

/// `ExportLogsServiceRequest`.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_logs: Vec<ResourceLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceLogs {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_logs: Vec<ScopeLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeLogs {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    log_records: Vec<Record>,
}

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(fixed64, tag = "1")]
    time_unix_nano: u64,
    #[prost(int32, tag = "2")]
    severity_number: i32,
    #[prost(string, tag = "3")]
    severity_text: String,
    #[prost(message, optional, tag = "5")]
    body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "11")]
    observed_time_unix_nano: u64,
}

/// The body of a request of OTLP.
pub(super) fn otlp(records: &[Arc<LogRecord>], labels: &Labels) -> Vec<u8> {
    let record = |record: &Arc<LogRecord>| {
        let LogRecord { unix_ns, level, text, attributes: more } = &**record;
        Record {
            time_unix_nano: *unix_ns,
            severity_number: severity(*level),
            severity_text: level.as_str().to_owned(),
            body: Some(AnyValue { string_value: Some(text.clone()) }),
            attributes: attributes(more.iter().map(|(key, value)| (*key, value.as_str()))),
            observed_time_unix_nano: *unix_ns,
        }
    };
    let logs = ScopeLogs { scope: Some(scope()), log_records: records.iter().map(record).collect() };
    let resource = ResourceLogs { resource: Some(resource(labels)), scope_logs: vec![logs] };
    Request { resource_logs: vec![resource] }.encode_to_vec()
}

/// `SeverityNumber`.
const fn severity(level: Level) -> i32 {
    match level {
        Level::TRACE => 1,
        Level::DEBUG => 5,
        Level::INFO => 9,
        Level::WARN => 13,
        Level::ERROR => 17,
    }
}

/// The body of a request to Sumo Logic, which finds the time under `timestamp`: milliseconds since 1970.
pub(super) fn json_lines(records: &[Arc<LogRecord>], labels: &Labels) -> Vec<u8> {
    let mut body = Vec::new();
    for record in records {
        let LogRecord { unix_ns, level, text, attributes } = &**record;
        let mut line = Map::new();
        line.insert("timestamp".to_owned(), Value::from(unix_ns / 1_000_000));
        line.insert("level".to_owned(), Value::from(level.as_str()));
        line.insert("message".to_owned(), Value::from(text.as_str()));
        let more = attributes.iter().map(|(key, value)| (*key, value.as_str()));
        let all = labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        for (key, value) in more.chain(all) {
            line.entry(key).or_insert_with(|| Value::from(value));
        }
        body.extend(Value::Object(line).to_string().into_bytes());
        body.push(b'\n');
    }
    body
}
