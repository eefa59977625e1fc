//! What the daemon keeps of the rules in force.
//!
//! The store has their texts, which are read again where rules have to be compiled again or somebody wants to see them: ten thousand
//! rules with their texts would take some five megabytes for as long as they are in force, for what is hardly ever asked.

use std::collections::BTreeMap;

use anyhow::Result;
use foobar_common::verdict::Verdict;

use super::start::Rules;
use crate::{
    rules::{
        balancers::bans_by_source,
        file::Position,
        model::{AddressSet, Failsafe, Rule, Ruleset, Service},
        rule_id::RuleId,
        sets::{NamedSets, rules_of_sets},
    },
    slots::Assigned,
    state::store::Store,
};

/// What is kept.
#[derive(Clone, Debug)]
pub struct KeptRules {
    /// The hash of the texts.
    pub hash: String,
    /// The id and the action of each rule, in their order.
    pub actions: Vec<(RuleId, Verdict)>,
    /// Rules that ban by source.
    pub banning: Vec<Rule>,
    /// What is accepted before everything.
    pub failsafe: Failsafe,
    /// The services.
    pub services: Vec<Service>,
    /// The sets, with the entries that they were given at runtime.
    pub sets: BTreeMap<String, AddressSet>,
    /// Where each set is given.
    pub set_places: BTreeMap<String, Position>,
    /// Rules by the name of a set that they name.
    pub rules_of_sets: BTreeMap<String, Vec<RuleId>>,
}

impl KeptRules {
    /// What is kept of rules whose texts are in the store. Their names are shared with their counters.
    pub fn of(rules: Rules, slots: &Assigned) -> Self {
        let Rules { bundle: _, hash, ruleset, set_places } = rules;
        let shared = |id: &RuleId| slots.rules.get_key_value(id).map_or(id, |(shared, _)| shared).clone();
        Self {
            hash,
            actions: ruleset.rules.iter().map(|rule| (shared(&rule.id), rule.action)).collect(),
            banning: ruleset.rules.iter().filter(|rule| bans_by_source(rule)).cloned().collect(),
            rules_of_sets: rules_of_sets(&ruleset),
            failsafe: ruleset.failsafe,
            services: ruleset.services,
            sets: ruleset.sets,
            set_places,
        }
    }

    /// Reads the rules again, with the present entries of sets.
    ///
    /// # Errors
    /// When the store does not have their texts any more.
    pub fn read(&self, store: &Store) -> Result<Ruleset> {
        let Rules { ruleset, .. } = store.ruleset(&self.hash).and_then(Rules::new)?;
        Ok(Ruleset { sets: self.sets.clone(), ..ruleset })
    }

    /// The sets that some rule names.
    pub fn named_sets(&self) -> NamedSets<'_> {
        let named = self.sets.iter().filter(|(name, _)| self.rules_of_sets.contains_key(*name));
        named.map(|(name, set)| (name.as_str(), set)).collect()
    }

    /// Whether SYNs to some service may be answered with cookies.
    pub fn sends_cookies(&self) -> bool {
        self.services.iter().any(Service::sends_cookies)
    }
}
