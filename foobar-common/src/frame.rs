//! Bounds-checked reads over the bytes of a packet; the only unsafe code in parsing.

use core::marker::PhantomData;

use crate::verdict::Reason;

/// Nothing further into a frame than this is ever read: the kernel's own limit for reads of packet bytes
/// (`MAX_PACKET_OFF` of its verifier).
pub const OFFSET_MAX: usize = 0xffff;

/// A window onto the bytes of one frame, starting with the Ethernet header.
///
/// In the kernel a frame of several buffers (`xdp.frags`) shows only its first one: [`Frame::length`] is the
/// whole length, and a read between the two fails with [`Reason::NonLinear`].
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    start: *const u8,
    end: *const u8,
    length: u32,
    is_offloaded: bool,
    bytes: PhantomData<&'a [u8]>,
}

impl<'a> Frame<'a> {
    /// Wraps the bytes `start..end` of a frame that is `length` bytes long in all buffers together, which is
    /// at least what lies between the two.
    ///
    /// # Safety
    /// `start..end` must be readable for `'a`.
    #[inline(always)]
    pub unsafe fn new(start: *const u8, end: *const u8, length: u32) -> Self {
        Self { start, end, length, is_offloaded: false, bytes: PhantomData }
    }

    /// The same frame, whose segments somebody else is to cut. Its IP header may say that it is zero bytes long, which
    /// stands for more than fit the field (BIG TCP, Linux 5.19).
    #[inline(always)]
    #[must_use]
    pub fn offloaded(self, is_offloaded: bool) -> Self {
        Self { is_offloaded, ..self }
    }

    /// Wraps a frame that lies in one piece of memory. More than 4 GiB count as 4 GiB.
    #[inline(always)]
    pub fn from_slice(bytes: &'a [u8]) -> Self {
        let range = bytes.as_ptr_range();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Self { start: range.start, end: range.end, length, is_offloaded: false, bytes: PhantomData }
    }

    /// Wraps the beginning of a frame that is `length` bytes long, or as long as `bytes` if that is more: what
    /// [`Frame::new`] makes of a frame of several buffers.
    #[inline(always)]
    pub fn from_first_buffer(bytes: &'a [u8], length: u32) -> Self {
        let first = Self::from_slice(bytes);
        Self { length: if length > first.length { length } else { first.length }, ..first }
    }

    /// Length of the frame in bytes, Ethernet header included, checksum (FCS) not.
    #[inline(always)]
    pub fn length(&self) -> u32 {
        self.length
    }

    /// Whether its segments are still to be cut.
    #[inline(always)]
    pub fn is_offloaded(&self) -> bool {
        self.is_offloaded
    }

    /// How many bytes lie in the first buffer.
    #[inline(always)]
    pub fn first_buffer(&self) -> usize {
        (self.end as usize).wrapping_sub(self.start as usize)
    }

    /// Copies what lies at `offset`: words have the byte order of memory, and need not be aligned.
    ///
    /// # Errors
    /// `truncated` if the frame ends before, [`Reason::NonLinear`] if the bytes exist but not in this window
    /// or beyond [`OFFSET_MAX`].
    #[inline(always)]
    pub fn read<T: Plain>(&self, offset: usize, truncated: Reason) -> Result<T, Reason> {
        let from = self.start.wrapping_add(offset);
        // Without the first comparison a huge offset would wrap around and pass the second.
        if offset > OFFSET_MAX || from.wrapping_add(size_of::<T>()) > self.end {
            let wanted = offset.saturating_add(size_of::<T>());
            return Err(if wanted <= self.length as usize { Reason::NonLinear } else { truncated });
        }
        // SAFETY: `offset` is too small to wrap, so all of it lies inside `start..end`, which `new` was promised to be
        // readable, and any bytes are a `T`.
        Ok(unsafe { from.cast::<T>().read_unaligned() })
    }
}

/// What can be read from a frame.
///
/// # Safety
/// Any bytes must be a valid value.
pub unsafe trait Plain: Copy {}

// SAFETY: any bytes are integers.
unsafe impl<const N: usize> Plain for [u8; N] {}
// SAFETY: as above.
unsafe impl<const N: usize> Plain for [u16; N] {}
// SAFETY: as above.
unsafe impl<const N: usize> Plain for [u32; N] {}
// SAFETY: as above.
unsafe impl<const N: usize> Plain for [u64; N] {}

/// A number that is at most `MASK`, one less than a power of two: unchanged, without its history.
///
/// The verifier walks on once for each range of values that it finds for a number, and each VLAN tag and each
/// extension header multiplies them to over a million instructions. Under the mask they are all one range. The
/// volatile read keeps the compiler from seeing that the mask does nothing.
#[inline(always)]
pub fn without_history<const MASK: u32>(number: u32) -> u32 {
    // SAFETY: reads a live local variable.
    let number = unsafe { core::ptr::read_volatile(&raw const number) };
    number & MASK
}

/// A number that is at most `MASK`, one less than a power of two: unchanged, and the verifier knows it.
///
/// Where the compiler can work out that a number is so small, it leaves out every check and every mask that would
/// tell the verifier. It cannot leave out assembly.
#[inline(always)]
pub fn within<const MASK: u32>(number: u32) -> u32 {
    #[cfg(target_arch = "bpf")]
    {
        let mut number = u64::from(number);
        // SAFETY: an AND of a register.
        unsafe {
            core::arch::asm!(
                "{number} &= {mask}",
                number = inout(reg) number,
                mask = const MASK,
                options(pure, nomem, nostack)
            );
            // What it is good for is for the verifier alone: comparisons behind it need not be made.
            core::hint::assert_unchecked(number <= MASK as u64);
        }
        number as u32
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        number & MASK
    }
}

/// All bits set if two numbers are the same, otherwise none.
///
/// A jump for each of many comparisons is more than some verifiers can walk: that of Linux 7.3 keeps what each has taught
/// it of the numbers, and so finds no two ways the same. The compiler makes jumps of all that it can recognize as a
/// comparison, but not of assembly.
#[inline(always)]
pub fn mask_if_same(one: u32, other: u32) -> u64 {
    mask_if_highest(u64::from(one ^ other).wrapping_sub(1))
}

/// All bits set if the highest bit of `word` is, otherwise none; as [`mask_if_same`], without a jump.
#[inline(always)]
pub fn mask_if_highest(word: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut mask = word;
        // SAFETY: computes with a register.
        unsafe {
            core::arch::asm!(
                "{mask} s>>= 63",
                mask = inout(reg) mask,
                options(pure, nomem, nostack)
            );
        }
        mask
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        if word >> 63 == 1 { u64::MAX } else { 0 }
    }
}
