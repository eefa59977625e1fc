//! From an address to the class of those rules that accept it.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use foobar_common::{
    address::Address,
    fields::{AddressField, Root, STRIDE, Stride},
    flow::Family,
    frame::within,
};

use crate::{branchless::mask_if_highest, maps::MAPPED};

#[btf_map]
static ROOTS: Array<Root, { AddressField::COUNT as usize }, MAPPED> = Array::new();
#[btf_map]
static STRIDES: Array<Stride, 1, MAPPED> = Array::new();

/// The class of an address; `None` if a table cannot be read.
#[inline(always)]
pub(crate) fn class(field: AddressField, family: Family, address: &Address) -> Option<u32> {
    let root = ROOTS.get(field as u32)?;
    match family {
        Family::V4 => {
            let number = address.number_v4();
            let entry = *root.entries.get(within::<0xffff>(number >> 16) as usize)?;
            follow_if_stride(follow_if_stride(entry, number >> 8)?, number)
        }
        Family::V6 => {
            let [high, low] = address.numbers_v6();
            let entry = *root.entries.get(within::<0xffff>((high >> 48) as u32) as usize)?;
            let class = class_v6(entry, high, low);
            if class & STRIDE == 0 { Some(class) } else { None }
        }
    }
}

/// The entry of a stride for the last byte of this number; an entry that is a class is itself. Always looks up a
/// stride, if need be the first one for nothing.
#[inline(always)]
fn follow_if_stride(entry: u32, number: u32) -> Option<u32> {
    let is_stride = mask_if_highest(entry);
    let next = follow(entry & is_stride, number)?;
    Some((next & is_stride) | (entry & !is_stride))
}

/// Follows the strides of an IPv6 address from its third byte on; a result that is a stride is none. A function of
/// its own, because there are up to fourteen of them for each of two addresses.
#[inline(never)]
fn class_v6(root_entry: u32, high: u64, low: u64) -> u32 {
    let mut entry = root_entry;
    let mut number = high << 16 | low >> 48;
    for byte in 2..16 {
        if entry & STRIDE == 0 {
            break;
        }
        match follow(entry, (number >> 56) as u32) {
            Some(next) => entry = next,
            None => return STRIDE,
        }
        number = if byte == 9 { low << 16 } else { number << 8 };
    }
    entry
}

/// The entry of a stride for the last byte of this number.
#[inline(always)]
fn follow(entry: u32, number: u32) -> Option<u32> {
    let stride = STRIDES.get(entry & !STRIDE)?;
    stride.entries.get(within::<0xff>(number) as usize).copied()
}
