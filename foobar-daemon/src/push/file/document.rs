//! The push file as it is written: TOML with places.

use std::{collections::BTreeMap, ops::Range, path::Path};

use serde::Deserialize;
use toml::Spanned;

use crate::push::secret::Secret;

/// What can be said.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Document {
    pub(super) spool: Option<Spanned<String>>,
    pub(super) labels: BTreeMap<Spanned<String>, Spanned<String>>,
    pub(super) target: Vec<Spanned<TargetTable>>,
}

/// `[[target]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TargetTable {
    pub(super) name: Spanned<String>,
    pub(super) kind: Spanned<String>,
    pub(super) url: Option<Spanned<Secret>>,
    pub(super) url_file: Option<Spanned<String>>,
    pub(super) interval: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) headers: BTreeMap<Spanned<String>, Spanned<Secret>>,
    #[serde(default)]
    pub(super) header_files: BTreeMap<Spanned<String>, Spanned<String>>,
    pub(super) token_file: Option<Spanned<String>>,
    pub(super) basic_auth: Option<Spanned<BasicAuthTable>>,
    pub(super) ca_file: Option<Spanned<String>>,
    pub(super) cert_file: Option<Spanned<String>>,
    pub(super) key_file: Option<Spanned<String>>,
    pub(super) series: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) logs: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) points_per_minute: Option<Spanned<u64>>,
    pub(super) gzip: Option<Spanned<bool>>,
    pub(super) spool: Option<Spanned<SpoolTable>>,
    pub(super) format: Option<Spanned<String>>,
    pub(super) source_name: Option<Spanned<String>>,
    pub(super) source_host: Option<Spanned<String>>,
    pub(super) source_category: Option<Spanned<String>>,
    pub(super) source_fields: Option<Spanned<BTreeMap<String, String>>>,
}

/// `basic_auth`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BasicAuthTable {
    pub(super) user: Spanned<String>,
    pub(super) password_file: Spanned<String>,
}

/// `spool` of a target.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SpoolTable {
    pub(super) bytes: Option<Spanned<String>>,
    pub(super) age: Option<Spanned<String>>,
}

/// Something that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    span: Range<usize>,
    message: String,
}

impl Problem {
    /// Something wrong at these bytes.
    pub(super) fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into() }
    }

    /// For people: file, line, column and what is wrong. The line itself is not shown, as there may be a secret in it.
    pub(super) fn told(&self, path: &Path, text: &str) -> String {
        let before = text.get(..self.span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        format!("{}:{line}:{column}: {}", path.display(), self.message)
    }
}

impl Document {
    /// Reads it.
    ///
    /// # Errors
    /// The first thing that is no TOML, or no key or type that there is.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        toml::from_str(text).map_err(|error| {
            Problem::at(error.span().unwrap_or(0..0), redacted(error.message()).replace('\n', ", "))
        })
    }
}

/// A message of the reader without the values that it quotes: one may be a secret at a wrong place. Names of keys stand in
/// backticks, and stay.
fn redacted(message: &str) -> String {
    let mut shown = String::new();
    let mut rest = message;
    while let Some((before, quoted)) = rest.split_once('"') {
        shown.push_str(before);
        shown.push('…');
        // Whatever is quoted in it, the last quotation mark ends it.
        rest = quoted.rsplit_once('"').map_or("", |(_, after)| after);
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_quoted() {
        for (message, shown) in [
            ("unknown field `uri`, expected `url`", "unknown field `uri`, expected `url`"),
            ("invalid type: string \"secret\", expected a map", "invalid type: string …, expected a map"),
            ("invalid type: string \"a\\\"b\", expected u64", "invalid type: string …, expected u64"),
            ("no end: \"secret", "no end: …"),
        ] {
            assert_eq!(redacted(message), shown);
        }
    }
}
