//! Of how many packets one is told of.

use std::{fmt, num::NonZeroU32};

/// `log` of a rule, or `policy.log_drops`: each packet is drawn by itself, with this chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneIn(NonZeroU32);

impl OneIn {
    /// One in so many; `None` for zero.
    pub const fn new(packets: u32) -> Option<Self> {
        match NonZeroU32::new(packets) {
            Some(packets) => Some(Self(packets)),
            None => None,
        }
    }

    /// In how many.
    pub const fn packets(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for OneIn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "1/{}", self.0)
    }
}
