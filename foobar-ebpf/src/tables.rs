//! From a field of 16 bits to the class of those rules that accept it.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use foobar_common::{
    fields::{Table, TableField},
    frame::without_history,
};

use crate::{maps::MAPPED, settings};

#[btf_map]
static TABLES: Array<Table, { TableField::COUNT as usize }, MAPPED> = Array::new();

/// The class of a value; `None` if the table cannot be read.
#[inline(always)]
pub(crate) fn class(field: TableField, value: u16) -> Option<u32> {
    let table = TABLES.get(field as u32)?;
    // The compiler knows that a port whose bytes were swapped fits 16 bits, and leaves out every check of that;
    // verifiers up to at least Linux 6.12 know nothing of a number after a swap of its bytes ("R0 max value is
    // outside of the allowed memory range").
    let value = without_history::<0xffff>(u32::from(value));
    let number = table.classes.get(value as usize)?;
    Some(settings::first_class(field).wrapping_add(u32::from(*number)))
}
