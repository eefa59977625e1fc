//! The single exit: nothing leaves uncounted.

use aya_ebpf::{
    btf_maps::{Array, PerCpuArray},
    macros::btf_map,
};
use foobar_common::{
    counters::{
        Counter, MORE_RULE_SLOTS, PORT_ENTRIES, RULE_SLOTS, SERVICE_SLOTS, VERDICT_ENTRIES, port_slot,
        verdict_slot,
    },
    flow::Direction,
    rule::{DecisionRecord, uses},
    service::{Protocol, ServiceBytes},
    verdict::Verdict,
};

use crate::{
    decide::Decision,
    events::{self, Source},
    headers::Size,
    interface::Interface,
    services, settings,
};

#[btf_map]
static RULE_COUNTERS: PerCpuArray<Counter, { RULE_SLOTS as usize }> = PerCpuArray::new();
#[btf_map]
static MORE_RULE_COUNTERS: PerCpuArray<Counter, { MORE_RULE_SLOTS as usize }> = PerCpuArray::new();
#[btf_map]
static VERDICT_COUNTERS: PerCpuArray<Counter, { VERDICT_ENTRIES as usize }> = PerCpuArray::new();
#[btf_map]
static PORT_COUNTERS: PerCpuArray<Counter, { PORT_ENTRIES as usize }> = PerCpuArray::new();
#[btf_map]
static SERVICE_BYTES: PerCpuArray<ServiceBytes, { SERVICE_SLOTS as usize }> = PerCpuArray::new();
#[btf_map]
static DECISION: Array<DecisionRecord, 1> = Array::new();

/// Records rule, reason, port and interface of a packet, tells of it if it is drawn, and gives back its verdict. `lost` bytes of its payload were
/// for the program of its service, which did not follow them.
#[inline(always)]
pub(crate) fn decision(
    context: &impl Source,
    decision: &Decision,
    interface: &Interface,
    direction: Direction,
    size: Size,
    lost: u64,
) -> Verdict {
    let Decision { verdict, reason, rule, port, protocol, group: _ } = *decision;
    // `NO_RULE` lies beyond the end of both maps, so it counts nothing.
    add(RULE_COUNTERS.get_ptr_mut(rule), size);
    if settings::more_rule_slots() {
        add(MORE_RULE_COUNTERS.get_ptr_mut(rule.wrapping_sub(RULE_SLOTS)), size);
    }
    add(VERDICT_COUNTERS.get_ptr_mut(verdict_slot(interface.slot, direction, verdict, reason)), size);
    add(PORT_COUNTERS.get_ptr_mut(port_slot(interface.slot, direction, port)), size);
    if settings::uses(uses::SERVICES)
        && protocol != Protocol::NONE
        && protocol != Protocol::Raw.number()
        && !services::is_unread(decision, direction)
        && let Some(bytes) = SERVICE_BYTES.get_ptr_mut(port)
    {
        // SAFETY: as in `add`.
        let bytes = unsafe { &mut *bytes };
        bytes.framed = bytes.framed.wrapping_add(size.bytes.wrapping_sub(lost));
        bytes.lost = bytes.lost.wrapping_add(lost);
    }
    events::offer(context, decision, size);
    if settings::trace()
        && let Some(place) = DECISION.get_ptr_mut(0)
    {
        let record = DecisionRecord { verdict: verdict.number(), reason: reason.number(), rule, port };
        // SAFETY: the map gave the pointer, and only test runs, one after the other, trace.
        unsafe { place.write(record) };
    }
    verdict
}

#[inline(always)]
fn add(counter: Option<*mut Counter>, size: Size) {
    let Some(counter) = counter else { return };
    // SAFETY: the map gave the pointer, and an entry of a per-CPU array is this CPU's alone while the
    // program runs.
    let counter = unsafe { &mut *counter };
    counter.packets = counter.packets.wrapping_add(size.packets);
    counter.bytes = counter.bytes.wrapping_add(size.bytes);
}
