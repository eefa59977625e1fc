//! What the kernels are expected to say: `tests/kernels/expected.txt`.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{kernels::boot::Report, workspace};

/// The table of expectations.
pub(crate) struct Expected {
    lines: Vec<Line>,
}

/// One check: it passes everywhere but on the kernels that are named.
struct Line {
    section: String,
    name: String,
    fails_on: Vec<String>,
}

impl Expected {
    /// Reads the table.
    pub(crate) fn read() -> Result<Self> {
        let path = workspace::root().join("tests/kernels/expected.txt");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("read {}", path.display()))
    }

    /// Lines are `section|name`, or `section|name|fails on 6.1 6.12`; `#` starts a comment.
    fn parse(text: &str) -> Result<Self> {
        let mut lines = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let words: Vec<&str> = line.split('|').collect();
            let (section, name, fails_on) = match words.as_slice() {
                [section, name] => (section, name, Vec::new()),
                [section, name, kernels] => {
                    let kernels = kernels.strip_prefix("fails on ").with_context(|| format!("'{line}'"))?;
                    (section, name, kernels.split(' ').map(str::to_owned).collect())
                }
                _ => bail!("'{line}': a line is section|name or section|name|fails on SERIES"),
            };
            lines.push(Line { section: (*section).to_owned(), name: (*name).to_owned(), fails_on });
        }
        Ok(Self { lines })
    }

    /// Where a report is not as expected, a sentence each.
    pub(crate) fn differences(&self, series: &str, report: &Report) -> Vec<String> {
        let mut differences = Vec::new();
        for check in &report.checks {
            let found =
                self.lines.iter().find(|line| line.section == check.section && line.name == check.name);
            let (section, name, detail) = (&check.section, &check.name, &check.detail);
            match found {
                None => differences.push(format!("{series}: {section}, {name}: is not in the table")),
                Some(line) => match (check.passed, line.fails_on.iter().any(|other| other == series)) {
                    (true, false) | (false, true) => {}
                    (false, false) => {
                        differences.push(format!("{series}: {section}, {name}: FAILED: {detail}"));
                    }
                    (true, true) => {
                        differences
                            .push(format!("{series}: {section}, {name}: passes; the table says it fails"));
                    }
                },
            }
        }
        for line in &self.lines {
            if !report.checks.iter().any(|check| check.section == line.section && check.name == line.name) {
                differences.push(format!("{series}: {}, {}: was not checked", line.section, line.name));
            }
        }
        differences
    }
}
