//! How rules are matched: what a packet's fields say of all rules at once.
//!
//! A rule is one [clause](Tier) or a few: a clause is a list of conditions, one for each field of a packet, all of
//! which must hold. For each field a table turns the packet's value into a class, and a class holds one bit per
//! clause: set if the clause accepts this value. The clauses that a packet meets are the AND of its classes. Lists,
//! ranges, exclusions and masks are all spent when the tables are compiled; the kernel never sees them.
//!
//! The AND is taken in two steps. The [`ClassHead`] of a class has one bit for each unit of clauses, set if the
//! class accepts any of the unit. Only the units that the heads of all fields leave are looked at in full, so that
//! the cost of a packet does not grow with the rules. How many clauses a unit has is the [`Tier`]. The order of
//! clauses is the compiler's, who puts those that match alike into the same units; which rule comes first is told by
//! a number for each clause.
//!
//! (Aggregated bit vectors: Lakshman and Stiliadis, SIGCOMM 1998; Baboescu and Varghese, SIGCOMM 2001.)

use crate::{frame::within, rule::RankedRule, tracking::State};

/// Units of clauses that a ruleset can have: bits of a [`ClassHead`].
pub const UNITS: usize = 256;
/// 64-bit words that hold a bit for each unit.
pub const UNIT_WORDS: usize = UNITS / 64;
/// Words of a block, the unit of [`Tier::Blocks`].
pub const BLOCK_WORDS: usize = 8;

/// How many clauses are in a unit; a constant of the loaded program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Tier {
    /// One clause: heads alone decide, and clauses stand in the order of the rules.
    Single = 0,
    /// 64 clauses: each class has a word for each unit.
    Words = 1,
    /// 512 clauses: each class has the number of a block for each unit, and equal blocks are stored once.
    Blocks = 2,
}

impl Tier {
    /// Every one, from the smallest.
    pub const ALL: [Self; 3] = [Self::Single, Self::Words, Self::Blocks];

    /// Clauses of a unit.
    pub const fn unit(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Words => 64,
            Self::Blocks => 64 * BLOCK_WORDS,
        }
    }

    /// The most clauses that a ruleset can have.
    pub const fn clauses_max(self) -> usize {
        self.unit().wrapping_mul(UNITS)
    }
}

/// What all values of one class have in common; one cache line. In tiers beyond the first, what it accepts of each unit
/// lies behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct ClassHead {
    /// Bit `n % 64` of word `n / 64`: some clause of unit `n` accepts the values of the class.
    pub units: [u64; UNIT_WORDS],
    /// Of an address: [`FAILSAFE_PEER`] and [`NEVER_BAN`], as far as they hold. Of a port: a bit `1 << Transport` for each protocol on which the port
    /// is failsafe. Zero for other fields.
    pub failsafe: u32,
    /// Of a port: the service slot for TCP, UDP and SCTP, or [`NO_SERVICE`]. Not used for other fields.
    pub service: [u8; 3],
    /// Of a port: the [`crate::service::Protocol`] of those services, as a number.
    pub protocol: [u8; 3],
    /// Of an address: the slot of the group of peers that it is in, or [`NO_GROUP`]. Not used for other fields.
    pub group: u8,
    /// Always zero.
    pub padding: [u8; 21],
}

/// In [`ClassHead::failsafe`] of an address: all that this peer sends, and that is sent to it, is accepted.
pub const FAILSAFE_PEER: u32 = 1;
/// In [`ClassHead::failsafe`] of a source address: no ban and no limit of a rule reaches it.
pub const NEVER_BAN: u32 = 1 << 1;
/// In [`ClassHead::service`]: the port belongs to no service with this protocol.
pub const NO_SERVICE: u8 = u8::MAX;
/// In [`ClassHead::group`]: the address is in no group of peers.
pub const NO_GROUP: u8 = u8::MAX;
/// The class of both ports of a packet that has none.
pub const NO_PORTS_CLASS: u32 = 0;
/// The class of an interface that no rule names, for packets in each [`crate::flow::Direction`] and of the first
/// [`crate::tracking::State`]; the others follow.
pub const OTHER_INTERFACE_CLASSES: [u32; 2] = [1, 1 + State::COUNT];

/// A class in [`Tier::Words`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ClassWords {
    /// Which units have clauses.
    pub head: ClassHead,
    /// A word for each unit: bit `n % 64` of word `n / 64` is clause `n`.
    pub words: [u64; UNITS],
}

/// A class in [`Tier::Blocks`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ClassBlocks {
    /// Which units have clauses.
    pub head: ClassHead,
    /// The number of the [`Block`] for each unit.
    pub blocks: [u32; UNITS],
}

/// 512 clauses of a class; one cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C, align(64))]
pub struct Block {
    /// Bit `n % 64` of word `n / 64` is clause `n` of the unit.
    pub words: [u64; BLOCK_WORDS],
}

/// The rules of 64 clauses. Within a unit clauses stand in the order of their rules, so the lowest bit that is set
/// belongs to the rule that comes first.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct WordRules {
    /// The rule of each clause.
    pub rules: [RankedRule; 64],
}

/// For each unit, the number of the first rule in it: units that cannot win need no look.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct FirstRules {
    /// Number of the first rule of each unit.
    pub rules: [u32; UNITS],
}

/// Above every number of a rule.
pub const NO_RULE_NUMBER: u32 = RankedRule::NONE.number();

/// The number of the lowest bit that is set in `word`, which is not zero; less than 64 in any case.
///
/// The compiler finds it with a table, and knows that no entry is over 63; the verifier does not.
#[inline(always)]
pub fn lowest_bit(word: u64) -> u32 {
    within::<63>(word.trailing_zeros())
}
