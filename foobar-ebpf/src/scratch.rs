//! Where the headers of the present packet lie while it is judged.
//!
//! On the stack, the verifier would remember how each field came about and walk all that follows once for each
//! way through the parser, which exceeds its million instructions. Read back from a map, fields are plain
//! unknown numbers, and all ways through the parser are one.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use foobar_common::{flow::Direction, parse::Headers};

#[btf_map]
static HEADERS: PerCpuArray<Headers, 2> = PerCpuArray::new();

/// For the parser to write to and, looked up once more, to go on from: so the compiler cannot remember what it has
/// just written, either. There is an entry for each direction, so this never is `None`.
#[inline(always)]
pub(crate) fn headers(direction: Direction) -> Option<&'static mut Headers> {
    let place = HEADERS.get_ptr_mut(direction as u32)?;
    // SAFETY: the map gave the pointer, any two references to it are used one after the other, and programs of one
    // direction do not interrupt each other on a processor. Its fields always have valid values: those that the parser
    // wrote.
    Some(unsafe { &mut *place })
}
