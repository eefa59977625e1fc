//! Connections by the group of peers that their client is in.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use foobar_common::{
    counters::GROUP_ENTRIES, flow::Direction, peers::PeerConnections, rule::uses, service::FirstBytes,
};

use super::passage::Passage;
use crate::settings;

#[btf_map]
static PEER_CONNECTIONS: PerCpuArray<PeerConnections, { GROUP_ENTRIES as usize }> = PerCpuArray::new();

/// Where connections of the packet's peer are counted; `None` if it is in no group.
#[inline(always)]
pub(super) fn counters(direction: Direction) -> Option<&'static mut PeerConnections> {
    if !settings::uses(uses::GROUPS) {
        return None;
    }
    // What is in no group has no entry.
    let place = PEER_CONNECTIONS.get_ptr_mut(Passage::group_slot(direction)?)?;
    // SAFETY: the map gave the pointer, and an entry of a per-CPU array is this processor's alone while the program
    // runs, but for a program of the other direction that interrupts it. Of the connections to one service, all are
    // counted in the same direction.
    Some(unsafe { &mut *place })
}

/// Counts a connection by what its client begins with: that of a group there, any other one here.
#[inline(always)]
pub(super) fn begun(first: FirstBytes, others: &mut u64, direction: Direction) {
    match counters(direction) {
        Some(counters) => counters.begun(first),
        None => *others = others.wrapping_add(1),
    }
}
