//! Arrays whose values are written through memory (`BPF_F_MMAPABLE`): one copy instead of a system call for
//! each value.

use std::{ffi::c_void, num::NonZeroUsize, os::fd::AsFd as _, ptr::NonNull, slice};

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// The values of an array, side by side.
pub(super) struct MappedArray {
    start: NonNull<c_void>,
    length: usize,
}

impl MappedArray {
    /// Opens an array with the flag `BPF_F_MMAPABLE`.
    pub(super) fn of(map: &MapData) -> Result<Self> {
        let info = map.info().context("ask for the size of a map")?;
        // The kernel rounds values up to eight bytes; all of ours are multiples of that.
        let length = (info.value_size() as usize).next_multiple_of(8) * info.max_entries() as usize;
        let length = NonZeroUsize::new(length).context("a map without entries")?;
        // SAFETY: a new mapping, at a place that the kernel chooses.
        let start = unsafe {
            mmap(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                map.fd().as_fd(),
                0,
            )
        };
        let start = start.context("map the values of a map into memory")?;
        Ok(Self { start, length: length.get() })
    }

    /// Writes values, from the beginning.
    pub(super) fn write<T: aya::Pod>(&mut self, values: &[T]) -> Result<()> {
        let place = self.as_mut_slice::<T>();
        let room = place.len();
        let place = place.get_mut(..values.len());
        place
            .with_context(|| format!("{} values, and room for {room}", values.len()))?
            .copy_from_slice(values);
        Ok(())
    }

    /// The values. The kernel aligns them to pages.
    pub(super) fn as_mut_slice<T: aya::Pod>(&mut self) -> &mut [T] {
        let start = self.start.cast::<T>();
        debug_assert!(start.is_aligned(), "a mapping begins with a page");
        // SAFETY: the mapping is `length` bytes long and lives as long as `self`, and any bytes are a `Pod`.
        // Programs that read the map at the same time are not in this process's memory model.
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), self.length / size_of::<T>()) }
    }
}

impl Drop for MappedArray {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's alone.
        let unmapped = unsafe { munmap(self.start, self.length) };
        debug_assert!(unmapped.is_ok(), "unmap: {unmapped:?}");
    }
}
