//! What is wrong in rule files: the place, the line with a caret under it, and the mend.

use std::{fmt, ops::Range};

use serde::Serialize;

use super::Position;
use crate::{outcome::InvalidInput, rules::bundle::SourceFile};

/// More errors than these are only counted: nobody reads on.
const SHOWN_MAX: usize = 20;
/// More errors than these are not even kept.
const KEPT_MAX: usize = 200;
/// Longer lines are cut around the place.
const LINE_MAX: usize = 100;

/// Everything that is wrong in a set of rule files; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileErrors {
    errors: Vec<FileError>,
    /// How many more there are.
    more: usize,
}

/// One thing that is wrong in a rule file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileError {
    /// The file's name.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The line, and a caret under the place.
    #[serde(skip)]
    excerpt: [String; 2],
}

/// A piece of a file: bytes `span` of file number `file` of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which file.
    pub file: usize,
    /// Which bytes of it.
    pub span: Range<usize>,
}

impl FileErrors {
    /// Puts errors together.
    pub fn new(errors: Vec<FileError>) -> Self {
        Self { errors, more: 0 }
    }

    /// Each of them, up to some hundred.
    pub fn errors(&self) -> &[FileError] {
        &self.errors
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.errors.len() + self.more
    }
}

impl fmt::Display for FileErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.errors.iter().take(SHOWN_MAX).enumerate() {
            if number > 0 {
                formatter.write_str("\n")?;
            }
            error.fmt(formatter)?;
        }
        if let Some(more @ 1..) = self.count().checked_sub(SHOWN_MAX) {
            write!(formatter, "\nand {more} more like these")?;
        }
        Ok(())
    }
}

impl std::error::Error for FileErrors {}

impl From<FileErrors> for InvalidInput {
    fn from(errors: FileErrors) -> Self {
        Self(errors.to_string())
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message, help, excerpt: [text, caret] } = self;
        write!(formatter, "{file}:{line}:{column}: {message}")?;
        if !text.is_empty() {
            let margin = line.to_string();
            let blank = " ".repeat(margin.len());
            write!(formatter, "\n {margin} | {text}\n {blank} | {caret}")?;
        }
        match help {
            Some(help) => write!(formatter, "\n   = {help}"),
            None => Ok(()),
        }
    }
}

/// Where readers put what they find wrong.
pub(super) struct Errors<'b> {
    files: &'b [SourceFile],
    found: Vec<FileError>,
    more: usize,
}

impl<'b> Errors<'b> {
    /// For the files of a bundle.
    pub(super) fn new(files: &'b [SourceFile]) -> Self {
        Self { files, found: Vec::new(), more: 0 }
    }

    /// Something is wrong here. `help` says what to write instead; it may be empty.
    pub(super) fn add(&mut self, place: &Place, message: impl Into<String>, help: impl AsRef<str>) {
        let files = self.files;
        self.keep(|| place.error(files, message.into(), Some(help.as_ref()).filter(|help| !help.is_empty())));
    }

    /// The same, put into words only if it is going to be shown.
    pub(super) fn add_with(&mut self, place: &Place, words: impl FnOnce() -> (String, String)) {
        let files = self.files;
        self.keep(|| {
            let (message, help) = words();
            place.error(files, message, Some(&help))
        });
    }

    /// Something is wrong in another file than the rule files.
    pub(super) fn add_elsewhere(&mut self, error: impl FnOnce() -> FileError) {
        self.keep(error);
    }

    /// A place in words, for errors about two of them: `file:line`.
    pub(super) fn position(&self, place: &Place) -> String {
        place.position(self.files).map_or_else(String::new, |at| format!("{}:{}", at.file, at.line))
    }

    /// Nothing wrong, or all of it in the order of files and lines.
    pub(super) fn finish(self) -> Result<(), FileErrors> {
        let Self { files, mut found, more } = self;
        if found.is_empty() {
            return Ok(());
        }
        let number = |name: &str| files.iter().position(|file| file.name == name).unwrap_or(usize::MAX);
        found.sort_by_cached_key(|error| (number(&error.file), error.line, error.column));
        Err(FileErrors { errors: found, more })
    }

    /// Finding the line costs the length of the text, so a file of noise must not make that happen for each of
    /// a million errors.
    fn keep(&mut self, error: impl FnOnce() -> FileError) {
        if self.found.len() < KEPT_MAX {
            self.found.push(error());
        } else {
            self.more += 1;
        }
    }
}

impl Place {
    /// The beginning of a file.
    pub(super) fn start_of(file: usize) -> Self {
        Self { file, span: 0..0 }
    }

    /// An error here. `files` are those of the bundle.
    pub fn error(&self, files: &[SourceFile], message: String, help: Option<&str>) -> FileError {
        match files.get(self.file) {
            Some(file) => FileError::at(&file.name, &file.text, self.span.clone(), message, help),
            None => FileError::at("", "", 0..0, message, help),
        }
    }

    /// Where this is, for people.
    fn position(&self, files: &[SourceFile]) -> Option<Position> {
        let file = files.get(self.file)?;
        let Lines { line, column, .. } = Lines::of(&file.text, self.span.start);
        Some(Position { file: file.name.clone(), line, column })
    }
}

/// Where the lines of some files begin: for the places of thousands of rules.
pub(super) struct LineStarts<'b> {
    files: &'b [SourceFile],
    starts: Vec<Vec<usize>>,
}

impl<'b> LineStarts<'b> {
    /// Of the files of a bundle.
    pub(super) fn of(files: &'b [SourceFile]) -> Self {
        let starts = |file: &SourceFile| {
            let newlines = file.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
            std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect()
        };
        Self { files, starts: files.iter().map(starts).collect() }
    }

    /// Where a place is, for people.
    pub(super) fn position(&self, place: &Place) -> Option<Position> {
        let (file, starts) = (self.files.get(place.file)?, self.starts.get(place.file)?);
        let at = place.span.start;
        let line = starts.partition_point(|start| *start <= at);
        let before = file.text.get(*starts.get(line.checked_sub(1)?)?..at)?;
        Some(Position { file: file.name.clone(), line, column: before.chars().count() + 1 })
    }
}

impl FileError {
    /// An error at bytes `span` of a text.
    pub fn at(file: &str, text: &str, span: Range<usize>, message: String, help: Option<&str>) -> Self {
        let lines = Lines::of(text, span.start);
        Self {
            file: file.to_owned(),
            line: lines.line,
            column: lines.column,
            excerpt: lines.excerpt(span.end.saturating_sub(span.start)),
            message,
            help: help.map(str::to_owned),
        }
    }
}

/// The line that a byte of a text is in.
struct Lines<'t> {
    line: usize,
    column: usize,
    text: &'t str,
}

impl<'t> Lines<'t> {
    fn of(text: &'t str, byte: usize) -> Self {
        let mut at = byte.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let (before, after) = text.split_at(at);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let end = after.find('\n').map_or(text.len(), |newline| at + newline);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before[start..].chars().count() + 1;
        Self { line, column, text: text[start..end].trim_end_matches('\r') }
    }

    /// The line and the carets, cut to what a terminal shows. Control characters become dots: a file must not
    /// be able to steer the terminal.
    fn excerpt(&self, bytes: usize) -> [String; 2] {
        let shown: Vec<char> = self
            .text
            .chars()
            .map(|one| if one.is_control() { if one == '\t' { ' ' } else { '.' } } else { one })
            .collect();
        let at = self.column - 1;
        let from = if shown.len() > LINE_MAX { at.saturating_sub(LINE_MAX / 2) } else { 0 };
        let text: String = shown.iter().skip(from).take(LINE_MAX).collect();
        let text = text.trim_end().to_owned();
        if text.is_empty() {
            return [String::new(), String::new()];
        }
        let start: usize = self.text.char_indices().nth(at).map_or(self.text.len(), |(byte, _)| byte);
        let rest = &self.text[start..];
        let marked = rest.char_indices().take_while(|(byte, _)| *byte < bytes).count();
        let room = text.chars().count().saturating_sub(at - from);
        let caret = "^".repeat(marked.min(room).max(1));
        [text, format!("{}{caret}", " ".repeat(at - from))]
    }
}
