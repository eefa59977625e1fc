//! An address as text, read byte by byte: the client's in a PROXY header of version 1.
//!
//! Written as RFC 4291 section 2.2 says, with `::` and with an address of IPv4 at the end, if need be.

use crate::{address::Address, frame::within, proxy::Client};

/// Groups of 16 bits in an address of IPv6.
const GROUPS: u32 = 8;
/// In [`TextAddress::gap`]: there was no `::`.
const NO_GAP: u32 = u32::MAX;
/// In [`TextAddress::octet`]: the digits are none of a decimal number up to 255.
const NO_OCTET: u32 = 1 << 16;
/// The most digits of a group.
const DIGITS_MAX: u32 = 4;

/// What has been read of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct TextAddress {
    /// Groups between colons, those that are complete.
    groups: [u32; GROUPS as usize],
    /// How many there are.
    count: u32,
    /// How many of them came before `::`, or [`NO_GAP`].
    gap: u32,
    /// Octets before dots, as one number.
    octets: u32,
    /// How many there are.
    dots: u32,
    /// Digits since the last colon or dot.
    digits: u32,
    /// The number that they are in a group.
    group: u32,
    /// The number that they are as an octet, or more than 255.
    octet: u32,
    /// 1 if the last byte was a colon.
    after_colon: u32,
    /// [`OPEN`], [`COMPLETE`] or [`WRONG`].
    state: u32,
}

const OPEN: u32 = 0;
const COMPLETE: u32 = 1;
const WRONG: u32 = 2;

impl TextAddress {
    /// Nothing has been read.
    pub const BEGINNING: Self = Self {
        groups: [0; GROUPS as usize],
        count: 0,
        gap: NO_GAP,
        octets: 0,
        dots: 0,
        digits: 0,
        group: 0,
        octet: 0,
        after_colon: 0,
        state: OPEN,
    };

    /// Reads one byte more, and says whether there is another one to be read: it ends with a space.
    #[inline(always)]
    pub fn take(&mut self, byte: u8) -> bool {
        match byte {
            b' ' => self.end(),
            b':' => self.colon(),
            b'.' => self.dot(),
            b'0'..=b'9' => self.digit(u32::from(byte & 0xf), true),
            b'a'..=b'f' | b'A'..=b'F' => self.digit(u32::from(byte & 0xf).wrapping_add(9), false),
            _ => self.state = WRONG,
        }
        self.state == OPEN
    }

    #[inline(always)]
    fn digit(&mut self, value: u32, is_decimal: bool) {
        let follows_single_colon = self.after_colon != 0 && self.count == 0 && self.gap == NO_GAP;
        if self.digits == DIGITS_MAX || follows_single_colon {
            self.state = WRONG;
            return;
        }
        self.group = self.group << 4 | value;
        // A number that begins with zero is octal to some.
        let begins_with_zero = self.digits != 0 && self.octet == 0;
        self.octet = if is_decimal && !begins_with_zero && self.octet <= 255 {
            self.octet.wrapping_mul(10).wrapping_add(value)
        } else {
            NO_OCTET
        };
        self.digits = self.digits.wrapping_add(1);
        self.after_colon = 0;
    }

    #[inline(always)]
    fn colon(&mut self) {
        if self.dots != 0 {
            self.state = WRONG;
        } else if self.digits != 0 {
            self.push(self.group);
        } else if self.after_colon != 0 && self.gap == NO_GAP {
            self.gap = self.count;
        } else if self.after_colon != 0 || self.count != 0 || self.gap != NO_GAP {
            self.state = WRONG;
        }
        self.after_colon = 1;
        self.forget_digits();
    }

    #[inline(always)]
    fn dot(&mut self) {
        if self.digits == 0 || self.octet > 255 || self.dots == 3 {
            self.state = WRONG;
        }
        self.octets = self.octets << 8 | self.octet;
        self.dots = self.dots.wrapping_add(1);
        self.forget_digits();
    }

    #[inline(always)]
    fn forget_digits(&mut self) {
        self.digits = 0;
        self.group = 0;
        self.octet = 0;
    }

    #[inline(always)]
    fn push(&mut self, group: u32) {
        if self.count >= GROUPS {
            self.state = WRONG;
            return;
        }
        if let Some(place) = self.groups.get_mut(within::<{ GROUPS - 1 }>(self.count) as usize) {
            *place = group;
        }
        self.count = self.count.wrapping_add(1);
    }

    #[inline(always)]
    fn end(&mut self) {
        if self.state != OPEN {
            return;
        }
        self.state = COMPLETE;
        if self.dots != 0 {
            if self.dots != 3 || self.digits == 0 || self.octet > 255 {
                self.state = WRONG;
            }
            self.octets = self.octets << 8 | self.octet;
            // Behind a colon it is the end of an address of IPv6.
            if self.count != 0 || self.gap != NO_GAP {
                self.push(self.octets >> 16);
                self.push(self.octets & 0xffff);
            }
        } else if self.digits != 0 {
            self.push(self.group);
        } else if self.gap != self.count {
            self.state = WRONG;
        }
    }

    /// Whose address it was; [`Client::NOBODY`] if it was none, or none of this IP version.
    #[inline(always)]
    pub fn client(&self, is_v6: bool) -> Client {
        let is_dotted = self.dots != 0 && self.count == 0 && self.gap == NO_GAP;
        if self.state != COMPLETE || is_dotted == is_v6 {
            return Client::NOBODY;
        }
        if is_dotted {
            return Client::v4(Address::from_word(self.octets.to_be()));
        }
        let missing = GROUPS.wrapping_sub(self.count);
        // `::` stands for one group at least.
        if self.count > GROUPS || (missing == 0) != (self.gap == NO_GAP) {
            return Client::NOBODY;
        }
        let [first, second, third, fourth] = [0, 2, 4, 6].map(
            #[inline(always)]
            |place| self.placed(place, missing) << 16 | self.placed(place | 1, missing),
        );
        Client::v6(Address::from_quarters([first.to_be(), second.to_be(), third.to_be(), fourth.to_be()]))
    }

    /// The group at a place, where so many zeros stand in the gap.
    #[inline(always)]
    fn placed(&self, place: u32, missing: u32) -> u32 {
        let from = if place < self.gap { place } else { place.wrapping_sub(missing) };
        if place >= self.gap && place < self.gap.wrapping_add(missing) {
            return 0;
        }
        self.groups.get(within::<{ GROUPS - 1 }>(from) as usize).copied().unwrap_or(0)
    }
}
