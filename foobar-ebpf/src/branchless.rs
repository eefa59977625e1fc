//! Choices without jumps: each jump would double the ways that the verifier walks, and which prefix or rule the next
//! packet meets is hard to guess for a processor. BPF has no conditional move, and the compiler turns any such
//! computation into a jump that it can recognize; so these are assembly.

use core::arch::asm;

/// All bits set if `word` is not zero, otherwise none.
#[inline(always)]
pub(crate) fn mask_if_any(word: u64) -> u64 {
    let mut mask = word;
    // SAFETY: computes with registers.
    unsafe {
        asm!(
            "{mask} = -{mask}",
            "{mask} |= {word}",
            "{mask} s>>= 63",
            mask = inout(reg) mask,
            word = in(reg) word,
            options(pure, nomem, nostack)
        );
    }
    mask
}

/// All bits set if the highest bit of `word` is, otherwise none.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "both halves are the same")]
pub(crate) fn mask_if_highest(word: u32) -> u32 {
    let mut mask = u64::from(word) << 32;
    // SAFETY: computes with a register.
    unsafe { asm!("{mask} s>>= 63", mask = inout(reg) mask, options(pure, nomem, nostack)) };
    mask as u32
}

/// The smaller of two numbers, neither of which has its highest bit set.
#[inline(always)]
pub(crate) fn smaller(one: u64, other: u64) -> u64 {
    let mut difference = one.wrapping_sub(other);
    // SAFETY: computes with registers.
    unsafe {
        asm!(
            "{mask} = {difference}",
            "{mask} s>>= 63",
            "{difference} &= {mask}",
            mask = out(reg) _,
            difference = inout(reg) difference,
            options(pure, nomem, nostack)
        );
    }
    other.wrapping_add(difference)
}
