//! Queries whose answers have not come.

use aya_ebpf::{bindings::BPF_NOEXIST, btf_maps::LruHashMap, macros::btf_map};
use foobar_common::{
    dns::{PATIENCE, QUERIES_MAX, QueryKey},
    service::Ticks,
};

#[btf_map]
static DNS_PENDING: LruHashMap<QueryKey, u64, { QUERIES_MAX as usize }> = LruHashMap::new();

/// A query was asked at this time, in nanoseconds. Whether it was before, and waits for its answer since then: the time
/// when it was asked first stays.
#[inline(always)]
pub(super) fn ask(key: &QueryKey, now: u64) -> bool {
    if DNS_PENDING.insert(key, now, u64::from(BPF_NOEXIST)).is_ok() {
        return false;
    }
    if let Some(asked) = since(key)
        && now.saturating_sub(asked) < PATIENCE
    {
        return true;
    }
    // If it fails, nothing is known of the query when its answer comes.
    let _kept: Result<(), i32> = DNS_PENDING.insert(key, now, 0);
    false
}

/// An answer went out at this time. How long its query waited, if it is known; it is forgotten with that, so that an
/// answer that is sent twice is timed once.
#[inline(always)]
pub(super) fn answer(key: &QueryKey, now: u64) -> Option<Ticks> {
    let asked = since(key)?;
    // Of two processors with the same answer, one removes it.
    DNS_PENDING.remove(key).ok()?;
    Some(Ticks::between(asked, now))
}

/// When a query was asked.
#[inline(always)]
fn since(key: &QueryKey) -> Option<u64> {
    let place = DNS_PENDING.get_ptr(key)?;
    // SAFETY: the map gave the pointer, and a word of it is read at once.
    Some(unsafe { place.read_volatile() })
}
