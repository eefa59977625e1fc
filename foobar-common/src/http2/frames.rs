//! Frames: a header of nine bytes and a payload (RFC 9113 section 4.1).

use super::huffman::lowest;

/// What a frame is (RFC 9113 section 6).
pub(super) mod kind {
    pub(in crate::http2) const DATA: u8 = 0;
    pub(in crate::http2) const HEADERS: u8 = 1;
    pub(in crate::http2) const SETTINGS: u8 = 4;
    pub(in crate::http2) const PUSH_PROMISE: u8 = 5;
    pub(in crate::http2) const CONTINUATION: u8 = 9;
}

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 1 << 2;
const PADDED: u8 = 1 << 3;
const PRIORITY: u8 = 1 << 5;
/// Of SETTINGS: it is the answer to the other side's.
const ACKNOWLEDGMENT: u8 = 1;

/// Bytes of a header that are read in one.
const WORD: u32 = 8;
/// Bytes of what PRIORITY announces, and of the stream that `PUSH_PROMISE` reserves.
const PRIORITY_LENGTH: u32 = 5;
const PROMISED_LENGTH: u32 = 4;
/// Bytes of a setting.
const SETTING: u32 = 6;
/// What a client's side begins with, behind the line that HTTP/1.x can read (RFC 9113 section 3.4).
const PREFACE: u64 = u64::from_le_bytes(*b"\r\nSM\r\n\r\n");

/// Where one direction of a connection is in its frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Frames {
    /// Bytes of the preface or of the header, the first one lowest.
    word: u64,
    /// Bytes of the present part of the payload that are left.
    left: u32,
    /// Bytes of padding at its end.
    padding: u32,
    /// The stream.
    stream: u32,
    part: Part,
    /// How many bytes of the word have been read.
    index: u8,
    kind: u8,
    flags: u8,
    /// Whether a frame has been read.
    has_begun: bool,
    /// Whether a byte that says how much padding there is comes next.
    is_padding_next: bool,
    /// Bytes before the header fields.
    lead: u8,
    /// Always zero.
    reserved: [u8; 5],
}

/// What is being read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
enum Part {
    /// The rest of the preface.
    Preface = 0,
    #[default]
    Header,
    /// What comes before header fields.
    Lead,
    /// Header fields.
    Fields,
    /// What is passed over.
    Body,
}

/// What bytes have brought to light.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing yet.
    Nothing,
    /// The header of a frame has been read.
    Header,
    /// This is no HTTP/2.
    Broken,
}

impl Frames {
    /// Those of a client, from the second line of the preface on.
    pub(super) const fn behind_first_line() -> Self {
        let mut frames = Self::new();
        frames.part = Part::Preface;
        frames
    }

    /// Those of a server.
    pub(super) const fn new() -> Self {
        Self {
            word: 0,
            left: 0,
            padding: 0,
            stream: 0,
            part: Part::Header,
            index: 0,
            kind: 0,
            flags: 0,
            has_begun: false,
            is_padding_next: false,
            lead: 0,
            reserved: [0; 5],
        }
    }

    #[inline(always)]
    pub(super) const fn kind(&self) -> u8 {
        self.kind
    }

    #[inline(always)]
    pub(super) const fn stream(&self) -> u32 {
        self.stream
    }

    /// Whether nothing comes on the stream behind this frame and what continues it.
    #[inline(always)]
    pub(super) const fn ends_stream(&self) -> bool {
        self.flags & END_STREAM != 0
    }

    /// Whether no frame continues the header fields of this one.
    #[inline(always)]
    pub(super) const fn ends_headers(&self) -> bool {
        self.flags & END_HEADERS != 0
    }

    /// Whether what comes next are header fields.
    #[inline(always)]
    pub(super) const fn is_in_fields(&self) -> bool {
        matches!(self.part, Part::Fields)
    }

    /// Bytes of the header fields in this frame that are left.
    #[inline(always)]
    pub(super) const fn left(&self) -> u32 {
        self.left
    }

    /// Whether as many of the next bytes are passed over.
    #[inline(always)]
    pub(super) fn can_miss(&self, bytes: u64) -> bool {
        matches!(self.part, Part::Body) && u64::from(self.left) >= bytes
    }

    /// Passes over as many of the next `bytes` as need no look, and says how many.
    #[inline(always)]
    pub(super) fn pass(&mut self, bytes: u32) -> u32 {
        let wanted = if matches!(self.part, Part::Body) { self.left } else { 0 };
        let passed = if wanted < bytes { wanted } else { bytes };
        self.left = self.left.wrapping_sub(passed);
        passed
    }

    /// So many bytes of header fields have been read.
    #[inline(always)]
    pub(super) fn took(&mut self, bytes: u32) {
        self.left = self.left.wrapping_sub(bytes);
    }

    /// Whether the header fields of this frame have all been read: to be asked after each time. Padding follows.
    #[inline(always)]
    pub(super) fn fields_ended(&mut self) -> bool {
        let has_ended = self.is_in_fields() && self.left == 0;
        if has_ended {
            self.left = self.padding;
            self.part = Part::Body;
        }
        has_ended
    }

    /// Whether the frame is over: to be asked after that. A header comes next then.
    #[inline(always)]
    pub(super) fn ended(&mut self) -> bool {
        let has_ended = matches!(self.part, Part::Body) && self.left == 0;
        if has_ended {
            self.part = Part::Header;
        }
        has_ended
    }

    /// Reads what is neither header fields nor passed over, from a word whose lowest byte is the next one and that has
    /// `bytes` of them. Gives how many of them that were, and what they say.
    #[inline(always)]
    pub(super) fn read(&mut self, word: u64, bytes: u32) -> (u32, Progress) {
        if matches!(self.part, Part::Lead) {
            return self.read_lead(word, bytes);
        }
        let index = u32::from(self.index);
        if index >= WORD {
            return (1, self.header_ended(word));
        }
        let missing = WORD.wrapping_sub(index);
        let taken = if missing < bytes { missing } else { bytes };
        let before = if index == 0 { 0 } else { self.word };
        self.word = before | lowest(word, taken) << (index << 3 & 0x3f);
        self.index = self.index.wrapping_add(as_byte(taken));
        if !matches!(self.part, Part::Preface) || u32::from(self.index) < WORD {
            return (taken, Progress::Nothing);
        }
        self.index = 0;
        self.part = Part::Header;
        (taken, if self.word == PREFACE { Progress::Nothing } else { Progress::Broken })
    }

    /// The last byte of a header has come.
    #[inline(always)]
    fn header_ended(&mut self, word: u64) -> Progress {
        let header = self.word;
        self.index = 0;
        let byte = |number: u32| (header >> (number << 3) & 0xff) as u32;
        self.left = byte(0) << 16 | byte(1) << 8 | byte(2);
        self.kind = as_byte(byte(3));
        self.flags = as_byte(byte(4));
        // The highest bit means nothing (RFC 9113 section 4.1).
        self.stream = (byte(5) & 0x7f) << 24 | byte(6) << 16 | byte(7) << 8 | (word & 0xff) as u32;
        self.padding = 0;
        self.part = Part::Body;
        if !self.has_begun {
            self.has_begun = true;
            // Either side begins with its settings (RFC 9113 section 3.4).
            let is_settings = self.kind == kind::SETTINGS && self.flags & ACKNOWLEDGMENT == 0;
            if !is_settings || self.stream != 0 || !self.left.is_multiple_of(SETTING) {
                return Progress::Broken;
            }
        }
        Progress::Header
    }

    /// The payload of this frame has header fields; false if it is too short.
    #[inline(always)]
    pub(super) fn has_fields(&mut self) -> bool {
        let mut lead = match self.kind {
            kind::HEADERS if self.flags & PRIORITY != 0 => PRIORITY_LENGTH,
            kind::PUSH_PROMISE => PROMISED_LENGTH,
            _ => 0,
        };
        self.is_padding_next = self.kind != kind::CONTINUATION && self.flags & PADDED != 0;
        if self.is_padding_next {
            lead = lead.wrapping_add(1);
        }
        if lead > self.left {
            return false;
        }
        self.left = self.left.wrapping_sub(lead);
        self.lead = as_byte(lead);
        self.part = if lead > 0 { Part::Lead } else { Part::Fields };
        true
    }

    #[inline(always)]
    fn read_lead(&mut self, word: u64, bytes: u32) -> (u32, Progress) {
        let lead = u32::from(self.lead);
        let taken = if self.is_padding_next || lead == 0 {
            1
        } else if lead < bytes {
            lead
        } else {
            bytes
        };
        if self.is_padding_next {
            self.is_padding_next = false;
            self.padding = (word & 0xff) as u32;
            if self.padding > self.left {
                return (taken, Progress::Broken);
            }
            self.left = self.left.wrapping_sub(self.padding);
        }
        let lead = lead.wrapping_sub(taken);
        self.lead = as_byte(lead);
        if lead == 0 {
            self.part = Part::Fields;
        }
        (taken, Progress::Nothing)
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a byte, wherever this is asked")]
const fn as_byte(number: u32) -> u8 {
    number as u8
}
