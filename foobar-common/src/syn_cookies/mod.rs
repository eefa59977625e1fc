//! SYN cookies: a client's SYN is answered without keeping anything of it. What the server has to know later is in the
//! numbers of the answer, which the client's ACK brings back (RFC 4987 section 3.6).
//!
//! The kernel makes the cookie and takes it back. Here is what lies around it: when a service answers so ([`Pace`]), what
//! the client asks for ([`SynOptions`]), and the answer ([`Answer`]).

mod answer;
mod options;
mod pace;

pub use self::{
    answer::{ANSWER_WORDS, Answer},
    options::{HEADER_ROOM, NO_SCALE, SynOptions},
    pace::{CookieMode, Pace},
};
use crate::words::words;

/// What answers offer, as the kernel's settings allow (`net.ipv4`), and what is to be looked at before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SynOffer {
    /// 1 if the client's options can be kept in the timestamp: `tcp_timestamps` is 2.
    pub stamps: u32,
    /// 1 if selective acknowledgments are allowed (`tcp_sack`).
    pub sack: u32,
    /// By how many bits the kernel will shift windows of such a connection, or [`NO_SCALE`] if `tcp_window_scaling` is off.
    pub scale: u32,
    /// The first window, in bytes; at most 65,535.
    pub window: u32,
    /// 1 if this machine forwards packets, so that a SYN may be for another one.
    pub forwards: u32,
}

words! {
    /// Why a SYN went on to the kernel; the label `cause`.
    Passed {
        Inactive = 0, "inactive", "fewer SYNs come than cookies are sent from";
        NoListener = 1, "no_listener", "nobody listens at its port";
        Connection = 2, "connection", "its ends have a connection, or had one a moment ago";
        Refused = 3, "refused", "the kernel gives no cookie: its settings are against it, or connections wait in vain to be accepted";
        Header = 4, "header", "the kernel is to look at it: IP options, extension headers, or an address of more than one";
        Route = 5, "route", "it is for another machine";
        Frame = 6, "frame", "its frame is in several buffers, or has no room for the answer";
    }
}

/// What became of the SYNs to a service with `syn_cookies`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SynCounters {
    /// Those that were answered.
    pub answered: u64,
    /// Cookies that came back, and that the kernel takes: connections that began so.
    pub returned: u64,
    /// The others, by [`Passed`].
    pub passed: [u64; Passed::COUNT as usize],
}

impl SynCounters {
    /// Counts one that goes on.
    #[inline(always)]
    #[expect(clippy::indexing_slicing, reason = "there is one for each cause")]
    pub fn pass(&mut self, cause: Passed) {
        let count = &mut self.passed[cause as usize];
        *count = count.wrapping_add(1);
    }

    /// Adds another processor's, or another port's.
    pub fn add(&mut self, other: &Self) {
        let Self { answered, returned, passed } = other;
        self.answered = self.answered.wrapping_add(*answered);
        self.returned = self.returned.wrapping_add(*returned);
        for (sum, more) in self.passed.iter_mut().zip(passed) {
            *sum = sum.wrapping_add(*more);
        }
    }
}
