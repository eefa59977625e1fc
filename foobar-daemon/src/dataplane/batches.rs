//! Reading a hash map many entries at a time (`BPF_MAP_LOOKUP_BATCH`, Linux 5.6), which aya has no call for.

use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result, ensure};
use aya::{Pod, maps::MapData};
use nix::{errno::Errno, libc};

/// Of `include/uapi/linux/bpf.h`.
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
/// Entries at a time: more than any bucket of such a map has.
const BATCH: usize = 4_096;

/// Looks at each entry of a hash map, once if nobody changes it meanwhile. Unlike with a step from key to key, no entry that
/// stays is missed or seen twice because others are removed.
///
/// # Errors
/// When keys and values are of other types than those of the map, and what the kernel and `look` say.
pub(super) fn each<K: Pod, V: Pod>(map: &MapData, mut look: impl FnMut(&K, &V) -> Result<()>) -> Result<()> {
    let info = map.info().context("ask what a map has")?;
    ensure!(
        info.key_size() as usize == size_of::<K>() && info.value_size() as usize == size_of::<V>(),
        "a map has keys of {} bytes and values of {}, which are read as {} and {}",
        info.key_size(),
        info.value_size(),
        size_of::<K>(),
        size_of::<V>()
    );
    let (mut keys, mut values) = (Vec::<K>::with_capacity(BATCH), Vec::<V>::with_capacity(BATCH));
    let (mut from, mut next) = (0_u32, 0_u32);
    let mut is_first = true;
    loop {
        let mut batch = Batch {
            from: if is_first { 0 } else { (&raw mut from) as u64 },
            next: (&raw mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: u32::try_from(BATCH)?,
            map: map.fd().as_fd().as_raw_fd().cast_unsigned(),
            flags: [0; 2],
        };
        // SAFETY: bpf(2) writes as many keys and values as it says there is room for, of the sizes that the map has, and the
        // place to go on from.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_BATCH, &raw mut batch, size_of::<Batch>()) };
        let result = Errno::result(result);
        if !matches!(result, Ok(_) | Err(Errno::ENOENT)) {
            return result.map(drop).context("look through a map");
        }
        let count = (batch.count as usize).min(BATCH);
        // SAFETY: there is room for so many, the kernel has written them, and any bytes are a key.
        unsafe { keys.set_len(count) };
        // SAFETY: the same of values.
        unsafe { values.set_len(count) };
        for (key, value) in keys.iter().zip(&values) {
            look(key, value)?;
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
