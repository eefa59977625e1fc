//! What the programs of the benchmark and their driver agree on.
#![no_std]

/// Words of eight bytes in one frame: enough for the headers of IPv6 and TCP. Shorter packets are padded.
pub const FRAME_WORDS: usize = 10;
/// A frame as the map of frames holds it.
pub type Frame = [u64; FRAME_WORDS];
/// Entries of the map of frames.
pub const FRAMES_MAX: u32 = 65_536;

/// Names of the maps.
pub mod maps {
    /// The [`super::Frame`]s.
    pub const FRAMES: &str = "FRAMES";
    /// The one [`super::Cursor`].
    pub const CURSOR: &str = "CURSOR";
    /// The one [`super::Stream`].
    pub const STREAM: &str = "STREAM";
    /// Programs by [`super::Target`].
    pub const TARGETS: &str = "TARGETS";
}

/// Names of the programs.
pub mod programs {
    /// Drops, and nothing else.
    pub const BARE: &str = "bare";
    /// Parses as the product does, and drops.
    pub const PARSE_ONLY: &str = "parse_only";
    /// Writes the next frame and calls the target.
    pub const VARY: &str = "vary";
    /// Makes the frame the next segment of its connection and calls the target.
    pub const CONTINUE: &str = "carry_on";
    /// Writes the next frame and sends it.
    pub const SEND: &str = "send";
}

/// Which frames are next, and who judges them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    /// Counts the frames that were given out.
    pub next: u32,
    /// One less than how many frames take turns; that many are a power of two.
    pub mask: u32,
    /// The first of those that take turns.
    pub first: u32,
    /// A [`Target`], as a number.
    pub target: u32,
}

/// Segments of one connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Stream {
    /// Sequence number of the next one.
    pub next: u32,
    /// Bytes of payload of each.
    pub length: u32,
    /// A [`Target`], as a number.
    pub target: u32,
    /// Always zero.
    pub padding: u32,
}

/// Where the sequence number lies in a frame of IPv4 without options and TCP.
pub const SEQUENCE_AT: usize = 14 + 20 + 4;

/// Places in the array of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The baseline.
    Bare,
    /// The parser alone.
    ParseOnly,
    /// What is measured.
    Subject,
}

impl Target {
    /// How many there are.
    pub const COUNT: usize = 3;
}
