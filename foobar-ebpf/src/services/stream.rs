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
    passage::Passage,
    pieces,
    segment::{Packet, Place, Segment, WINDOW_MAX},
};
use crate::stream::{Ahead, Bytes, Reading, read};

#[btf_map]
static STREAM_READINGS: PerCpuArray<Reading, 2> = PerCpuArray::new();

/// Segments of a connection that came before others.
struct Pieces {
    /// How many pieces are kept; none of what goes out.
    stored: Option<&'static Cell<u32>>,
    key: ConnectionKey,
}

impl Ahead for Pieces {
    #[inline(always)]
    fn take(&self, next: u32, place: *mut u8) -> u32 {
        match self.stored {
            Some(stored) => pieces::take(&self.key, stored, next, place),
            None => 0,
        }
    }
}

/// Reads what a segment has that was not read before.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "what is left of a packet is no longer than 16 MiB")]
pub(super) fn follow<P: Packet, R: Reader>(
    segment: &Segment,
    followed: &'static Followed,
    mut reader: R,
    packet: &P,
) {
    reader.notice();
    if reader.is_lost() {
        return Passage::lose(R::DIRECTION, segment.length);
    }
    let before = match segment.place(followed.next.get()) {
        Place::Next(before) => before,
        Place::Old => return,
        // It is none of this connection.
        Place::Ahead(missing) if missing > u64::from(WINDOW_MAX) => return,
        Place::Ahead(missing) if reader.can_miss(missing) => {
            reader.pass(missing as u32);
            0
        }
        Place::Ahead(_) if matches!(R::DIRECTION, Direction::In) => {
            // Without room for it, it is as if it had not come by: what the server then says that it has accepted tells
            // whether anything was missed.
            let _kept: Option<()> = pieces::keep::<P>(segment, &followed.stored, packet.context());
            return;
        }
        Place::Ahead(_) => {
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
        next: segment.next(),
    };
    // The kernel sends in order.
    let stored = matches!(R::DIRECTION, Direction::In).then_some(&followed.stored);
    let ahead = Pieces { stored, key: segment.key };
    // SAFETY: the context is the packet's.
    let outcome = unsafe { read::<P, R, Pieces>(reading, bytes, reader, ahead, packet.context()) };
    followed.next.set(outcome.next);
    Passage::lose(R::DIRECTION, outcome.unread);
}
