//! What a segment has that was not read before, for protocols that are read word by word.

use core::cell::Cell;

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use foobar_common::{
    connection::ConnectionKey,
    flow::Direction,
    service::Loss,
    stream::{Followed, Reader},
};

use super::{
    ahead,
    passage::Passage,
    segment::{Packet, Place, Segment, WINDOW_MAX},
};
use crate::stream::{Ahead, Bytes, Reading, read};

#[btf_map]
static STREAM_READINGS: PerCpuArray<Reading, 2> = PerCpuArray::new();

/// What is kept of a connection.
struct Kept {
    /// As [`ahead::Ahead`] has it; none of what goes out is kept.
    window: Option<&'static Cell<u32>>,
    /// As a word of 64 bits: see [`Segment`].
    first: u64,
    connection: ConnectionKey,
}

impl Kept {
    #[inline(always)]
    fn of<R: Reader>(segment: &Segment, first: u32, followed: &'static Followed) -> Self {
        // The kernel sends in order.
        let window = matches!(R::DIRECTION, Direction::In).then_some(&followed.ahead);
        Self { window, first: u64::from(first), connection: segment.key }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a number of 32 bits")]
    fn ahead(&self) -> Option<ahead::Ahead<'_>> {
        let Self { window: Some(window), first, connection } = self else { return None };
        Some(ahead::Ahead { connection, first: *first as u32, window })
    }
}

impl Ahead for Kept {
    #[inline(always)]
    fn take(&self, next: u32, place: *mut u8) -> u32 {
        match self.ahead() {
            Some(ahead) => ahead.take(next, place),
            None => 0,
        }
    }
}

/// Reads what a segment has that was not read before, of a connection whose client's first byte has the sequence number
/// `first`.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "what is left of a packet is no longer than 16 MiB")]
pub(super) fn follow<P: Packet, R: Reader>(
    segment: &Segment,
    first: u32,
    followed: &'static Followed,
    mut reader: R,
    packet: &P,
) {
    reader.notice();
    if reader.is_lost() {
        return Passage::lose(R::DIRECTION, segment.length);
    }
    let next = followed.next.get();
    let (before, behind) = match segment.place(next) {
        Place::Next(before) => (before, segment.next()),
        // What it brought was kept before, when what was to read it had not begun.
        Place::Old if followed.ahead.get() != 0 => (segment.length, next),
        Place::Old => return,
        // It is none of this connection.
        Place::Ahead(missing) if missing > u64::from(WINDOW_MAX) => return,
        Place::Ahead(missing) if reader.can_miss(missing) => {
            reader.pass(missing as u32);
            (0, segment.next())
        }
        Place::Ahead(_) => {
            if let Some(ahead) = Kept::of::<R>(segment, first, followed).ahead() {
                // Without room for it, it is as if it had not come by: what the server then says that it has accepted
                // tells whether anything was missed.
                let _kept: Option<()> = ahead.keep::<P>(segment, next, packet.context());
                return;
            }
            reader.lose(Loss::Gap);
            return Passage::lose(R::DIRECTION, segment.length);
        }
    };
    let Some(reading) = STREAM_READINGS.get_ptr_mut(R::DIRECTION as u32) else { return };
    // SAFETY: the map gave the pointer, and programs of one direction do not interrupt each other on a processor.
    let reading = unsafe { &mut *reading };
    let bytes = Bytes {
        offset: segment.offset.wrapping_add(before),
        length: segment.length.wrapping_sub(before),
        next: behind,
    };
    let kept = Kept::of::<R>(segment, first, followed);
    // SAFETY: the context is the packet's.
    let outcome = unsafe { read::<P, R, Kept>(reading, bytes, reader, kept, packet.context()) };
    followed.next.set(outcome.next);
    if let Some(ahead) = Kept::of::<R>(segment, first, followed).ahead() {
        ahead.forget_before(outcome.next);
    }
    Passage::lose(R::DIRECTION, outcome.unread);
}
