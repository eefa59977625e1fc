//! Which response belongs to which request, and what is counted of both.

use super::{Framing, Side, State, flag};
use crate::{
    connection::{Inbound, Outbound, PAIRED, TIMED},
    flow::Direction,
    service::{HttpCounters, Loss, Method, Ticks},
};

/// What [`Outbound::switched`] is once a request for a tunnel was agreed to (CONNECT).
const TUNNEL: u32 = 1;
/// What it is once the server has said which protocol follows (101).
const UPGRADED: u32 = 2;

/// What the client sends.
pub struct Requests<'a> {
    /// What is kept of the connection.
    pub inbound: &'a Inbound,
    /// What the other side keeps.
    pub outbound: &'a Outbound,
    /// Where it is counted.
    pub counters: &'a mut HttpCounters,
    /// When its bytes came.
    pub now: Ticks,
    /// Whether connections to the service may go on in HTTP/2.
    pub may_be_http2: bool,
}

impl Requests<'_> {
    /// How many requests wait for their responses.
    #[inline(always)]
    fn waiting(&self) -> u32 {
        self.inbound.asked.get().wrapping_sub(self.outbound.answered.get())
    }

    /// Says of request `number` whether a bit is set, unless that would change it for one that waits.
    #[inline(always)]
    fn note(&self, bits: &core::cell::Cell<u64>, is_set: bool) {
        let bit = 1_u64 << u64::from(self.inbound.asked.get() % PAIRED);
        let before = bits.get();
        let after = if is_set { before | bit } else { before & !bit };
        if after != before {
            if self.waiting() >= PAIRED {
                self.inbound.overflowed.set(1);
            }
            bits.set(after);
        }
    }
}

impl Side for Requests<'_> {
    const RESPONSES: bool = false;

    #[inline(always)]
    fn begun(&self) {
        let Inbound { asked, started, rounds, .. } = self.inbound;
        let number = asked.get();
        if self.waiting() >= TIMED {
            return;
        }
        let place = (number % TIMED) as usize;
        if let (Some(started), Some(round)) = (started.get(place), rounds.get(place)) {
            started.set(self.now);
            round.set(round_of(number));
        }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a number of a method is small")]
    fn requested(&mut self, method: u64) {
        if let Some(count) = self.counters.requests.get_mut(method as u32 as usize) {
            *count = count.wrapping_add(1);
        }
        self.note(&self.inbound.bodiless, method == u64::from(Method::Head.number()));
        self.note(&self.inbound.tunnels, method == u64::from(Method::Connect.number()));
        self.inbound.asked.set(self.inbound.asked.get().wrapping_add(1));
    }

    #[inline(always)]
    fn answered(&mut self, _status: u64, _flags: u64) {}

    #[inline(always)]
    fn framing(&self, _flags: u64) -> Framing {
        Framing::ByHeaders
    }

    #[inline(always)]
    fn ended(&mut self) {}

    #[inline(always)]
    fn is_switched(&self) -> bool {
        self.outbound.switched.get() != 0
    }

    #[inline(always)]
    fn may_be_http2(&self) -> bool {
        self.may_be_http2 && self.outbound.switched.get() != TUNNEL
    }

    #[inline(always)]
    fn lost(&mut self, loss: Loss) {
        self.counters.lost.count(Direction::In, loss);
    }
}

/// What the server sends.
pub struct Responses<'a> {
    /// What the other side keeps.
    pub inbound: &'a Inbound,
    /// What is kept of the connection.
    pub outbound: &'a Outbound,
    /// Where it is counted.
    pub counters: &'a mut HttpCounters,
    /// When its bytes went.
    pub now: Ticks,
    /// Whether connections to the service may go on in HTTP/2.
    pub may_be_http2: bool,
}

impl Responses<'_> {
    /// Whether no request waits for a response.
    #[inline(always)]
    fn is_unasked(&self) -> bool {
        self.outbound.answered.get() == self.inbound.asked.get()
    }

    /// Whether there can be requests that nobody read.
    #[inline(always)]
    fn is_request_lost(&self) -> bool {
        matches!(self.inbound.cursor.state.get(), State::Lost) || self.outbound.unseen.get() != 0
    }

    /// A bit of the request that waits longest.
    #[inline(always)]
    fn is_noted(&self, bits: &core::cell::Cell<u64>) -> bool {
        bits.get() >> u64::from(self.outbound.answered.get() % PAIRED) & 1 != 0
    }

    /// When the request began that waits longest, if that was noted.
    #[inline(always)]
    fn start(&self) -> Option<Ticks> {
        let number = self.outbound.answered.get();
        let place = (number % TIMED) as usize;
        let round = self.inbound.rounds.get(place)?.get();
        let started = self.inbound.started.get(place)?.get();
        (round == round_of(number) && !self.is_unasked()).then_some(started)
    }
}

impl Side for Responses<'_> {
    const RESPONSES: bool = true;

    #[inline(always)]
    fn begun(&self) {}

    #[inline(always)]
    fn requested(&mut self, _method: u64) {}

    #[inline(always)]
    fn answered(&mut self, status: u64, flags: u64) {
        let class = class(status);
        if let Some(count) = self.counters.responses.get_mut(class) {
            *count = count.wrapping_add(1);
        }
        if flags & flag::INTERIM != 0 {
            return;
        }
        let Outbound { started, timed, .. } = self.outbound;
        if let Some(start) = self.start() {
            started.set(start);
            timed.set(1);
            self.counters.first_byte.observe(self.now.since(start));
        } else {
            timed.set(0);
            self.counters.untimed = self.counters.untimed.wrapping_add(1);
        }
    }

    #[inline(always)]
    fn framing(&self, flags: u64) -> Framing {
        if flags & flag::INTERIM != 0 {
            return Framing::None;
        }
        if self.inbound.overflowed.get() != 0 {
            return Framing::Lost(Loss::Pipeline);
        }
        let (mut is_bodiless, mut is_tunnel) = (flags & flag::BODILESS != 0, flags & flag::SWITCHING != 0);
        if self.is_unasked() {
            // A server may answer what is no request. After a request that was lost, nobody can say which this is.
            if self.is_request_lost() {
                return Framing::Lost(Loss::Unpaired);
            }
        } else {
            is_bodiless |= self.is_noted(&self.inbound.bodiless);
            is_tunnel |= flags & flag::SUCCESS != 0 && self.is_noted(&self.inbound.tunnels);
            self.outbound.answered.set(self.outbound.answered.get().wrapping_add(1));
        }
        if is_tunnel {
            self.outbound.switched.set(if flags & flag::SWITCHING != 0 { UPGRADED } else { TUNNEL });
            Framing::Tunnel
        } else if is_bodiless {
            Framing::None
        } else {
            Framing::ByHeaders
        }
    }

    #[inline(always)]
    fn ended(&mut self) {
        if self.outbound.timed.get() != 0 {
            self.outbound.timed.set(0);
            self.counters.last_byte.observe(self.now.since(self.outbound.started.get()));
        }
    }

    #[inline(always)]
    fn is_switched(&self) -> bool {
        self.outbound.switched.get() != 0
    }

    #[inline(always)]
    fn may_be_http2(&self) -> bool {
        self.may_be_http2 && self.outbound.switched.get() != TUNNEL
    }

    #[inline(always)]
    fn lost(&mut self, loss: Loss) {
        self.counters.lost.count(Direction::Out, loss);
    }
}

/// Which class of [`HttpCounters::responses`] a status is in.
#[inline(always)]
const fn class(status: u64) -> usize {
    match status {
        0..200 => 0,
        200..300 => 1,
        300..400 => 2,
        400..500 => 3,
        _ => 4,
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it wraps")]
const fn round_of(number: u32) -> u8 {
    (number / TIMED) as u8
}
