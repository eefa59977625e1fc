//! A log record: of what the daemon said, or of a packet that a rule drew.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use tracing::{
    Event, Level,
    field::{Field, Visit},
};

use crate::{commands::watch::words, control::events::ToldEvent, rules::bundle::bytes_of};

/// Longest text of a record that is kept for a target, in bytes.
pub const TEXT_MAX: usize = 4_096;
/// Fields of the daemon's own events. Their text says the same, so lines leave them out.
pub const FIELDS: [&str; 7] = ["event", "by", "addresses", "rule", "set", "ruleset", "generation"];

/// A log record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Nanoseconds since 1970.
    pub unix_ns: u64,
    /// How bad it is.
    pub level: Level,
    /// The text.
    pub text: String,
    /// What else is known, by name; `source` is always there.
    pub attributes: Vec<(&'static str, String)>,
}

impl LogRecord {
    /// What the daemon said just now; its text and each attribute are cut after so many bytes.
    pub fn of(event: &Event<'_>, text_max: usize) -> Self {
        let mut fields = Fields { text: String::new(), attributes: vec![("source", "daemon".to_owned())] };
        event.record(&mut fields);
        let Fields { mut text, mut attributes } = fields;
        cut(&mut text, text_max);
        for (_, value) in &mut attributes {
            cut(value, text_max);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            unix_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
            level: *event.metadata().level(),
            text,
            attributes,
        }
    }

    /// A packet that a rule drew.
    pub fn of_packet(event: &ToldEvent) -> Self {
        let ToldEvent {
            unix_ns,
            interface,
            direction,
            verdict,
            reason,
            rule,
            one_in,
            packets,
            length,
            bytes,
        } = event;
        let mut text = words::printable(&words::packet(event, &bytes_of(bytes).unwrap_or_default()));
        cut(&mut text, TEXT_MAX);
        let mut attributes = vec![
            ("source", "packets".to_owned()),
            ("interface", interface.clone()),
            ("direction", direction.clone()),
            ("verdict", verdict.clone()),
            ("reason", reason.clone()),
            ("one_in", one_in.to_string()),
            ("packets", packets.to_string()),
            ("length", length.to_string()),
        ];
        attributes.extend(rule.clone().map(|rule| ("rule", rule)));
        Self { unix_ns: *unix_ns, level: Level::INFO, text, attributes }
    }
}

/// The message of an event, and its other fields.
struct Fields {
    text: String,
    attributes: Vec<(&'static str, String)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.text = value;
        } else {
            self.attributes.push((field.name(), value));
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }
}

fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
}
