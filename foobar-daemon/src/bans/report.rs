//! What a change of bans did, for people and as JSON.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::rules::sets::edit::Covered;

/// How many names of addresses are told; the others are counted.
const NAMED_MAX: usize = 20;

/// What became of a request to ban or to lift bans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanReport {
    /// How many are banned that were not.
    pub banned: usize,
    /// How many were banned already, and are for longer.
    pub extended: usize,
    /// How many were banned for as long already.
    pub unchanged: usize,
    /// How many bans were lifted.
    pub lifted: usize,
    /// What was to be lifted and was not banned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<String>,
    /// What was lifted and is inside a prefix that is still banned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub covered: Vec<Covered>,
    /// How many were not banned because they must not be, or were written wrongly.
    pub refused: usize,
    /// Why, for the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why_refused: Vec<String>,
    /// Milliseconds since 1970 at which what was banned or extended is free again, if all are at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_unix_ms: Option<u64>,
    /// How many bans there are.
    pub in_force: usize,
}

impl BanReport {
    /// What a reader should know besides, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.why_refused.clone();
        push_more(&mut notes, self.refused);
        let absent: Vec<String> = self.absent.iter().map(|one| format!("{one} was not banned")).collect();
        notes.extend(first(absent));
        let covered = self.covered.iter();
        let covered: Vec<String> = covered
            .map(|Covered { entry, by }| format!("{entry} is still inside {by}, which is banned"))
            .collect();
        notes.extend(first(covered));
        notes
    }
}

impl fmt::Display for BanReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { banned, extended, unchanged, lifted, refused, until_unix_ms, in_force, .. } = self;
        let parts = [
            (banned, "banned"),
            (extended, "extended"),
            (unchanged, "banned for as long already"),
            (lifted, "lifted"),
            (refused, "refused"),
        ];
        let some: Vec<String> = parts
            .iter()
            .filter(|(count, _)| **count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let what = if some.is_empty() { "nothing changed".to_owned() } else { some.join(", ") };
        let until =
            until_unix_ms.map(|at| format!(" until {}", super::request::time_words(at))).unwrap_or_default();
        let all = if *in_force == 1 { "1 ban".to_owned() } else { format!("{in_force} bans") };
        write!(formatter, "{what}{until}; {all} in force")
    }
}

/// The first of some sentences, and how many more there are.
fn first(mut sentences: Vec<String>) -> Vec<String> {
    let count = sentences.len();
    sentences.truncate(NAMED_MAX);
    push_more(&mut sentences, count);
    sentences
}

fn push_more(sentences: &mut Vec<String>, count: usize) {
    if let Some(more @ 1..) = count.checked_sub(sentences.len()) {
        sentences.push(format!("and {more} more like these"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_only_what_happened() {
        let report = BanReport {
            banned: 2,
            extended: 1,
            in_force: 3,
            until_unix_ms: Some(1_000),
            ..BanReport::default()
        };
        assert_eq!(report.to_string(), "2 banned, 1 extended until 1970-01-01T00:00:01Z; 3 bans in force");
        let report = BanReport { absent: vec!["::1".to_owned()], in_force: 1, ..BanReport::default() };
        assert_eq!(report.to_string(), "nothing changed; 1 ban in force");
        assert_eq!(report.notes(), ["::1 was not banned"]);
        let absent = (0..30).map(|number| format!("::{number}")).collect();
        let report =
            BanReport { absent, refused: 2, why_refused: vec!["why".to_owned()], ..BanReport::default() };
        let notes = report.notes();
        assert_eq!(notes.len(), 2 + NAMED_MAX + 1);
        assert_eq!([&notes[1], &notes[22]], ["and 1 more like these", "and 10 more like these"]);
    }
}
