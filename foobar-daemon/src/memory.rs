//! Memory that was used once and is not needed any more.
//!
//! Loading programs takes tens of megabytes for a moment, most of them for the kernel's own types (BTF), which glibc would keep for
//! later: a daemon that stands by for months would have twice as much as it uses. Other allocators go on as they do.

/// Has all threads allocate from one heap, which [`give_back`] can give back wholly: of the heaps of single threads, the end is kept
/// (`M_ARENA_MAX`, `mallopt(3)`). Threads that there are already keep theirs.
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallopt takes no pointers; glibc takes its lock of the arenas.
        unsafe { nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1) };
    }
}

/// Gives what is not in use back to the kernel, which takes some milliseconds (`malloc_trim(3)`).
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: malloc_trim takes no pointers, and is thread-safe (malloc_trim(3), ATTRIBUTES).
        unsafe { nix::libc::malloc_trim(0) };
    }
}
