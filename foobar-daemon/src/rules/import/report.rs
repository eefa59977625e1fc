//! What is said to the person who imports.

use std::{collections::BTreeSet, fmt};

/// Longer lines are cut.
const TEXT_MAX: usize = 160;

/// A line that means something else than it did, or is left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Remark {
    /// Counted from 1.
    pub line: usize,
    /// The line.
    pub text: String,
    /// Why, and what to do.
    pub why: String,
}

/// Why a text cannot be imported at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1; 0 for the text as a whole.
    pub line: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Problem {
    pub(super) fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => formatter.write_str(&self.message),
            line => write!(formatter, "line {line}: {}", self.message),
        }
    }
}

impl std::error::Error for Problem {}

/// Collects what is to be said; each thing is said once, by whichever way a reader or [`super::flatten`] comes
/// to it.
pub(super) struct Report<'t> {
    lines: Vec<&'t str>,
    carried: BTreeSet<usize>,
    changed: BTreeSet<(usize, String)>,
    refused: BTreeSet<(usize, String)>,
}

impl<'t> Report<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            lines: text.lines().collect(),
            carried: BTreeSet::new(),
            changed: BTreeSet::new(),
            refused: BTreeSet::new(),
        }
    }

    /// What this line says is in the rules.
    pub(super) fn carry(&mut self, line: usize) {
        self.carried.insert(line);
    }

    /// What this line says is in the rules with another meaning, or needs a look.
    pub(super) fn change(&mut self, line: usize, why: impl Into<String>) {
        self.changed.insert((line, why.into()));
    }

    /// What this line says is left out, wholly or in part.
    pub(super) fn refuse(&mut self, line: usize, why: impl Into<String>) {
        self.refused.insert((line, why.into()));
    }

    /// How many lines are carried over, what is changed, what is refused.
    pub(super) fn finish(self) -> (usize, Vec<Remark>, Vec<Remark>) {
        let Self { lines, carried, changed, refused } = self;
        let refused_lines: BTreeSet<usize> = refused.iter().map(|(line, _)| *line).collect();
        let said = carried.difference(&refused_lines).count();
        let remarks = |entries: BTreeSet<(usize, String)>| {
            entries.into_iter().map(|(line, why)| Remark { line, text: shown(&lines, line), why }).collect()
        };
        (said, remarks(changed), remarks(refused))
    }
}

/// The line for people. Control characters become dots: a file must not be able to steer the terminal.
fn shown(lines: &[&str], line: usize) -> String {
    let text = line.checked_sub(1).and_then(|index| lines.get(index)).unwrap_or(&"").trim();
    text.chars().take(TEXT_MAX).map(|one| if one.is_control() { '.' } else { one }).collect()
}
