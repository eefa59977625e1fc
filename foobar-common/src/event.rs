//! Events: what is told of a packet that was drawn as a sample.
//!
//! The program that judges packets writes an [`Event`] into a ring buffer, for whoever watches. It never waits: without
//! room in the ring the packet goes its way, and [`EventCounters`] have one more that was lost.

/// How many of the first bytes of a frame an event has at most: the headers, and what a client says first.
pub const EVENT_BYTES: usize = 256;
/// Bytes of the ring buffer, where the settings say nothing.
pub const RING_BYTES: u32 = 1 << 20;
/// The smallest and the largest ring buffer that settings can ask for, in bytes; each is a power of two of whole pages.
pub const RING_BYTES_RANGE: (u32, u32) = (1 << 16, 1 << 26);
/// Bytes of the ring buffer of a ruleset that draws no samples: the least that the kernel takes.
pub const RING_BYTES_UNUSED: u32 = 4_096;

/// A packet that was drawn, as it was when its verdict was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// Nanoseconds since the machine started, time asleep included (`bpf_ktime_get_boot_ns`).
    pub boot_ns: u64,
    /// Index of the interface.
    pub interface: u32,
    /// [`crate::flow::Direction`] as a number.
    pub direction: u32,
    /// [`crate::verdict::Verdict`] as a number.
    pub verdict: u32,
    /// [`crate::verdict::Reason`] as a number.
    pub reason: u32,
    /// Counter slot of the rule, or [`crate::rule::NO_RULE`].
    pub rule: u32,
    /// Of how many packets one is drawn.
    pub one_in: u32,
    /// Bytes of the whole frame as the kernel has it, Ethernet header included; without a tag that lies beside it.
    pub length: u32,
    /// How many packets it is on the wire: of what goes out in one piece, to be cut by the card.
    pub packets: u32,
    /// A VLAN tag that lies beside the frame: its EtherType in the upper half, priority and id in the lower one. Zero
    /// is none.
    pub tag: u32,
    /// How many of `bytes` are of the frame.
    pub captured: u32,
    /// The first bytes of the frame; behind them anything.
    pub bytes: [u8; EVENT_BYTES],
}

impl Event {
    /// The event in these bytes of the ring buffer; `None` if they are none.
    #[expect(clippy::host_endian_bytes, reason = "the program that writes it is on the same machine")]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (numbers, frame) = bytes.split_at_checked(HEAD_BYTES)?;
        let (boot_ns, numbers) = numbers.split_first_chunk()?;
        let (numbers, []) = numbers.as_chunks() else { return None };
        let mut numbers = numbers.iter();
        let mut next = || numbers.next().map(|number| u32::from_ne_bytes(*number));
        Some(Self {
            boot_ns: u64::from_ne_bytes(*boot_ns),
            interface: next()?,
            direction: next()?,
            verdict: next()?,
            reason: next()?,
            rule: next()?,
            one_in: next()?,
            length: next()?,
            packets: next()?,
            tag: next()?,
            captured: next()?,
            bytes: *frame.first_chunk()?,
        })
    }

    /// What there is of the frame.
    pub fn frame(&self) -> &[u8] {
        self.bytes.get(..self.captured as usize).unwrap_or(&self.bytes)
    }
}

/// Where the bytes of the frame begin.
const HEAD_BYTES: usize = core::mem::offset_of!(Event, bytes);

/// What became of the packets that were drawn, on one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct EventCounters {
    /// Were drawn.
    pub drawn: u64,
    /// Found no room in the ring.
    pub lost: u64,
    /// Were not put there, since nobody watched.
    pub unwatched: u64,
}

/// What the daemon says of its reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct EventReader {
    /// How many watch. With nobody, no event is put into the ring.
    pub watchers: u64,
    /// Events that were taken out of the ring when nobody watched any more.
    pub unwatched: u64,
    /// Events that watchers did not get because they were slow, counted for each of them.
    pub lost: u64,
}

#[cfg(test)]
#[expect(clippy::host_endian_bytes, reason = "as the program on the same machine writes")]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_as_the_program_writes_it() {
        assert_eq!((HEAD_BYTES, size_of::<Event>()), (48, 304));
        let mut bytes = [0; size_of::<Event>()];
        bytes[..8].copy_from_slice(&7_u64.to_ne_bytes());
        for (number, place) in (1_u32..).zip(bytes[8..48].chunks_exact_mut(4)) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        bytes[48..50].copy_from_slice(&[0xaa, 0xbb]);
        let event = Event::read(&bytes).unwrap();
        assert_eq!((event.boot_ns, event.interface, event.direction, event.verdict), (7, 1, 2, 3));
        assert_eq!((event.reason, event.rule, event.one_in, event.length), (4, 5, 6, 7));
        assert_eq!((event.packets, event.tag, event.captured), (8, 9, 10));
        assert_eq!(event.frame(), [0xaa, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Event::read(&bytes[..303]), None);
        assert_eq!(Event::read(&[]), None);
        // A record that says too much of itself shows what it has.
        assert_eq!(Event { captured: 1_000, ..event }.frame().len(), EVENT_BYTES);
    }
}
