//! From the classes of a packet's fields to the rule that it meets first.

use core::mem::MaybeUninit;

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use foobar_common::{
    classes::{
        Block, ClassBlocks, ClassHead, ClassWords, FirstRules, NO_RULE_NUMBER, Tier, UNITS, WordRules,
        lowest_bit,
    },
    frame::within,
    rule::{RuleRecord, uses},
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
#[btf_map]
static RULES: Array<RuleRecord, 1, MAPPED> = Array::new();

/// What a class is beside its clauses, and which units they are in.
#[inline(always)]
pub(crate) fn head(class: u32) -> Option<&'static ClassHead> {
    HEADS.get(class)
}

/// The fields of a packet that have classes.
#[derive(Clone, Copy)]
pub(crate) enum Field {
    DestinationPort,
    Source,
    Destination,
    SourceSet,
    DestinationSet,
    SourcePort,
    Transport,
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

/// Writes a block once for each field. A loop inside of other loops would stay a loop, and the verifier cannot follow
/// pointers that are chosen by a variable number.
macro_rules! for_each_field {
    (|$field:ident| $block:block) => {
        for_each_field!(
            |$field| $block, DestinationPort Source Destination SourceSet DestinationSet SourcePort Transport Vlan
            Length Interface
        )
    };
    (|$field:ident| $block:block, $($name:ident)+) => {
        $({
            let $field = Field::$name;
            if $field.is_used() $block
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

/// The class of each field that is used; the others are never written, nor read.
type Classes = [MaybeUninit<u32>; FIELDS];

impl Search {
    /// Starts with all that the destination port leaves.
    #[inline(always)]
    pub(crate) fn new(destination_port: u32, head: &ClassHead) -> Self {
        let [a, b, c, d] = head.units;
        let mut classes = [MaybeUninit::uninit(); FIELDS];
        let [first, ..] = &mut classes;
        first.write(destination_port);
        Self { units: (a, b, c, d), classes }
    }

    /// Leaves only what this class of a field accepts.
    #[inline(always)]
    pub(crate) fn narrow(&mut self, field: Field, class: u32) -> Result<(), Unreadable> {
        self.narrow_by(field, class, head(class).ok_or(Unreadable)?);
        Ok(())
    }

    /// The same for a class whose head is known.
    #[inline(always)]
    pub(crate) fn narrow_by(&mut self, field: Field, class: u32, head: &ClassHead) {
        let [a, b, c, d] = head.units;
        let Self { units, classes } = self;
        *units = (units.0 & a, units.1 & b, units.2 & c, units.3 & d);
        if let Some(place) = classes.get_mut(field as usize) {
            place.write(class);
        }
    }

    /// The first of the rules that are left.
    #[inline(always)]
    pub(crate) fn first_rule(&self) -> Result<Option<RuleRecord>, Unreadable> {
        let Self { units: (a, b, c, d), classes } = self;
        let number = if settings::is_tier(Tier::Single) {
            first_single((*a, *b, *c, *d))?
        } else if settings::is_tier(Tier::Words) {
            first_of_words(classes, *a, *b, *c, *d)
        } else {
            first_of_blocks(classes, *a, *b, *c, *d)
        };
        match number {
            NO_RULE_NUMBER => Ok(None),
            UNREADABLE => Err(Unreadable),
            number => Ok(Some(*RULES.get(number).ok_or(Unreadable)?)),
        }
    }
}

/// What a function of its own gives for [`Unreadable`]: what is wider than a register cannot be returned.
const UNREADABLE: u32 = NO_RULE_NUMBER - 1;

#[inline(always)]
fn first_single((a, b, c, d): Units) -> Result<u32, Unreadable> {
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
    Ok(NO_RULE_NUMBER)
}

/// A function of its own, with a stack frame of its own: the 512 bytes of one would not do for all.
#[inline(never)]
fn first_of_words(classes: &Classes, a: u64, b: u64, c: u64, d: u64) -> u32 {
    by_words(classes, (a, b, c, d)).unwrap_or(UNREADABLE)
}

#[inline(always)]
fn by_words(classes: &Classes, units: Units) -> Result<u32, Unreadable> {
    let classes = each(classes, |class| WORDS.get(class))?;
    best(units, |unit, _| {
        let mut clauses = u64::MAX;
        for_each_field!(|field| {
            clauses &= *of(&classes, field)?.words.get(unit as usize).ok_or(Unreadable)?;
        });
        // Half of the units that come so far have no clause that is met, and nobody can guess which half.
        let rule = rule_of(unit, clauses | LAST_CLAUSE)?;
        Ok(rule | !mask_if_any(clauses))
    })
}

/// As [`first_of_words`].
#[inline(never)]
fn first_of_blocks(classes: &Classes, a: u64, b: u64, c: u64, d: u64) -> u32 {
    by_blocks(classes, (a, b, c, d)).unwrap_or(UNREADABLE)
}

#[inline(always)]
fn by_blocks(classes: &Classes, units: Units) -> Result<u32, Unreadable> {
    let classes = each(classes, |class| CLASS_BLOCKS.get(class))?;
    let firsts = FIRST_RULES.get(0).ok_or(Unreadable)?;
    best(units, |unit, best| {
        if *firsts.rules.get(unit as usize).ok_or(Unreadable)? >= best {
            return Ok(NO_RULE_NUMBER);
        }
        let mut block = [u64::MAX; 8];
        for_each_field!(|field| {
            let number = *of(&classes, field)?.blocks.get(unit as usize).ok_or(Unreadable)?;
            let accepted = BLOCKS.get(number).ok_or(Unreadable)?;
            for (clauses, accepted) in block.iter_mut().zip(accepted.words) {
                *clauses &= accepted;
            }
        });
        let mut word = unit.wrapping_mul(8);
        for clauses in block {
            if clauses != 0 {
                return rule_of(word, clauses);
            }
            word = word.wrapping_add(1);
        }
        Ok(NO_RULE_NUMBER)
    })
}

/// The clauses of the class of each field in use.
#[inline(always)]
fn each<T>(
    classes: &Classes,
    look_up: impl Fn(u32) -> Option<&'static T>,
) -> Result<[Option<&'static T>; FIELDS], Unreadable> {
    let mut found = [None; FIELDS];
    for_each_field!(|field| {
        let class = classes.get(field as usize).ok_or(Unreadable)?;
        // SAFETY: fields in use have been written.
        let class = unsafe { class.assume_init_read() };
        *found.get_mut(field as usize).ok_or(Unreadable)? = Some(look_up(class).ok_or(Unreadable)?);
    });
    Ok(found)
}

/// The first rule that any of the units that are left gives.
#[inline(always)]
fn best(
    (a, b, c, d): Units,
    rule_of_unit: impl Fn(u32, u32) -> Result<u32, Unreadable>,
) -> Result<u32, Unreadable> {
    let mut best = NO_RULE_NUMBER;
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

/// The class of a field that is used.
#[inline(always)]
fn of<T>(classes: &[Option<&'static T>; FIELDS], field: Field) -> Result<&'static T, Unreadable> {
    classes.get(field as usize).copied().flatten().ok_or(Unreadable)
}

/// The number of the rule of the lowest of these clauses.
#[inline(always)]
fn rule_of(word: u32, clauses: u64) -> Result<u32, Unreadable> {
    let rules = WORD_RULES.get(word).ok_or(Unreadable)?;
    Ok(*rules.rules.get(lowest_bit(clauses) as usize & 63).ok_or(Unreadable)?)
}
