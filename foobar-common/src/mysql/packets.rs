//! Packets: a header of four bytes, with a length and a number, and as many bytes of payload.

/// The longest payload of a packet, in bytes; one of this length goes on in the next packet.
pub const PAYLOAD_MAX: u32 = 0xff_ffff;
/// How many of the first bytes of a payload can be kept.
pub const HEAD_MAX: u32 = 8;
/// Length of a header, in bytes.
const HEADER: u32 = 4;

/// Where one direction of a connection is in its packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Packets {
    /// The first bytes of the payload, or those of the header while that is read; the first byte is the lowest.
    head: u64,
    /// Length of the payload.
    length: u32,
    /// Bytes of the payload that are left.
    left: u32,
    part: Part,
    /// How many bytes of the header or the head have been read.
    index: u8,
    /// How many bytes of the head are wanted.
    wanted: u8,
    /// The number of the packet.
    sequence: u8,
    /// Whether the packet goes on with the payload of the one before it.
    is_rest: bool,
    /// Always zero.
    padding: [u8; 3],
}

/// What is being read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
enum Part {
    #[default]
    Header = 0,
    /// The first bytes of the payload.
    Head,
    /// The rest of it.
    Body,
}

impl Packets {
    /// Of a side that has sent nothing, of whose next payload so many bytes are wanted in one, [`HEAD_MAX`] at most.
    pub const fn new(wanted: u8) -> Self {
        Self {
            head: 0,
            length: 0,
            left: 0,
            part: Part::Header,
            index: 0,
            wanted,
            sequence: 0,
            is_rest: false,
            padding: [0; 3],
        }
    }

    /// Wants so many bytes of the payload in one, [`HEAD_MAX`] at most; more than before, if a part of it has been read.
    #[inline(always)]
    pub fn want(&mut self, bytes: u8) {
        self.wanted = bytes;
        if matches!(self.part, Part::Body) && u32::from(self.index) < self.head_length() {
            self.part = Part::Head;
        }
    }

    /// Length of the payload, in bytes.
    #[inline(always)]
    pub const fn length(&self) -> u32 {
        self.length
    }

    /// The number of the packet: that of a command is zero.
    #[inline(always)]
    pub const fn sequence(&self) -> u8 {
        self.sequence
    }

    /// The first bytes of the payload, the first one lowest; zeros where it has no more.
    #[inline(always)]
    pub const fn head(&self) -> u64 {
        self.head
    }

    /// How many bytes of the head there are.
    #[inline(always)]
    pub const fn head_bytes(&self) -> u32 {
        self.index as u32
    }

    /// Whether what comes next is payload behind the head.
    #[inline(always)]
    pub const fn is_in_body(&self) -> bool {
        matches!(self.part, Part::Body)
    }

    /// Whether as many of the next bytes are payload behind the head.
    #[inline(always)]
    pub fn can_miss(&self, bytes: u64) -> bool {
        self.is_in_body() && u64::from(self.left) >= bytes
    }

    /// Reads a header or a head on, from a word whose lowest byte is the next one and that has `bytes` of them. Gives how
    /// many of them that were, and whether the head of a payload is complete with them.
    #[inline(always)]
    pub fn read(&mut self, word: u64, bytes: u32) -> (u32, bool) {
        let is_header = matches!(self.part, Part::Header);
        let whole = if is_header { HEADER } else { self.head_length() };
        let index = u32::from(self.index) & (HEAD_MAX - 1);
        let missing = whole.saturating_sub(index);
        let taken = if missing < bytes { missing } else { bytes };
        self.head |= lowest(word, taken) << (index << 3);
        let index = index.wrapping_add(taken);
        self.index = as_u8(index);
        if is_header {
            return (taken, index >= HEADER && self.header_ended());
        }
        self.left = self.left.wrapping_sub(taken);
        if index < whole {
            return (taken, false);
        }
        self.part = Part::Body;
        (taken, true)
    }

    /// Passes over as many of the next `bytes` as are payload behind the head, and says how many.
    #[inline(always)]
    pub fn pass(&mut self, bytes: u32) -> u32 {
        let wanted = if self.is_in_body() { self.left } else { 0 };
        let passed = if wanted < bytes { wanted } else { bytes };
        self.left = self.left.wrapping_sub(passed);
        passed
    }

    /// Whether the packet is over: to be asked after each time. A header comes next then; `Some(true)` if it goes on with
    /// the same payload.
    #[inline(always)]
    pub fn end(&mut self) -> Option<bool> {
        if !self.is_in_body() || self.left > 0 {
            return None;
        }
        self.is_rest = self.length == PAYLOAD_MAX;
        self.part = Part::Header;
        self.head = 0;
        self.index = 0;
        Some(self.is_rest)
    }

    /// Whether the payload goes on in another packet behind this one.
    #[inline(always)]
    pub const fn is_continued(&self) -> bool {
        self.length == PAYLOAD_MAX
    }

    /// What the header says; whether the head is complete with it already.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a header has 32 bits")]
    fn header_ended(&mut self) -> bool {
        let header = self.head as u32;
        self.length = header & PAYLOAD_MAX;
        self.left = self.length;
        self.sequence = as_u8(header >> 24);
        self.head = 0;
        self.index = 0;
        if self.is_rest {
            self.part = Part::Body;
            return false;
        }
        self.part = if self.head_length() == 0 { Part::Body } else { Part::Head };
        self.is_in_body()
    }

    /// Bytes of the head of this payload.
    #[inline(always)]
    fn head_length(&self) -> u32 {
        let wanted = u32::from(self.wanted);
        if wanted < self.length { wanted } else { self.length }
    }
}

/// The lowest bytes of a word.
#[inline(always)]
const fn lowest(word: u64, bytes: u32) -> u64 {
    if bytes >= 8 { word } else { word & (1_u64 << (bytes << 3)).wrapping_sub(1) }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a byte, wherever this is asked")]
const fn as_u8(number: u32) -> u8 {
    number as u8
}
