//! Segments that came before others that belong in front of them, until those come.

use core::{cell::Cell, ffi::c_void};

use aya_ebpf::{
    btf_maps::{Array, LruHashMap},
    helpers::generated::bpf_probe_read_kernel,
    macros::btf_map,
};
use foobar_common::{
    connection::{AHEAD_MAX, ConnectionKey},
    frame::{within, without_history},
};

use super::segment::{HALF, Packet, Segment};

/// How many pieces are kept of a connection.
const PIECES: u32 = 16;
/// Bytes of a piece, a power of two; a longer segment is several.
pub(super) const LENGTH: u32 = crate::stream::PORTION;

/// No segment is longer.
const SEGMENT_MASK: u32 = 0xff_ffff;

/// The pieces of a connection.
#[repr(C)]
struct Pieces {
    places: [Place; PIECES as usize],
    bytes: [[u8; LENGTH as usize]; PIECES as usize],
}

/// Where a piece belongs.
#[derive(Clone, Copy)]
#[repr(C)]
struct Place {
    /// Sequence number of its first byte.
    sequence: u32,
    /// Its bytes; zero if there is no piece.
    length: u32,
}

#[btf_map]
static SEGMENTS_AHEAD: LruHashMap<ConnectionKey, Pieces, { AHEAD_MAX as usize }> = LruHashMap::new();
/// Where new ones are copied from: they are too large for the stack.
#[btf_map]
static NO_SEGMENTS: Array<Pieces, 1> = Array::new();

/// Keeps a segment until those before it have come; `None` if there is no room for all of it. `stored` is how many
/// pieces there are of the connection, whose lock the caller has.
#[inline(always)]
pub(super) fn keep<P: Packet>(segment: &Segment, stored: &Cell<u32>, context: *mut c_void) -> Option<()> {
    let key = &segment.key;
    let pieces = if stored.get() == 0 { Pieces::make(key)? } else { Pieces::find(key)? };
    let (more, is_complete) = pieces.keep::<P>(segment, context);
    // What there was room for is there, and counts, or the last of it would never be taken.
    stored.set(stored.get().wrapping_add(more));
    is_complete.then_some(())
}

/// Copies what was kept from the byte with the sequence number `next` on to `block`, which has room for [`LENGTH`] bytes.
/// How many bytes that are; zero if nothing has it.
#[inline(always)]
pub(super) fn take(key: &ConnectionKey, stored: &Cell<u32>, next: u32, block: *mut u8) -> u32 {
    if stored.get() == 0 {
        return 0;
    }
    let Some(pieces) = Pieces::find(key) else {
        stored.set(0);
        return 0;
    };
    let (length, freed) = pieces.take(next, block);
    stored.set(stored.get().wrapping_sub(freed));
    length
}

impl Pieces {
    /// Those of a connection; none if it has lost them to another one.
    #[inline(always)]
    fn find(key: &ConnectionKey) -> Option<&'static mut Self> {
        let place = SEGMENTS_AHEAD.get_ptr_mut(key)?;
        // SAFETY: the map gave the pointer, and whoever asks has the lock of the connection.
        Some(unsafe { &mut *place })
    }

    /// Makes room for those of a connection, which has none.
    #[inline(always)]
    fn make(key: &ConnectionKey) -> Option<&'static mut Self> {
        SEGMENTS_AHEAD.insert(key, NO_SEGMENTS.get(0)?, 0).ok()?;
        Self::find(key)
    }

    /// Keeps a segment. How many pieces it became, and whether there was room for all of it.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no packet is 4 GiB long")]
    fn keep<P: Packet>(&mut self, segment: &Segment, context: *mut c_void) -> (u32, bool) {
        let (sequence, whole) = (segment.sequence(), segment.length as u32);
        for place in &self.places {
            let behind = sequence.wrapping_sub(place.sequence);
            if behind <= HALF && behind.wrapping_add(whole) <= place.length {
                return (0, true);
            }
        }
        let (mut done, mut kept): (u32, u32) = (0, 0);
        for (place, bytes) in self.places.iter_mut().zip(&mut self.bytes) {
            // Each way to here would be walked on its own.
            done = without_history::<SEGMENT_MASK>(done);
            kept = without_history::<{ PIECES - 1 }>(kept);
            if done >= whole {
                return (kept, true);
            }
            if place.length != 0 {
                continue;
            }
            let left = whole.wrapping_sub(done);
            let wanted = if left < LENGTH { left } else { LENGTH };
            // As in the loop that reads: verifiers learn nothing from a comparison with zero.
            let length = within::<{ LENGTH - 1 }>(wanted.wrapping_sub(1)).wrapping_add(1);
            let offset = (segment.offset as u32).wrapping_add(done);
            // SAFETY: the context is the packet's, and the piece has room for so many bytes.
            if unsafe { P::load(context, offset, bytes.as_mut_ptr().cast(), length) } != 0 {
                return (kept, false);
            }
            *place = Place { sequence: sequence.wrapping_add(done), length };
            done = done.wrapping_add(length);
            kept = kept.wrapping_add(1);
        }
        (kept, done >= whole)
    }

    /// Copies what has the byte with this sequence number, from that on, to `block`, which has room for a piece. How many
    /// bytes that are, zero if nothing has it; and how many pieces are of no more use.
    #[inline(always)]
    fn take(&mut self, next: u32, block: *mut u8) -> (u32, u32) {
        let mut freed: u32 = 0;
        for (place, bytes) in self.places.iter_mut().zip(&self.bytes) {
            freed = without_history::<{ PIECES - 1 }>(freed);
            let Place { sequence, length } = *place;
            let read = next.wrapping_sub(sequence);
            if length == 0 || read > HALF {
                continue;
            }
            place.length = 0;
            freed = freed.wrapping_add(1);
            if read >= length {
                continue;
            }
            let start = within::<{ LENGTH - 1 }>(read);
            let more = within::<{ LENGTH - 1 }>(length.wrapping_sub(read).wrapping_sub(1)).wrapping_add(1);
            let from = bytes.as_ptr().wrapping_add(start as usize);
            // SAFETY: the block has room for a piece; what is behind the piece is not read, since start and length are
            // inside of it together. The helper takes any address of the kernel (Linux 5.5).
            if unsafe { bpf_probe_read_kernel(block.cast(), more, from.cast()) } != 0 {
                return (0, freed);
            }
            return (more, freed);
        }
        (0, freed)
    }
}
