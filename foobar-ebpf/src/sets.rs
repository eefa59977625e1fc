//! From an address to the combination of sets that it is in.

use core::ptr::read_volatile;

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use foobar_common::{
    address::Address,
    flow::Family,
    sets::{self, Line, Lines},
};

use crate::maps::MAPPED;

/// Line 0 says where the table in force begins. A change of sets writes another one beside it, and then that number,
/// which is one step for every packet.
#[btf_map]
static SETS: Array<Line, 1, MAPPED> = Array::new();

/// The table that is in force.
struct InForce {
    start: u32,
}

impl Lines for InForce {
    #[inline(always)]
    fn line(&self, number: u32) -> Option<&Line> {
        SETS.get(self.start.wrapping_add(number))
    }
}

/// The class of an address; `None` if the table cannot be read.
#[inline(always)]
pub(crate) fn class(family: Family, address: &Address) -> Option<u32> {
    let class = match family {
        Family::V4 => set_class_v4(address.number_v4()),
        Family::V6 => {
            let [high, low] = address.numbers_v6();
            set_class_v6(high, low)
        }
    };
    if class == UNREADABLE { None } else { Some(class) }
}

/// Above every class: what is wider than a register cannot be returned.
const UNREADABLE: u32 = u32::MAX;

/// The class of an IPv4 address in host byte order, or [`UNREADABLE`].
///
/// A global function, as the kernel calls one with a symbol: the verifier walks it once and for all, and not for each
/// call in each state. Walking it for source and destination took 280,000 of its million instructions.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn set_class_v4(address: u32) -> u32 {
    in_force().and_then(|table| sets::class_v4(&table, address)).unwrap_or(UNREADABLE)
}

/// As [`set_class_v4`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn set_class_v6(high: u64, low: u64) -> u32 {
    in_force().and_then(|table| sets::class_v6(&table, high, low)).unwrap_or(UNREADABLE)
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a number of a line")]
fn in_force() -> Option<InForce> {
    let [start, ..] = &SETS.get(0)?.words;
    // SAFETY: a live reference. Volatile, so that it is read once for all that follows.
    Some(InForce { start: unsafe { read_volatile(start) } as u32 })
}
