//! Where the headers of the present packet lie while it is judged.
//!
//! On the stack, the verifier would remember how each field came about and walk all that follows once for each
//! way through the parser, which exceeds its million instructions. Read back from a map, fields are plain
//! unknown numbers, and all ways through the parser are one.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use foobar_common::{flow::Flow, parse::Network};

#[btf_map]
static NETWORK: PerCpuArray<Network, 1> = PerCpuArray::new();
#[btf_map]
static FLOW: PerCpuArray<Flow, 1> = PerCpuArray::new();

/// Takes a half-parsed packet out of the verifier's sight. There always is an entry 0, so this never is `None`.
#[inline(always)]
pub(crate) fn keep_network(network: &Network) -> Option<&'static Network> {
    keep(&NETWORK, network)?;
    // The second look-up keeps the compiler from remembering what it has just written.
    kept(&NETWORK)
}

/// Keeps a parsed packet for [`flow`].
#[inline(always)]
pub(crate) fn keep_flow(flow: &Flow) -> Option<()> {
    keep(&FLOW, flow)
}

/// The packet that was parsed last.
#[inline(always)]
pub(crate) fn flow() -> Option<&'static Flow> {
    kept(&FLOW)
}

#[inline(always)]
fn keep<T: Copy>(map: &'static PerCpuArray<T, 1>, value: &T) -> Option<()> {
    let place = map.get_ptr_mut(0)?;
    // SAFETY: the map gave the pointer. XDP programs of one processor do not interrupt each other.
    unsafe { place.write(*value) };
    Some(())
}

#[inline(always)]
fn kept<T>(map: &'static PerCpuArray<T, 1>) -> Option<&'static T> {
    let place = map.get_ptr(0)?;
    // SAFETY: as above, and a value has been written there by the same run of the program.
    Some(unsafe { &*place })
}
