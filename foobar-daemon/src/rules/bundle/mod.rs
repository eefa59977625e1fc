//! The texts that a ruleset is read from: what travels to the daemon, and what it keeps.
//!
//! This is the only part of [`crate::rules`] that touches the disk.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    file::{self, FileErrors, Positions, SetFile},
    model::Ruleset,
};
use crate::outcome::InvalidInput;

/// Longest rule file, in bytes.
pub const RULE_FILE_MAX: u64 = 16 << 20;
/// Longest set file, in bytes.
pub const SET_FILE_MAX: u64 = 64 << 20;
/// Longest of all files of a bundle together, in bytes.
pub const BUNDLE_MAX: u64 = 128 << 20;

/// Every text of one ruleset: enough to read it again without the disk it came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// The rule files, in the order in which they are read as one.
    pub files: Vec<SourceFile>,
    /// The texts of the set files, by the name that the rule file gives them.
    pub attachments: BTreeMap<String, String>,
    /// Whether bits behind a prefix are set to zero in set files, where they are errors otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lenient: bool,
}

/// A rule file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Its path, as errors show it.
    pub name: String,
    /// What it says.
    pub text: String,
}

impl Bundle {
    /// Reads a rule file, or all `*.toml` of a folder in the order of their names, and the set files that they
    /// name (relative to the folder that the rule file is in).
    ///
    /// # Errors
    /// [`InvalidInput`] when something cannot be read, is not UTF-8 text, is too long or is not there at all.
    /// What the files say is judged by [`Bundle::parse`].
    pub fn read(path: &Path) -> Result<Self> {
        let (paths, folder) = rule_files(path)?;
        let mut bundle = Self::default();
        let mut room = BUNDLE_MAX;
        for path in paths {
            let text = read_text(&path, "rule file", RULE_FILE_MAX.min(room))?;
            room = room.saturating_sub(text.len() as u64);
            bundle.files.push(SourceFile { name: path.display().to_string(), text });
        }
        bundle.attach("the name is relative to the folder of the rule file", |name, taken| {
            read_text(&folder.join(name), "set file", SET_FILE_MAX.min(room.saturating_sub(taken)))
        })?;
        Ok(bundle)
    }

    /// Takes in the set files that the rule files name, each as `read` gives it, which is told how many bytes came before.
    /// `help` says what the names mean.
    ///
    /// # Errors
    /// [`InvalidInput`] with the place of each name whose file could not be read.
    pub fn attach(&mut self, help: &str, mut read: impl FnMut(&str, u64) -> Result<String>) -> Result<()> {
        let (mut errors, mut taken) = (Vec::new(), 0_u64);
        for SetFile { name, place } in file::set_files(&self.files) {
            if self.attachments.contains_key(&name) {
                continue;
            }
            match read(&name, taken) {
                Ok(text) => {
                    taken = taken.saturating_add(text.len() as u64);
                    self.attachments.insert(name, text);
                }
                Err(error) => errors.push(place.error(&self.files, error.to_string(), Some(help))),
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(InvalidInput::from(FileErrors::new(errors)).into()) }
    }

    /// The same, read as [`Bundle::lenient`] says.
    #[must_use]
    pub fn lenient(self, lenient: bool) -> Self {
        Self { lenient, ..self }
    }

    /// A bundle of one rule file without set files: for tests, and for texts that come from elsewhere.
    pub fn of_text(name: &str, text: &str) -> Self {
        Self { files: vec![SourceFile { name: name.to_owned(), text: text.to_owned() }], ..Self::default() }
    }

    /// Reads what the texts say.
    ///
    /// # Errors
    /// All that is wrong in them, each with its place and the mend.
    pub fn parse(&self) -> Result<Ruleset, FileErrors> {
        file::read(self).map(|(ruleset, _)| ruleset)
    }

    /// Like [`Bundle::parse`], and tells where each rule, service and set stands.
    pub fn parse_with_positions(&self) -> Result<(Ruleset, Positions), FileErrors> {
        file::read(self)
    }

    /// SHA-256 over the files' names (without their folders) and texts, in hexadecimal digits. That they are read
    /// leniently counts, too.
    pub fn hash(&self) -> String {
        let mut hasher = Sha256::new();
        let mut field = |bytes: &[u8]| {
            // The length before each field: no two bundles can run together to the same bytes.
            hasher.update((bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        field(b"foobar rules 1");
        for SourceFile { name, text } in &self.files {
            let file_name =
                Path::new(name).file_name().map_or(name.as_bytes(), |part| part.as_encoded_bytes());
            field(b"file");
            field(file_name);
            field(text.as_bytes());
        }
        for (name, text) in &self.attachments {
            field(b"set");
            field(name.as_bytes());
            field(text.as_bytes());
        }
        if self.lenient {
            field(b"lenient");
        }
        hexadecimal(&hasher.finalize())
    }
}

/// Bytes as hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|half| char::from_digit(half.into(), 16));
    bytes.iter().flat_map(digits).flatten().collect()
}

/// The bytes that such digits stand for; `None` if they are none.
pub fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let digit = |one: u8| char::from(one).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    if rest.is_empty() { bytes } else { None }
}

/// The rule files that a path stands for, and the folder that set files are relative to.
fn rule_files(path: &Path) -> Result<(Vec<PathBuf>, PathBuf)> {
    let kind = fs::metadata(path).map_err(|error| invalid(path, "read rules", &error.to_string()))?;
    if !kind.is_dir() {
        let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        return Ok((vec![path.to_path_buf()], folder));
    }
    let listing = fs::read_dir(path).map_err(|error| invalid(path, "list the folder", &error.to_string()))?;
    let mut paths = Vec::new();
    for entry in listing {
        let entry = entry.map_err(|error| invalid(path, "list the folder", &error.to_string()))?;
        let file = entry.path();
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && file.extension().is_some_and(|extension| extension == "toml") {
            paths.push(file);
        }
    }
    paths.sort();
    if paths.is_empty() {
        return Err(invalid(
            path,
            "read rules",
            "the folder has no *.toml; put a rule file there (the smallest one says: schema = 1)",
        ));
    }
    Ok((paths, path.to_path_buf()))
}

/// The text of a regular file of at most `limit` bytes.
fn read_text(path: &Path, what: &str, limit: u64) -> Result<String> {
    let operation = format!("read {what}");
    let failed = |cause: &str| invalid(path, &operation, cause);
    let kind = fs::metadata(path).map_err(|error| failed(&error.to_string()))?;
    if !kind.is_file() {
        return Err(failed("it is not a regular file; name a file"));
    }
    let file = fs::File::open(path).map_err(|error| failed(&error.to_string()))?;
    read_all(file, path, what, limit)
}

/// The text of a set file that is read from anywhere; errors call it by this name.
///
/// # Errors
/// [`InvalidInput`] when it cannot be read, is no UTF-8 text or is too long.
pub fn read_set(source: impl Read, name: &Path) -> Result<String> {
    read_all(source, name, "set file", SET_FILE_MAX)
}

fn read_all(source: impl Read, path: &Path, what: &str, limit: u64) -> Result<String> {
    let operation = format!("read {what}");
    let failed = |cause: &str| invalid(path, &operation, cause);
    let mut bytes = Vec::new();
    source
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&error.to_string()))?;
    if bytes.len() as u64 > limit {
        return Err(failed(&format!("it is longer than {limit} bytes; that cannot be meant as a {what}")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count() + 1;
        failed(&format!("byte {valid} (line {line}) is not UTF-8; save the file as UTF-8 text"))
    })
}

fn invalid(path: &Path, operation: &str, cause: &str) -> anyhow::Error {
    InvalidInput(format!("{operation} {}: {cause}", path.display())).into()
}

#[cfg(test)]
mod tests;
