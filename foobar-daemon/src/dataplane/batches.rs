//! Reading many entries of a map at a time (`BPF_MAP_LOOKUP_BATCH`, Linux 5.6, of per-CPU arrays 5.13), which aya has no call
//! for.

use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    ptr,
};

use anyhow::{Context as _, Result, ensure};
use aya::{Pod, maps::MapData};
use nix::{errno::Errno, libc};

/// Of `include/uapi/linux/bpf.h`.
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
/// Entries of a hash map at a time: more than any bucket of such a map has.
const BATCH: usize = 4_096;
/// Values of a per-CPU array at a time, those of all processors counted.
const VALUES: usize = 8_192;

/// Looks at each entry of a hash map, once if nobody changes it meanwhile. Unlike with a step from key to key, no entry that
/// stays is missed or seen twice because others are removed.
///
/// # Errors
/// When keys and values are of other types than those of the map, and what the kernel and `look` say.
pub(super) fn each<K: Pod, V: Pod>(map: &MapData, mut look: impl FnMut(&K, &V) -> Result<()>) -> Result<()> {
    expect_sizes::<K, V>(map)?;
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
        // SAFETY: there is room for as many keys and values as it says, of the sizes that the map has, and for the place to go on
        // from.
        let is_last = unsafe { batch.look_up() }?;
        let count = (batch.count as usize).min(BATCH);
        // SAFETY: there is room for so many, the kernel has written them, and any bytes are a key.
        unsafe { keys.set_len(count) };
        // SAFETY: the same of values.
        unsafe { values.set_len(count) };
        for (key, value) in keys.iter().zip(&values) {
            look(key, value)?;
        }
        if is_last {
            return Ok(());
        }
        (from, is_first) = (next, false);
    }
}

/// Looks at so many neighbouring slots of a per-CPU array, from `first` on: at the number of each and at what each processor has
/// there.
///
/// # Errors
/// When values are of another type than those of the map, when it has fewer slots, and what the kernel says.
pub(super) fn each_slot<V: Pod>(
    map: &MapData,
    first: u32,
    count: u32,
    mut look: impl FnMut(u32, &[V]),
) -> Result<()> {
    expect_sizes::<u32, V>(map)?;
    // The kernel rounds the value of each processor up to eight bytes.
    const { assert!(size_of::<V>().is_multiple_of(8), "values without gaps between them") };
    let processors = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    let at_once = (VALUES / processors).max(1).min(count as usize);
    let (mut keys, mut values) =
        (Vec::<u32>::with_capacity(at_once), Vec::<V>::with_capacity(at_once * processors));
    let end = first.checked_add(count).context("a slot beyond all")?;
    let mut slot = first;
    while slot < end {
        // The kernel begins with the slot behind the one that is named.
        let (mut from, mut next) = (slot.wrapping_sub(1), 0_u32);
        let mut batch = Batch {
            from: if slot == 0 { 0 } else { (&raw mut from) as u64 },
            next: (&raw mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: (end - slot).min(u32::try_from(at_once)?),
            map: map.fd().as_fd().as_raw_fd().cast_unsigned(),
            flags: [0; 2],
        };
        // SAFETY: there is room for as many keys as it says, and for the values of all processors to each, of the sizes that the
        // map has, and for the place to go on from.
        unsafe { batch.look_up() }?;
        let read = (batch.count as usize).min(at_once);
        ensure!(read > 0, "slot {slot} is asked for, and the map ends before it");
        // SAFETY: there is room for so many, the kernel has written them, and any bytes are a value.
        unsafe { values.set_len(read * processors) };
        for (slot, values) in (slot..).zip(values.chunks_exact(processors)) {
            look(slot, values);
        }
        slot += u32::try_from(read)?;
        keys.clear();
        values.clear();
    }
    Ok(())
}

/// Whether the map has such keys and values.
fn expect_sizes<K, V>(map: &MapData) -> Result<()> {
    let info = map.info().context("ask what a map has")?;
    ensure!(
        info.key_size() as usize == size_of::<K>() && info.value_size() as usize == size_of::<V>(),
        "a map has keys of {} bytes and values of {}, which are read as {} and {}",
        info.key_size(),
        info.value_size(),
        size_of::<K>(),
        size_of::<V>()
    );
    Ok(())
}

/// `union bpf_attr`, as far as reading batches asks.
#[repr(C)]
struct Batch {
    /// `in_batch` and `out_batch`.
    from: u64,
    next: u64,
    keys: u64,
    values: u64,
    /// How many there is room for; afterwards, how many there are.
    count: u32,
    map: u32,
    /// `elem_flags` and `flags`.
    flags: [u64; 2],
}

impl Batch {
    /// Has the kernel fill the batch, and gives whether there is nothing behind it.
    ///
    /// # Safety
    /// There must be room for `count` keys and values of the map at `keys` and `values`, and for the place in the map at `next`;
    /// `from` must be such a place, or zero for the beginning.
    unsafe fn look_up(&mut self) -> Result<bool> {
        // SAFETY: bpf(2) reads and writes what the caller promises to be there.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_BATCH, ptr::from_mut(self), size_of::<Self>())
        };
        match Errno::result(result) {
            Ok(_) => Ok(false),
            Err(Errno::ENOENT) => Ok(true),
            Err(error) => Err(error).context("look through a map"),
        }
    }
}
