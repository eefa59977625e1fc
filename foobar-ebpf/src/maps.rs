//! Flags of maps.

/// User space writes the map through memory (`BPF_F_MMAPABLE`, Linux 5.5), which also puts it on whole pages.
pub(crate) const MAPPED: usize = 1 << 10;
/// Memory is taken for the entries that there are, not for all that there can be (`BPF_F_NO_PREALLOC`, Linux 4.6).
pub(crate) const NO_PREALLOCATION: usize = 1;
