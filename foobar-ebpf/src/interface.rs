//! Which interface a packet came through, and what the ruleset says of it.

use aya_ebpf::{btf_maps::Array, macros::btf_map, programs::XdpContext};
use foobar_common::{
    classes::OTHER_INTERFACE_CLASS,
    counters::OTHER_INTERFACE,
    rule::{InterfaceRecord, Interfaces},
};

#[btf_map]
static INTERFACES: Array<Interfaces, 1> = Array::new();

/// What is known of an interface.
#[derive(Clone, Copy)]
pub(crate) struct Interface {
    /// Where its packets are counted.
    pub(crate) slot: u32,
    /// Its class for rules with `interface`.
    pub(crate) class: u32,
}

/// The interface of a packet; one that user space does not know yet counts as "other", and no rule with `interface`
/// accepts it.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the kernel has it as 32 bits")]
pub(crate) fn of(context: &XdpContext) -> Interface {
    let present = context.ingress_ifindex() as u32;
    if let Some(interfaces) = INTERFACES.get(0) {
        // There is mostly one, and hardly ever more than two: faster than any hash.
        for InterfaceRecord { index, slot, class } in &interfaces.records {
            if *index == present {
                return Interface { slot: *slot, class: *class };
            }
        }
    }
    Interface { slot: OTHER_INTERFACE, class: OTHER_INTERFACE_CLASS }
}
