//! Ruleset to tables; pure.
//!
//! For every field and every value of it, the rules that accept the value are written down as a bit vector;
//! equal vectors are stored once, as a class. [`foobar_common::rule`] says how the kernel reads them.

mod addresses;
mod fields;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use foobar_common::{
    flow::Family,
    rule::{
        Class, FRAGMENTS_BY_RULES, NO_PORTS_CLASS, NO_SERVICE, OTHER_INTERFACE_CLASS, RULES_MAX, RuleRecord,
        RuleVector, Settings, TableField, uses,
    },
};

use self::addresses::Side;
pub use self::{
    addresses::{PrefixEntry, PrefixTable},
    fields::FieldTable,
};
use super::model::{FragmentPolicy, Policy, Rule, Ruleset};
use crate::slots::Assigned;

/// The tables of a ruleset, ready to be written into maps.
#[derive(Clone, Debug)]
pub struct CompiledRuleset {
    /// What the policy says and which fields the rules ask for.
    pub settings: Settings,
    /// Source address to class, IPv4.
    pub sources_v4: PrefixTable,
    /// Source address to class, IPv6.
    pub sources_v6: PrefixTable,
    /// Destination address to class, IPv4.
    pub destinations_v4: PrefixTable,
    /// Destination address to class, IPv6.
    pub destinations_v6: PrefixTable,
    /// One table for each [`TableField`], in its order.
    pub tables: Vec<FieldTable>,
    /// The classes that all tables refer to.
    pub classes: Vec<Class>,
    /// What each rule does, in the order of the file.
    pub rules: Vec<RuleRecord>,
    /// The class of each interface that some rule names.
    pub interface_classes: BTreeMap<String, u32>,
    /// Whose the counters are.
    pub slots: Assigned,
}

/// Compiles a ruleset whose counters have these slots.
///
/// # Errors
/// Says which limit the ruleset exceeds, and by how much.
pub fn compile(ruleset: &Ruleset, slots: &Assigned) -> Result<CompiledRuleset> {
    let Ruleset { policy, failsafe: _, sets: _, services: _, rules } = ruleset;
    ensure!(rules.len() <= RULES_MAX, "{} rules are too many: there is room for {RULES_MAX}", rules.len());
    let mut classes = Classes::new(ruleset);
    let tables = TableField::ALL
        .into_iter()
        .map(|field| fields::table(ruleset, slots, field, &mut classes))
        .collect::<Result<_>>()?;
    let mut prefixes =
        |side, family| addresses::table(ruleset, side, family, &mut |class| classes.number(class));
    let sources_v4 = prefixes(Side::Source, Family::V4);
    let sources_v6 = prefixes(Side::Source, Family::V6);
    let destinations_v4 = prefixes(Side::Destination, Family::V4);
    let destinations_v6 = prefixes(Side::Destination, Family::V6);
    let interface_classes = interface_classes(rules, &mut classes);
    let records = rules
        .iter()
        .map(|rule| {
            let slot = slots.rules.get(&rule.id).map(|owned| owned.slot);
            let slot = slot.ok_or_else(|| anyhow::anyhow!("rule '{}' has no counter slot", rule.id))?;
            Ok(RuleRecord { verdict: rule.action.number(), slot })
        })
        .collect::<Result<_>>()?;
    Ok(CompiledRuleset {
        settings: settings(policy, ruleset),
        sources_v4,
        sources_v6,
        destinations_v4,
        destinations_v6,
        tables,
        classes: classes.list,
        rules: records,
        interface_classes,
        slots: slots.clone(),
    })
}

fn settings(policy: &Policy, ruleset: &Ruleset) -> Settings {
    let Policy { inbound, malformed, fragments, infrastructure } = *policy;
    let rules = &ruleset.rules;
    let used = |bit, used: bool| if used { bit } else { 0 };
    let by_some = |bit, asks: fn(&Rule) -> bool| used(bit, rules.iter().any(asks));
    Settings {
        policy_in: inbound.number(),
        malformed: malformed.number(),
        fragments: match fragments {
            FragmentPolicy::Rules => FRAGMENTS_BY_RULES,
            FragmentPolicy::Always(verdict) => verdict.number(),
        },
        infrastructure: u32::from(infrastructure),
        uses: used(uses::RULES, !rules.is_empty())
            | used(uses::SOURCE, !ruleset.failsafe.peers.is_empty())
            | by_some(uses::SOURCE, |rule| rule.source.is_some())
            | by_some(uses::DESTINATION, |rule| rule.destination.is_some())
            | by_some(uses::SOURCE_PORT, |rule| rule.source_port.is_some())
            | by_some(uses::TRANSPORT, |rule| {
                rule.protocol.is_some()
                    || rule.tcp_flags.is_some()
                    || rule.icmp.is_some()
                    || rule.fragment.is_some()
            })
            | by_some(uses::VLAN, |rule| rule.vlan.is_some())
            | by_some(uses::LENGTH, |rule| rule.length.is_some())
            | by_some(uses::INTERFACE, |rule| rule.interface.is_some()),
        trace: 0,
    }
}

fn interface_classes(rules: &[Rule], classes: &mut Classes) -> BTreeMap<String, u32> {
    let named = rules.iter().filter_map(|rule| rule.interface.as_ref()).flatten();
    named
        .map(|name| {
            let accepting =
                vector(rules, |rule| rule.interface.as_ref().is_none_or(|names| names.contains(name)));
            (name.clone(), classes.number(class_of_rules(accepting)))
        })
        .collect()
}

/// The rules that `accepts` says yes to, as a bit vector.
fn vector(rules: &[Rule], accepts: impl Fn(&Rule) -> bool) -> RuleVector {
    let mut vector = RuleVector::default();
    for (number, rule) in rules.iter().enumerate() {
        if accepts(rule) {
            set(&mut vector, number);
        }
    }
    vector
}

/// Adds rule `number`, which must be less than [`RULES_MAX`].
fn set(vector: &mut RuleVector, number: usize) {
    if let Some(word) = vector.words.get_mut(number / 64) {
        *word |= 1 << (number % 64);
    }
}

/// A class of a field that says nothing but which rules accept it.
fn class_of_rules(rules: RuleVector) -> Class {
    Class { rules, failsafe: 0, service: [NO_SERVICE; 3], padding: 0 }
}

/// The classes so far; equal ones are stored once.
struct Classes {
    list: Vec<Class>,
    numbers: BTreeMap<Class, u32>,
}

impl Classes {
    /// Starts with the classes that have fixed numbers.
    fn new(ruleset: &Ruleset) -> Self {
        let without_ports =
            vector(&ruleset.rules, |rule| rule.source_port.is_none() && rule.destination_port.is_none());
        let other_interface = vector(&ruleset.rules, |rule| rule.interface.is_none());
        let mut classes = Self { list: Vec::new(), numbers: BTreeMap::new() };
        for (number, rules) in [(NO_PORTS_CLASS, without_ports), (OTHER_INTERFACE_CLASS, other_interface)] {
            classes.list.push(class_of_rules(rules));
            classes.numbers.entry(class_of_rules(rules)).or_insert(number);
        }
        classes
    }

    /// The number of a class, new or known.
    fn number(&mut self, class: Class) -> u32 {
        let next = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(class).or_insert(next);
        if number == next {
            self.list.push(class);
        }
        number
    }
}
