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
