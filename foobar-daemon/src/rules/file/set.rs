//! `[sets.NAME]` and the files of sets.

use ipnet::IpNet;

use super::{
    Reading, SetFile, address,
    error::{Errors, FileError, FileErrors},
    value::{Section, Value},
};
use crate::rules::{bundle::Bundle, model::AddressSet};

const SET_KEYS: [&str; 2] = ["entries", "file"];
const SET_HELP: &str = "write [sets.NAME], then entries = [\"192.0.2.0/24\"] or file = \"sets/NAME.txt\"";

/// Reads the sets of a rule file.
pub(super) fn read(file: &Section<'_>, bundle: &Bundle, reading: &mut Reading, errors: &mut Errors<'_>) {
    let Some(sets) = file.get("sets").and_then(|value| value.section("sets", SET_HELP, errors)) else {
        return;
    };
    for (name, place, value) in sets.entries() {
        super::check_name(name, "the name of a set", &place, errors);
        if let Some(first) = reading.places.sets.get(name) {
            let first = errors.position(first);
            errors.add(
                &place,
                format!("the set {name:?} is given a second time; the first is at {first}"),
                "give one of them another name, or put all entries into one",
            );
            continue;
        }
        reading.places.sets.insert(name.to_owned(), place);
        if let Some(set) = set(&value, bundle, errors) {
            reading.ruleset.sets.insert(name.to_owned(), set);
        }
    }
}

/// The set files that a rule file names.
pub(super) fn files(file: &Section<'_>) -> Vec<SetFile> {
    let mut found = Vec::new();
    let mut ignored = Errors::new(&[]);
    let Some(sets) = file.get("sets").and_then(|value| value.section("sets", "", &mut ignored)) else {
        return found;
    };
    for (_, _, value) in sets.entries() {
        if let Some(set) = value.section("a set", "", &mut ignored)
            && let Some(file) = set.get("file")
            && let Some(name) = file.as_string()
            && !name.is_empty()
        {
            found.push(SetFile { name: name.to_owned(), place: file.place });
        }
    }
    found
}

fn set(value: &Value<'_>, bundle: &Bundle, errors: &mut Errors<'_>) -> Option<AddressSet> {
    let section = value.section("a set", SET_HELP, errors)?;
    section.check_keys(&SET_KEYS, errors);
    match (section.get("entries"), section.get("file")) {
        (Some(entries), None) => {
            let values = entries.any_list();
            let entries: Vec<_> =
                values.iter().map(|value| address::prefix(value, "entries", errors)).collect();
            Some(AddressSet { entries: entries.into_iter().collect::<Option<_>>()?, ..AddressSet::default() })
        }
        (None, Some(file)) => {
            let name = file.string("file", errors)?;
            if name.is_empty() {
                errors.add(&file.place, "the name of the set's file is empty", SET_HELP);
                return None;
            }
            let Some(text) = bundle.attachments.get(name) else {
                let message = format!("the set file {name:?} was not read with the rules");
                errors.add(
                    &file.place,
                    message,
                    "give the rules as a file or folder, beside their set files",
                );
                return None;
            };
            let SetEntries { entries, masked } = entries(name, text, bundle.lenient, errors)?;
            Some(AddressSet { file: Some(name.to_owned()), entries, masked })
        }
        (Some(_), Some(file)) => {
            errors.add(&file.place, "a set has entries or a file, not both", "make two sets of it");
            None
        }
        (None, None) => {
            errors.add(&section.place, "the set has neither entries nor a file", SET_HELP);
            None
        }
    }
}

/// What the text of a set file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetEntries {
    /// The entries, in their order.
    pub entries: Vec<IpNet>,
    /// How many of them had bits behind the prefix, which were set to zero.
    pub masked: usize,
}

/// Reads the text of a set file: one address or prefix a line; `#` and `;` start comments. With `lenient`, bits
/// behind a prefix are no error.
///
/// # Errors
/// All that is wrong in it, each with its place and the mend.
pub fn parse_entries(name: &str, text: &str, lenient: bool) -> Result<SetEntries, FileErrors> {
    let mut errors = Errors::new(&[]);
    let read = entries(name, text, lenient, &mut errors);
    errors.finish()?;
    Ok(read.unwrap_or_default())
}

fn entries(name: &str, text: &str, lenient: bool, errors: &mut Errors<'_>) -> Option<SetEntries> {
    let mut read = SetEntries::default();
    let mut complete = true;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let content = line.split(['#', ';']).next().unwrap_or_default();
        let entry = content.trim();
        if !entry.is_empty() {
            match address::read_entry(entry, lenient) {
                Ok((prefix, masked)) => {
                    read.entries.push(prefix);
                    read.masked += usize::from(masked);
                }
                Err(wrong) => {
                    complete = false;
                    let start = offset + (content.len() - content.trim_start().len());
                    let span = start..start + entry.len();
                    errors.add_elsewhere(|| {
                        let (message, help) = wrong.explain(entry);
                        FileError::at(name, text, span, message, Some(&help))
                    });
                }
            }
        }
        offset += line.len();
    }
    complete.then_some(read)
}
