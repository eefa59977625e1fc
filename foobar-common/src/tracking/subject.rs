//! Which flow a packet is about, and what it does to it.

use super::{FlowKey, key::kind};
use crate::{
    address::Address,
    flow::{
        Direction, Family, Fragment, protocol,
        tcp_flag::{ACK, FIN, RST, SYN},
    },
    frame::Frame,
    parse::{Headers, header_offset},
    verdict::Reason,
    words::words,
};

/// Where the numbers of a TCP header are.
const NUMBERS_AT: usize = 4;
/// Where an ICMP echo has its id, and its length up to there and the sequence number (RFC 792, RFC 4443 section 4.1).
const ECHO_ID_AT: usize = 4;
const ECHO_HEADER: u32 = 8;
/// What comes before the packet that an ICMP error quotes.
const ERROR_HEADER: u32 = 8;
/// How much of the transport header an ICMP error quotes at least (RFC 792).
const QUOTED_MIN: u32 = 8;
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;
const IPV6_FRAGMENT: u8 = 44;
const IPV6_FRAGMENT_HEADER: u32 = 8;

words! {
    /// What a packet does to a flow.
    Act {
        Aside = 0, "aside", "nothing: a message of ICMP that is neither an echo nor an error";
        Speaks = 1, "speaks", "a packet of a protocol without connections, or an ICMP echo request";
        Replies = 2, "replies", "an ICMP echo reply";
        Syn = 3, "syn", "opens a TCP connection";
        SynAck = 4, "syn_ack", "agrees to one";
        Ack = 5, "ack", "goes on with one";
        Fin = 6, "fin", "has nothing more to say in one";
        Reset = 7, "reset", "ends one";
        Error = 8, "error", "an ICMP error about a packet of the flow";
        Impossible = 9, "impossible", "what nobody sends in a flow: TCP flags that exclude each other, a part without a beginning";
    }
}

/// Which flow a packet is about, and what it does to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Subject {
    /// The flow: of an ICMP error, the one that it quotes.
    pub key: FlowKey,
    /// The number of the [`Act`].
    pub act: u32,
    /// Of a SYN-ACK, the number that its answer has to acknowledge; of other TCP packets, the one that they do acknowledge.
    pub number: u32,
}

impl Subject {
    /// Nothing yet.
    pub const NONE: Self = Self { key: FlowKey::NONE, act: Act::Impossible as u32, number: 0 };

    /// What it does; `None` for a number that no act has.
    #[inline(always)]
    pub const fn act(&self) -> Option<Act> {
        Act::from_number(self.act)
    }

    /// Reads it from a packet that goes this way, whose headers have been read. What cannot be read is impossible.
    #[inline(always)]
    pub fn read(&mut self, frame: &Frame<'_>, headers: &Headers, direction: Direction) {
        self.act = Act::Impossible as u32;
        self.number = 0;
        // The reason is of no interest.
        let _read: Result<(), Reason> = self.read_all(frame, headers, direction);
    }

    #[inline(always)]
    fn read_all(&mut self, frame: &Frame<'_>, headers: &Headers, direction: Direction) -> Result<(), Reason> {
        let flow = &headers.flow;
        if matches!(flow.fragment, Fragment::Later) {
            return Ok(());
        }
        let at = header_offset(headers.transport as usize);
        let mut act = Act::Speaks;
        match flow.protocol {
            protocol::TCP => {
                act = tcp(flow.tcp_flags);
                let [s0, s1, s2, s3, a0, a1, a2, a3] =
                    frame.read(at.wrapping_add(NUMBERS_AT), Reason::TruncatedTransport)?;
                self.number = if matches!(act, Act::SynAck) {
                    u32::from_be_bytes([s0, s1, s2, s3]).wrapping_add(1)
                } else {
                    u32::from_be_bytes([a0, a1, a2, a3])
                };
                self.key.become_of(flow, direction);
            }
            protocol::ICMP | protocol::ICMPV6 => match Message::of(flow.protocol, flow.icmp_type) {
                Message::Other => act = Act::Aside,
                Message::Error => {
                    act = Act::Error;
                    self.quoted(frame, headers, direction)?;
                }
                message @ (Message::Request | Message::Reply) => {
                    if headers.left < ECHO_HEADER {
                        return Ok(());
                    }
                    let id = frame.read(at.wrapping_add(ECHO_ID_AT), Reason::TruncatedTransport)?;
                    self.key.become_of(flow, direction);
                    self.key.put_echo(id, message, direction);
                    if matches!(message, Message::Reply) {
                        act = Act::Replies;
                    }
                }
            },
            _ => self.key.become_of(flow, direction),
        }
        self.act = act as u32;
        Ok(())
    }

    /// Reads the flow of the packet that an ICMP error quotes, which went the other way. It may be cut off eight bytes behind
    /// the IP header.
    #[inline(always)]
    #[expect(clippy::host_endian_bytes, reason = "words are as memory has them")]
    fn quoted(&mut self, frame: &Frame<'_>, headers: &Headers, direction: Direction) -> Result<(), Reason> {
        let truncated = Reason::TruncatedTransport;
        let flow = &headers.flow;
        let network = header_offset(headers.transport.wrapping_add(ERROR_HEADER) as usize);
        let (source, destination, number, length);
        match flow.family {
            Family::V4 => {
                let words: [u32; 5] = frame.read(network, truncated)?;
                let [first, second, third, from, to] = words;
                let [version_length, ..] = first.to_ne_bytes();
                let [_, _, f0, f1] = second.to_ne_bytes();
                let [_, protocol, ..] = third.to_ne_bytes();
                let header = u32::from(version_length & 0x0f).wrapping_mul(4);
                // A later fragment has no ports.
                if version_length >> 4 != 4
                    || header < IPV4_HEADER
                    || u16::from_be_bytes([f0, f1]) & 0x1fff != 0
                {
                    return Err(truncated);
                }
                (source, destination) = (Address::from_word(from), Address::from_word(to));
                (number, length) = (protocol, header);
            }
            Family::V6 => {
                let words: [u64; 5] = frame.read(network, truncated)?;
                let [first, from_high, from_low, to_high, to_low] = words;
                let [version, _, _, _, _, _, mut next, _] = first.to_ne_bytes();
                let mut header = IPV6_HEADER;
                if version >> 4 != 6 {
                    return Err(truncated);
                }
                if next == IPV6_FRAGMENT {
                    let [inner, _, o0, o1] =
                        frame.read(network.wrapping_add(IPV6_HEADER as usize), truncated)?;
                    if u16::from_be_bytes([o0, o1]) & 0xfff8 != 0 {
                        return Err(truncated);
                    }
                    next = inner;
                    header = header.wrapping_add(IPV6_FRAGMENT_HEADER);
                }
                source = Address::from_words([from_high, from_low]);
                destination = Address::from_words([to_high, to_low]);
                (number, length) = (next, header);
            }
        }
        let before = ERROR_HEADER.wrapping_add(length);
        // An error goes to whoever sent what it is about (RFC 1122 section 3.2.2, RFC 4443 section 2.2).
        if headers.left < before.wrapping_add(QUOTED_MIN) || flow.destination != source {
            return Err(truncated);
        }
        let at = header_offset(headers.transport.wrapping_add(before) as usize);
        let [b0, b1, b2, b3, b4, b5, _, _]: [u8; QUOTED_MIN as usize] = frame.read(at, truncated)?;
        let sent = match direction {
            Direction::In => Direction::Out,
            Direction::Out => Direction::In,
        };
        self.key.become_between([&source, &destination], sent, kind(flow.family, number));
        match number {
            protocol::TCP | protocol::UDP | protocol::SCTP => self.key.put_ports([b0, b1], [b2, b3], sent),
            protocol::ICMP | protocol::ICMPV6 => match Message::of(number, b0) {
                message @ (Message::Request | Message::Reply) => {
                    self.key.put_echo([b4, b5], message, sent);
                }
                Message::Error | Message::Other => return Err(truncated),
            },
            _ => {}
        }
        Ok(())
    }
}

/// What TCP flags do; PSH, URG and those of congestion control say nothing of it.
#[inline(always)]
const fn tcp(flags: u8) -> Act {
    const SYN_ACK: u8 = SYN | ACK;
    const FIN_ACK: u8 = FIN | ACK;
    const RST_ACK: u8 = RST | ACK;
    match flags & (FIN | SYN | RST | ACK) {
        SYN => Act::Syn,
        SYN_ACK => Act::SynAck,
        ACK => Act::Ack,
        FIN_ACK => Act::Fin,
        RST | RST_ACK => Act::Reset,
        _ => Act::Impossible,
    }
}

/// The messages of ICMP that have to do with flows.
#[derive(Clone, Copy)]
enum Message {
    /// Echo request.
    Request,
    /// Echo reply.
    Reply,
    /// Destination unreachable, time exceeded, parameter problem; in IPv6 also packet too big.
    Error,
    Other,
}

impl Message {
    #[inline(always)]
    const fn of(protocol: u8, kind: u8) -> Self {
        match (protocol, kind) {
            (protocol::ICMP, 8) | (protocol::ICMPV6, 128) => Self::Request,
            (protocol::ICMP, 0) | (protocol::ICMPV6, 129) => Self::Reply,
            (protocol::ICMP, 3 | 11 | 12) | (protocol::ICMPV6, 1..=4) => Self::Error,
            _ => Self::Other,
        }
    }
}

impl FlowKey {
    /// Puts the id of an echo that goes this way into it. Who asks is part of it, so that both ends can ping each other with the
    /// same id.
    #[inline(always)]
    fn put_echo(&mut self, id: [u8; 2], message: Message, direction: Direction) {
        let is_asked_there = matches!(
            (message, direction),
            (Message::Request, Direction::In) | (Message::Reply, Direction::Out)
        );
        self.local_port = id;
        self.remote_port = [0, u8::from(is_asked_there)];
    }
}
