//! Whether the address that a packet comes from is banned.

use core::ffi::c_void;

use aya_ebpf::{
    btf_maps::{Array, HashMap},
    helpers::{bpf_ktime_get_boot_ns, bpf_loop},
    macros::btf_map,
};
use foobar_common::{
    address::Address,
    bans::{BANS_MAX, Ban, BanKey, BanLengths},
    flow::{Family, Flow},
};

use crate::{classify::Peer, maps::NO_PREALLOCATION};

#[btf_map]
static BANS: HashMap<BanKey, Ban, { BANS_MAX as usize }, NO_PREALLOCATION> = HashMap::new();
#[btf_map]
static BAN_LENGTHS: Array<BanLengths, 2> = Array::new();

/// A prefix can have as many lengths.
const TURNS: u32 = 127;

/// Whether a packet comes from a banned address. Without bans, this is one look at how many there are.
#[inline(always)]
pub(crate) fn reach(flow: &Flow, peer: &Peer) -> bool {
    let family = flow.family as u32;
    let some = BAN_LENGTHS.get(BanLengths::entry(family)).is_some_and(|lengths| !lengths.is_empty());
    if !some {
        return false;
    }
    let [high, low] = flow.source.numbers_v6();
    is_banned(family, high, low) != 0 && !peer.is_never_banned(flow)
}

/// 1 if some ban of this address holds, given as the numbers that its two halves are; 0 if none does.
///
/// A global function: the verifier walks it once, and not in each state that a packet's headers can be in.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn is_banned(family: u32, high: u64, low: u64) -> u32 {
    let Some(lengths) = BAN_LENGTHS.get(BanLengths::entry(family)) else { return 0 };
    let address = Address::from_words([high.to_be(), low.to_be()]);
    if lengths.whole != 0 {
        let family = if family == Family::V6 as u32 { Family::V6 } else { Family::V4 };
        if holds(&BanKey::whole(family, address)) {
            return 1;
        }
    }
    let [short, long] = lengths.prefixes;
    if short | long == 0 {
        return 0;
    }
    let mut search = Search { short, long, address, family, found: 0 };
    let callback: extern "C" fn(u64, *mut Search) -> i64 = turn;
    // SAFETY: the kernel calls back with this very pointer, before it returns.
    unsafe { bpf_loop(TURNS, callback as *mut c_void, (&raw mut search).cast(), 0) };
    search.found
}

/// What is left to look for.
#[repr(C)]
struct Search {
    /// Lengths that were not looked up, as in [`BanLengths::prefixes`].
    short: u64,
    long: u64,
    address: Address,
    family: u32,
    found: u32,
}

/// Looks up the shortest prefix that is left. Ends the loop with 1.
extern "C" fn turn(_: u64, search: *mut Search) -> i64 {
    // SAFETY: the pointer that `is_banned` gave, to what lives on its stack.
    let search = unsafe { &mut *search };
    let length = if search.short != 0 {
        let length = search.short.trailing_zeros();
        search.short &= search.short.wrapping_sub(1);
        length
    } else if search.long != 0 {
        let length = search.long.trailing_zeros().wrapping_add(64);
        search.long &= search.long.wrapping_sub(1);
        length
    } else {
        return 1;
    };
    if holds(&BanKey::prefix(search.family, search.address, length)) {
        search.found = 1;
        return 1;
    }
    0
}

/// Whether there is a ban of this very key that has not ended.
#[inline(always)]
fn holds(key: &BanKey) -> bool {
    // SAFETY: a ban is read once, word by word; one that is being replaced holds in either form.
    let Some(ban) = (unsafe { BANS.get(key) }) else { return false };
    // SAFETY: takes nothing, and touches no memory.
    ban.holds(unsafe { bpf_ktime_get_boot_ns() })
}
