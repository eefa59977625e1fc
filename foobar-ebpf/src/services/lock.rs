//! One processor at a time for each direction of a connection.
//!
//! Packets of one connection can be on two processors at once: in generic mode, when their sender has moved to another
//! one. A spin lock of the kernel (`bpf_spin_lock`) allows no calls while it is held, and reading takes some.

use core::{arch::asm, cell::Cell, ffi::c_void};

use aya_ebpf::helpers::bpf_loop;

/// How often it is tried to get a lock; some milliseconds.
const TRIES: u32 = 1 << 18;

/// Waits for a lock. Whether it was got; if not, whoever has it is not about to give it back.
#[inline(always)]
pub(crate) fn take(lock: &Cell<u64>) -> bool {
    if swap(lock, 1) == 0 {
        return true;
    }
    let mut waiting = Waiting { lock };
    // SAFETY: the callback has the signature that the helper asks for, and its argument outlives the call.
    let tries = unsafe {
        bpf_loop(
            TRIES,
            again as unsafe extern "C" fn(u32, *mut Waiting<'_>) -> i64 as *mut c_void,
            (&raw mut waiting).cast(),
            0,
        )
    };
    tries < i64::from(TRIES)
}

/// Gives a lock back.
#[inline(always)]
pub(crate) fn give_back(lock: &Cell<u64>) {
    if cfg!(bpf_target_arch = "x86_64") {
        // What a processor of this kind writes, others see in the same order, so nothing that was done with the lock
        // comes after this.
        // SAFETY: writes a word of a map, which is there for as long as the program runs.
        unsafe { lock.as_ptr().write_volatile(0) };
    } else {
        swap(lock, 0);
    }
}

/// Sets a mark that is never taken back, and says whether nobody had set it before.
#[inline(always)]
pub(super) fn mark(place: &Cell<u64>) -> bool {
    swap(place, 1) == 0
}

struct Waiting<'l> {
    lock: &'l Cell<u64>,
}

/// One try; 1 ends the loop.
unsafe extern "C" fn again(_number: u32, waiting: *mut Waiting<'_>) -> i64 {
    // SAFETY: the argument that was given to the helper.
    let Waiting { lock } = unsafe { &*waiting };
    i64::from(swap(lock, 1) == 0)
}

/// Puts a value there and gives the one that was there before, in one step for all processors.
#[inline(always)]
fn swap(place: &Cell<u64>, value: u64) -> u64 {
    let mut swapped = value;
    // SAFETY: exchanges a word of a map, which is there for as long as the program runs.
    unsafe {
        asm!(
            "{swapped} = xchg_64({place} + 0, {swapped})",
            swapped = inout(reg) swapped,
            place = in(reg) place.as_ptr(),
            options(nostack)
        );
    }
    swapped
}
