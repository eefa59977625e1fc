//! From the classes of a packet's fields to the rule that it meets first.

use core::ptr::from_ref;

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use foobar_common::{
    classes::{Block, ClassBlocks, ClassHead, ClassWords, FirstRules, Tier, UNITS, WordRules, lowest_bit},
    frame::within,
    rule::{RankedRule, uses},
};

use crate::{
    branchless::{mask_if_any, smaller},
    classify::Unreadable,
    maps::MAPPED,
    settings,
};

// Capacities are set to what the ruleset needs when the object is loaded.
#[btf_map]
static HEADS: Array<ClassHead, 1, MAPPED> = Array::new();
#[btf_map]
static WORDS: Array<ClassWords, 1, MAPPED> = Array::new();
#[btf_map]
static CLASS_BLOCKS: Array<ClassBlocks, 1, MAPPED> = Array::new();
#[btf_map]
static BLOCKS: Array<Block, 1, MAPPED> = Array::new();
#[btf_map]
static FIRST_RULES: Array<FirstRules, 1, MAPPED> = Array::new();
#[btf_map]
static WORD_RULES: Array<WordRules, 1, MAPPED> = Array::new();

/// A class in the map of the ruleset's tier: its head, and what lies behind that.
#[derive(Clone, Copy)]
pub(crate) struct Class(*const ClassHead);

impl Class {
    /// The class of this number.
    #[inline(always)]
    pub(crate) fn of(number: u32) -> Option<Self> {
        Some(Self(if settings::is_tier(Tier::Single) {
            from_ref(HEADS.get(number)?)
        } else if settings::is_tier(Tier::Words) {
            from_ref(WORDS.get(number)?).cast()
        } else {
            from_ref(CLASS_BLOCKS.get(number)?).cast()
        }))
    }

    /// What it is beside its clauses, and which units they are in.
    #[inline(always)]
    pub(crate) fn head(self) -> &'static ClassHead {
        // SAFETY: `of` has it from a map, which lives as long as the program.
        unsafe { &*self.0 }
    }

    /// Its clauses in [`Tier::Words`].
    #[inline(always)]
    fn words(self) -> &'static ClassWords {
        // SAFETY: as above, and in this tier from that map.
        unsafe { &*self.0.cast() }
    }

    /// Its clauses in [`Tier::Blocks`].
    #[inline(always)]
    fn blocks(self) -> &'static ClassBlocks {
        // SAFETY: as above, and in this tier from that map.
        unsafe { &*self.0.cast() }
    }
}

/// The fields of a packet that have classes.
#[derive(Clone, Copy)]
pub(crate) enum Field {
    DestinationPort,
    Source,
    Destination,
    SourcePort,
    Transport,
    SourceSet,
    DestinationSet,
    Vlan,
    Length,
    Interface,
}

impl Field {
    /// Whether some rule asks for it. The destination port has a class for its service, too.
    #[inline(always)]
    pub(crate) fn is_used(self) -> bool {
        match self {
            Self::DestinationPort => true,
            Self::Source => settings::uses(uses::SOURCE),
            Self::Destination => settings::uses(uses::DESTINATION),
            Self::SourceSet => settings::uses(uses::SOURCE_SET),
            Self::DestinationSet => settings::uses(uses::DESTINATION_SET),
            Self::SourcePort => settings::uses(uses::SOURCE_PORT),
            Self::Transport => settings::uses(uses::TRANSPORT),
            Self::Vlan => settings::uses(uses::VLAN),
            Self::Length => settings::uses(uses::LENGTH),
            Self::Interface => settings::uses(uses::INTERFACE),
        }
    }
}

const FIELDS: usize = 10;
/// Bits of [`uses`] for the fields after the first five, which few rulesets ask for.
const RARE: u32 = uses::SOURCE_SET | uses::DESTINATION_SET | uses::VLAN | uses::LENGTH | uses::INTERFACE;

/// Writes a block once for each field and its class. A loop inside of other loops would stay a loop, and the verifier
/// cannot follow pointers that are chosen by a variable number.
macro_rules! for_each_field {
    (|$field:ident, $class:ident| in $classes:ident $block:block) => {
        for_each_field!(
            |$field, $class| in $classes $block, DestinationPort Source Destination SourcePort Transport SourceSet
            DestinationSet Vlan Length Interface
        )
    };
    (|$field:ident, $class:ident| in $classes:ident $block:block, $($name:ident)+) => {
        $({
            let $field = Field::$name;
            let $class = $classes.get($field as usize).ok_or(Unreadable)?;
            $block
        })+
    };
}

/// The clauses that are left of all.
pub(crate) struct Search {
    units: Units,
    classes: Classes,
}

/// A bit for each unit. Words by themselves, since an array that goes by reference is copied byte by byte.
type Units = (u64, u64, u64, u64);

/// The class of each field; that of the destination port stands for those that no rule asks for, where it changes
/// nothing.
type Classes = [Class; FIELDS];

impl Search {
    /// Starts with all that the destination port leaves.
    #[inline(always)]
    pub(crate) fn new(destination_port: Class) -> Self {
        let [a, b, c, d] = destination_port.head().units;
        Self { units: (a, b, c, d), classes: [destination_port; FIELDS] }
    }

    /// Leaves only what this class of a field accepts.
    #[inline(always)]
    pub(crate) fn narrow(&mut self, field: Field, class: Class) {
        let [a, b, c, d] = class.head().units;
        let Self { units, classes } = self;
        *units = (units.0 & a, units.1 & b, units.2 & c, units.3 & d);
        if let Some(place) = classes.get_mut(field as usize) {
            *place = class;
        }
    }

    /// The first of the rules that are left, or [`RankedRule::NONE`].
    #[inline(always)]
    pub(crate) fn first_rule(&self) -> Result<RankedRule, Unreadable> {
        let Self { units: (a, b, c, d), classes } = self;
        let word = if settings::is_tier(Tier::Single) {
            first_single((*a, *b, *c, *d))?
        } else if settings::is_tier(Tier::Words) {
            first_of_words(classes, *a, *b, *c, *d)
        } else {
            first_of_blocks(classes, *a, *b, *c, *d)
        };
        if word == UNREADABLE { Err(Unreadable) } else { Ok(RankedRule::from_word(word)) }
    }
}

const NONE: u64 = RankedRule::NONE.word();
/// What a function of its own gives for [`Unreadable`]: what is wider than a register cannot be returned.
const UNREADABLE: u64 = NONE - 1;

#[inline(always)]
fn first_single((a, b, c, d): Units) -> Result<u64, Unreadable> {
    let mut word = 0u32;
    for clauses in [a, b, c, d] {
        if word.wrapping_mul(64) >= settings::units() {
            break;
        }
        if clauses != 0 {
            return rule_of(word, clauses);
        }
        word = word.wrapping_add(1);
    }
    Ok(NONE)
}

/// A function of its own, with a stack frame of its own: the 512 bytes of one would not do for all.
#[inline(never)]
fn first_of_words(classes: &Classes, a: u64, b: u64, c: u64, d: u64) -> u64 {
    by_words(classes, (a, b, c, d)).unwrap_or(UNREADABLE)
}

#[inline(always)]
fn by_words(classes: &Classes, units: Units) -> Result<u64, Unreadable> {
    best(units, |unit, _| {
        let [destination_port, source, destination, source_port, transport, rare @ ..] = classes;
        let word = |class: &Class| class.words().words.get(unit as usize).copied().ok_or(Unreadable);
        // Without asking which of them are used: that costs more than an AND that changes nothing.
        let mut clauses = word(destination_port)?
            & word(source)?
            & word(destination)?
            & word(source_port)?
            & word(transport)?;
        if settings::uses(RARE) {
            let [source_set, destination_set, vlan, length, interface] = rare;
            clauses &=
                word(source_set)? & word(destination_set)? & word(vlan)? & word(length)? & word(interface)?;
        }
        // Half of the units that come so far have no clause that is met, and nobody can guess which half.
        let rule = rule_of(unit, clauses | LAST_CLAUSE)?;
        Ok(rule | !mask_if_any(clauses) & NONE)
    })
}

/// As [`first_of_words`].
#[inline(never)]
fn first_of_blocks(classes: &Classes, a: u64, b: u64, c: u64, d: u64) -> u64 {
    by_blocks(classes, (a, b, c, d)).unwrap_or(UNREADABLE)
}

#[inline(always)]
fn by_blocks(classes: &Classes, units: Units) -> Result<u64, Unreadable> {
    let firsts = FIRST_RULES.get(0).ok_or(Unreadable)?;
    best(units, |unit, best| {
        let first = *firsts.rules.get(unit as usize).ok_or(Unreadable)?;
        if first >= RankedRule::from_word(best).number() {
            return Ok(NONE);
        }
        let mut block = [u64::MAX; 8];
        for_each_field!(|field, class| in classes {
            if field.is_used() {
                let number = *class.blocks().blocks.get(unit as usize).ok_or(Unreadable)?;
                let accepted = BLOCKS.get(number).ok_or(Unreadable)?;
                for (clauses, accepted) in block.iter_mut().zip(accepted.words) {
                    *clauses &= accepted;
                }
            }
        });
        let mut word = unit.wrapping_mul(8);
        for clauses in block {
            if clauses != 0 {
                return rule_of(word, clauses);
            }
            word = word.wrapping_add(1);
        }
        Ok(NONE)
    })
}

/// The first rule that any of the units that are left gives.
#[inline(always)]
fn best(
    (a, b, c, d): Units,
    rule_of_unit: impl Fn(u32, u64) -> Result<u64, Unreadable>,
) -> Result<u64, Unreadable> {
    let mut best = NONE;
    let mut from = 0u32;
    for units in [a, b, c, d] {
        if from >= settings::units() {
            break;
        }
        let mut left = units;
        for _ in 0..64 {
            if left == 0 {
                break;
            }
            let unit = within::<UNIT_MASK>(from.wrapping_add(lowest_bit(left)));
            left &= left.wrapping_sub(1);
            // No `continue`: with one, the end of the loop is put before its beginning, and falls into it. Linux 6.1
            // takes that for a loop of another kind ("back-edge from insn 3609 to 3610").
            best = smaller(best, rule_of_unit(unit, best)?);
        }
        from = from.wrapping_add(64);
    }
    Ok(best)
}

/// Bits of the number of a unit.
#[expect(clippy::cast_possible_truncation, reason = "a small number")]
const UNIT_MASK: u32 = UNITS as u32 - 1;

/// Of a word: there so that it is not zero.
const LAST_CLAUSE: u64 = 1 << 63;

/// The rule of the lowest of these clauses.
#[inline(always)]
fn rule_of(word: u32, clauses: u64) -> Result<u64, Unreadable> {
    let rules = WORD_RULES.get(word).ok_or(Unreadable)?;
    rules.rules.get(lowest_bit(clauses) as usize).map(|rule| rule.word()).ok_or(Unreadable)
}
