//! Carbon 2.0, as Sumo Logic takes it: what identifies a series, two spaces, value, seconds.
//!
//! <https://help.sumologic.com/docs/metrics/introduction/metric-formats/#carbon-20>.

use super::{
    Labels,
    chunks::Part,
    text::{Line, labels, lines},
};

/// The body of a request. What is no number (infinite or none) cannot be said, and is not.
pub(super) fn encode(parts: &[Part<'_>], all: &Labels, unix_ms: u64) -> Vec<u8> {
    let mut text = String::new();
    let seconds = (unix_ms / 1000).to_string();
    for Part { family, series } in parts {
        for metric in *series {
            let mut tags = String::new();
            for (name, value) in labels(metric, all) {
                push_tag(&mut tags, name, value);
            }
            lines(family.get_field_type(), metric, &mut |Line { suffix, bound, value }| {
                if !value.is_finite() {
                    return;
                }
                for piece in ["metric=", family.name(), suffix, " ", &tags] {
                    text.push_str(piece);
                }
                if let Some(bound) = bound {
                    push_tag(&mut text, "le", bound);
                }
                for piece in [" ", &value.to_string(), " ", &seconds, "\n"] {
                    text.push_str(piece);
                }
            });
        }
    }
    text.into_bytes()
}

/// A tag with a space behind it. Spaces and signs that would end it become `_`.
fn push_tag(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push('=');
    let plain = |letter: char| {
        if letter.is_whitespace() || letter.is_control() || letter == '=' { '_' } else { letter }
    };
    text.extend(value.chars().map(plain));
    text.push(' ');
}
