//! The rule file: TOML text to [`Ruleset`], or everything that is wrong with it.

mod address;
mod condition;
mod decryption;
mod error;
mod guard;
mod limit;
mod log;
mod peers;
mod policy;
mod port;
mod reconcile;
mod rule;
mod service;
mod set;
mod syn_cookies;
mod value;

use std::collections::BTreeMap;

pub use address::{parse_entry, parse_prefix};
pub use error::{FileError, FileErrors, Place};
pub use guard::GUARD_WITHIN;
pub use port::parse_service_port;
pub use set::{SetEntries, parse_entries};
use toml::{Spanned, de::DeTable};

use self::{
    error::{Errors, LineStarts},
    value::{Section, Value},
};
use super::{
    bundle::{Bundle, SourceFile},
    model::Ruleset,
};

/// The version of the rule language that is read.
pub const SCHEMA: u64 = 1;

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
/// Everything that is wrong in them. While a file is no TOML, that is all that is said: what the rest means may
/// depend on it.
pub fn read(bundle: &Bundle) -> Result<(Ruleset, Positions), FileErrors> {
    let mut errors = Errors::new(&bundle.files);
    let documents: Vec<Document<'_>> = bundle
        .files
        .iter()
        .enumerate()
        .map(|(number, file)| Document::parse(number, file, &mut errors))
        .collect();
    errors.finish()?;

    let mut errors = Errors::new(&bundle.files);
    let mut reading = Reading::default();
    let sections: Vec<Section<'_>> =
        documents.iter().filter_map(|document| document.section(&mut errors)).collect();
    for section in &sections {
        policy::read(section, &mut reading, &mut errors);
        guard::read(section, &mut reading, &mut errors);
        peers::read(section, &mut reading, &mut errors);
        set::read(section, bundle, &mut reading, &mut errors);
        service::read(section, &mut reading, &mut errors);
    }
    policy::spare_groups(&mut reading, &mut errors);
    for section in &sections {
        rule::read(section, &mut reading, &mut errors);
    }
    errors.finish()?;
    // A daemon keeps them for as long as they are in force.
    reading.ruleset.rules.shrink_to_fit();
    Ok((reading.ruleset, reading.places.positions(&bundle.files)))
}

/// The set files that the rule files name, in their order. Whatever else is wrong with the files is passed over.
pub fn set_files(files: &[SourceFile]) -> Vec<SetFile> {
    let mut ignored = Errors::new(files);
    let mut found = Vec::new();
    for (number, file) in files.iter().enumerate() {
        if !may_name_files(&file.text) {
            continue;
        }
        let document = Document::parse(number, file, &mut ignored);
        found.extend(set::files(&document.whole()));
    }
    found
}

/// Whether there may be the key `file` in a rule file: told without the time that reading ten thousand rules takes. An
/// escaped character may be part of it.
fn may_name_files(text: &str) -> bool {
    text.contains("file") || text.contains('\\')
}

/// What has been read so far.
#[derive(Default)]
struct Reading {
    ruleset: Ruleset,
    places: Places,
    /// Groups of peers that must not be banned, and where that is said.
    spared_groups: Vec<(String, Place)>,
}

/// Where things that may exist only once were first seen.
#[derive(Default)]
struct Places {
    policy: Option<Place>,
    failsafe: Option<Place>,
    guard: Option<Place>,
    peers: Option<Place>,
    rules: BTreeMap<String, Place>,
    services: BTreeMap<String, Place>,
    sets: BTreeMap<String, Place>,
    service_ports: BTreeMap<super::model::ServicePort, Place>,
}

impl Places {
    fn positions(self, files: &[SourceFile]) -> Positions {
        let lines = LineStarts::of(files);
        let all = |places: BTreeMap<String, Place>| {
            places.into_iter().filter_map(|(name, place)| Some((name, lines.position(&place)?))).collect()
        };
        Positions { rules: all(self.rules), services: all(self.services), sets: all(self.sets) }
    }
}

/// The TOML of one file.
struct Document<'t> {
    number: usize,
    table: Spanned<DeTable<'t>>,
}

/// What stands at the top of a file, besides what [`value::Key::not_yet`] says.
const TOP_KEYS: [&str; 8] = ["schema", "policy", "failsafe", "guard", "peers", "sets", "service", "rule"];
/// Ways of saying nothing.
const SMALLEST: &str = "the smallest rule file is the line: schema = 1 (it accepts and counts everything)";
/// Beyond this a file with a broken beginning is noise, and only its first error is worth the time.
const RECOVERED_MAX: usize = 256 << 10;

impl<'t> Document<'t> {
    fn parse(number: usize, file: &'t SourceFile, errors: &mut Errors<'_>) -> Self {
        let problems = match DeTable::parse(&file.text) {
            Ok(table) => return Self { number, table },
            Err(first) if file.text.len() > RECOVERED_MAX => {
                (Spanned::new(0..0, DeTable::new()), vec![first])
            }
            Err(_) => DeTable::parse_recoverable(&file.text),
        };
        let (table, problems) = problems;
        for problem in problems {
            let span = problem.span().unwrap_or(0..0);
            // What an unquoted word or address gives is a broken number, date or boolean.
            let help = if problem.message().contains("invalid") || problem.message().contains("quoted") {
                "words, addresses and ranges are texts: put them in quotes"
            } else {
                "this is no TOML: texts are in quotes, lists in [ ], and a key is only once in its table"
            };
            errors.add(&Place { file: number, span }, problem.message().replace('\n', ", "), help);
        }
        Self { number, table }
    }

    fn whole(&self) -> Section<'_> {
        Section::of(Place::start_of(self.number), "the file", self.table.get_ref())
    }

    /// The file's content, if it is of this language at all.
    fn section(&self, errors: &mut Errors<'_>) -> Option<Section<'_>> {
        let section = self.whole();
        if section.is_empty() {
            errors.add(&section.place, "the file says nothing", SMALLEST);
            return None;
        }
        let write = format!("write, as the first line: schema = {SCHEMA}");
        match section.get("schema") {
            None => errors.add(&section.place, "schema is missing", write),
            Some(value) => {
                if value.number("schema", 0..=u64::MAX, errors)? != SCHEMA {
                    errors.add(&value.place, format!("this foobar reads schema {SCHEMA} only"), write);
                    return None;
                }
            }
        }
        section.check_keys(&TOP_KEYS, errors);
        Some(section)
    }
}

/// Names and ids: metric labels, and parts of file names and URLs.
const NAME_MAX: usize = 64;

/// A value that names something: 1 to 64 of the characters `A-Z a-z 0-9 _ . -`.
fn name<'t>(value: &Value<'t>, what: &str, errors: &mut Errors<'_>) -> Option<&'t str> {
    let name = value.string(what, errors)?;
    check_name(name, what, &value.place, errors).then_some(name)
}

/// Reports what is wrong with a name; whether nothing is.
fn check_name(name: &str, what: &str, place: &Place, errors: &mut Errors<'_>) -> bool {
    let is_allowed = |one: char| one.is_ascii_alphanumeric() || matches!(one, '_' | '.' | '-');
    let help = format!("write 1 to {NAME_MAX} of the characters A-Z a-z 0-9 _ . -");
    let problem = if name.is_empty() {
        format!("{what} is empty")
    } else if let Some(wrong) = name.chars().find(|one| !is_allowed(*one)) {
        format!("{what} contains {wrong:?}, which cannot stand in the name of a counter")
    } else if name.len() > NAME_MAX {
        format!("{what} has {} characters", name.len())
    } else {
        return true;
    };
    errors.add(place, problem, help);
    false
}

#[cfg(test)]
mod tests;
