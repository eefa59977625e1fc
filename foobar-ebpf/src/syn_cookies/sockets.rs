//! What the kernel knows of the ends of a packet, and its cookies.
//!
//! `bpf_skc_lookup_tcp` with `bpf_tcp_gen_syncookie` and `bpf_tcp_check_syncookie` (Linux 5.2 and 5.3) are those of a socket:
//! what makes a cookie also tells the listener that cookies are under way, without which the kernel would take none back.
//! The helpers that need no socket (Linux 6.0) do not.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::{
        bpf_sk_release, bpf_skc_lookup_tcp, bpf_tcp_check_syncookie, bpf_tcp_gen_syncookie,
        bpf_xdp_load_bytes,
    },
    programs::XdpContext,
};
use foobar_common::{
    flow::{Direction, Family, Flow},
    frame::{within, without_history},
    syn_cookies::{HEADER_ROOM, Passed},
};

use super::{Arrived, Reading, reading};
use crate::scratch;

/// `BPF_TCP_LISTEN` of `enum` in `include/uapi/linux/bpf.h`.
const LISTEN: u32 = 10;
/// The namespace of the interface (`BPF_F_CURRENT_NETNS`).
const PRESENT_NAMESPACE: u64 = u64::MAX;
const IPV4_ENDS: u32 = 12;
const IPV6_ENDS: u32 = 36;
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;
const TCP_HEADER: u32 = 20;

/// Whether the present packet brings back a cookie that the kernel takes.
///
/// A function of its own, so that its stack is free again afterwards.
#[inline(never)]
pub(crate) fn brings_cookie(context: &XdpContext) -> bool {
    is_taken(context).is_some()
}

#[inline(always)]
fn is_taken(context: &XdpContext) -> Option<()> {
    let headers = &*scratch::headers(Direction::In)?;
    let reading = reading()?;
    prepare(reading, Arrived { headers, context })?;
    let socket = Socket::find(reading, headers.flow.family, context)?;
    if !socket.is_listening() {
        socket.release();
        return None;
    }
    let taken = socket.takes(reading, headers.flow.family);
    socket.release();
    taken.then_some(())
}

/// Reads the TCP header, and writes down what the helpers are asked about.
#[inline(always)]
pub(super) fn prepare(reading: &mut Reading, arrived: Arrived<'_>) -> Option<()> {
    let Arrived { headers, context } = arrived;
    let at = without_history::<0x7fff>(headers.transport);
    let wanted = without_history::<0xff>(headers.payload.wrapping_sub(headers.transport));
    // Verifiers up to at least Linux 6.1 learn nothing from a comparison with zero.
    let length = within::<{ HEADER_ROOM - 1 }>(wanted.wrapping_sub(1)).wrapping_add(1);
    let place = reading.tcp.as_mut_ptr().cast::<c_void>();
    // SAFETY: the context is the packet's, and there is room for so many bytes.
    if unsafe { bpf_xdp_load_bytes(context.ctx, at, place, length) } != 0 {
        return None;
    }
    reading.length = length;
    describe(reading, &headers.flow);
    Some(())
}

#[inline(always)]
#[expect(clippy::host_endian_bytes, reason = "words are as memory has them")]
fn describe(reading: &mut Reading, flow: &Flow) {
    let ([s0, s1], [d0, d1]) = (flow.source_port, flow.destination_port);
    let ports = u32::from_ne_bytes([s0, s1, d0, d1]);
    let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (flow.source.quarters(), flow.destination.quarters());
    match flow.family {
        Family::V4 => {
            reading.ip = [u32::from_ne_bytes([0x45, 0, 0, 0]), 0, 0, s0, d0, 0, 0, 0, 0, 0];
            reading.ends = [s0, d0, ports, 0, 0, 0, 0, 0, 0];
        }
        Family::V6 => {
            reading.ip = [u32::from_ne_bytes([0x60, 0, 0, 0]), 0, s0, s1, s2, s3, d0, d1, d2, d3];
            reading.ends = [s0, s1, s2, s3, d0, d1, d2, d3, ports];
        }
    }
}

/// A socket that the kernel lends; the verifier sees to it that it is given back.
pub(super) struct Socket(*mut bpf_sock);

impl Socket {
    /// That of a packet: of a connection of its ends, or else the one that listens.
    #[inline(always)]
    pub(super) fn find(reading: &mut Reading, family: Family, context: &XdpContext) -> Option<Self> {
        let ends = (&raw mut reading.ends).cast();
        let context = context.ctx.cast();
        let socket = match family {
            // SAFETY: the context is the packet's, and there are so many bytes.
            Family::V4 => unsafe { bpf_skc_lookup_tcp(context, ends, IPV4_ENDS, PRESENT_NAMESPACE, 0) },
            // SAFETY: as above.
            Family::V6 => unsafe { bpf_skc_lookup_tcp(context, ends, IPV6_ENDS, PRESENT_NAMESPACE, 0) },
        };
        if socket.is_null() { None } else { Some(Self(socket)) }
    }

    #[inline(always)]
    pub(super) fn is_listening(&self) -> bool {
        // SAFETY: the kernel gave the pointer, and this field may be read of any socket.
        unsafe { (*self.0).state == LISTEN }
    }

    /// The cookie that answers the SYN.
    ///
    /// # Errors
    /// The kernel gives none.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the largest segment is in the upper half"
    )]
    pub(super) fn cookie(&self, reading: &mut Reading, family: Family) -> Result<u32, Passed> {
        let (ip, tcp) = ((&raw mut reading.ip).cast::<c_void>(), (&raw mut reading.tcp).cast());
        let length = without_history::<0xff>(reading.length);
        let length = within::<{ HEADER_ROOM - 1 }>(length.wrapping_sub(1)).wrapping_add(1);
        let socket = self.0.cast();
        let cookie = match family {
            // SAFETY: the socket is the kernel's, and there are so many bytes.
            Family::V4 => unsafe { bpf_tcp_gen_syncookie(socket, ip, IPV4_HEADER, tcp, length) },
            // SAFETY: as above.
            Family::V6 => unsafe { bpf_tcp_gen_syncookie(socket, ip, IPV6_HEADER, tcp, length) },
        };
        if cookie < 0 { Err(Passed::Refused) } else { Ok(cookie as u32) }
    }

    /// Whether it takes back the cookie that the packet acknowledges.
    #[inline(always)]
    fn takes(&self, reading: &mut Reading, family: Family) -> bool {
        let (ip, tcp) = ((&raw mut reading.ip).cast::<c_void>(), (&raw mut reading.tcp).cast());
        let socket = self.0.cast();
        let refused = match family {
            // SAFETY: the socket is the kernel's, and there are so many bytes.
            Family::V4 => unsafe { bpf_tcp_check_syncookie(socket, ip, IPV4_HEADER, tcp, TCP_HEADER) },
            // SAFETY: as above.
            Family::V6 => unsafe { bpf_tcp_check_syncookie(socket, ip, IPV6_HEADER, tcp, TCP_HEADER) },
        };
        refused == 0
    }

    /// Gives it back.
    #[inline(always)]
    pub(super) fn release(self) {
        // SAFETY: the kernel gave the pointer, and nobody uses it any more.
        unsafe { bpf_sk_release(self.0.cast()) };
    }
}
