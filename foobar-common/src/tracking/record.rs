//! What is kept of a flow, and how packets change it.
//!
//! A TCP connection is followed by what both sides send: SYN, SYN-ACK, the ACK that answers its number, FIN and RST (RFC 9293
//! section 3.3.2). What this server sends is believed; what comes in may be made up by somebody who cannot see the
//! connection, so the other end can neither confirm a connection without the number of the SYN-ACK, nor end one by itself.

use super::{Act, FlowKey, Subject};
use crate::flow::{Direction, protocol};

/// A point in time, in units of 2^30 ns (1.07 s) of the kernel's monotonic clock. It wraps after 146 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Moment(pub u32);

impl Moment {
    /// From nanoseconds of the clock.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "it wraps")]
    pub const fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self((nanoseconds >> SHIFT) as u32)
    }

    /// So many units later.
    #[inline(always)]
    #[must_use]
    pub const fn after(self, units: u32) -> Self {
        Self(self.0.wrapping_add(units))
    }

    /// Whether it is later than another one.
    #[inline(always)]
    pub const fn is_after(self, other: Self) -> bool {
        other.0.wrapping_sub(self.0).cast_signed() < 0
    }
}

const SHIFT: u32 = 30;

/// Units of [`Moment`] that are at least so many seconds, from any point of the present unit on.
#[expect(clippy::cast_possible_truncation, reason = "less than the seconds, and two")]
pub const fn seconds(seconds: u32) -> u32 {
    (((seconds as u64).wrapping_mul(1_000_000_000) >> SHIFT) as u32).wrapping_add(2)
}

/// What is kept of a flow.
///
/// Each field is written by a plain store. Two processors that see packets of one flow at the same time may lose one of
/// two changes; what is lost then is at most that the flow is kept longer, or stays among those without proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TrackedFlow {
    /// From then on it is not known any more, unless another packet comes.
    pub until: Moment,
    /// What both sides have said: bits.
    pub said: u32,
    /// The number that the ACK of a TCP connection has to acknowledge: that of its SYN-ACK, and one.
    pub number: u32,
}

/// This server began.
const BEGAN_HERE: u32 = 1;
/// The other side has answered; of TCP, by a SYN-ACK.
const ANSWERED: u32 = 1 << 1;
/// The side that began a TCP connection has acknowledged the answer.
const CONFIRMED: u32 = 1 << 2;
const FIN_IN: u32 = 1 << 3;
const FIN_OUT: u32 = 1 << 4;
const RST_IN: u32 = 1 << 5;
const RST_OUT: u32 = 1 << 6;

/// How long flows are kept without another packet, in seconds.
mod patience {
    /// A TCP connection that is not confirmed: longer than Linux waits before it sends a SYN for the last time (64 s).
    pub(super) const OPENING: u32 = 120;
    /// A TCP connection, as Linux has it (`nf_conntrack_tcp_timeout_established`).
    pub(super) const CONNECTED: u32 = 432_000;
    /// The other end says that it is over, of which there is no proof: longer than Linux waits before it asks the other end
    /// of an idle connection (`tcp_keepalive_time` and all its probes, 7,875 s), after which this server speaks or is gone.
    pub(super) const SAID_TO_BE_OVER: u32 = 8_000;
    /// This server has nothing more to say, and the other end has.
    pub(super) const HALF_CLOSED: u32 = 3_600;
    /// Both sides have nothing more to say.
    pub(super) const CLOSED: u32 = 120;
    /// This server has reset it.
    pub(super) const RESET: u32 = 10;
    /// A UDP conversation, before and after an answer.
    pub(super) const UDP: [u32; 2] = [30, 180];
    /// A ping.
    pub(super) const ECHO: [u32; 2] = [30, 30];
    /// Any other protocol.
    pub(super) const OTHER: [u32; 2] = [60, 600];
}

/// Units of [`Moment`] that a connection has left if it was in use within the last eight: as often it is noted that it is.
const NOTED: u32 = seconds(patience::CONNECTED).wrapping_sub(8);

impl TrackedFlow {
    /// None: its time is over before there was any.
    pub const FORGOTTEN: Self = Self { until: Moment(0), said: 0, number: 0 };

    /// A flow that begins with a packet which goes this way.
    #[inline(always)]
    pub fn begun(subject: &Subject, direction: Direction, now: Moment) -> Self {
        let said = match (subject.act(), direction) {
            // What this server goes on with has been confirmed before anybody looked.
            (Some(Act::Ack), Direction::Out) => BEGAN_HERE | ANSWERED | CONFIRMED,
            // What comes in brings the cookie back that was sent: the client began, and has confirmed.
            (Some(Act::Ack), Direction::In) => ANSWERED | CONFIRMED,
            (_, Direction::Out) => BEGAN_HERE,
            (_, Direction::In) => 0,
        };
        Self { until: Moment(0), said, number: 0 }.kept(&subject.key, now)
    }

    /// A TCP connection that was there before anybody looked, which this side began.
    pub fn older(began: Direction, key: &FlowKey, now: Moment) -> Self {
        let side = match began {
            Direction::Out => BEGAN_HERE,
            Direction::In => 0,
        };
        Self { until: Moment(0), said: side | ANSWERED | CONFIRMED, number: 0 }.kept(key, now)
    }

    /// The same after a packet which goes this way and is accepted.
    #[inline(always)]
    #[must_use]
    pub fn after(self, subject: &Subject, direction: Direction, now: Moment) -> Self {
        let Some(act) = subject.act() else { return self };
        let mut next = self;
        let is_back = self.began() as u8 != direction as u8;
        match (act, direction) {
            // This server would not open a connection that it has.
            (Act::Syn, Direction::Out) => next = Self { said: BEGAN_HERE, number: 0, ..self },
            (Act::SynAck, Direction::Out) => next = Self { said: ANSWERED, number: subject.number, ..self },
            (Act::SynAck, Direction::In) if is_back && self.said & CONFIRMED == 0 => {
                next.said |= ANSWERED;
                next.number = subject.number;
            }
            (Act::Ack | Act::Fin, _) if !is_back && self.is_answered() && subject.number == self.number => {
                next.said |= CONFIRMED;
            }
            (Act::Speaks | Act::Replies, _) if is_back => next.said |= ANSWERED,
            _ => {}
        }
        if next.said & CONFIRMED != 0 {
            match (act, direction) {
                (Act::Fin, Direction::In) => next.said |= FIN_IN,
                (Act::Fin, Direction::Out) => next.said |= FIN_OUT,
                (Act::Reset, Direction::In) => next.said |= RST_IN,
                (Act::Reset, Direction::Out) => next.said |= RST_OUT,
                // It still speaks of it, so no reset was one.
                (Act::Ack, Direction::Out) => next.said &= !(RST_IN | RST_OUT),
                _ => {}
            }
        }
        next.kept(&subject.key, now)
    }

    /// Which side began, as the way that its packets go.
    #[inline(always)]
    pub const fn began(&self) -> Direction {
        if self.said & BEGAN_HERE != 0 { Direction::Out } else { Direction::In }
    }

    /// Whether the other side has answered.
    #[inline(always)]
    pub const fn is_answered(&self) -> bool {
        self.said & ANSWERED != 0
    }

    /// Whether a packet from the side that did not begin can be part of it.
    #[inline(always)]
    pub(super) const fn can_be_answered_by(&self, act: Act) -> bool {
        self.is_answered() || matches!(act, Act::Speaks | Act::Replies | Act::SynAck | Act::Reset)
    }

    /// Whether a packet has come by that only the two ends can send: the ACK of a TCP connection, which has the number of the
    /// SYN-ACK; of other protocols, an answer to what this server asked. What comes in by itself and is answered proves
    /// nothing.
    #[inline(always)]
    pub const fn is_proved(&self, key: &FlowKey) -> bool {
        let proof = if key.is_tcp() { CONFIRMED } else { BEGAN_HERE | ANSWERED };
        self.said & proof == proof
    }

    /// Whether it is a TCP connection that both sides have agreed to and neither has ended, and was in use so lately that
    /// it need not be noted that it still is.
    #[inline(always)]
    pub(super) const fn is_settled(&self, now: Moment) -> bool {
        self.said & !BEGAN_HERE == ANSWERED | CONFIRMED && self.until.is_after(now.after(NOTED))
    }

    /// Whether it still is known.
    #[inline(always)]
    pub const fn is_known(&self, now: Moment) -> bool {
        self.until.is_after(now)
    }

    #[inline(always)]
    fn kept(self, key: &FlowKey, now: Moment) -> Self {
        Self { until: now.after(seconds(self.patience(key.protocol()))), ..self }
    }

    #[inline(always)]
    fn patience(&self, protocol: u8) -> u32 {
        let said = self.said;
        let [before, after] = match protocol {
            protocol::TCP => {
                return if said & CONFIRMED == 0 {
                    patience::OPENING
                } else if said & RST_OUT != 0 {
                    patience::RESET
                } else if said & FIN_OUT != 0 && said & (FIN_IN | RST_IN) != 0 {
                    patience::CLOSED
                } else if said & FIN_OUT != 0 {
                    patience::HALF_CLOSED
                } else if said & (FIN_IN | RST_IN) != 0 {
                    patience::SAID_TO_BE_OVER
                } else {
                    patience::CONNECTED
                };
            }
            protocol::UDP => patience::UDP,
            protocol::ICMP | protocol::ICMPV6 => patience::ECHO,
            _ => patience::OTHER,
        };
        if self.is_answered() { after } else { before }
    }
}
