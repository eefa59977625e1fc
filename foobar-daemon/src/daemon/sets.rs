//! What the writer does with sets: it tells them, changes their entries without touching the rules, and lays changes
//! made at runtime over the rules that are put in force.

use std::{collections::BTreeMap, mem, sync::Arc};

use anyhow::{Context as _, Result};
use ipnet::IpNet;

use super::{
    handle::AskedEdit,
    writer::{Writer, failed, refusal},
};
use crate::{
    control::protocol::{Changed, Refusal, SetEdits, SetInForce},
    outcome::InvalidInput,
    rules::{
        compile::{Sets, compile_with_sets},
        file::Position,
        model::{AddressSet, Ruleset},
        names::closest,
        sets::{
            ENTRIES_MAX, SetTable,
            edit::{EditReport, EditedSet},
            overlay::{self, Overlay},
        },
    },
    state::{Applied, store::Store, unix_ms},
};

/// Changes of sets laid over rules.
#[derive(Clone, Debug, Default)]
pub struct Laid {
    /// Those that are in force with the rules.
    pub overlays: BTreeMap<String, Overlay>,
    /// Those that the rules make void, by the names of their sets, and why in words.
    pub void: BTreeMap<String, String>,
}

impl Laid {
    /// Lays overlays over the sets of a ruleset. `entries` gives what an overlay makes of the entries of its set.
    ///
    /// # Errors
    /// Those of `entries`.
    pub fn over(
        ruleset: &mut Ruleset,
        overlays: &BTreeMap<String, Overlay>,
        entries: impl Fn(&str, &Overlay, &AddressSet) -> Result<Vec<IpNet>>,
    ) -> Result<Self> {
        let mut laid = Self::default();
        for (name, overlay) in overlays {
            let dropped = format!("what was changed of the set {name} at runtime is dropped, as the rules");
            match ruleset.sets.get_mut(name) {
                Some(set) if overlay.is_upon(&set.entries) => {
                    set.entries = entries(name, overlay, set)?;
                    laid.overlays.insert(name.clone(), overlay.clone());
                }
                Some(_) => {
                    laid.void.insert(name.clone(), format!("{dropped} give it other entries than before"));
                }
                None => {
                    laid.void.insert(name.clone(), format!("{dropped} no longer have this set"));
                }
            }
        }
        Ok(laid)
    }

    /// Lays over what the state folder has.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn from_store(store: &Store, ruleset: &mut Ruleset) -> Result<Self> {
        Self::over(ruleset, &store.overlays()?, |_, overlay, set| {
            let lower = match &overlay.whole {
                Some(hash) => store.whole_set(hash)?,
                None => set.entries.clone(),
            };
            Ok(overlay.over(lower))
        })
    }

    /// Forgets what the rules in force have made void.
    pub fn forget_void(&self, store: &Store) {
        for (name, why) in &self.void {
            tracing::warn!("{why}");
            if let Err(error) = store.set_overlay(name, None, None) {
                tracing::error!("{error:#}; remove it, or it may come back with older rules");
            }
        }
        store.forget_texts(&self.overlays);
    }

    /// What is void, for the end of a sentence.
    pub fn void_words(&self) -> String {
        self.void.values().fold(String::new(), |words, why| words + "; " + why)
    }
}

/// What there is to tell of an overlay.
pub(super) fn edits(overlay: &Overlay) -> SetEdits {
    let Overlay { base, changed, whole, added, removed } = overlay;
    SetEdits {
        changed: changed.clone(),
        replaced: whole.is_some(),
        added: added.len(),
        removed: removed.len(),
        base: base.clone(),
    }
}

impl Writer {
    /// The sets in force, in the order of their names.
    pub(super) fn sets(&self) -> Vec<SetInForce> {
        self.rules.sets.iter().map(|(name, set)| self.set_in_force(name, set)).collect()
    }

    /// A set in force and its entries.
    pub(super) fn set(&self, name: &str) -> Result<(SetInForce, Vec<IpNet>), Refusal> {
        let set = self.find_set(name)?;
        Ok((self.set_in_force(name, set), set.entries.clone()))
    }

    fn set_in_force(&self, name: &str, set: &AddressSet) -> SetInForce {
        let AddressSet { file, entries, masked: _ } = set;
        let v4 = entries.iter().filter(|entry| matches!(entry, IpNet::V4(_))).count();
        let place = self.rules.set_places.get(name);
        SetInForce {
            name: name.to_owned(),
            entries: entries.len(),
            v4,
            v6: entries.len() - v4,
            file: file.clone(),
            place: place.map(|Position { file, line, column }| format!("{file}:{line}:{column}")),
            edits: self.overlays.get(name).map(edits),
            rules: self
                .rules
                .rules_of_sets
                .get(name)
                .into_iter()
                .flatten()
                .map(ToString::to_string)
                .collect(),
        }
    }

    fn find_set(&self, name: &str) -> Result<&AddressSet, Refusal> {
        let sets = &self.rules.sets;
        sets.get(name).ok_or_else(|| {
            let names: Vec<&str> = sets.keys().map(String::as_str).collect();
            let help = match (closest(name, names.iter().copied()), names.len()) {
                (_, 0) => "the rules in force have no sets; add a table [sets.NAME] to them".to_owned(),
                (Some(meant), _) => format!("did you mean {meant}? there are: {}", some_of(&names)),
                (None, _) => format!("there are: {}", some_of(&names)),
            };
            Refusal::invalid(format!("there is no set {name:?}; {help}"))
        })
    }

    /// Changes the entries of a set: of each packet, all of the change is seen or nothing. If anything fails, the
    /// set stays as it is.
    pub(super) fn edit_set(&mut self, asked: AskedEdit, by: &str) -> Result<Changed, Refusal> {
        let AskedEdit { name, edit, masked } = asked;
        let before = self.find_set(&name)?;
        let mut edited = edit.of(&name, &before.entries);
        edited.report.masked = masked;
        let EditReport { added, removed, .. } = edited.report;
        if (added, removed) == (0, 0) {
            return Ok(self.set_changed(&edited.report));
        }
        let all: usize = self.rules.sets.values().map(|set| set.entries.len()).sum();
        let all = all - before.entries.len() + edited.entries.len();
        if all > ENTRIES_MAX && edited.entries.len() > before.entries.len() {
            return Err(Refusal::invalid(format!(
                "all sets together would have {all} entries, and there is room for {ENTRIES_MAX}; the set stays as \
                 it is"
            )));
        }
        let changed = Applied { unix_ms: unix_ms((self.now)()), by: by.to_owned() };
        let overlay_before = self.overlays.get(&name);
        let overlay::Changed { overlay, text } =
            Overlay::after((&before.entries, overlay_before), &edited, changed);
        // Written before the kernel is told: a daemon that is killed in between starts with the change, one that is
        // killed earlier without it.
        self.store.set_overlay(&name, overlay.as_ref(), text.as_deref()).map_err(|error| {
            self.restore_overlay(&name);
            stays(error)
        })?;
        let EditedSet { entries, report, .. } = edited;
        let entries_before = self.exchange_entries(&name, entries);
        if let Err(error) = self.put_set_in_force(&name) {
            self.exchange_entries(&name, entries_before);
            self.restore_overlay(&name);
            return Err(refusal(error.context("the set stays as it is")));
        }
        match overlay {
            Some(overlay) => self.overlays.insert(name, overlay),
            None => self.overlays.remove(&name),
        };
        self.store.forget_texts(&self.overlays);
        Ok(self.set_changed(&report))
    }

    fn set_changed(&self, report: &EditReport) -> Changed {
        Changed { set: Some(report.clone()), ..self.changed(report.to_string()) }
    }

    /// Puts the entries of a set in the place of those that it has.
    fn exchange_entries(&mut self, name: &str, entries: Vec<IpNet>) -> Vec<IpNet> {
        let set = self.rules.sets.get_mut(name);
        set.map(|set| mem::replace(&mut set.entries, entries)).unwrap_or_default()
    }

    fn restore_overlay(&self, name: &str) {
        if let Err(error) = self.store.set_overlay(name, self.overlays.get(name), None) {
            tracing::error!("remember that the set {name} stays as it is: {error:#}");
        }
    }

    /// Has the kernel see the present entries of a set.
    fn put_set_in_force(&mut self, name: &str) -> Result<()> {
        let sets = self.rules.named_sets();
        if !sets.contains_key(name) {
            return Ok(());
        }
        let in_force = self.filter.sets();
        // Ways to overlap that no address has any more take room, which a new table has again.
        let table = SetTable::build_after(&sets, &in_force)
            .or_else(|_| SetTable::build(&sets))
            .map_err(|error| InvalidInput(format!("{error:#}")))?;
        if self.filter.takes_sets(&table) {
            return self.filter.replace_sets(&table).context("put the entries in force");
        }
        let ruleset = &self.rules.read(&self.store)?;
        let mut slots = self.slots.clone();
        let reader = self.filter.counter_reader();
        let assigned = slots.assign(ruleset, &self.settings.interfaces, &|slot| reader.rule_slot(slot))?;
        let compiled = compile_with_sets(ruleset, &assigned, Sets::New(Arc::new(table)))?;
        self.swap(&compiled).context("put the rules in force with sets that overlap in new ways")
    }
}

/// Names for people, as many as anybody reads.
fn some_of(all: &[&str]) -> String {
    const SHOWN: usize = 20;
    let shown = all.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match all.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{shown} and {more} more (`foobar set list` shows all)"),
        _ => shown,
    }
}

fn stays(error: anyhow::Error) -> Refusal {
    failed(error.context("the set stays as it is"))
}
