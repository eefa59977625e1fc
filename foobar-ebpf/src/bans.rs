//! Whether the address that a packet comes from is banned.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    btf_maps::{Array, HashMap, PerCpuArray},
    helpers::{bpf_get_prandom_u32, bpf_ktime_get_boot_ns, bpf_loop},
    macros::btf_map,
};
use foobar_common::{
    address::Address,
    bans::{BANS_MAX, Ban, BanCounters, BanKey, BanLengths},
    flow::{Family, Flow},
    limit::{BucketKey, Limit},
};

use crate::{
    classify::{self, Peer},
    limit::replace,
    maps::NO_PREALLOCATION,
};

#[btf_map]
static BANS: HashMap<BanKey, Ban, { BANS_MAX as usize }, NO_PREALLOCATION> = HashMap::new();
#[btf_map]
static BAN_LENGTHS: Array<BanLengths, 2> = Array::new();
#[btf_map]
static BAN_COUNTERS: PerCpuArray<BanCounters, 1> = PerCpuArray::new();

/// A prefix can have as many lengths.
const TURNS: u32 = 127;

/// What the kernel says if there is an entry of this key already (`EEXIST`).
const IS_THERE: i32 = -17;

/// Bans all who have a bucket, which is over the limit of its rule: from the next packet on, and never for shorter than they
/// are banned. The daemon has said already that there are bans of this length.
///
/// A function of its own, whose part of the stack others use before and after.
#[inline(never)]
pub(crate) fn make(limit: &Limit, bucket: &BucketKey) {
    let key = limit.banned(bucket);
    // SAFETY: takes nothing, and touches no memory.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let until_ns = now.saturating_add(limit.ban_ns);
    let is_made = if let Some(ban) = BANS.get_ptr_mut(key) {
        if !renew(ban, [now, until_ns], bucket.rule) {
            return;
        }
        true
    } else {
        match BANS.insert(key, Ban::new(until_ns, bucket.rule), u64::from(BPF_NOEXIST)) {
            Ok(()) => true,
            // Another processor was faster, or the daemon.
            Err(IS_THERE) => return,
            Err(_) => false,
        }
    };
    let Some(counters) = BAN_COUNTERS.get_ptr_mut(0) else { return };
    // SAFETY: the map gave the pointer, and this processor alone writes there.
    let counters = unsafe { &mut *counters };
    if is_made {
        counters.made = counters.made.wrapping_add(1);
    } else {
        counters.no_room = counters.no_room.wrapping_add(1);
    }
}

/// Has a ban that is over, and that the daemon has not removed yet, hold again, and says whether it does so by this. It goes on
/// with what it has counted. Whoever else wants to change it puts another one in its place, which stays.
#[inline(always)]
fn renew(ban: *mut Ban, [now, until_ns]: [u64; 2], rule: u32) -> bool {
    // SAFETY: the map gave the pointer, to a whole ban.
    let until = unsafe { &raw mut (*ban).until_ns };
    // SAFETY: the same.
    let whose = unsafe { &raw mut (*ban).rule };
    // SAFETY: to a part of the ban; others write whole words.
    let end = unsafe { until.read_volatile() };
    if now < end {
        return false;
    }
    // SAFETY: the same. Until the ban holds, nobody asks whose it is.
    unsafe { whose.write_volatile(rule) };
    replace(until, end, until_ns) == end
}

/// What is known of an address before bans are looked up.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Spared {
    /// It may be banned.
    No = 0,
    /// Whether it may is asked if it is. That is asked of few.
    Unknown = 1,
}

/// Whether a packet comes from a banned address; the ban counts it then. Without bans, this is one look at how many there are.
#[inline(always)]
pub(crate) fn reach(flow: &Flow, peer: &Peer) -> bool {
    let spared = match peer.is_known_never_banned() {
        Some(true) => return false,
        Some(false) => Spared::No,
        None => Spared::Unknown,
    };
    holds_of(flow.family, &flow.source, spared)
}

/// Whether a packet is banned that a proxy sends for this address; the ban counts it then.
#[inline(always)]
pub(crate) fn reach_address(family: Family, address: &Address) -> bool {
    holds_of(family, address, Spared::Unknown)
}

#[inline(always)]
fn holds_of(family: Family, address: &Address, spared: Spared) -> bool {
    let number = family as u32;
    let [high, low] = address.numbers_v6();
    are_some_of(number) && is_banned(number, high, low, spared as u32) != 0
}

/// Whether there may be bans, of whichever family.
#[inline(always)]
pub(crate) fn are_some() -> bool {
    are_some_of(Family::V4 as u32) || are_some_of(Family::V6 as u32)
}

#[inline(always)]
fn are_some_of(family: u32) -> bool {
    BAN_LENGTHS.get(BanLengths::entry(family)).is_some_and(|lengths| !lengths.is_empty())
}

/// 1 if some ban of this address holds, given as the numbers that its two halves are; 0 if none does. What is known of whether
/// it may be banned is [`Spared`] as a number.
///
/// A global function: the verifier walks it once, and not in each state that a packet's headers can be in.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn is_banned(family: u32, high: u64, low: u64, spared: u32) -> u32 {
    let Some(lengths) = BAN_LENGTHS.get(BanLengths::entry(family)) else { return 0 };
    let address = Address::from_words([high.to_be(), low.to_be()]);
    if lengths.whole != 0 {
        let family = if family == Family::V6 as u32 { Family::V6 } else { Family::V4 };
        if stops(&BanKey::whole(family, address), &address, spared) {
            return 1;
        }
    }
    let [short, long] = lengths.prefixes;
    if short | long == 0 {
        return 0;
    }
    let mut search = Search { short, long, address, family, spared, found: 0 };
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
    spared: u32,
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
    let key = BanKey::prefix(search.family, search.address, length);
    if stops(&key, &search.address, search.spared) {
        search.found = 1;
        return 1;
    }
    0
}

/// Whether there is a ban of this very key that has not ended, and that does not spare the address; it counts the packet then.
#[inline(always)]
fn stops(key: &BanKey, address: &Address, spared: u32) -> bool {
    let Some(ban) = BANS.get_ptr_mut(key) else { return false };
    // SAFETY: takes nothing, and touches no memory.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    // SAFETY: the map gave the pointer; a ban is read once, word by word, and one that is being replaced holds in either form.
    if !unsafe { &*ban }.holds(now) {
        return false;
    }
    if spared == Spared::Unknown as u32 {
        let [high, low] = address.numbers_v6();
        if is_spared(key.family, high, low) != 0 {
            return false;
        }
    }
    // SAFETY: to a part of the ban.
    let packets = unsafe { &raw mut (*ban).packets };
    // SAFETY: others write whole words.
    let counted = unsafe { packets.read_volatile() };
    // SAFETY: takes nothing, and touches no memory.
    let step = Ban::step(counted, || unsafe { bpf_get_prandom_u32() });
    if step != 0 {
        // SAFETY: adds to a word of a map, in one step for all processors.
        unsafe {
            asm!("lock *(u64 *)({packets} + 0) += {step}", packets = in(reg) packets, step = in(reg) step, options(nostack));
        };
    }
    true
}

/// 1 if no ban reaches an address, given as the numbers that its two halves are; 0 if one may.
///
/// A global function, which is walked once, as [`is_banned`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn is_spared(family: u32, high: u64, low: u64) -> u32 {
    let address = Address::from_words([high.to_be(), low.to_be()]);
    let family = if family == Family::V6 as u32 { Family::V6 } else { Family::V4 };
    u32::from(classify::is_never_banned(family, &address))
}
