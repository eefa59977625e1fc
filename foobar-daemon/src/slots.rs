//! Which counter belongs to whom: the memory of slots, which outlives rulesets and daemons.
//!
//! A slot belongs to a rule id, a service port, an interface or the name of a group of peers for as long as there are
//! free ones. When there are none left, the owner that has been out of use longest gives its slot away; what a rule had counted is
//! carried in the book, so that it goes on from there should it return.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use foobar_common::counters::{
    Counter, GROUP_SLOTS, GROUPS_MAX, INTERFACES_MAX, MORE_RULE_SLOTS, OTHER_INTERFACE, RULE_SLOTS,
    SERVICE_PORTS_MAX, SERVICE_SLOTS,
};
use serde::{Deserialize, Serialize};

use crate::rules::{
    model::{Ruleset, ServicePort},
    rule_id::RuleId,
};

/// What follows the id of a rule in the name under which the book has what is over its limit. No id has a space.
const OVER: &str = " over";

/// The book of slots, as it lies in the state folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slots {
    /// How many rulesets were given slots.
    generation: u64,
    rules: Owners,
    services: Owners,
    interfaces: Owners,
    /// Names of groups. A book without any is as it was before there were groups.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    peers: Owners,
}

/// Who has slots of one kind, by name.
type Owners = BTreeMap<Arc<str>, Owner>;

/// One line of the book.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Owner {
    /// `None`: given away.
    slot: Option<u32>,
    /// The last generation that used it.
    used: u64,
    carried_packets: u64,
    carried_bytes: u64,
}

/// The slots of one ruleset on some interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    /// By rule id.
    pub rules: BTreeMap<RuleId, RuleSlot>,
    /// Of what is over the limit of a rule, by its id.
    pub over: BTreeMap<RuleId, RuleSlot>,
    /// By port.
    pub services: BTreeMap<ServicePort, u32>,
    /// By name.
    pub interfaces: BTreeMap<String, u32>,
    /// By name of a group of peers.
    pub peers: BTreeMap<String, u32>,
    /// Slots that have a new owner and must be set to zero before the ruleset is loaded.
    pub fresh: FreshSlots,
}

/// Slots by kind; none of them is in use by the ruleset in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FreshSlots {
    /// Of rules.
    pub rules: BTreeSet<u32>,
    /// Of services.
    pub services: BTreeSet<u32>,
    /// Of interfaces.
    pub interfaces: BTreeSet<u32>,
    /// Of groups of peers.
    pub peers: BTreeSet<u32>,
}

/// The slot of a rule, and what it counted before it got this slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleSlot {
    /// The slot.
    pub slot: u32,
    /// Counted in slots that it gave away.
    pub carried: Counter,
}

impl Slots {
    /// Reads the book; a missing one is empty.
    ///
    /// # Errors
    /// A book that cannot be read is an error: guessing slots would mix up counters.
    pub fn load(path: &Path) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is damaged; move it away to start with new counter slots (after 'foobar detach', so that no \
                 counter changes its owner)",
                path.display()
            )
        })
    }

    /// Writes the book, wholly or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        let temporary = path.with_extension("new");
        let write = || -> Result<()> {
            let mut text = serde_json::to_vec(self)?;
            text.push(b'\n');
            let mut file = File::create(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            Ok(())
        };
        write().with_context(|| format!("write {}", path.display()))
    }

    /// Finds a slot for everything in the ruleset. `counted` tells what a rule slot holds, for rules that give
    /// theirs away.
    ///
    /// # Errors
    /// Says what there is too much of.
    pub fn assign(
        &mut self,
        ruleset: &Ruleset,
        interfaces: &[String],
        counted: &dyn Fn(u32) -> Result<Counter>,
    ) -> Result<Assigned> {
        let ports: BTreeSet<ServicePort> =
            ruleset.services.iter().flat_map(|service| &service.ports).copied().collect();
        ensure!(
            ports.len() <= SERVICE_PORTS_MAX as usize,
            "{} service ports are too many: there is room for {SERVICE_PORTS_MAX}",
            ports.len()
        );
        ensure!(
            interfaces.len() <= INTERFACES_MAX as usize,
            "{} interfaces are too many: there is room for {INTERFACES_MAX}",
            interfaces.len()
        );
        ensure!(
            ruleset.peers.len() <= GROUPS_MAX as usize,
            "{} groups of peers are too many: there is room for {GROUPS_MAX}",
            ruleset.peers.len()
        );
        self.generation += 1;
        let mut assigned = Assigned::default();

        let limited = ruleset.rules.iter().filter(|rule| rule.limit.is_some());
        let over: Vec<(&RuleId, String)> =
            limited.map(|rule| (&rule.id, format!("{}{OVER}", rule.id))).collect();
        let ids = ruleset.rules.iter().map(|rule| rule.id.as_str());
        let ids: Vec<&str> = ids.chain(over.iter().map(|(_, name)| name.as_str())).collect();
        // A ruleset that leaves no room for the next one of its size needs the second map.
        let needs_more = ids.len() > RULE_SLOTS as usize / 2
            || self.rules.values().any(|owner| owner.slot.is_some_and(|slot| slot >= RULE_SLOTS));
        let end = if needs_more { RULE_SLOTS + MORE_RULE_SLOTS } else { RULE_SLOTS };
        assigned.fresh.rules = give(&mut self.rules, &ids, end, self.generation, counted)?;
        let owned = |name: &str| -> Result<(RuleId, RuleSlot)> {
            let (name, owner) =
                self.rules.get_key_value(name).context("a rule is not in the book of slots")?;
            let carried = Counter { packets: owner.carried_packets, bytes: owner.carried_bytes };
            Ok((name.clone().into(), RuleSlot { slot: slot_of(owner)?, carried }))
        };
        let rules = ruleset.rules.iter().map(|rule| owned(rule.id.as_str()));
        assigned.rules = rules.collect::<Result<_>>()?;
        let over = over.iter().map(|(id, name)| Ok(((*id).clone(), owned(name)?.1)));
        assigned.over = over.collect::<Result<_>>()?;

        let nothing = |_| Ok(Counter::default());
        let names: Vec<String> = ports.iter().map(ToString::to_string).collect();
        let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
        assigned.fresh.services =
            give(&mut self.services, &borrowed, SERVICE_SLOTS, self.generation, &nothing)?;
        for (port, name) in ports.into_iter().zip(borrowed) {
            let owner = self.services.get(name).copied().unwrap_or_default();
            assigned.services.insert(port, slot_of(&owner)?);
        }

        let borrowed: Vec<&str> = interfaces.iter().map(String::as_str).collect();
        assigned.fresh.interfaces =
            give(&mut self.interfaces, &borrowed, OTHER_INTERFACE, self.generation, &nothing)?;
        for name in interfaces {
            let owner = self.interfaces.get(name.as_str()).copied().unwrap_or_default();
            assigned.interfaces.insert(name.clone(), slot_of(&owner)?);
        }

        let borrowed: Vec<&str> = ruleset.peers.keys().map(String::as_str).collect();
        assigned.fresh.peers = give(&mut self.peers, &borrowed, GROUP_SLOTS, self.generation, &nothing)?;
        for name in ruleset.peers.keys() {
            let owner = self.peers.get(name.as_str()).copied().unwrap_or_default();
            assigned.peers.insert(name.clone(), slot_of(&owner)?);
        }
        Ok(assigned)
    }

    /// For a single ruleset whose counters nobody keeps: replay, tests.
    pub fn for_once(ruleset: &Ruleset, interfaces: &[String]) -> Result<Assigned> {
        Self::default().assign(ruleset, interfaces, &|_| Ok(Counter::default()))
    }
}

fn slot_of(owner: &Owner) -> Result<u32> {
    owner.slot.context("a name was left without a counter slot")
}

/// Gives each name a slot below `end` and marks it as used; returns the slots that changed their owner.
fn give(
    owners: &mut Owners,
    names: &[&str],
    end: u32,
    generation: u64,
    counted: &dyn Fn(u32) -> Result<Counter>,
) -> Result<BTreeSet<u32>> {
    // All at a time, which leaves no node half full.
    let new = names.iter().filter(|name| !owners.contains_key(**name));
    let mut new: Owners = new.map(|name| (Arc::from(*name), Owner::default())).collect();
    owners.append(&mut new);
    for name in names {
        if let Some(owner) = owners.get_mut(*name) {
            owner.used = generation;
        }
    }
    let has_slot = |name: &&&str| owners.get(**name).is_some_and(|owner| owner.slot.is_some());
    let without: Vec<&str> = names.iter().filter(|name| !has_slot(name)).copied().collect();
    let taken: BTreeSet<u32> = owners.values().filter_map(|owner| owner.slot).collect();
    let mut slots: Vec<u32> = (0..end).filter(|slot| !taken.contains(slot)).take(without.len()).collect();
    let missing = without.len() - slots.len();
    if missing > 0 {
        slots.extend(take_from_oldest(owners, missing, generation, counted)?);
    }
    for (name, slot) in without.iter().zip(&slots) {
        if let Some(owner) = owners.get_mut(*name) {
            owner.slot = Some(*slot);
        }
    }
    Ok(slots.into_iter().collect())
}

/// Takes the slots of the owners that have been out of use longest. There is room for two whole rulesets, so these
/// are neither of the ruleset in force nor of the one to come.
fn take_from_oldest(
    owners: &mut Owners,
    count: usize,
    generation: u64,
    counted: &dyn Fn(u32) -> Result<Counter>,
) -> Result<Vec<u32>> {
    let idle = owners.values_mut().filter(|owner| owner.slot.is_some() && owner.used + 1 < generation);
    let mut idle: Vec<&mut Owner> = idle.collect();
    ensure!(idle.len() >= count, "no counter slot is free");
    idle.sort_by_key(|owner| owner.used);
    let mut slots = Vec::new();
    for oldest in idle.into_iter().take(count) {
        let slot = oldest.slot.context("no counter slot is free")?;
        let Counter { packets, bytes } = counted(slot)?;
        oldest.carried_packets += packets;
        oldest.carried_bytes += bytes;
        oldest.slot = None;
        slots.push(slot);
    }
    Ok(slots)
}

#[cfg(test)]
mod tests {
    use foobar_common::verdict::Verdict;

    use super::*;
    use crate::rules::model::Rule;

    fn ruleset(ids: impl IntoIterator<Item = String>) -> Ruleset {
        let rules = ids.into_iter().map(|id| Rule::new(&id, Verdict::Accept)).collect();
        Ruleset { rules, ..Ruleset::default() }
    }

    fn assign(slots: &mut Slots, ids: &[&str]) -> Assigned {
        let ruleset = ruleset(ids.iter().map(ToString::to_string));
        slots.assign(&ruleset, &["eth0".to_owned()], &|_| Ok(Counter { packets: 7, bytes: 70 })).unwrap()
    }

    #[test]
    fn a_rule_keeps_its_slot_wherever_it_stands_and_when_it_returns() {
        let mut slots = Slots::default();
        let first = assign(&mut slots, &["a", "b"]);
        let second = assign(&mut slots, &["c", "b"]);
        let third = assign(&mut slots, &["b", "a"]);
        assert_eq!(first.rules["b"], second.rules["b"]);
        assert_eq!(first.rules["a"], third.rules["a"]);
        assert!(third.fresh.rules.is_empty(), "nothing changed its owner");
        assert_eq!(first.fresh.rules.len(), 2);
    }

    #[test]
    fn the_rule_out_of_use_longest_gives_its_slot_away_and_its_count_is_carried() {
        let mut slots = Slots::default();
        let oldest = assign(&mut slots, &["oldest"]).rules["oldest"];
        for batch in 0..RULE_SLOTS / 256 {
            let ids = (0..256).map(|n| format!("r{batch}-{n}"));
            slots.assign(&ruleset(ids), &[], &|_| Ok(Counter { packets: 7, bytes: 70 })).unwrap();
        }
        assert_eq!(slots.rules["oldest"].slot, None, "given away");
        let back = assign(&mut slots, &["oldest"]);
        assert_eq!(back.rules["oldest"].carried, Counter { packets: 7, bytes: 70 });
        assert!(back.fresh.rules.contains(&back.rules["oldest"].slot));
        assert_eq!(oldest.carried, Counter::default());
    }

    fn with_groups(slots: &mut Slots, names: &[&str]) -> Assigned {
        let peers = names.iter().map(|name| ((*name).to_owned(), Vec::new())).collect();
        let ruleset = Ruleset { peers, ..Ruleset::default() };
        slots.assign(&ruleset, &[], &|_| Ok(Counter::default())).unwrap()
    }

    #[test]
    fn a_name_of_a_group_keeps_its_slot_and_never_takes_one_that_is_in_use() {
        let mut slots = Slots::default();
        assert_eq!(serde_json::to_value(&slots).unwrap().get("peers"), None);
        let first = with_groups(&mut slots, &["lb", "monitoring"]);
        let renamed = with_groups(&mut slots, &["balancer", "monitoring", "office"]);
        assert_eq!(first.peers["monitoring"], renamed.peers["monitoring"]);
        assert!(!first.peers.values().any(|slot| renamed.fresh.peers.contains(slot)));
        let back = with_groups(&mut slots, &["lb"]);
        assert_eq!((&back.peers["lb"], back.fresh.peers.len()), (&first.peers["lb"], 0));
        // Names that come and go: the oldest gives its slot away, never one of the ruleset before.
        let mut before = back;
        for number in 0..GROUP_SLOTS {
            let now = with_groups(
                &mut slots,
                &["a", "b", "c"].map(|name| format!("{name}{number}")).each_ref().map(String::as_str),
            );
            assert_eq!(now.fresh.peers.len(), 3);
            assert!(now.fresh.peers.iter().all(|slot| *slot < GROUP_SLOTS));
            assert!(before.peers.values().all(|slot| !now.fresh.peers.contains(slot)), "{number}");
            before = now;
        }
        assert!(with_groups(&mut slots, &["lb"]).fresh.peers.len() == 1, "given away meanwhile");
    }

    #[test]
    fn a_damaged_book_is_an_error_and_a_missing_one_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slots.json");
        assert_eq!(Slots::load(&path).unwrap(), Slots::default());
        let mut slots = Slots::default();
        assign(&mut slots, &["a"]);
        slots.save(&path).unwrap();
        assert_eq!(Slots::load(&path).unwrap(), slots);
        fs::write(&path, "{").unwrap();
        assert!(Slots::load(&path).unwrap_err().to_string().contains("damaged"));
    }
}
