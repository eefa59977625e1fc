//! Which interface a packet came through, and what the ruleset says of it.

use aya_ebpf::{btf_maps::HashMap, macros::btf_map, programs::XdpContext};
use foobar_common::{
    counters::{INTERFACES_MAX, OTHER_INTERFACE},
    rule::{InterfaceRecord, OTHER_INTERFACE_CLASS},
};

#[btf_map]
static INTERFACES: HashMap<u32, InterfaceRecord, { INTERFACES_MAX as usize }> = HashMap::new();

/// The record of the interface; one that user space does not know yet counts as "other", and no rule
/// with `interface` accepts it.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the kernel has it as 32 bits")]
pub(crate) fn of(context: &XdpContext) -> InterfaceRecord {
    let index = context.ingress_ifindex() as u32;
    // SAFETY: records are written before the program is attached and only ever replaced as a whole.
    match unsafe { INTERFACES.get(index) } {
        Some(record) => *record,
        None => InterfaceRecord { slot: OTHER_INTERFACE, class: OTHER_INTERFACE_CLASS },
    }
}
