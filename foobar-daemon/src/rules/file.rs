//! The rule file: TOML text to [`Ruleset`], or everything that is wrong with it.

mod error;

use std::collections::BTreeMap;

pub use error::{FileError, FileErrors, Place};

use super::{
    bundle::{Bundle, SourceFile},
    model::Ruleset,
};

/// Where things of a ruleset stand in its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// Rules, by id.
    pub rules: BTreeMap<String, Position>,
    /// Services, by name.
    pub services: BTreeMap<String, Position>,
    /// Sets, by name.
    pub sets: BTreeMap<String, Position>,
}

/// A place in a file, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The file's name, as in [`SourceFile::name`].
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
}

/// A set file that a rule file names.
#[derive(Clone, Debug)]
pub struct SetFile {
    /// As it is written.
    pub name: String,
    /// Where it is written.
    pub place: Place,
}

/// Reads what the files say as one ruleset.
///
/// # Errors
/// Everything that is wrong in them.
pub fn read(_bundle: &Bundle) -> Result<(Ruleset, Positions), FileErrors> {
    Ok(Default::default())
}

/// The set files that the rule files name, in their order. Whatever else is wrong with the files is passed over.
pub fn set_files(_files: &[SourceFile]) -> Vec<SetFile> {
    Vec::new()
}
