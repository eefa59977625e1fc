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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[u8]) -> SynOptions {
        let mut header = [0xff; HEADER_ROOM as usize];
        header[20..20 + options.len()].copy_from_slice(options);
        SynOptions { at: 0, ..SynOptions::read(&header, 20 + u32::try_from(options.len()).unwrap()) }
    }

    const NOTHING: SynOptions = SynOptions { at: 0, ..SynOptions::new() };

    #[test]
    fn what_linux_asks_for_is_read() {
        let linux = [2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7];
        let stamp = u32::from_ne_bytes([1, 2, 3, 4]);
        assert_eq!(read(&linux), SynOptions { at: 0, scale: 7, sack: 1, stamps: 1, stamp });
        assert_eq!(read(&[]), NOTHING);
        assert_eq!(read(&[3, 3, 200, 0]).scale, 14, "RFC 7323: what is more means 14");
    }

    #[test]
    fn what_is_no_option_ends_them() {
        for (options, expected) in [
            (&[2, 0, 4, 2][..], NOTHING),
            (&[2, 1, 4, 2], NOTHING),
            (&[4, 3, 0, 0], NOTHING),
            (&[8, 10, 1, 2], NOTHING),
            (&[3, 3], NOTHING),
            (&[0, 4, 2, 0], NOTHING),
            (&[1, 1, 1, 3], NOTHING),
            (&[254, 255, 4, 2], NOTHING),
            (&[4, 2, 99, 2], SynOptions { sack: 1, ..NOTHING }),
            (&[1; 40], NOTHING),
        ] {
            assert_eq!(read(options), expected, "{options:?}");
        }
    }

    #[test]
    fn no_bytes_break_it_and_it_never_reads_behind_the_header() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..200_000 {
            let mut header = [0; HEADER_ROOM as usize];
            for place in &mut header {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Mostly small numbers, which are kinds and lengths.
                *place = if state >> 60 == 0 { (state >> 50) as u8 } else { (state >> 57) as u8 % 12 };
            }
            let length = 20 + (state >> 32) as u32 % 11 * 4;
            let options = SynOptions::read(&header, length);
            for place in &mut header[length as usize..] {
                *place = !*place;
            }
            assert_eq!(options, SynOptions::read(&header, length));
            assert!(options.scale <= NO_SCALE && options.at <= length);
        }
    }
}
