//! Reading a map of flows many entries at a time (`BPF_MAP_LOOKUP_BATCH`, Linux 5.6), which aya has no call for.

use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData};
use foobar_common::tracking::{FlowKey, Moment, TrackedFlow};
use nix::{errno::Errno, libc};

use crate::dataplane::features;

/// Of `include/uapi/linux/bpf.h`.
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
/// Entries at a time: more than any bucket of such a map has.
const BATCH: usize = 4_096;

/// How many flows a map has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// All.
    pub(super) all: u32,
    /// Those whose time is not over.
    pub(super) known: u32,
}

/// How many flows of a map there are at this moment.
pub(super) fn count(map: &Map, now: Moment) -> Result<Count> {
    let mut count = Count::default();
    each(features::map_data(map)?, |_, flow| {
        count.all += 1;
        count.known += u32::from(flow.is_known(now));
        Ok(())
    })?;
    Ok(count)
}

/// Looks at each flow of a map, once if nobody changes it meanwhile.
pub(super) fn each(map: &MapData, mut look: impl FnMut(&FlowKey, &TrackedFlow) -> Result<()>) -> Result<()> {
    let mut keys = vec![FlowKey::NONE; BATCH];
    let mut flows = vec![TrackedFlow::FORGOTTEN; BATCH];
    let (mut from, mut next) = (0_u32, 0_u32);
    let mut is_first = true;
    loop {
        let mut batch = Batch {
            from: if is_first { 0 } else { (&raw mut from) as u64 },
            next: (&raw mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: flows.as_mut_ptr() as u64,
            count: u32::try_from(BATCH)?,
            map: map.fd().as_fd().as_raw_fd().cast_unsigned(),
            flags: [0; 2],
        };
        // SAFETY: bpf(2) writes as many keys and values as it says there is room for, and the place to go on from.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_BATCH, &raw mut batch, size_of::<Batch>()) };
        let result = Errno::result(result);
        if !matches!(result, Ok(_) | Err(Errno::ENOENT)) {
            return result.map(drop).context("look through a map of flows");
        }
        for (key, flow) in keys.iter().zip(&flows).take(batch.count as usize) {
            look(key, flow)?;
        }
        // There are no more.
        if result.is_err() {
            return Ok(());
        }
        (from, is_first) = (next, false);
    }
}

/// `union bpf_attr`, as far as reading batches asks.
#[repr(C)]
struct Batch {
    /// `in_batch` and `out_batch`.
    from: u64,
    next: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    /// `elem_flags` and `flags`.
    flags: [u64; 2],
}
