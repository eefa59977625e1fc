//! What a SYN asks for: its TCP options (RFC 9293 section 3.1), read as the kernel does (`tcp_parse_options`).

use crate::frame::within;

/// Room for a TCP header with its options, and a little more: a power of two.
pub const HEADER_ROOM: u32 = 64;
/// In the place of a window scale where there is none, as in the kernel's timestamps (`TS_OPT_WSCALE_MASK`).
pub const NO_SCALE: u32 = 15;
/// No window is shifted further (RFC 7323 section 2.3); what says more means this.
const SCALE_MAX: u32 = 14;
/// Where options begin.
const BEGIN: u32 = 20;

/// Kinds of options (IANA, TCP Parameters).
mod kind {
    pub(super) const END: u32 = 0;
    pub(super) const NO_OPERATION: u32 = 1;
    /// RFC 7323 section 2.2.
    pub(super) const WINDOW_SCALE: u32 = 3;
    /// RFC 2018 section 2.
    pub(super) const SACK_PERMITTED: u32 = 4;
    /// RFC 7323 section 3.2.
    pub(super) const TIMESTAMPS: u32 = 8;
}

/// The options of a SYN that an answer keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct SynOptions {
    /// Where the next option begins in the header.
    at: u32,
    /// By how many bits the client's windows are shifted, or [`NO_SCALE`].
    pub scale: u32,
    /// 1 if the client takes selective acknowledgments.
    pub sack: u32,
    /// 1 if the client sends timestamps.
    pub stamps: u32,
    /// Its timestamp, as memory has it.
    pub stamp: u32,
}

impl SynOptions {
    /// No option takes less than a byte.
    pub const MOST: u32 = 40;

    /// Before the first one.
    pub const fn new() -> Self {
        Self { at: BEGIN, scale: NO_SCALE, sack: 0, stamps: 0, stamp: 0 }
    }

    /// Reads the next option of a header of `length` bytes; whether another one may follow. An option that does not fit is
    /// none, and ends them.
    #[inline(always)]
    pub fn step(&mut self, header: &[u8; HEADER_ROOM as usize], length: u32) -> bool {
        let at = within::<{ HEADER_ROOM - 1 }>(self.at);
        let left = length.saturating_sub(at);
        if left == 0 {
            return false;
        }
        match byte(header, at) {
            kind::END => return false,
            kind::NO_OPERATION => {
                self.at = at.wrapping_add(1);
                return true;
            }
            _ if left < 2 => return false,
            _ => {}
        }
        let (kind, size) = (byte(header, at), byte(header, at.wrapping_add(1)));
        if size < 2 || size > left {
            return false;
        }
        match (kind, size) {
            (kind::WINDOW_SCALE, 3) => {
                let scale = byte(header, at.wrapping_add(2));
                self.scale = if scale > SCALE_MAX { SCALE_MAX } else { scale };
            }
            (kind::SACK_PERMITTED, 2) => self.sack = 1,
            (kind::TIMESTAMPS, 10) => {
                self.stamps = 1;
                self.stamp = word(header, at.wrapping_add(2));
            }
            _ => {}
        }
        self.at = at.wrapping_add(size);
        true
    }

    /// Reads all of them.
    pub fn read(header: &[u8; HEADER_ROOM as usize], length: u32) -> Self {
        let mut options = Self::new();
        for _ in 0..Self::MOST {
            if !options.step(header, length) {
                break;
            }
        }
        options
    }
}

impl Default for SynOptions {
    fn default() -> Self {
        Self::new()
    }
}

#[inline(always)]
fn byte(header: &[u8; HEADER_ROOM as usize], at: u32) -> u32 {
    header.get(within::<{ HEADER_ROOM - 1 }>(at) as usize).map_or(0, |byte| u32::from(*byte))
}

#[inline(always)]
fn word(header: &[u8; HEADER_ROOM as usize], at: u32) -> u32 {
    let [first, second, third, fourth] = [0, 1, 2, 3].map(|index: u32| byte(header, at.wrapping_add(index)));
    u32::from_be(first << 24 | second << 16 | third << 8 | fourth)
}
