//! Where the flow of the present packet lies while it is judged.
//!
//! On the stack, the verifier would remember how each field came about and walk everything after parsing once
//! for each way through the parser, which exceeds its million instructions. Read back from a map, fields are
//! plain unknown numbers, and all ways through the parser are one.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use foobar_common::flow::Flow;

#[btf_map]
static FLOW: PerCpuArray<Flow, 1> = PerCpuArray::new();

/// Moves the flow out of the verifier's sight. There always is an entry 0.
#[inline(always)]
pub(crate) fn keep(flow: &Flow) -> Option<&'static Flow> {
    let place = FLOW.get_ptr_mut(0)?;
    // SAFETY: the map gave the pointer. XDP programs of one processor do not interrupt each other.
    unsafe { place.write(*flow) };
    // The second look-up keeps the compiler from remembering what it has just written.
    let place = FLOW.get_ptr(0)?;
    // SAFETY: as above, and a flow has just been written there.
    Some(unsafe { &*place })
}
