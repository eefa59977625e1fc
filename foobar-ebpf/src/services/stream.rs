//! What a segment has that was not read before, for protocols that are read word by word.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use foobar_common::{
    flow::Direction,
    service::Loss,
    stream::{Followed, Reader},
};

use super::{
    ahead::{self, Kept},
    passage::Passage,
    segment::{Packet, Place, Segment, WINDOW_MAX},
};
use crate::stream::{Ahead, Bytes, Reading, read};

#[btf_map]
static STREAM_READINGS: PerCpuArray<Reading, 2> = PerCpuArray::new();

impl Ahead for Option<Kept> {
    #[inline(always)]
    fn take(&mut self, next: u32, place: *mut u8) -> u32 {
        match self {
            Some(kept) => kept.take(next, place),
            None => 0,
        }
    }
}

/// What is kept of the connection of a segment; none of what goes out, since the kernel sends in order.
#[inline(always)]
fn ahead_of<'a, R: Reader>(
    segment: &'a Segment,
    first: u32,
    followed: &'static Followed,
) -> Option<ahead::Ahead<'a>> {
    match R::DIRECTION {
        Direction::In => Some(ahead::Ahead { connection: &segment.key, first, window: &followed.ahead }),
        Direction::Out => None,
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
            if let Some(ahead) = ahead_of::<R>(segment, first, followed) {
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
    let kept = match ahead_of::<R>(segment, first, followed) {
        Some(ahead) => match ahead.kept() {
            Some(kept) => Some(kept),
            None => return,
        },
        None => None,
    };
    // SAFETY: the context is the packet's.
    let outcome = unsafe { read::<P, R, Option<Kept>>(reading, bytes, reader, kept, packet.context()) };
    followed.next.set(outcome.next);
    if let Some(ahead) = ahead_of::<R>(segment, first, followed) {
        ahead.forget_before(outcome.next);
    }
    Passage::lose(R::DIRECTION, outcome.unread);
}
