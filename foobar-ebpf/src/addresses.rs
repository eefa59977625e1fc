//! From an address to the class of those rules that accept it.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use foobar_common::{
    fields::{AddressField, Root, STRIDE, Stride},
    flow::Family,
    frame::within,
};

use crate::{branchless::mask_if_highest, maps::MAPPED};

#[btf_map]
static ROOTS: Array<Root, { AddressField::COUNT as usize }, MAPPED> = Array::new();
#[btf_map]
static STRIDES: Array<Stride, 1, MAPPED> = Array::new();

/// The class of an address in network byte order; `None` if a table cannot be read.
#[inline(always)]
pub(crate) fn class(field: AddressField, family: Family, address: &[u8; 16]) -> Option<u32> {
    let [high, low, ..] = *address;
    let first = within::<0xffff>(u32::from(u16::from_be_bytes([high, low])));
    let entry = *ROOTS.get(field as u32)?.entries.get(first as usize)?;
    match family {
        Family::V4 => follow_if_stride(follow_if_stride(entry, address, 2)?, address, 3),
        Family::V6 => {
            let class = class_v6(entry, address);
            if class & STRIDE == 0 { Some(class) } else { None }
        }
    }
}

/// The entry of a stride for this byte of the address; an entry that is a class is itself. Always looks up a stride,
/// if need be the first one for nothing.
#[inline(always)]
fn follow_if_stride(entry: u32, address: &[u8; 16], byte: usize) -> Option<u32> {
    let is_stride = mask_if_highest(entry);
    let next = follow(entry & is_stride, address, byte)?;
    Some((next & is_stride) | (entry & !is_stride))
}

/// Follows the strides of an IPv6 address from its third byte on; a result that is a stride is none. A function of
/// its own, because there are up to fourteen of them for each of two addresses.
#[inline(never)]
fn class_v6(root_entry: u32, address: &[u8; 16]) -> u32 {
    let mut entry = root_entry;
    for byte in 2..16 {
        if entry & STRIDE == 0 {
            break;
        }
        match follow(entry, address, byte) {
            Some(next) => entry = next,
            None => return STRIDE,
        }
    }
    entry
}

/// The entry of a stride for this byte of the address.
#[inline(always)]
fn follow(entry: u32, address: &[u8; 16], byte: usize) -> Option<u32> {
    let stride = STRIDES.get(entry & !STRIDE)?;
    stride.entries.get(usize::from(*address.get(byte)?)).copied()
}
