//! Named sets and maps.

use std::collections::{BTreeMap, BTreeSet};

use foobar_common::flow::Family;
use ipnet::IpNet;

use super::{
    super::report::Report,
    cursor::Cursor,
    elements::{self, Element},
    fields,
    token::Token,
};

/// Sets and maps by the name of their table and their own.
#[derive(Default)]
pub(super) struct Sets<'t> {
    sets: BTreeMap<String, Set<'t>>,
    /// Names that sets of the rule file have.
    taken: BTreeSet<String>,
}

/// A set or map.
pub(super) struct Set<'t> {
    /// The set of the rule file that it becomes, and the IP version of what is in it. Others are written out
    /// where they are used.
    pub(super) becomes: Option<(String, Family)>,
    pub(super) elements: Vec<Element<'t>>,
}

impl<'t> Sets<'t> {
    /// Reads what stands in the braces of `set NAME { … }` or `map NAME { … }`.
    pub(super) fn declare(&mut self, table: &str, name: &str, tokens: &'t [Token], report: &mut Report<'_>) {
        let mut cursor = Cursor::new(tokens);
        let mut set = Set { becomes: None, elements: Vec::new() };
        while cursor.peek().is_some() {
            let mut statement = Cursor::new(cursor.statement());
            if statement.skip("flags") {
                let grows = statement.rest().iter().find(|token| token.is("dynamic") || token.is("timeout"));
                if let Some(token) = grows {
                    report
                        .change(token.line, "the set keeps what is in this file, and nothing is added to it");
                }
            }
            let is_typeof = statement.skip("typeof");
            if statement.skip("elements") {
                statement.skip("=");
                set.elements = statement.braces().map(elements::elements).unwrap_or_default();
            } else if is_typeof || statement.skip("type") {
                set.becomes = family(statement.rest()).map(|family| (self.free_name(table, name), family));
            }
        }
        self.sets.insert(format!("{table} {name}"), set);
    }

    /// `add element TABLE NAME { … }`; whether there is such a set.
    pub(super) fn add(&mut self, table: &str, name: &str, tokens: &'t [Token]) -> bool {
        let set = self.sets.get_mut(&format!("{table} {name}"));
        set.map(|set| set.elements.extend(elements::elements(tokens))).is_some()
    }

    pub(super) fn get(&self, table: &str, name: &str) -> Result<&Set<'t>, String> {
        let set = self.sets.get(&format!("{table} {name}"));
        set.ok_or_else(|| format!("the set @{name} is not in its table in this file"))
    }

    /// The sets of the rule file.
    pub(super) fn finish(self, report: &mut Report<'_>) -> BTreeMap<String, Vec<IpNet>> {
        let mut sets = BTreeMap::new();
        for Set { becomes, elements } in self.sets.into_values() {
            let Some((name, _)) = becomes else {
                continue;
            };
            let entries: &mut Vec<IpNet> = sets.entry(name).or_default();
            for Element { line, value, expires, .. } in elements {
                match value.and_then(|value| fields::prefixes(&[value])) {
                    Ok(prefixes) => entries.extend(prefixes),
                    Err(why) => report.refuse(line, why),
                }
                if expires {
                    report.change(line, "elements stay in the set for ever");
                }
            }
        }
        sets
    }

    /// The name, or with the table's name where another table has the same.
    fn free_name(&mut self, table: &str, name: &str) -> String {
        let allowed = |one: char| one.is_ascii_alphanumeric() || matches!(one, '_' | '.' | '-');
        let named = |text: &str| -> String {
            text.chars().map(|one| if allowed(one) { one } else { '-' }).take(56).collect()
        };
        let numbered = (2..).map(|number| format!("{}-{number}", named(name)));
        let free = [named(name), named(&format!("{table}-{name}"))].into_iter().chain(numbered);
        free.into_iter().find(|name| self.taken.insert(name.clone())).unwrap_or_default()
    }
}

/// The IP version of a set of addresses, by its `type` or `typeof`.
fn family(tokens: &[Token]) -> Option<Family> {
    let words: Vec<&str> = tokens.iter().filter_map(Token::word).collect();
    let is_plain = tokens.len() == words.len();
    match words[..] {
        ["ipv4_addr"] | ["ip", "saddr" | "daddr"] if is_plain => Some(Family::V4),
        ["ipv6_addr"] | ["ip6", "saddr" | "daddr"] if is_plain => Some(Family::V6),
        _ => None,
    }
}
