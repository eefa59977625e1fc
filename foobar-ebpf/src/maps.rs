//! Flags of maps.

/// User space writes the map through memory (`BPF_F_MMAPABLE`, Linux 5.5), which also puts it on whole pages.
pub(crate) const MAPPED: usize = 1 << 10;
