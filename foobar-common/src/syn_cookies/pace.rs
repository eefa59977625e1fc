//! When a service answers with cookies.

use core::cell::Cell;

use crate::words::words;

words! {
    /// `syn_cookies` of a service.
    CookieMode {
        Off = 0, "off", "never";
        Auto = 1, "auto", "while many SYNs come";
        Always = 2, "always", "all the time";
    }
}

/// How fast SYNs come to a service port, and until when they are answered with cookies.
///
/// All processors write here. Two that begin a window at the same time lose a SYN or two of its count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Pace {
    /// SYNs since the window began; added to in one step, before [`Pace::notice`].
    pub seen: Cell<u64>,
    /// When it began, in nanoseconds of the kernel's monotonic clock.
    pub begun: Cell<u64>,
    /// Up to then cookies are sent; zero: they never were.
    pub until: Cell<u64>,
    /// Always zero.
    pub padding: Cell<u64>,
}

impl Pace {
    /// Nanoseconds in which SYNs are counted together.
    pub const WINDOW: u64 = 1_000_000_000;
    /// For so many nanoseconds after the last busy window cookies are still sent.
    pub const HOLD: u64 = 10_000_000_000;
    /// For longer than so many nanoseconds the kernel takes no cookie back: two minutes, and the rest of its unit of time
    /// (`MAX_SYNCOOKIE_AGE` of `include/net/tcp.h`).
    pub const LIFE: u64 = 190_000_000_000;
    /// The end is written anew once it has moved by so much: all processors would write the same word otherwise.
    const STEP: u64 = 100_000_000;

    /// Takes note of a SYN that has just been counted; whether it is answered with a cookie. That begins above `start` SYNs
    /// in a second, and goes on for as long as more than `stop` come.
    #[inline(always)]
    pub fn notice(&self, start: u32, stop: u32, now: u64) -> bool {
        let mut seen = self.seen.get();
        if now.saturating_sub(self.begun.get()) >= Self::WINDOW {
            self.begun.set(now);
            self.seen.set(1);
            seen = 1;
        }
        let is_active = self.is_active(now);
        let enough = if is_active { stop } else { start };
        if seen <= u64::from(enough) {
            return is_active;
        }
        let until = now.saturating_add(Self::HOLD);
        if until.saturating_sub(self.until.get()) >= Self::STEP {
            self.until.set(until);
        }
        true
    }

    /// Whether cookies are sent at this time.
    #[inline(always)]
    pub fn is_active(&self, now: u64) -> bool {
        now < self.until.get()
    }

    /// Whether a cookie may come back at this time.
    #[inline(always)]
    pub fn is_awaited(&self, now: u64) -> bool {
        let until = self.until.get();
        until != 0 && now < until.saturating_add(Self::LIFE)
    }
}

/// The bytes of a [`Pace`], as user space copies them from a map.
#[cfg(feature = "user")]
mod bytes {
    use super::Pace;

    impl Pace {
        /// From its words.
        pub fn from_words([seen, begun, until, padding]: [u64; 4]) -> Self {
            Self { seen: seen.into(), begun: begun.into(), until: until.into(), padding: padding.into() }
        }
    }
}
