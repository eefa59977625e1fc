//! A TCP segment to or from a service.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::{bpf_skb_load_bytes, bpf_xdp_load_bytes},
    programs::{TcContext, XdpContext},
};
use foobar_common::{
    connection::ConnectionKey,
    flow::{Direction, tcp_flag},
    frame::{Frame, without_history},
    rule::uses,
    service::Loss,
    verdict::Reason,
};

use super::passage::Passage;
use crate::{scratch, settings, stream::Source, syn_cookies};

/// Where sequence and acknowledgment numbers lie in a TCP header (RFC 9293 section 3.1).
const NUMBERS_AT: u32 = 4;
const FIN: u64 = tcp_flag::FIN as u64;
const SYN: u64 = tcp_flag::SYN as u64;
const RST: u64 = tcp_flag::RST as u64;
const ACK: u64 = tcp_flag::ACK as u64;

/// What a program is given: bytes of the packet can be read from it, wherever they lie; [`Packet::context`] stands for it.
pub(crate) trait Packet: Source {
    /// As helpers of the kernel take it.
    fn context(&self) -> *mut c_void;

    /// Where the headers lie.
    fn first_buffer(&self) -> Frame<'_>;
}

impl Packet for XdpContext {
    #[inline(always)]
    fn context(&self) -> *mut c_void {
        self.ctx.cast()
    }

    #[inline(always)]
    fn first_buffer(&self) -> Frame<'_> {
        // SAFETY: the verifier allows reads between `data` and `data_end` as long as the program runs.
        unsafe { Frame::new(self.data() as *const u8, self.data_end() as *const u8, 0) }
    }
}

impl Source for XdpContext {
    const UNREADABLE: Loss = Loss::Internal;

    #[inline(always)]
    unsafe fn load(context: *mut c_void, offset: u32, place: *mut c_void, length: u32) -> i64 {
        // SAFETY: promised by the caller.
        unsafe { bpf_xdp_load_bytes(context.cast(), offset, place, length) }
    }
}

impl Packet for TcContext {
    #[inline(always)]
    fn context(&self) -> *mut c_void {
        self.skb.skb.cast()
    }

    #[inline(always)]
    fn first_buffer(&self) -> Frame<'_> {
        // SAFETY: the verifier allows reads between `data` and `data_end` until buffers are moved.
        unsafe { Frame::new(self.data() as *const u8, self.data_end() as *const u8, 0) }
    }
}

impl Source for TcContext {
    const UNREADABLE: Loss = Loss::Internal;

    #[inline(always)]
    unsafe fn load(context: *mut c_void, offset: u32, place: *mut c_void, length: u32) -> i64 {
        // SAFETY: promised by the caller.
        unsafe { bpf_skb_load_bytes(context.cast(), offset, place, length) }
    }
}

/// What a segment says of itself.
///
/// Numbers of 32 bits would be put on the stack two at a time, and not always on a multiple of eight, which the verifier
/// asks for.
pub(crate) struct Segment {
    pub(crate) key: ConnectionKey,
    /// Sequence number of its first byte, or of the SYN before that.
    sequence: u64,
    acknowledged: u64,
    /// Where its payload begins in the packet.
    pub(crate) offset: u64,
    /// Bytes of payload.
    pub(crate) length: u64,
    flags: u64,
}

impl Segment {
    /// The present packet.
    #[inline(always)]
    pub(crate) fn of<P: Packet>(packet: &P, direction: Direction) -> Option<Self> {
        let headers = scratch::headers(direction)?;
        let at = without_history::<0x7fff>(headers.transport).wrapping_add(NUMBERS_AT);
        let [numbers] = packet.first_buffer().read::<[u64; 1]>(at as usize, Reason::Internal).ok()?;
        let numbers = u64::from_be(numbers);
        Some(Self {
            key: ConnectionKey::of(&headers.flow, direction),
            sequence: numbers >> 32,
            acknowledged: numbers & 0xffff_ffff,
            offset: u64::from(headers.payload),
            length: u64::from(headers.payload_length()),
            flags: u64::from(headers.flow.tcp_flags),
        })
    }

    /// Sequence number of its first byte, or of the SYN before that.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a number of 32 bits")]
    pub(crate) fn sequence(&self) -> u32 {
        self.sequence as u32
    }

    /// Sequence number of the other side's byte that its sender waits for.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a number of 32 bits")]
    pub(crate) fn acknowledged(&self) -> u32 {
        self.acknowledged as u32
    }

    /// The SYN-ACK that it answers: that of a cookie goes out by itself, so that no program sees it.
    #[inline(always)]
    pub(crate) fn answered(&self) -> Self {
        Self {
            key: self.key,
            sequence: u64::from(self.acknowledged().wrapping_sub(1)),
            acknowledged: self.sequence,
            offset: self.offset,
            length: 0,
            flags: SYN | ACK,
        }
    }

    /// Whether a connection begins with it, which comes in and is of none that is kept: it brings back a cookie, which is
    /// counted then.
    #[inline(always)]
    pub(crate) fn brings_cookie(&self, is_known: impl FnOnce() -> bool, context: &XdpContext) -> bool {
        if !settings::uses(uses::SYN_COOKIES) || self.flags & (SYN | RST | ACK) != ACK || is_known() {
            return false;
        }
        let Some(service) = Passage::service(Direction::In) else { return false };
        let brings = syn_cookies::are_awaited(service) && syn_cookies::brings_cookie(context);
        if brings {
            syn_cookies::count_returned(service);
        }
        brings
    }

    /// Sequence number of the first byte behind it.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap")]
    pub(crate) fn next(&self) -> u32 {
        self.sequence.wrapping_add(self.length) as u32
    }

    /// How it lies to a cursor whose next byte has this sequence number.
    #[inline(always)]
    pub(crate) fn place(&self, next: u32) -> Place {
        let read = next.wrapping_sub(self.sequence());
        if read > HALF {
            Place::Ahead(u64::from(self.sequence().wrapping_sub(next)))
        } else if u64::from(read) > self.length {
            Place::Old
        } else {
            Place::Next(u64::from(read))
        }
    }

    /// Whether the sender sends nothing after this.
    #[inline(always)]
    pub(crate) fn is_last(&self) -> bool {
        self.flags & FIN != 0
    }

    /// Whether it is the first one of its side.
    #[inline(always)]
    pub(crate) fn is_first(&self) -> bool {
        self.flags & SYN != 0
    }

    /// What it is, as one that goes out, to the connection that is kept with these ends, if there is one; `first` gives
    /// the sequence number of that one's first byte from the client.
    #[inline(always)]
    pub(crate) fn belongs_to<C>(&self, found: Option<C>, first: impl FnOnce(&C) -> u32) -> Belongs<C> {
        if self.flags & (SYN | ACK) == SYN | ACK {
            // It may be sent again; the client's first number is the same then.
            return match found {
                Some(connection) if first(&connection) == self.acknowledged() => Belongs::Nowhere,
                _ => Belongs::Opens,
            };
        }
        match found {
            Some(connection) => Belongs::Known(connection),
            None if self.length > 0 => Belongs::Preexisting,
            None => Belongs::Nowhere,
        }
    }

    /// Whether it refuses a segment that is part of no connection, as a SYN to a port where nobody listens. What resets a
    /// connection has one of its numbers instead of zero (RFC 9293 section 3.10.7.1), but for one in 4,294,967,296.
    #[inline(always)]
    pub(crate) fn is_refusal(&self) -> bool {
        self.flags & (RST | ACK) == RST | ACK && self.sequence == 0
    }

    /// Whether it ends the connection at once; what is in it then is for people.
    #[inline(always)]
    pub(crate) fn is_reset(&self) -> bool {
        self.flags & RST != 0
    }
}

/// What a segment that goes out is to the connections that are kept.
pub(crate) enum Belongs<C> {
    /// Part of this one.
    Known(C),
    /// The answer to a client's first segment: a connection begins.
    Opens,
    /// Part of one that is older than the filter, or was forgotten.
    Preexisting,
    /// Nothing that a connection is moved on by.
    Nowhere,
}

/// How a segment lies to a cursor.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// It ends before the cursor.
    Old,
    /// So many of its bytes have been read; the next one has not.
    Next(u64),
    /// So many bytes before it did not come by.
    Ahead(u64),
}

/// Of two sequence numbers, one is before the other if it is less than half of all numbers away (RFC 9293 section 3.4).
pub(crate) const HALF: u32 = u32::MAX / 2;
/// No window is larger (RFC 7323 section 2.3), so what is further ahead is none of the connection.
pub(crate) const WINDOW_MAX: u32 = 1 << 30;
