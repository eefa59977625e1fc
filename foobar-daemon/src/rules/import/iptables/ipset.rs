//! Sets that rules name by `--match-set`, and lines of `ipset save` that say what is in them.

use std::collections::{BTreeMap, BTreeSet};

use foobar_common::flow::Family;
use ipnet::IpNet;

use super::super::{report::Report, values};

/// Sets by name.
#[derive(Default)]
pub(super) struct Sets {
    /// What the file says of them.
    given: BTreeMap<String, Given>,
    /// The line that names each first.
    used: BTreeMap<String, usize>,
}

/// A set that the file creates.
struct Given {
    family: Family,
    entries: BTreeSet<IpNet>,
}

impl Sets {
    /// Reads a line `create NAME TYPE …` or `add NAME ENTRY …`; whether it is one.
    pub(super) fn read(&mut self, line: usize, words: &[&str], report: &mut Report<'_>) -> bool {
        match words {
            ["create", name, kind, options @ ..] => {
                if !matches!(*kind, "hash:ip" | "hash:net" | "bitmap:ip") {
                    report.refuse(line, format!("sets of type {kind} are not in the rule language"));
                    return true;
                }
                if let Err(why) = check_name(name) {
                    report.refuse(line, why);
                    return true;
                }
                let family = if options.windows(2).any(|pair| pair == ["family", "inet6"]) {
                    Family::V6
                } else {
                    Family::V4
                };
                self.given.insert((*name).to_owned(), Given { family, entries: BTreeSet::new() });
                true
            }
            ["add", name, entry, options @ ..] => {
                self.add(line, name, entry, options, report);
                true
            }
            _ => false,
        }
    }

    fn add(&mut self, line: usize, name: &str, entry: &str, options: &[&str], report: &mut Report<'_>) {
        let Some(set) = self.given.get_mut(name) else {
            report
                .refuse(line, format!("the set {name:?} is not created in this file, or is of another type"));
            return;
        };
        if options.contains(&"nomatch") {
            report.refuse(line, "a set of the language has no exceptions");
            return;
        }
        match values::prefixes(entry) {
            Ok(prefixes) => set.entries.extend(prefixes),
            Err(why) => return report.refuse(line, why),
        }
        report.carry(line);
        if options.contains(&"timeout") {
            report.change(line, "the entry stays in the set for ever");
        }
    }

    /// A rule names a set: its name in the language, and the IP version of what is in it.
    pub(super) fn name(
        &mut self,
        name: &str,
        line: usize,
        family: Family,
    ) -> Result<(String, Family), String> {
        check_name(name)?;
        self.used.entry(name.to_owned()).or_insert(line);
        Ok((name.to_owned(), self.given.get(name).map_or(family, |set| set.family)))
    }

    /// All sets, those that rules name and the file does not hold too.
    pub(super) fn finish(self, report: &mut Report<'_>) -> BTreeMap<String, Vec<IpNet>> {
        let Self { given, used } = self;
        let mut sets: BTreeMap<String, Vec<IpNet>> =
            given.into_iter().map(|(name, set)| (name, set.entries.into_iter().collect())).collect();
        for (name, line) in used {
            sets.entry(name).or_insert_with_key(|name| {
                let why = format!(
                    "what is in the set {name:?} is not in this file: write it into [sets.{name}], where nothing \
                     is yet, or put what `ipset save {name}` prints in front of the rules and import again"
                );
                report.change(line, why);
                Vec::new()
            });
        }
        sets
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let allowed = |one: char| one.is_ascii_alphanumeric() || matches!(one, '_' | '.' | '-');
    if !name.is_empty() && name.len() <= 64 && name.chars().all(allowed) {
        return Ok(());
    }
    Err(format!("{name:?} cannot be the name of a set in the rule language: rename it"))
}
