//! Where the headers of the present packet lie while it is judged.
//!
//! On the stack, the verifier would remember how each field came about and walk all that follows once for each
//! way through the parser, which exceeds its million instructions. Read back from a map, fields are plain
//! unknown numbers, and all ways through the parser are one.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use foobar_common::{flow::Flow, parse::Headers};

#[btf_map]
static HEADERS: PerCpuArray<Headers, 1> = PerCpuArray::new();

/// For the parser to write to and, looked up once more, to go on from: so the compiler cannot remember what it has
/// just written, either. There always is an entry 0, so this never is `None`.
#[inline(always)]
pub(crate) fn headers() -> Option<&'static mut Headers> {
    let place = HEADERS.get_ptr_mut(0)?;
    // SAFETY: the map gave the pointer, any two references to it are used one after the other, and XDP programs of one
    // processor do not interrupt each other. Its fields always have valid values: all zero at first, and those that
    // the parser wrote.
    Some(unsafe { &mut *place })
}

/// The packet that was parsed last.
#[inline(always)]
pub(crate) fn flow() -> Option<&'static Flow> {
    headers().map(|headers| &headers.flow)
}
