//! Rules to the tables that the kernel matches with. Pure: values in, values out.
//!
//! Rules become clauses in an order of their own (`clauses`). For each field, the clauses that accept a value are
//! a bit vector; equal vectors are one class, and tables lead from values to classes (`addresses`, `fields`,
//! `sets`). [`foobar_common::classes`] says how the kernel reads them.

mod addresses;
mod classes;
mod clauses;
mod fields;
mod limits;
mod logs;
mod sets;
mod vectors;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use foobar_common::{
    classes::{
        BLOCK_WORDS, Block, ClassHead, FirstRules, NO_PORTS_CLASS, NO_RULE_NUMBER, OTHER_INTERFACE_CLASSES,
        Tier, UNIT_WORDS, UNITS, WordRules,
    },
    counters::RULE_SLOTS,
    fields::{AddressField, TableField},
    flow::Direction,
    limit::Limit,
    rule::{FRAGMENTS_BY_RULES, RULES_MAX, RankedRule, Settings, uses},
    tracking::State,
};

use ipnet::IpNet;

pub use self::addresses::AddressTables;
use self::{
    addresses::PeerFacts,
    classes::{Class, Classes},
    clauses::Clauses,
    fields::PortFacts,
    sets::Side,
    vectors::Blocks,
};
use super::{
    limit::Rate,
    log::OneIn,
    model::{DecryptFrom, FragmentPolicy, Policy, Ruleset, Service, ServicePort, Spoken},
    sets::{SetFacts, SetTable, named_sets},
};
use crate::slots::Assigned;

/// Bytes of [`foobar_common::classes::ClassWords`] beyond which blocks are taken, whose equal ones are stored once.
const WORDS_BYTES_MAX: usize = 96 << 20;

/// The tables of a ruleset, ready to be written into maps.
#[derive(Clone, Debug)]
pub struct CompiledRuleset {
    /// What the policy says and which fields the rules ask for.
    pub settings: Settings,
    /// How many clauses are in a unit.
    pub tier: Tier,
    /// Address to class.
    pub addresses: AddressTables,
    /// The class of each value of a field, for each [`TableField`] in its order, counted from the field's first.
    pub tables: Vec<Vec<u16>>,
    /// The classes that all tables refer to.
    pub heads: Vec<ClassHead>,
    /// Which clauses each class accepts, in full.
    pub clauses: ClassClauses,
    /// The first rule of each unit.
    pub first_rules: Box<FirstRules>,
    /// The rule of each clause.
    pub word_rules: Vec<WordRules>,
    /// The classes of each interface that some rule names, the first one for each [`Direction`].
    pub interface_classes: BTreeMap<String, [u32; 2]>,
    /// The sets that rules name.
    pub sets: Sets,
    /// What is spoken on each port of a service.
    pub spoken: BTreeMap<ServicePort, Spoken>,
    /// Services whose TLS library tells the requests.
    pub decrypted: Vec<DecryptedService>,
    /// The limits, each with the counter slot of its rule.
    pub limits: Vec<(u32, Limit)>,
    /// Of how many packets of a rule one is told of, by counter slot; zero is none.
    pub rule_logs: Vec<u32>,
    /// How fast rejected packets are answered at most; `None` if none is rejected.
    pub reject_rate: Option<Rate>,
    /// How long old TCP connections are learnt; `None` if flows are not tracked.
    pub adopt: Option<Duration>,
    /// Whose the counters are.
    pub slots: Assigned,
}

/// A service whose TLS library tells the requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecryptedService {
    /// Its name.
    pub name: String,
    /// Its ports.
    pub ports: Vec<u16>,
    /// By what its processes are known.
    pub from: DecryptFrom,
    /// Counter slot of its first port, where all of it is counted: a library does not tell of ports.
    pub slot: u32,
}

/// The table of sets of a compiled ruleset.
#[derive(Clone, Debug)]
pub enum Sets {
    /// To be made.
    New(Arc<SetTable>),
    /// The one that is in force.
    Kept(Arc<SetFacts>),
}

impl Sets {
    /// What the table holds.
    pub fn facts(&self) -> &SetFacts {
        match self {
            Self::New(table) => &table.facts,
            Self::Kept(facts) => facts,
        }
    }
}

impl CompiledRuleset {
    /// Whether packets are told of at all.
    pub fn draws(&self) -> bool {
        self.settings.rule_logs != 0 || self.settings.log_drops != 0
    }
}

/// The clauses of all classes, by the numbers of their blocks.
#[derive(Clone, Debug, Default)]
pub struct ClassClauses {
    /// Every block, once.
    pub blocks: Vec<Block>,
    /// For each class as many numbers of blocks as there are blocks of clauses.
    numbers: Vec<u32>,
    per_class: usize,
}

impl ClassClauses {
    /// The numbers of the blocks of each class in turn.
    pub fn classes(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        self.numbers.chunks_exact(self.per_class.max(1))
    }

    /// The words of a class, as far as there are clauses.
    pub fn words(&self, numbers: &[u32]) -> impl Iterator<Item = u64> {
        numbers
            .iter()
            .flat_map(|number| self.blocks.get(*number as usize).map_or([0; BLOCK_WORDS], |one| one.words))
    }
}

/// Compiles a ruleset whose counters have these slots.
///
/// # Errors
/// Says which limit the ruleset exceeds, and by how much.
pub fn compile(ruleset: &Ruleset, slots: &Assigned) -> Result<CompiledRuleset> {
    compile_with_sets(ruleset, slots, Sets::New(Arc::new(SetTable::build(&named_sets(ruleset))?)))
}

/// Compiles a ruleset whose sets have this table already.
///
/// # Errors
/// As [`compile`].
pub fn compile_with_sets(ruleset: &Ruleset, slots: &Assigned, sets: Sets) -> Result<CompiledRuleset> {
    let Ruleset { policy, failsafe: _, peers: _, sets: _, services: _, rules, guard: _ } = ruleset;
    ensure!(rules.len() <= RULES_MAX, "{} rules are too many: there is room for {RULES_MAX}", rules.len());
    let mut clauses = Clauses::of(ruleset)?;
    let mut tables = Tables::compile(ruleset, slots, &clauses, sets.facts())?;
    if clauses.tier == Tier::Words && tables.classes.list.len() * UNITS * 8 > WORDS_BYTES_MAX {
        clauses.arrange(Tier::Blocks);
        tables = Tables::compile(ruleset, slots, &clauses, sets.facts())?;
    }
    let ranked = (0..)
        .zip(rules)
        .map(|(number, rule)| {
            let slot = slots.rules.get(&rule.id).map(|owned| owned.slot);
            let slot = slot.with_context(|| format!("rule '{}' has no counter slot", rule.id))?;
            let ranked = RankedRule::new(number, rule.action.number(), slot);
            Ok(if rule.limit.is_some() { ranked.limited() } else { ranked })
        })
        .collect::<Result<Vec<_>>>()?;
    let settings = settings(policy, ruleset, &clauses, &tables, &ranked);
    let Tables { addresses, fields, classes, blocks, interfaces, .. } = tables;
    Ok(CompiledRuleset {
        settings,
        tier: clauses.tier,
        addresses,
        tables: fields,
        heads: heads(&classes, &blocks, clauses.tier),
        clauses: class_clauses(&classes, blocks),
        first_rules: first_rules(&clauses),
        word_rules: word_rules(&clauses, &ranked),
        interface_classes: interfaces,
        sets,
        spoken: ruleset.spoken(),
        decrypted: decrypted(ruleset, slots)?,
        limits: limits::compile(rules, slots)?,
        rule_logs: logs::compile(rules, slots),
        reject_rate: ruleset.rejects().then_some(policy.reject_rate),
        adopt: ruleset.tracks().then_some(policy.adopt),
        slots: slots.clone(),
    })
}

fn decrypted(ruleset: &Ruleset, slots: &Assigned) -> Result<Vec<DecryptedService>> {
    let mut services = Vec::new();
    for Service { name, ports, decrypt, .. } in &ruleset.services {
        let (Some(from), Some(first)) = (decrypt, ports.first()) else { continue };
        let slot = slots.services.get(first).with_context(|| format!("{first} has no counter slot"))?;
        services.push(DecryptedService {
            name: name.clone(),
            ports: ports.iter().map(|port| port.port).collect(),
            from: from.clone(),
            slot: *slot,
        });
    }
    Ok(services)
}

/// What is compiled for one order of clauses.
struct Tables {
    addresses: AddressTables,
    fields: Vec<Vec<u16>>,
    first_classes: [u32; TableField::COUNT as usize],
    interfaces: BTreeMap<String, [u32; 2]>,
    first_source_set: u32,
    first_destination_set: u32,
    classes: Classes,
    blocks: Blocks,
}

impl Tables {
    fn compile(ruleset: &Ruleset, slots: &Assigned, clauses: &Clauses<'_>, sets: &SetFacts) -> Result<Self> {
        let mut blocks = Blocks::new(clauses.list.len());
        let mut classes = Classes::default();
        let accepting = |accepts: &dyn Fn(&super::model::Rule) -> bool| -> Vec<u32> {
            let bits = (0..).zip(&clauses.list);
            bits.filter(|(_, clause)| accepts(clause.rule)).map(|(bit, _)| bit).collect()
        };

        let without_ports = accepting(&|rule| rule.source_port.is_none() && rule.destination_port.is_none());
        let given = classes.push(Class::of(blocks.vector(without_ports)));
        ensure!(given == NO_PORTS_CLASS, "class {NO_PORTS_CLASS} is {given}");
        // The interface, the direction and the state are one field, so that most packets have nothing more to look at.
        let of_interface = |name: Option<&String>, classes: &mut Classes, blocks: &mut Blocks| {
            Direction::ALL.map(|direction| {
                let numbers = State::ALL.iter().map(|state| {
                    let bits = accepting(&|rule| {
                        rule.direction == direction
                            && rule
                                .interface
                                .as_ref()
                                .is_none_or(|names| name.is_some_and(|name| names.contains(name)))
                            && rule.state.as_ref().is_none_or(|states| states.contains(state))
                    });
                    classes.push(Class::of(blocks.vector(bits)))
                });
                numbers.min().unwrap_or_default()
            })
        };
        let given = of_interface(None, &mut classes, &mut blocks);
        ensure!(given == OTHER_INTERFACE_CLASSES, "classes {OTHER_INTERFACE_CLASSES:?} are {given:?}");

        let spoken = ruleset.spoken();
        let facts = PortFacts { failsafe: &ruleset.failsafe.ports, slots, spoken: &spoken };
        let mut first_classes = [0; TableField::COUNT as usize];
        let mut fields = Vec::new();
        for field in TableField::ALL {
            let mut of_field = classes.field();
            first_classes[field as usize] = of_field.first;
            fields.push(fields::table(field, clauses, &facts, &mut blocks, &mut of_field)?);
        }

        let named = ruleset.rules.iter().filter_map(|rule| rule.interface.as_ref()).flatten();
        let named: std::collections::BTreeSet<&String> = named.collect();
        let mut interfaces = BTreeMap::new();
        for name in named {
            let first = of_interface(Some(name), &mut classes, &mut blocks);
            interfaces.insert(name.clone(), first);
        }

        let mut addresses = AddressTables::new();
        let facts = PeerFacts { failsafe: &ruleset.failsafe, groups: groups(ruleset, slots)? };
        for field in AddressField::ALL {
            addresses.compile(field, clauses, &facts, &mut blocks, &mut classes.field());
        }

        let mut set_classes = |side| {
            if !sets::are_used(clauses, side) {
                return 0;
            }
            sets::classes(clauses, side, &sets.combinations, &mut blocks, &mut classes)
        };
        let first_source_set = set_classes(Side::Source);
        let first_destination_set = set_classes(Side::Destination);
        Ok(Self {
            addresses,
            fields,
            first_classes,
            interfaces,
            first_source_set,
            first_destination_set,
            classes,
            blocks,
        })
    }
}

/// The prefixes of groups of peers, each with the slot of its group. None, where no connections are counted.
fn groups(ruleset: &Ruleset, slots: &Assigned) -> Result<Vec<(IpNet, u8)>> {
    let mut groups = Vec::new();
    if !ruleset.counts_groups() {
        return Ok(groups);
    }
    for (name, prefixes) in &ruleset.peers {
        let slot =
            slots.peers.get(name).with_context(|| format!("the group '{name}' has no counter slot"))?;
        let slot = u8::try_from(*slot).context("too many groups of peers")?;
        groups.extend(prefixes.iter().map(|prefix| (*prefix, slot)));
    }
    Ok(groups)
}

fn settings(
    policy: &Policy,
    ruleset: &Ruleset,
    clauses: &Clauses<'_>,
    tables: &Tables,
    ranked: &[RankedRule],
) -> Settings {
    let Policy {
        inbound,
        outbound,
        malformed,
        fragments,
        infrastructure,
        replies,
        log_drops,
        adopt: _,
        reject_rate: _,
    } = *policy;
    let used = |bit, used: bool| if used { bit } else { 0 };
    let by_some = |bit, asks: fn(&clauses::Clause<'_>) -> bool| used(bit, clauses.list.iter().any(asks));
    let asks_prefix = |condition: Option<&super::model::AddressCondition>| {
        condition.is_some_and(|condition| {
            let is_prefix =
                |one: &super::model::AddressMatch| matches!(one, super::model::AddressMatch::Prefix(_));
            condition.include.iter().chain(&condition.exclude).any(is_prefix)
        })
    };
    let rules = &ruleset.rules;
    let is_limited = rules.iter().any(|rule| rule.limit.is_some());
    let counts_groups = ruleset.counts_groups();
    Settings {
        policy: [inbound.number(), outbound.number()],
        malformed: malformed.number(),
        fragments: match fragments {
            FragmentPolicy::Rules => FRAGMENTS_BY_RULES,
            FragmentPolicy::Always(verdict) => verdict.number(),
        },
        infrastructure: u32::from(infrastructure),
        uses: used(uses::RULES_IN, rules.iter().any(|rule| rule.direction == Direction::In))
            | used(uses::RULES_OUT, rules.iter().any(|rule| rule.direction == Direction::Out))
            | used(uses::PEERS, !ruleset.failsafe.peers.is_empty() || counts_groups)
            | used(uses::NEVER_BAN, !ruleset.failsafe.never_ban.is_empty())
            | used(uses::LIMITS, is_limited)
            | used(uses::SERVICES, ruleset.spoken().iter().any(|(port, spoken)| spoken.is_counted(*port)))
            | used(uses::GROUPS, counts_groups)
            | used(uses::SYN_COOKIES, ruleset.sends_cookies())
            | used(uses::SOURCE, rules.iter().any(|rule| asks_prefix(rule.source.as_ref())))
            | used(uses::DESTINATION, rules.iter().any(|rule| asks_prefix(rule.destination.as_ref())))
            | used(uses::SOURCE_SET, sets::are_used(clauses, Side::Source))
            | used(uses::DESTINATION_SET, sets::are_used(clauses, Side::Destination))
            | by_some(uses::SOURCE_PORT, |clause| clause.rule.source_port.is_some())
            | by_some(uses::TRANSPORT, |clause| {
                let rule = clause.rule;
                rule.protocol.is_some()
                    || rule.tcp_flags.is_some()
                    || rule.icmp.is_some()
                    || rule.fragment.is_some()
            })
            | by_some(uses::VLAN, |clause| clause.rule.vlan.is_some())
            | used(uses::TRACKING, ruleset.tracks())
            | used(uses::CLIENTS, ruleset.names_clients())
            | used(uses::REJECTS, ruleset.rejects())
            | used(uses::REPLIES, replies && ruleset.tracks())
            | by_some(uses::LENGTH, |clause| clause.rule.length.is_some())
            | by_some(uses::INTERFACE, |clause| {
                let rule = clause.rule;
                rule.interface.is_some() || rule.state.is_some() || rule.direction == Direction::Out
            }),
        tier: clauses.tier as u32,
        units: u32::try_from(clauses.list.len().div_ceil(clauses.tier.unit())).unwrap_or(u32::MAX),
        first_classes: tables.first_classes,
        first_source_set: tables.first_source_set,
        first_destination_set: tables.first_destination_set,
        more_rule_slots: u32::from(ranked.iter().any(|rule| rule.slot() >= RULE_SLOTS)),
        learns_until: 0,
        rule_logs: u32::from(rules.iter().any(|rule| rule.log.is_some())),
        log_drops: log_drops.map_or(0, OneIn::packets),
        trace: 0,
        answer_card: [0; 3],
        rejects_out: u16::from(ruleset.rejects_out()),
    }
}

fn heads(classes: &Classes, blocks: &Blocks, tier: Tier) -> Vec<ClassHead> {
    // Which words of each block have a clause.
    let words: Vec<u64> = blocks
        .list()
        .iter()
        .map(|block| {
            (0..).zip(block.words).fold(0, |bits, (word, clauses)| bits | u64::from(clauses != 0) << word)
        })
        .collect();
    let head = |class: &Class| {
        let Class { clauses, failsafe, service, protocol, group } = class;
        let mut head = ClassHead {
            failsafe: *failsafe,
            service: *service,
            protocol: *protocol,
            group: *group,
            ..ClassHead::default()
        };
        match tier {
            // All clauses are in the first block.
            Tier::Single => {
                if let Some(block) = clauses.first().and_then(|number| blocks.list().get(*number as usize)) {
                    head.units.copy_from_slice(&block.words[..UNIT_WORDS]);
                }
            }
            Tier::Words => {
                for (place, number) in clauses.iter().enumerate() {
                    let unit = place * BLOCK_WORDS;
                    head.units[unit / 64] |= words[*number as usize] << (unit % 64);
                }
            }
            Tier::Blocks => {
                for (unit, number) in clauses.iter().enumerate() {
                    head.units[unit / 64] |= u64::from(*number != vectors::EMPTY) << (unit % 64);
                }
            }
        }
        head
    };
    classes.list.iter().map(head).collect()
}

fn class_clauses(classes: &Classes, blocks: Blocks) -> ClassClauses {
    let per_class = classes.list.first().map_or(1, |class| class.clauses.len());
    let numbers = classes.list.iter().flat_map(|class| class.clauses.iter().copied()).collect();
    ClassClauses { blocks: blocks.into_list(), numbers, per_class }
}

fn first_rules(clauses: &Clauses<'_>) -> Box<FirstRules> {
    let mut first = Box::new(FirstRules { rules: [NO_RULE_NUMBER; UNITS] });
    for (place, unit) in first.rules.iter_mut().zip(clauses.list.chunks(clauses.tier.unit())) {
        *place = unit.iter().map(|clause| clause.number).min().unwrap_or(NO_RULE_NUMBER);
    }
    first
}

fn word_rules(clauses: &Clauses<'_>, ranked: &[RankedRule]) -> Vec<WordRules> {
    let words = clauses.list.chunks(64);
    words
        .map(|word| {
            let mut rules = WordRules { rules: [RankedRule::NONE; 64] };
            for (place, clause) in rules.rules.iter_mut().zip(word) {
                *place = ranked.get(clause.number as usize).copied().unwrap_or(RankedRule::NONE);
            }
            rules
        })
        .collect()
}

#[cfg(test)]
mod tests;
