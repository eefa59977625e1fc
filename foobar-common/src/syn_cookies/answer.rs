//! The SYN-ACK that is sent in the server's stead.

use super::{NO_SCALE, SynOffer, SynOptions};
use crate::{
    checksum::Sum,
    flow::{
        Family, Flow, protocol,
        tcp_flag::{ACK, SYN},
    },
};

/// Words of the longest answer from its IP header on: IPv6 and TCP with all options.
pub const ANSWER_WORDS: usize = 20;

const SYN_ACK: u8 = SYN | ACK;
/// Of an answer; routers count it down.
const HOP_LIMIT: u8 = 64;
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;
/// A TCP header with the option of the largest segment alone, and with all others.
const SHORT: u32 = 24;
const LONG: u32 = 40;
/// The lowest bits of a timestamp hold the client's window scale and whether it takes selective acknowledgments (`TSBITS`,
/// `TS_OPT_SACK` of the kernel's `net/ipv4/syncookies.c`).
const STAMP_BITS: u32 = 6;
const STAMP_SACK: u64 = 1 << 4;

/// What an answer is made of.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The SYN's.
    pub flow: &'a Flow,
    /// Number of the SYN.
    pub sequence: u32,
    /// The kernel's cookie: the number of the SYN-ACK.
    pub cookie: u32,
    /// The largest IP packet that the interface takes.
    pub mtu: u32,
    /// Nanoseconds of the kernel's monotonic clock.
    pub now: u64,
    /// What the client asks for.
    pub options: &'a SynOptions,
    /// What it can get.
    pub offer: &'a SynOffer,
}

impl Answer<'_> {
    /// Whether options other than the largest segment are kept: only the timestamp has room for them, so that all hang on
    /// that the client sends some.
    #[inline(always)]
    const fn is_long(&self) -> bool {
        self.offer.stamps != 0 && self.options.stamps != 0
    }

    #[inline(always)]
    const fn tcp_length(&self) -> u32 {
        if self.is_long() { LONG } else { SHORT }
    }

    /// Bytes from its IP header on.
    #[inline(always)]
    pub const fn length(&self) -> u32 {
        self.tcp_length().wrapping_add(match self.flow.family {
            Family::V4 => IPV4_HEADER,
            Family::V6 => IPV6_HEADER,
        })
    }

    /// Writes it, from its IP header on, as memory has it. What is behind [`Answer::length`] has no meaning.
    #[inline(always)]
    pub fn write(&self, place: &mut [u32; ANSWER_WORDS]) {
        let [t0, t1, t2, t3, t4, t5, t6, t7, t8, t9] = self.tcp();
        // The server's address comes first now.
        let (server, client) = (self.flow.destination, self.flow.source);
        match self.flow.family {
            Family::V4 => {
                let [_, _, high, low] = self.length().to_be_bytes();
                // It may not be cut (RFC 791 section 3.1), and then needs no number (RFC 6864).
                let [w0, w1, w2] =
                    [[0x45, 0, high, low], [0, 0, 0x40, 0], [HOP_LIMIT, protocol::TCP, 0, 0]].map(word);
                let (w3, w4) = (server.number_v4().to_be(), client.number_v4().to_be());
                let [first, second] =
                    memory(Sum::NONE.word(w0).word(w1).word(w2).word(w3).word(w4).checksum());
                let w2 = w2 | word([0, 0, first, second]);
                *place = [w0, w1, w2, w3, w4, t0, t1, t2, t3, t4, t5, t6, t7, t8, t9, 0, 0, 0, 0, 0];
            }
            Family::V6 => {
                let [_, _, high, low] = self.tcp_length().to_be_bytes();
                let w0 = word([0x60, 0, 0, 0]);
                let w1 = word([high, low, protocol::TCP, HOP_LIMIT]);
                let ([w2, w3, w4, w5], [w6, w7, w8, w9]) = (server.quarters(), client.quarters());
                *place = [w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, t0, t1, t2, t3, t4, t5, t6, t7, t8, t9];
            }
        }
    }

    /// The TCP header; without options, the last four words are zero and belong to nothing.
    #[inline(always)]
    fn tcp(&self) -> [u32; 10] {
        let Self { flow, sequence, cookie, mtu, now, options, offer } = self;
        let (server, client) = (flow.destination_port, flow.source_port);
        let [s0, s1] = server;
        let [c0, c1] = client;
        let t0 = word([s0, s1, c0, c1]);
        let t1 = cookie.to_be();
        let t2 = sequence.wrapping_add(1).to_be();
        let window = if offer.window > 0xffff { 0xffff } else { offer.window };
        let [_, _, w0, w1] = window.to_be_bytes();
        let [_, _, _, length] = (self.tcp_length() << 2).to_be_bytes();
        let t3 = word([length, SYN_ACK, w0, w1]);
        let headers = match flow.family {
            Family::V4 => IPV4_HEADER.wrapping_add(20),
            Family::V6 => IPV6_HEADER.wrapping_add(20),
        };
        let largest = mtu.saturating_sub(headers);
        let [_, _, m0, m1] = (if largest > 0xffff { 0xffff } else { largest }).to_be_bytes();
        let t5 = word([2, 4, m0, m1]);
        let (mut t6, mut t7, mut t8, mut t9) = (0, 0, 0, 0);
        if self.is_long() {
            let sack = options.sack != 0 && offer.sack != 0;
            let scale = if offer.scale == NO_SCALE { NO_SCALE } else { options.scale };
            t6 = word(if sack { [4, 2, 8, 10] } else { [1, 1, 8, 10] });
            t7 = stamp(*now, scale, sack).to_be();
            t8 = options.stamp;
            let [_, _, _, shift] = offer.scale.to_be_bytes();
            t9 = word(if scale == NO_SCALE { [1, 1, 1, 1] } else { [1, 3, 3, shift] });
        }
        let between = [flow.destination, flow.source];
        let sum = Sum::NONE.pseudo_header(between, flow.family, protocol::TCP, self.tcp_length());
        let sum = sum.word(t0).word(t1).word(t2).word(t3).word(t5).word(t6).word(t7).word(t8).word(t9);
        let [first, second] = memory(sum.checksum());
        [t0, t1, t2, t3, word([first, second, 0, 0]), t5, t6, t7, t8, t9]
    }
}

/// The timestamp of an answer at this time: the kernel's, milliseconds, with what the client asks for in its lowest bits
/// (`cookie_init_timestamp` of `net/ipv4/syncookies.c`). It never is ahead of the clock, so that later ones are not before
/// it.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "timestamps wrap")]
fn stamp(now: u64, scale: u32, sack: bool) -> u32 {
    #[expect(clippy::integer_division, reason = "the kernel's own unit")]
    let milliseconds = now / 1_000_000;
    let asked = u64::from(scale) | if sack { STAMP_SACK } else { 0 };
    let stamp = (milliseconds >> STAMP_BITS << STAMP_BITS) | asked;
    let before = stamp.wrapping_sub(1 << STAMP_BITS);
    (if stamp > milliseconds { before } else { stamp }) as u32
}

/// Bytes as a word of memory.
#[inline(always)]
#[expect(clippy::host_endian_bytes, reason = "words are as memory has them")]
const fn word(bytes: [u8; 4]) -> u32 {
    u32::from_ne_bytes(bytes)
}

/// A checksum as memory has it.
#[inline(always)]
#[expect(clippy::host_endian_bytes, reason = "words are as memory has them")]
const fn memory(checksum: u16) -> [u8; 2] {
    checksum.to_ne_bytes()
}
