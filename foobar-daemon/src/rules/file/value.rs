//! TOML values with their places.

use std::ops::RangeInclusive;

use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use super::error::{Errors, Place};
use crate::rules::names::closest;

/// What other firewalls call a key, and its name here.
const ELSEWHERE: [(&str, &str); 14] = [
    ("port", "destination_port"),
    ("ports", "destination_port"),
    ("dport", "destination_port"),
    ("sport", "source_port"),
    ("src", "source"),
    ("saddr", "source"),
    ("from", "source"),
    ("dst", "destination"),
    ("daddr", "destination"),
    ("to", "destination"),
    ("proto", "protocol"),
    ("iif", "interface"),
    ("name", "id"),
    ("verdict", "action"),
];

/// A value and where it stands.
#[derive(Clone)]
pub(super) struct Value<'t> {
    pub(super) place: Place,
    value: &'t DeValue<'t>,
}

/// A table and where it stands.
pub(super) struct Section<'t> {
    pub(super) place: Place,
    /// What it is called in errors.
    title: &'static str,
    table: &'t DeTable<'t>,
}

impl<'t> Section<'t> {
    pub(super) fn of(place: Place, title: &'static str, table: &'t DeTable<'t>) -> Self {
        Self { place, title, table }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<Value<'t>> {
        self.table.get(key).map(|value| self.value(value))
    }

    /// The value of a key that must be there.
    pub(super) fn require(&self, key: &str, help: &str, errors: &mut Errors<'_>) -> Option<Value<'t>> {
        let value = self.get(key);
        if value.is_none() {
            errors.add(&self.place, format!("{} has no {key}", self.title), help);
        }
        value
    }

    /// Where the key itself stands.
    pub(super) fn key_place(&self, key: &str) -> Place {
        let span =
            self.table.get_key_value(key).map_or_else(|| self.place.span.clone(), |(key, _)| key.span());
        Place { file: self.place.file, span }
    }

    /// Every key with its place and value.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'t str, Place, Value<'t>)> {
        self.table.iter().map(|(key, value)| {
            let place = Place { file: self.place.file, span: key.span() };
            (&**key.get_ref(), place, self.value(value))
        })
    }

    /// Reports the keys that are none of these.
    pub(super) fn check_keys(&self, known: &[&'static str], errors: &mut Errors<'_>) {
        for (key, place, _) in self.entries() {
            if known.contains(&key) {
                continue;
            }
            let other_word = ELSEWHERE.iter().find(|(word, here)| *word == key && known.contains(here));
            let meant = other_word.map(|(_, here)| *here).or_else(|| closest(key, known.iter().copied()));
            let help = match meant {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("keys of {}: {}", self.title, known.join(", ")),
            };
            errors.add(&place, format!("{} has no key {key:?}", self.title), help);
        }
    }

    /// The value of a yes-or-no key. `true` is reported: the language has it, but nothing acts on it.
    pub(super) fn refuse_true(&self, key: &str, help: &str, errors: &mut Errors<'_>) {
        if let Some(value) = self.get(key)
            && value.boolean(key, errors) == Some(true)
        {
            errors.add(&value.place, format!("{key} of {} is not yet enforced", self.title), help);
        }
    }

    fn value(&self, value: &'t Spanned<DeValue<'t>>) -> Value<'t> {
        Value { place: Place { file: self.place.file, span: value.span() }, value: value.get_ref() }
    }
}

impl<'t> Value<'t> {
    /// A text.
    pub(super) fn string(&self, what: &str, errors: &mut Errors<'_>) -> Option<&'t str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.wrong_type(what, "a text in quotes", errors);
        }
        text
    }

    /// The text, if it is one.
    pub(super) fn as_string(&self) -> Option<&'t str> {
        self.value.as_str()
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, what: &str, errors: &mut Errors<'_>) -> Option<bool> {
        let boolean = self.value.as_bool();
        if boolean.is_none() {
            self.wrong_type(what, "true or false, without quotes", errors);
        }
        boolean
    }

    /// A whole number in this range.
    pub(super) fn number(
        &self,
        what: &str,
        range: RangeInclusive<u64>,
        errors: &mut Errors<'_>,
    ) -> Option<u64> {
        let Some(integer) = self.value.as_integer() else {
            self.wrong_type(what, "a whole number", errors);
            return None;
        };
        let number = to_u64(integer).filter(|number| range.contains(number));
        if number.is_none() {
            let help = format!("write {} to {}", range.start(), range.end());
            errors.add(&self.place, format!("{what} {} is out of range", integer.as_str()), help);
        }
        number
    }

    /// Whether it is a table.
    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// Whether it is a whole number, of whatever size.
    pub(super) fn is_number(&self) -> bool {
        self.value.is_integer()
    }

    /// One of these words.
    pub(super) fn word<T: Copy>(
        &self,
        what: &str,
        words: &[(&str, T)],
        errors: &mut Errors<'_>,
    ) -> Option<T> {
        let word = self.string(what, errors)?;
        let found = words.iter().find(|(known, _)| *known == word).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
            errors.add(&self.place, format!("{what} cannot be {word:?}"), one_of(word, &known));
        }
        found
    }

    /// The elements of a list that says something; a value alone is a list of one.
    pub(super) fn list(&self, what: &str, errors: &mut Errors<'_>) -> Option<Vec<Self>> {
        let Some(array) = self.value.as_array() else {
            return Some(vec![self.clone()]);
        };
        if array.is_empty() {
            errors.add(
                &self.place,
                format!("{what} is an empty list, which nothing is in"),
                format!("leave {what} out to mean any, or leave out what it stands in"),
            );
            return None;
        }
        Some(self.elements(array))
    }

    /// The elements of a list, which may be empty; a value alone is a list of one.
    pub(super) fn any_list(&self) -> Vec<Self> {
        match self.value.as_array() {
            Some(array) => self.elements(array),
            None => vec![self.clone()],
        }
    }

    /// A table.
    pub(super) fn section(
        &self,
        title: &'static str,
        help: &str,
        errors: &mut Errors<'_>,
    ) -> Option<Section<'t>> {
        let Some(table) = self.value.as_table() else {
            errors.add(&self.place, format!("{title} is {}, not a table", self.type_words()), help);
            return None;
        };
        Some(Section { place: self.place.clone(), title, table })
    }

    /// Tables that may be there several times.
    pub(super) fn sections(
        &self,
        title: &'static str,
        help: &str,
        errors: &mut Errors<'_>,
    ) -> Vec<Section<'t>> {
        let Some(array) = self.value.as_array() else {
            let kind = self.type_words();
            errors.add(&self.place, format!("{title} is {kind}, not one of several tables"), help);
            return Vec::new();
        };
        self.elements(array).iter().filter_map(|element| element.section(title, help, errors)).collect()
    }

    /// Reports that the value is of another type than wanted.
    pub(super) fn wrong_type(&self, what: &str, wanted: &str, errors: &mut Errors<'_>) {
        let kind = self.type_words();
        errors.add(&self.place, format!("{what} cannot be {kind}"), format!("write {wanted}"));
    }

    fn elements(&self, array: &'t [Spanned<DeValue<'t>>]) -> Vec<Self> {
        array
            .iter()
            .map(|element| Self {
                place: Place { file: self.place.file, span: element.span() },
                value: element.get_ref(),
            })
            .collect()
    }

    fn type_words(&self) -> &'static str {
        match self.value {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }
}

/// Help for a word that is none of the known ones.
pub(super) fn one_of(word: &str, known: &[&str]) -> String {
    one_of_or(word, known, "")
}

/// The same where something else than a word is possible too.
pub(super) fn one_of_or(word: &str, known: &[&str], otherwise: &str) -> String {
    match closest(word, known.iter().copied()) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => format!("write one of: {}{otherwise}", known.join(", ")),
    }
}

fn to_u64(integer: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}
