//! The push file: which services get what, checked and ready to be used.
//!
//! What is hostile: the file, and those that it names, which may be anything.

mod document;
mod target;
mod tls;
mod values;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    str,
    sync::Arc,
};

use toml::Spanned;

pub use self::target::{Endpoint, Kind, SpoolBounds, SumoFormat, Target};
use self::{
    document::{Document, Problem},
    tls::Roots,
};
use crate::{metrics::catalogue, watched_files::Files};

/// Targets of one file; each has a task, a folder and series of its own.
pub const TARGETS_MAX: usize = 16;
/// Labels of one file.
const LABELS_MAX: usize = 30;
/// Longest value of a label, in bytes.
const LABEL_VALUE_MAX: usize = 1_000;

/// Labels that every series gets, by name.
pub type Labels = BTreeMap<String, String>;

/// What a push file says.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Labels that every series gets; `job` and `instance` are among them.
    pub labels: Labels,
    /// Folder of the spools, if one is named.
    pub spool: Option<PathBuf>,
    /// Who gets what.
    pub targets: Vec<Arc<Target>>,
    /// What somebody may not have meant.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads a file and those that it names.
    ///
    /// # Errors
    /// The first thing that is wrong: file, line, column, and what to do. No secret is in it.
    pub fn load(path: &Path, files: &mut Files) -> Result<Self, String> {
        let shown = path.display();
        let bytes = files.read(path).map_err(|error| {
            format!("read the push file {shown}: {error}; name a file that foobar may read with --push")
        })?;
        let text = str::from_utf8(&bytes).map_err(|error| {
            format!(
                "read the push file {shown}: it is no text in UTF-8, from byte {} on",
                error.valid_up_to()
            )
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Document::parse(text)
            .and_then(|document| Self::of(document, folder, files))
            .map_err(|problem| problem.told(path, text))
    }

    fn of(document: Document, folder: &Path, files: &mut Files) -> Result<Self, Problem> {
        let Document { spool, labels, target } = document;
        let labels = all_labels(labels)?;
        if let Some(one_more) = target.get(TARGETS_MAX) {
            let message = format!("{} targets are too many: there may be {TARGETS_MAX}", target.len());
            return Err(Problem::at(one_more.span(), message));
        }
        let mut source = target::Source { folder, files, roots: Roots::default(), warnings: Vec::new() };
        let mut names = BTreeSet::new();
        let mut targets = Vec::new();
        for table in target {
            let span = table.get_ref().name.span();
            let target = source.target(table)?;
            if !names.insert(target.name.clone()) {
                return Err(Problem::at(span, format!("there is another target {:?}", target.name)));
            }
            targets.push(Arc::new(target));
        }
        let warnings = source.warnings;
        let spool = spool.map(|path| folder.join(path.into_inner()));
        Ok(Self { labels, spool, targets, warnings })
    }
}

/// The labels of the file, and those that must not be missing.
fn all_labels(written: BTreeMap<Spanned<String>, Spanned<String>>) -> Result<Labels, Problem> {
    let used: BTreeSet<&str> =
        catalogue::ALL.iter().flat_map(catalogue::Entry::labels).copied().chain(["le", "metric"]).collect();
    if let Some((one_more, _)) = written.iter().nth(LABELS_MAX) {
        return Err(Problem::at(one_more.span(), format!("there may be {LABELS_MAX} labels")));
    }
    let mut labels = Labels::new();
    for (name, value) in written {
        let span = name.span();
        let (name, value_span) = (name.into_inner(), value.span());
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && !name.starts_with("__");
        if !is_name {
            let message = format!(
                "no label can have the name {name:?}: write letters, digits and _, not a digit or __ first"
            );
            return Err(Problem::at(span, message));
        }
        if used.contains(name.as_str()) {
            return Err(Problem::at(
                span,
                format!("foobar's own series have a label {name}: choose another name"),
            ));
        }
        let value = value.into_inner();
        if value.is_empty() || value.len() > LABEL_VALUE_MAX || value.chars().any(char::is_control) {
            let message = format!(
                "the label {name} has to have a value without control characters, of {LABEL_VALUE_MAX} bytes at most"
            );
            return Err(Problem::at(value_span, message));
        }
        labels.insert(name, value);
    }
    labels.entry("job".to_owned()).or_insert_with(|| "foobar".to_owned());
    labels.entry("instance".to_owned()).or_insert_with(host_name);
    Ok(labels)
}

/// The name of this machine.
pub fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "unknown".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests;
