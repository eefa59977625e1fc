//! Memory that was used once and is not needed any more.
//!
//! Loading programs takes tens of megabytes for a moment, most of them for the kernel's own types (BTF); so does reading
//! ten thousand rules, and a scrape of theirs takes some. glibc would keep them for later: a daemon that stands by for months would
//! have thrice as much as it uses. Other allocators go on as they do.

use std::sync::atomic::{AtomicBool, Ordering};

static IS_MUCH_FREE: AtomicBool = AtomicBool::new(false);

/// Has all threads allocate from one heap, which [`give_back`] can give back wholly: of the heaps of single threads, the end is kept
/// (`M_ARENA_MAX`, `mallopt(3)`). Threads that there are already keep theirs.
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallopt takes no pointers; glibc takes its lock of the arenas.
        unsafe { nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1) };
    }
}

/// Says that some megabytes were in use, and are free or about to be.
pub fn much_is_free() {
    IS_MUCH_FREE.store(true, Ordering::Relaxed);
}

/// Gives what is not in use back to the kernel if somebody has said that it is much, which takes some milliseconds
/// (`malloc_trim(3)`). Asked when everything is done that was to be done: what is still in use keeps its page.
pub fn give_back() {
    if !IS_MUCH_FREE.swap(false, Ordering::Relaxed) {
        return;
    }
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: malloc_trim takes no pointers, and is thread-safe (malloc_trim(3), ATTRIBUTES).
        unsafe { nix::libc::malloc_trim(0) };
    }
}
