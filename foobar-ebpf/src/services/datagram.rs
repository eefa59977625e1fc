//! A UDP datagram to or from a service.

use foobar_common::{connection::ConnectionKey, flow::Direction, frame::without_history, verdict::Reason};

use super::segment::Packet;
use crate::scratch;

/// Where the length lies in a UDP header (RFC 768).
const LENGTH_AT: u32 = 4;
/// Bytes of the header, which that length counts, too.
const HEADER: u64 = 8;

/// What a datagram, or its first fragment, says of itself; of 64 bits each, for the reason that a
/// [`super::segment::Segment`] has.
pub(crate) struct Datagram {
    pub(crate) key: ConnectionKey,
    /// Where its payload begins in the packet.
    pub(crate) offset: u64,
    /// Bytes of payload, all fragments together.
    pub(crate) length: u64,
    /// How many of them are in the packet.
    pub(crate) present: u64,
}

impl Datagram {
    /// The present packet.
    #[inline(always)]
    pub(crate) fn of<P: Packet>(packet: &P, direction: Direction) -> Option<Self> {
        let headers = scratch::headers(direction)?;
        let at = without_history::<0x7fff>(headers.transport).wrapping_add(LENGTH_AT);
        let [high, low] = packet.first_buffer().read::<[u8; 2]>(at as usize, Reason::Internal).ok()?;
        let length = (u64::from(high) << 8 | u64::from(low)).saturating_sub(HEADER);
        // What lies behind the datagram in the IP packet is not part of it.
        let carried = u64::from(headers.payload_length());
        Some(Self {
            key: ConnectionKey::of(&headers.flow, direction),
            offset: u64::from(headers.payload),
            length,
            present: if length < carried { length } else { carried },
        })
    }
}
