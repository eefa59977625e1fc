//! What a rejected packet is answered with, and which are not answered at all.
//!
//! TCP gets a segment that resets the connection (RFC 9293 section 3.10.7.1), everything else the ICMP message that says
//! that a filter is in the way (RFC 1812 section 5.2.7.1, RFC 4443 section 3.1). The answer goes back where the packet came
//! from, from the address that it was sent to.

use crate::{
    address::Address,
    checksum::Sum,
    flow::{
        Family, Flow, Fragment, protocol,
        tcp_flag::{ACK, FIN, RST, SYN},
    },
    words::words,
};

words! {
    /// What came of a packet that was rejected. Exactly one for each.
    Outcome {
        Reset = 0, "tcp_reset", "a TCP segment with RST";
        Icmp = 1, "icmp", "ICMP, destination unreachable: administratively prohibited (type 3, code 13)";
        Icmpv6 = 2, "icmpv6", "ICMPv6, destination unreachable: administratively prohibited (type 1, code 1)";
        NotAllowed = 3, "not_allowed", "one that nobody may answer: an ICMP error, a RST, a later fragment, one from or to many";
        Rate = 4, "rate", "more than the rate of answers";
        Failed = 5, "internal", "the packet could not be made an answer of";
    }
}

impl Outcome {
    /// Whether there was an answer.
    pub const fn is_answer(self) -> bool {
        matches!(self, Self::Reset | Self::Icmp | Self::Icmpv6)
    }
}

/// Where rejected packets of a direction with this outcome are counted.
#[inline(always)]
pub const fn outcome_slot(direction: crate::flow::Direction, outcome: Outcome) -> u32 {
    (direction as u32).wrapping_mul(Outcome::COUNT).wrapping_add(outcome.number())
}

/// How many answers there are at most: a bucket, and how fast it fills. See [`crate::limit`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct AnswerBucket {
    /// Nanoseconds that the rate has for one answer.
    pub interval: u64,
    /// Nanoseconds that the bucket can be ahead of the clock.
    pub tolerance: u64,
    /// When it is full again, in nanoseconds since the machine started.
    pub full_at: u64,
}

/// TTL of IPv4 and hop limit of IPv6 in answers (RFC 1700; what Linux has, too).
pub const HOP_LIMIT: u8 = 64;
/// Bytes of an IPv4 and of an IPv6 header without options and extensions.
pub const IPV4_HEADER: u32 = 20;
/// See [`IPV4_HEADER`].
pub const IPV6_HEADER: u32 = 40;
/// Bytes of a TCP header without options.
pub const TCP_HEADER: u32 = 20;
/// Bytes of an ICMP message in front of what it quotes.
pub const ICMP_HEADER: u32 = 8;
/// So many bytes of a packet are quoted at most: answers have up to 576 bytes (RFC 1812 section 4.3.2.3).
pub const QUOTE_V4_MAX: u32 = 576 - IPV4_HEADER - ICMP_HEADER;
/// The same of IPv6: up to 1,280 bytes (RFC 4443 section 3.1).
pub const QUOTE_V6_MAX: u32 = 1_280 - IPV6_HEADER - ICMP_HEADER;
/// No frame is shorter, without its checksum (IEEE 802.3 section 3.2.8), and not every card pads those that are.
pub const FRAME_MIN: u32 = 60;

/// The longest Ethernet header with two VLAN tags, in words of memory: destination, source, and from there on tags and the
/// EtherType of what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct LinkHeader(pub [u16; 11]);

const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;

impl LinkHeader {
    /// Bytes up to the IP header.
    #[inline(always)]
    pub const fn length(&self) -> u32 {
        let [.., first, _, second, _, _] = self.0;
        match (is_tag(first), is_tag(second)) {
            (false, _) => 14,
            (true, false) => 18,
            (true, true) => 22,
        }
    }

    /// That of an answer.
    #[inline(always)]
    #[must_use]
    pub const fn back(self) -> Self {
        let [d0, d1, d2, s0, s1, s2, t0, t1, t2, t3, t4] = self.0;
        Self([s0, s1, s2, d0, d1, d2, t0, t1, t2, t3, t4])
    }

    /// The same from another card.
    #[inline(always)]
    #[must_use]
    pub const fn from(self, [s0, s1, s2]: [u16; 3]) -> Self {
        let [d0, d1, d2, _, _, _, t0, t1, t2, t3, t4] = self.0;
        Self([d0, d1, d2, s0, s1, s2, t0, t1, t2, t3, t4])
    }

    /// Whether it goes from one card to one other: none of both addresses is one of a group or of all (IEEE 802 section
    /// 8.2.2).
    #[inline(always)]
    const fn is_between_two(&self) -> bool {
        let [destination, _, _, source, ..] = self.0;
        u16::from_be(destination | source) & 0x0100 == 0
    }

    /// Whether it goes to the card with this address, or that is not known. A switch that does not know where a card is
    /// gives its frames to all, and a card that listens to everything gives them on.
    #[inline(always)]
    const fn is_for(&self, card: Option<[u16; 3]>) -> bool {
        let [d0, d1, d2, ..] = self.0;
        match card {
            Some([c0, c1, c2]) => (d0 ^ c0) | (d1 ^ c1) | (d2 ^ c2) == 0,
            None => true,
        }
    }
}

#[inline(always)]
const fn is_tag(ethertype: u16) -> bool {
    matches!(u16::from_be(ethertype), VLAN | SERVICE_VLAN)
}

/// What a packet is answered with, unless too many are: [`Outcome::NotAllowed`] if it must not be answered. `card` is the
/// address of the card that it came in through, where that matters and is known.
///
/// RFC 1122 section 3.2.2 and RFC 4443 section 2.4 (e) say which packets get no ICMP error, and nothing else should make two
/// machines answer each other without end either; RFC 9293 section 3.10.7.1 that a RST gets no RST.
#[inline(always)]
pub const fn answer_to(flow: &Flow, link: &LinkHeader, card: Option<[u16; 3]>) -> Outcome {
    if !link.is_between_two() || !link.is_for(card) || matches!(flow.fragment, Fragment::Later) {
        return Outcome::NotAllowed;
    }
    let is_between_two = match flow.family {
        Family::V4 => is_host_v4(flow.source.number_v4()) && is_host_v4(flow.destination.number_v4()),
        Family::V6 => is_host_v6(flow.source.numbers_v6()) && is_host_v6(flow.destination.numbers_v6()),
    };
    if !is_between_two {
        return Outcome::NotAllowed;
    }
    match (flow.protocol, flow.family) {
        // How long the segment is of which this is the first part, nobody knows.
        (protocol::TCP, _) if flow.tcp_flags & RST == 0 && matches!(flow.fragment, Fragment::Whole) => {
            Outcome::Reset
        }
        (protocol::TCP, _) => Outcome::NotAllowed,
        // Whatever the family: an error under the other one's number is one still.
        (protocol::ICMP, _) if !is_query_v4(flow.icmp_type) => Outcome::NotAllowed,
        (protocol::ICMPV6, _) if !is_query_v6(flow.icmp_type) => Outcome::NotAllowed,
        (_, Family::V4) => Outcome::Icmp,
        (_, Family::V6) => Outcome::Icmpv6,
    }
}

/// Whether it can be the address of one machine that others can reach: neither of this network (0.0.0.0/8), nor the machine
/// itself (127.0.0.0/8), a group (224.0.0.0/4), reserved (240.0.0.0/4), or all (RFC 6890).
#[inline(always)]
const fn is_host_v4(address: u32) -> bool {
    let first = address >> 24;
    first != 0 && first != 127 && first < 224
}

/// The same: not unspecified, nor the machine itself (`::1`), nor a group (`ff00::/8`).
#[inline(always)]
const fn is_host_v6([high, low]: [u64; 2]) -> bool {
    high >> 56 != 0xff && (high != 0 || low > 1)
}

/// Whether a type of ICMP is known to be no error: echo, timestamp, information and address mask, and what answers them
/// (RFC 792, RFC 950).
#[inline(always)]
const fn is_query_v4(kind: u8) -> bool {
    const QUERIES: u32 = 1 | 1 << 8 | 1 << 13 | 1 << 14 | 1 << 15 | 1 << 16 | 1 << 17 | 1 << 18;
    kind < 32 && (QUERIES >> (kind & 31)) & 1 != 0
}

/// Whether a type of `ICMPv6` is no error: from 128 on (RFC 4443 section 2.1), but for Redirect (137).
#[inline(always)]
const fn is_query_v6(kind: u8) -> bool {
    kind >= 128 && kind != 137
}

/// The numbers and flags of a segment that resets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Its sequence number.
    pub sequence: u32,
    /// What it acknowledges; zero without the flag.
    pub acknowledged: u32,
    /// RST, or RST and ACK.
    pub flags: u8,
}

impl Reset {
    /// The answer to a segment with these numbers and flags that is `payload` bytes long (RFC 9293 section 3.10.7.1).
    #[inline(always)]
    pub const fn of(sequence: u32, acknowledged: u32, flags: u8, payload: u32) -> Self {
        if flags & ACK != 0 {
            return Self { sequence: acknowledged, acknowledged: 0, flags: RST };
        }
        let numbered = ((flags & SYN != 0) as u32).wrapping_add((flags & FIN != 0) as u32);
        let next = sequence.wrapping_add(payload).wrapping_add(numbered);
        Self { sequence: 0, acknowledged: next, flags: RST | ACK }
    }

    /// Its header, checksum included, as memory has it: the whole TCP segment that goes back to the source of `flow`.
    #[inline(always)]
    pub const fn header(&self, flow: &Flow) -> [u32; 5] {
        let Self { sequence, acknowledged, flags } = *self;
        let ([s0, s1], [d0, d1]) = (flow.source_port, flow.destination_port);
        let ports = u32::from_be_bytes([d0, d1, s0, s1]).to_be();
        // Five words of header, no window.
        let offset = u32::from_be_bytes([5 << 4, flags, 0, 0]).to_be();
        let (sequence, acknowledged) = (sequence.to_be(), acknowledged.to_be());
        let sum = Sum::NONE
            .pseudo_header([flow.destination, flow.source], flow.family, protocol::TCP, TCP_HEADER)
            .word(ports)
            .word(sequence)
            .word(acknowledged)
            .word(offset);
        [ports, sequence, acknowledged, offset, checksum_first(sum)]
    }
}

/// How many of the first bytes of an IP packet of `length` bytes are quoted.
#[inline(always)]
pub const fn quote_length(family: Family, length: u32) -> u32 {
    let most = match family {
        Family::V4 => QUOTE_V4_MAX,
        Family::V6 => QUOTE_V6_MAX,
    };
    if length < most { length } else { most }
}

/// The ICMP or `ICMPv6` header, as memory has it, of an answer to `flow` that quotes `quoted` bytes of this sum.
#[inline(always)]
pub const fn icmp_header(flow: &Flow, quote: Sum, quoted: u32) -> [u32; 2] {
    let (kind, sum) = match flow.family {
        Family::V4 => ([3, 13], quote),
        Family::V6 => {
            let length = ICMP_HEADER.wrapping_add(quoted);
            let addresses = [flow.destination, flow.source];
            ([1, 1], quote.pseudo_header(addresses, Family::V6, protocol::ICMPV6, length))
        }
    };
    let [kind, code] = kind;
    let message = u32::from_be_bytes([kind, code, 0, 0]).to_be();
    [message | checksum_second(sum.word(message)), 0]
}

/// The IPv4 header, as memory has it, of an answer to `flow` with `length` bytes of this protocol.
#[inline(always)]
pub const fn ipv4_header(flow: &Flow, protocol: u8, length: u32) -> [u32; 5] {
    let total = IPV4_HEADER.wrapping_add(length) & 0xffff;
    let first = (0x4500_0000 | total).to_be();
    // It is not cut on its way, so it needs no identification (RFC 6864 section 4.1).
    let second = 0x4000u32.to_be();
    let third = u32::from_be_bytes([HOP_LIMIT, protocol, 0, 0]).to_be();
    let (source, destination) = (word_v4(flow.destination), word_v4(flow.source));
    let sum = Sum::NONE.word(first).word(second).word(third).word(source).word(destination);
    [first, second, third | checksum_second(sum), source, destination]
}

/// The IPv6 header, as memory has it, of an answer to `flow` with `length` bytes of this protocol.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "words are halved")]
pub const fn ipv6_header(flow: &Flow, protocol: u8, length: u32) -> [u32; 10] {
    let third = (length << 16 | (protocol as u32) << 8 | HOP_LIMIT as u32).to_be();
    let ([s0, s1], [d0, d1]) = (flow.destination.numbers_v6(), flow.source.numbers_v6());
    [
        0x6000_0000u32.to_be(),
        third,
        ((s0 >> 32) as u32).to_be(),
        (s0 as u32).to_be(),
        ((s1 >> 32) as u32).to_be(),
        (s1 as u32).to_be(),
        ((d0 >> 32) as u32).to_be(),
        (d0 as u32).to_be(),
        ((d1 >> 32) as u32).to_be(),
        (d1 as u32).to_be(),
    ]
}

#[inline(always)]
const fn word_v4(address: Address) -> u32 {
    address.number_v4().to_be()
}

/// A checksum in the first two bytes of a word of memory.
#[inline(always)]
const fn checksum_first(sum: Sum) -> u32 {
    ((u16::from_be(sum.checksum()) as u32) << 16).to_be()
}

/// The same in the other two.
#[inline(always)]
const fn checksum_second(sum: Sum) -> u32 {
    (u16::from_be(sum.checksum()) as u32).to_be()
}
