//! What the server says.

use super::{
    Expected, HEAD_MAX_BYTE, Operation, Statements,
    commands::round_of,
    login::Greeted,
    session::{Answered, Asked, PAIRED, Server, ServerPhase},
};
use crate::{
    flow::Direction,
    service::{Loss, MysqlCounters, Ticks},
    stream::Reader,
};

const OK: u8 = 0x00;
const WANTS_FILE: u8 = 0xfb;
const END: u8 = 0xfe;
const ERROR: u8 = 0xff;
/// The code of what is no error but tells of progress (`MariaDB`).
const PROGRESS: u16 = 0xffff;
/// A packet that ends a part of an answer is shorter.
const END_LENGTH: u32 = 9;
/// In the status: another result follows.
const MORE_RESULTS: u64 = 1 << 3;

/// Reads the server's side.
#[derive(Debug)]
pub struct Replies<'a, S> {
    /// What is kept of it.
    pub server: &'a mut Server,
    /// What is known of the other side.
    pub asked: &'a Asked,
    /// What the other side reads.
    pub answered: &'a Answered,
    /// Where it is counted.
    pub counters: &'a mut MysqlCounters,
    /// The prepared statements of the session.
    pub statements: S,
    /// When the bytes went, in nanoseconds of the kernel's monotonic clock.
    pub now: u64,
}

impl<S: Statements> Reader for Replies<'_, S> {
    const DIRECTION: Direction = Direction::Out;

    #[inline(always)]
    fn is_lost(&self) -> bool {
        matches!(self.server.phase, ServerPhase::Lost)
    }

    #[inline(always)]
    fn lose(&mut self, loss: Loss) {
        self.server.phase = ServerPhase::Lost;
        self.answered.is_lost.set(1);
        self.counters.lost.count(Direction::Out, loss);
    }

    #[inline(always)]
    fn notice(&mut self) {
        if self.asked.is_encrypted.get() != 0 && !self.is_lost() {
            self.lose(Loss::Encrypted);
        }
    }

    #[inline(always)]
    fn can_miss(&self, bytes: u64) -> bool {
        let is_greeting = matches!(self.server.phase, ServerPhase::Greeting);
        !is_greeting && self.server.packets.can_miss(bytes)
    }

    #[inline(always)]
    fn pass(&mut self, bytes: u32) -> u32 {
        if matches!(self.server.phase, ServerPhase::Greeting) {
            return 0;
        }
        let passed = self.server.packets.pass(bytes);
        self.server.packets.end();
        passed
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lowest byte of it")]
    fn read(&mut self, word: u64, bytes: u32) -> u32 {
        if matches!(self.server.phase, ServerPhase::Greeting) && self.server.packets.is_in_body() {
            return self.greet(word as u8);
        }
        let (taken, is_complete) = self.server.packets.read(word, bytes);
        if is_complete {
            match self.server.phase {
                ServerPhase::Login => self.login_answered(),
                ServerPhase::Ready => self.answer_came(),
                ServerPhase::Greeting | ServerPhase::Refused | ServerPhase::Lost => {}
            }
        }
        // What the server says at first is read to its end above.
        if !matches!(self.server.phase, ServerPhase::Greeting) {
            self.server.packets.end();
        }
        taken
    }
}

impl<S: Statements> Replies<'_, S> {
    /// Reads a byte of what the server says at first.
    #[inline(always)]
    fn greet(&mut self, byte: u8) -> u32 {
        let Server { packets, greeting, phase, .. } = self.server;
        let passed = packets.pass(1);
        let greeted = if passed > 0 { greeting.read(byte) } else { Greeted::NotMysql };
        let is_end = packets.end().is_some();
        match greeted {
            Greeted::Nothing => {}
            Greeted::Refused => {
                *phase = ServerPhase::Refused;
                self.counters.refused = self.counters.refused.wrapping_add(1);
            }
            Greeted::NotMysql => self.lose(Loss::NotMysql),
        }
        if is_end && matches!(self.server.phase, ServerPhase::Greeting) {
            self.answered.offered.set(self.server.greeting.offered());
            self.server.phase = ServerPhase::Login;
            self.server.packets.want(HEAD_MAX_BYTE);
        }
        passed
    }

    /// The first byte of a payload, as a number that none has if there is none.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lowest byte of it")]
    fn first_byte(&self) -> Option<u8> {
        let packets = &self.server.packets;
        (packets.length() > 0).then_some(packets.head() as u8)
    }

    /// The server says something to a client that has said who it is.
    #[inline(always)]
    fn login_answered(&mut self) {
        match self.first_byte() {
            Some(OK) => {
                self.server.phase = ServerPhase::Ready;
                self.server.sequence = self.server.packets.sequence();
                self.answered.is_ready.set(1);
                if self.asked.is_compressed.get() != 0 {
                    self.lose(Loss::Compressed);
                }
            }
            Some(ERROR) => {
                self.server.phase = ServerPhase::Refused;
                self.counters.login_failures = self.counters.login_failures.wrapping_add(1);
            }
            _ => {}
        }
    }

    /// A packet of an answer.
    #[inline(always)]
    fn answer_came(&mut self) {
        let is_first = self.is_first();
        let first_byte = self.first_byte();
        let packets = &self.server.packets;
        let (length, head, sequence) = (packets.length(), packets.head(), packets.sequence());
        let is_error = first_byte == Some(ERROR) && length >= 3 && error_code(head) != PROGRESS;
        if is_error {
            self.counters.errors = self.counters.errors.wrapping_add(1);
        }
        let has_file = self.server.wants_file;
        self.server.wants_file = false;
        if is_first {
            let expected = self.pair();
            if expected.is_prepared() && first_byte == Some(OK) {
                self.learn(expected, head);
            }
            if first_byte == Some(WANTS_FILE) && expected.is_query() {
                self.server.wants_file = true;
                self.answered.files.set(self.answered.files.get().wrapping_add(1));
            }
        }
        let is_end = first_byte == Some(END) && length < END_LENGTH && head >> 24 & MORE_RESULTS == 0;
        self.server.is_over = is_end || is_error || has_file;
        self.server.sequence = sequence;
    }

    /// Whether a packet is the first of an answer. Their numbers go on within one, and begin anew with each.
    #[inline(always)]
    fn is_first(&self) -> bool {
        let Server { packets, sequence, is_over, wants_file, .. } = &*self.server;
        let number = packets.sequence();
        let waiting = self.asked.commands.get() != self.answered.commands.get();
        // After 256 packets they are at the same number again.
        let is_break = number != sequence.wrapping_add(1) || (number == 1 && *is_over);
        waiting && is_break && !wants_file
    }

    /// The command that waits longest is answered: what is known of it.
    #[inline(always)]
    fn pair(&mut self) -> Expected {
        let number = self.answered.commands.get();
        self.answered.commands.set(number.wrapping_add(1));
        let place = (number % PAIRED) as usize;
        let Asked { started, expected, rounds, .. } = self.asked;
        let (Some(started), Some(expected), Some(round)) =
            (started.get(place), expected.get(place), rounds.get(place))
        else {
            return Expected::PLAIN;
        };
        if round.get() != round_of(number) {
            self.counters.untimed = self.counters.untimed.wrapping_add(1);
            return Expected::PLAIN;
        }
        let expected = expected.get();
        if expected.is_query() {
            let duration = Ticks::from_nanoseconds(self.now).since(started.get());
            self.counters.answered(u32::from(expected.operation()), duration);
        }
        expected
    }

    /// The number of a prepared statement is in an answer.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "four bytes of it")]
    fn learn(&mut self, expected: Expected, head: u64) {
        let operation = Operation::from_number(u32::from(expected.operation()));
        self.statements.keep((head >> 8) as u32, operation.unwrap_or(Operation::Unknown));
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "two bytes of it")]
const fn error_code(head: u64) -> u16 {
    (head >> 8) as u16
}
