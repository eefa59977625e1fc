//! The rows of the benchmark: to stderr as they come, to stdout and into files at the end.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    time::Instant,
};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use crate::figures::Figure;

/// All rows so far.
pub(crate) struct Report {
    start: Instant,
    rows: Vec<Row>,
}

/// What was measured of one thing.
pub(crate) struct Row {
    part: &'static str,
    name: String,
    figures: Vec<(&'static str, Figure)>,
}

impl Row {
    /// A row without figures yet. Rows of the same part with the same figures make one table.
    pub(crate) fn new(part: &'static str, name: impl Into<String>) -> Self {
        Self { part, name: name.into(), figures: Vec::new() }
    }

    /// Adds a figure.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, figure: Figure) -> Self {
        self.figures.push((name, figure));
        self
    }

    /// For what could not be measured.
    pub(crate) fn refused(part: &'static str, name: impl Into<String>, why: &anyhow::Error) -> Self {
        Self::new(part, name).with("", Figure::Words(format!("refused: {why:#}")))
    }

    fn columns(&self) -> Vec<&'static str> {
        self.figures.iter().map(|(name, _)| *name).collect()
    }
}

impl Report {
    /// Starts the clock.
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), rows: Vec::new() }
    }

    /// Takes a row and tells of it.
    pub(crate) fn add(&mut self, row: Row) {
        let figures: Vec<String> = row
            .figures
            .iter()
            .map(|(name, figure)| format!("{name} {}", figure.shown()).trim_start().to_owned())
            .collect();
        self.say(&format!("{} {}: {}", row.part, row.name, figures.join(", ")));
        self.rows.push(row);
    }

    /// Says what is going on.
    pub(crate) fn say(&self, words: &str) {
        // A closed stderr is no reason to stop.
        drop(writeln!(io::stderr(), "[{:4} s] {words}", self.start.elapsed().as_secs()));
    }

    /// The table, and the same for programs, into a folder; the table to stdout too.
    pub(crate) fn write(&self, machine: &str, folder: &Path) -> Result<()> {
        let table = self.table(machine);
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        let json = serde_json::to_string_pretty(&json!({ "machine": machine, "rows": rows }))?;
        for (name, text) in [("bench.txt", &table), ("bench.json", &json)] {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        io::stdout().write_all(table.as_bytes()).context("print the table")
    }

    fn table(&self, machine: &str) -> String {
        let mut text = format!(
            "foobar bench on {machine}\n\
             Time is in ns per packet unless it says ms: median (smallest..largest) of all samples.\n"
        );
        let same = |one: &Row, other: &Row| {
            let refused = |row: &Row| row.columns() == [""];
            one.part == other.part && (one.columns() == other.columns() || refused(other))
        };
        for rows in self.rows.chunk_by(same) {
            text.push('\n');
            text.push_str(&grid(rows));
        }
        text
    }
}

impl Row {
    fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("part".to_owned(), json!(self.part));
        object.insert("name".to_owned(), json!(self.name));
        for (name, figure) in &self.figures {
            let key = if name.is_empty() { "refused" } else { name };
            object.insert(key.to_owned(), figure.json());
        }
        Value::Object(object)
    }
}

/// Rows with the same columns; the last cell of a row may be as long as it likes.
fn grid(rows: &[Row]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let head = std::iter::once(first.part.to_owned()).chain(first.columns().into_iter().map(str::to_owned));
    let mut lines: Vec<Vec<String>> = vec![head.collect()];
    for row in rows {
        let cells = row.figures.iter().map(|(_, figure)| figure.shown());
        lines.push(std::iter::once(row.name.clone()).chain(cells).collect());
    }
    let width = |column: usize| {
        let cells = lines.iter().filter(|line| column + 1 < line.len()).filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..lines.first().map_or(0, Vec::len)).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let padded: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let words = padded.join("  ");
        text.push_str(words.trim_end());
        text.push('\n');
    }
    text
}
