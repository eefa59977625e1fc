//! Rules that hold up to a rate: whose bucket a packet is charged to, and whether it is over the limit.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    btf_maps::{HashMap, LruHashMap},
    helpers::bpf_ktime_get_ns,
    macros::btf_map,
};
use foobar_common::{
    flow::Flow,
    limit::{BUCKETS_MAX, BucketKey, LIMITS_MAX, Limit, charge as charge_once},
    proxy::Client,
};

use crate::{bans, clients};

#[btf_map]
static LIMITS: HashMap<u32, Limit, { LIMITS_MAX as usize }> = HashMap::new();
#[btf_map]
static BUCKETS: LruHashMap<BucketKey, u64, { BUCKETS_MAX as usize }> = LruHashMap::new();

/// How often it is tried to charge a bucket that other processors charge at the same time.
const TRIES: usize = 8;

/// Charges a packet to a bucket of the rule with this counter slot, unless its source is spared. The limit, if the packet is over it; whoever sent it is
/// banned then, if the rule says so.
///
/// A function of its own, whose part of the stack others use before and after.
#[inline(never)]
pub(crate) fn exceeded(flow: &Flow, rule: u32, port: u32, is_spared: bool) -> Option<&'static Limit> {
    let limit = of(rule)?;
    if limit.by_client != 0 && clients::are_named(port) {
        let Some(client) = clients::present() else {
            clients::wait(rule);
            return None;
        };
        return by(client, limit, rule);
    }
    if is_spared {
        return None;
    }
    charged(limit, &limit.bucket(flow, rule))
}

/// Charges one packet to a client. The limit, as above.
#[inline(always)]
pub(crate) fn exceeded_by(client: &Client, rule: u32) -> Option<&'static Limit> {
    by(client, of(rule)?, rule)
}

#[inline(always)]
fn by(client: &Client, limit: &'static Limit, rule: u32) -> Option<&'static Limit> {
    let family = client.family()?;
    if clients::is_never_banned(client) {
        return None;
    }
    charged(limit, &limit.bucket_of(family, &client.address, rule))
}

#[inline(always)]
fn of(rule: u32) -> Option<&'static Limit> {
    let limit = LIMITS.get_ptr(rule)?;
    // SAFETY: the map gave the pointer, and nobody writes a limit of a ruleset that is in force.
    Some(unsafe { &*limit })
}

#[inline(always)]
fn charged(limit: &'static Limit, key: &BucketKey) -> Option<&'static Limit> {
    if is_within(limit, key) {
        return None;
    }
    if limit.ban_ns != 0 {
        bans::make(limit, key);
    }
    Some(limit)
}

/// What cannot be charged, because there is no room for a bucket or others are always faster, is over the limit.
#[inline(always)]
fn is_within(limit: &Limit, key: &BucketKey) -> bool {
    let now = now();
    let bucket = if let Some(bucket) = BUCKETS.get_ptr_mut(key) {
        bucket
    } else {
        let Some(charged) = limit.charge(0, now) else { return false };
        if BUCKETS.insert(key, charged, u64::from(BPF_NOEXIST)).is_ok() {
            return true;
        }
        // Another processor was faster.
        let Some(bucket) = BUCKETS.get_ptr_mut(key) else { return false };
        bucket
    };
    charge_at([limit.interval, limit.tolerance], bucket, now)
}

/// Charges one to a bucket of a map, of whatever has this interval and tolerance, and says whether there was room.
#[inline(always)]
pub(crate) fn charge(rate: [u64; 2], bucket: *mut u64) -> bool {
    charge_at(rate, bucket, now())
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: a helper that only reads a clock (Linux 4.1).
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn charge_at(rate: [u64; 2], bucket: *mut u64, now: u64) -> bool {
    // SAFETY: the map gave the pointer; other processors write whole words.
    let mut found = unsafe { bucket.read_volatile() };
    for _ in 0..TRIES {
        let Some(charged) = charge_once(rate, found, now) else { return false };
        let before = found;
        found = replace(bucket, before, charged);
        if found == before {
            return true;
        }
    }
    false
}

/// Puts a word there if `wanted` is there, in one step for all processors, and gives what was there (Linux 5.12).
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) fn replace(place: *mut u64, wanted: u64, new: u64) -> u64 {
    let mut found = wanted;
    // SAFETY: exchanges a word of a map, which is there for as long as the program runs.
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64({place} + 0, r0, {new})",
            inout("r0") found,
            place = in(reg) place,
            new = in(reg) new,
            options(nostack)
        );
    }
    found
}

/// Lints look at the programs as if they were for this machine, whose registers have other names.
#[cfg(not(target_arch = "bpf"))]
pub(crate) fn replace(_place: *mut u64, wanted: u64, _new: u64) -> u64 {
    wanted
}
