//! Which interface a packet came through, and what the ruleset says of it.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use foobar_common::{
    classes::OTHER_INTERFACE_CLASSES,
    counters::OTHER_INTERFACE,
    rule::{InterfaceRecord, Interfaces},
};

#[btf_map]
static INTERFACES: Array<Interfaces, 1> = Array::new();

/// What is known of an interface.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Interface {
    /// Where its packets are counted.
    pub(crate) slot: u32,
    /// Its class in each direction.
    pub(crate) classes: [u32; 2],
}

impl Interface {
    /// One that has been judged for: of what class it is, nobody asks any more, and what has to be remembered takes stack.
    #[inline(always)]
    pub(crate) const fn counted(slot: u32) -> Self {
        Self { slot, classes: [0; 2] }
    }
}

/// The interface of this index; one that user space does not know yet counts as "other", and no rule with `interface`
/// accepts it.
#[inline(always)]
pub(crate) fn of(present: u32) -> Interface {
    if let Some(interfaces) = INTERFACES.get(0) {
        // There is mostly one, and hardly ever more than two: faster than any hash.
        for InterfaceRecord { index, slot, classes } in &interfaces.records {
            if *index == present {
                return Interface { slot: *slot, classes: *classes };
            }
        }
    }
    Interface { slot: OTHER_INTERFACE, classes: OTHER_INTERFACE_CLASSES }
}

/// The link-layer address of the interface with this index, if it is known.
#[inline(always)]
pub(crate) fn card(present: u32) -> Option<[u16; 3]> {
    let interfaces = INTERFACES.get(0)?;
    let named = interfaces.records.iter().zip(&interfaces.cards);
    for (record, card) in named {
        if record.index == present {
            return card.known();
        }
    }
    None
}
