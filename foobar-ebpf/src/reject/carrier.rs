//! Packets that are made answers of, as XDP and as tcx have them.

use core::{ffi::c_void, ptr::from_ref};

use aya_ebpf::{
    helpers::{
        bpf_skb_change_head, bpf_skb_change_tail, bpf_skb_store_bytes, bpf_xdp_adjust_head,
        bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_store_bytes,
    },
    programs::{TcContext, XdpContext},
};
use foobar_common::frame::Plain;

use crate::services::Packet;

/// A packet whose bytes can be changed, and whose ends can be moved.
pub(super) trait Carrier: Packet {
    /// Whether it goes to a card, which may ask for frames of a smallest length.
    const IS_SENT: bool;

    /// Bytes of all its buffers.
    fn length(&self) -> u32;
    /// Writes bytes; `None` if it is shorter.
    fn store<T: Plain>(&self, offset: u32, bytes: &T) -> Option<()>;
    /// Takes bytes from its end, so that it is so long; it must not be shorter.
    fn cut(&self, length: u32) -> Option<()>;
    /// Puts so many bytes in front of it.
    fn extend(&self, bytes: u32) -> Option<()>;

    /// Reads bytes; `None` if it is shorter.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "headers are short")]
    fn read<T: Plain + Default>(&self, offset: u32) -> Option<T> {
        let mut bytes = T::default();
        // SAFETY: the context stands for this packet, and the bytes are a live local variable.
        done(unsafe { Self::load(self.context(), offset, (&raw mut bytes).cast(), size_of::<T>() as u32) })?;
        Some(bytes)
    }
}

impl Carrier for XdpContext {
    const IS_SENT: bool = true;

    /// Linux 5.18.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no frame is 4 GiB long")]
    fn length(&self) -> u32 {
        // SAFETY: the context is the one that the kernel gave.
        unsafe { bpf_xdp_get_buff_len(self.ctx) as u32 }
    }

    /// Linux 5.18.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "headers are short")]
    fn store<T: Plain>(&self, offset: u32, bytes: &T) -> Option<()> {
        let from: *const c_void = from_ref(bytes).cast();
        // SAFETY: the context is the one that the kernel gave, and the helper reads as many bytes as there are.
        done(unsafe { bpf_xdp_store_bytes(self.ctx, offset, from.cast_mut(), size_of::<T>() as u32) })
    }

    /// Linux 4.18; frames of several buffers 5.18. One that already is so long is left alone, since some of these cannot be
    /// made longer, and be it by nothing.
    #[inline(always)]
    #[expect(clippy::cast_possible_wrap, reason = "no frame is 2 GiB long")]
    fn cut(&self, length: u32) -> Option<()> {
        let less = length.wrapping_sub(self.length()) as i32;
        if less == 0 {
            return Some(());
        }
        // SAFETY: the context is the one that the kernel gave, and nobody holds a pointer into the packet.
        done(unsafe { bpf_xdp_adjust_tail(self.ctx, less) })
    }

    /// Linux 4.10.
    #[inline(always)]
    #[expect(clippy::cast_possible_wrap, reason = "a header")]
    fn extend(&self, bytes: u32) -> Option<()> {
        // SAFETY: as above.
        done(unsafe { bpf_xdp_adjust_head(self.ctx, (bytes as i32).wrapping_neg()) })
    }
}

impl Carrier for TcContext {
    const IS_SENT: bool = false;

    #[inline(always)]
    fn length(&self) -> u32 {
        self.len()
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "headers are short")]
    fn store<T: Plain>(&self, offset: u32, bytes: &T) -> Option<()> {
        let from: *const c_void = from_ref(bytes).cast();
        // SAFETY: the context is the one that the kernel gave, and the helper reads as many bytes as there are.
        done(unsafe { bpf_skb_store_bytes(self.skb.skb, offset, from, size_of::<T>() as u32, 0) })
    }

    /// Linux 4.9. What is to be cut into segments no longer is, and what others hold is copied: it was made for this.
    #[inline(always)]
    fn cut(&self, length: u32) -> Option<()> {
        // SAFETY: the context is the one that the kernel gave, and nobody holds a pointer into the packet.
        done(unsafe { bpf_skb_change_tail(self.skb.skb, length, 0) })
    }

    /// Linux 4.10.
    #[inline(always)]
    fn extend(&self, bytes: u32) -> Option<()> {
        // SAFETY: as above.
        done(unsafe { bpf_skb_change_head(self.skb.skb, bytes, 0) })
    }
}

#[inline(always)]
fn done(failed: i64) -> Option<()> {
    if failed == 0 { Some(()) } else { None }
}
