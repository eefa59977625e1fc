//! What the client says.

use super::{
    Command, Expected, HEAD_MAX, Operation, Statements,
    login::{agreed, capability},
    session::{Answered, Asked, Client, ClientPhase, PAIRED},
    statement::Statement,
};
use crate::{
    flow::Direction,
    service::{Loss, MysqlCounters, Ticks},
    stream::Reader,
};

/// The number that stands for the statement that was prepared last (`MariaDB`).
const LAST_PREPARED: u32 = u32::MAX;
/// What an acknowledgment of a replica begins with (semi-synchronous replication).
const ACKNOWLEDGMENT: u64 = 0xef;
/// How many attributes a statement has, none, and in how many sets; two bytes, the first one lowest.
const NO_ATTRIBUTES: u64 = 0x0100;
/// Bytes up to there: the command and two numbers.
const BEHIND_ATTRIBUTES: u32 = 3;
/// Bytes of a command and the number of a prepared statement.
const BEHIND_NUMBER: u32 = 5;

/// Reads the client's side.
#[derive(Debug)]
pub struct Commands<'a, S> {
    /// What is kept of it.
    pub client: &'a mut Client,
    /// What the other side reads.
    pub asked: &'a Asked,
    /// What is known of the other side.
    pub answered: &'a Answered,
    /// Where it is counted.
    pub counters: &'a mut MysqlCounters,
    /// The prepared statements of the session.
    pub statements: S,
    /// When the bytes came, in nanoseconds of the kernel's monotonic clock.
    pub now: u64,
}

impl<S: Statements> Reader for Commands<'_, S> {
    const DIRECTION: Direction = Direction::In;

    #[inline(always)]
    fn is_lost(&self) -> bool {
        matches!(self.client.phase, ClientPhase::Lost)
    }

    #[inline(always)]
    fn lose(&mut self, loss: Loss) {
        self.give_up();
        self.counters.lost.count(Direction::In, loss);
    }

    #[inline(always)]
    fn notice(&mut self) {
        let Answered { is_ready, is_lost, unseen, .. } = self.answered;
        if self.is_lost() {
            return;
        }
        if is_ready.get() != 0 && self.asked.is_compressed.get() != 0 {
            self.lose(Loss::Compressed);
        } else if unseen.get() != 0 {
            // It has been counted where it was seen.
            self.give_up();
        } else if is_lost.get() != 0 {
            self.lose(Loss::Unpaired);
        }
    }

    #[inline(always)]
    fn can_miss(&self, bytes: u64) -> bool {
        self.client.can_miss(bytes)
    }

    #[inline(always)]
    fn pass(&mut self, bytes: u32) -> u32 {
        if self.client.is_text {
            return 0;
        }
        let passed = self.client.packets.pass(bytes);
        self.packet_ended();
        passed
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lowest byte of it")]
    fn read(&mut self, word: u64, bytes: u32) -> u32 {
        let taken = if self.client.is_text {
            let passed = self.client.packets.pass(1);
            if passed > 0
                && let Some(operation) = self.client.statement.read(word as u8)
            {
                self.stated(operation);
            }
            // A header stands between two packets of a statement.
            if passed > 0 { passed } else { self.read_packet(word, bytes) }
        } else {
            self.read_packet(word, bytes)
        };
        self.packet_ended();
        taken
    }
}

impl<S: Statements> Commands<'_, S> {
    #[inline(always)]
    fn give_up(&mut self) {
        self.client.phase = ClientPhase::Lost;
        self.asked.is_lost.set(1);
    }

    #[inline(always)]
    fn read_packet(&mut self, word: u64, bytes: u32) -> u32 {
        let (taken, is_complete) = self.client.packets.read(word, bytes);
        if is_complete {
            self.payload_began();
        }
        taken
    }

    /// A statement ends with its payload.
    #[inline(always)]
    fn packet_ended(&mut self) {
        let Some(is_continued) = self.client.packets.end() else { return };
        if !matches!(self.client.phase, ClientPhase::Silent) {
            self.client.packets.want(1);
        }
        if !is_continued && self.client.is_text {
            let operation = self.client.statement.end();
            self.stated(operation);
        }
    }

    /// The first bytes of a payload are there.
    #[inline(always)]
    fn payload_began(&mut self) {
        if matches!(self.client.phase, ClientPhase::Silent) {
            return self.logs_in();
        }
        let Client { packets, files, .. } = self.client;
        if *files != self.answered.files.get() {
            // The end of a file is a packet without payload.
            if packets.length() == 0 {
                *files = files.wrapping_add(1);
            }
            return;
        }
        // Answers to what the server wants to know of a client.
        if packets.sequence() != 0 {
            return;
        }
        if self.answered.is_ready.get() == 0 {
            return self.lose(Loss::Order);
        }
        if packets.length() == 0 {
            return self.lose(Loss::NotMysql);
        }
        match packets.head_bytes() {
            1 if self.is_acknowledgment() => {}
            1 => self.command_began(),
            BEHIND_ATTRIBUTES => self.attributes_came(),
            _ => self.statement_named(),
        }
    }

    /// Counts the session.
    #[inline(always)]
    fn logs_in(&mut self) {
        let Client { packets, phase, has_attributes, .. } = self.client;
        let (head, length) = (packets.head(), packets.length());
        let Some(agreed) = agreed(head, length, self.answered.offered.get()) else {
            return self.lose(Loss::NotMysql);
        };
        *phase = ClientPhase::Known;
        *has_attributes = agreed & capability::QUERY_ATTRIBUTES != 0;
        let is_encrypted = agreed & capability::SSL != 0;
        let is_compressed = agreed & (capability::COMPRESS | capability::ZSTD) != 0;
        self.statements.begun(self.counters, is_encrypted, is_compressed);
        self.asked.is_compressed.set(u8::from(is_compressed));
        if is_encrypted {
            self.asked.is_encrypted.set(1);
            self.lose(Loss::Encrypted);
        }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lowest byte of it")]
    fn command_began(&mut self) {
        let command = Command::of_byte(self.client.packets.head() as u8);
        self.client.command = command as u8;
        self.counters.command(command);
        if matches!(command, Command::BinlogDump) {
            self.asked.is_replica.set(1);
        }
        if matches!(command, Command::Query) && self.client.has_attributes {
            self.client.packets.want(BEHIND_ATTRIBUTES as u8);
        } else if command.has_text() {
            self.text_begins();
        } else if command.has_statement() {
            self.client.packets.want(BEHIND_NUMBER as u8);
        } else {
            self.expect(command, Expected::PLAIN);
        }
    }

    #[inline(always)]
    fn text_begins(&mut self) {
        self.client.statement = Statement::default();
        self.client.is_text = true;
    }

    /// Whether a replica says how far it has come, which is no command.
    #[inline(always)]
    fn is_acknowledgment(&self) -> bool {
        self.asked.is_replica.get() != 0 && self.client.packets.head() == ACKNOWLEDGMENT
    }

    /// A command and how many attributes there are have been read; where there are some, what they are says nothing.
    #[inline(always)]
    fn attributes_came(&mut self) {
        if self.client.packets.head() >> 8 == NO_ATTRIBUTES {
            self.text_begins();
        } else {
            self.stated(Operation::Unknown);
        }
    }

    /// A command and the number of its statement have been read.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "four bytes of it")]
    fn statement_named(&mut self) {
        let number = (self.client.packets.head() >> 8) as u32;
        if u32::from(self.client.command) == Command::Close.number() {
            self.statements.forget(number);
            return;
        }
        let operation = if number == LAST_PREPARED {
            self.client.prepared
        } else {
            self.statements.find(number).unwrap_or(Operation::Unknown)
        };
        self.counters.query(operation, self.now);
        self.expect(Command::Execute, Expected::query(operation));
    }

    /// It is known what the statement does that is being read.
    #[inline(always)]
    fn stated(&mut self, operation: Operation) {
        self.client.is_text = false;
        if u32::from(self.client.command) == Command::Prepare.number() {
            self.client.prepared = operation;
            self.expect(Command::Prepare, Expected::prepared(operation));
        } else {
            self.counters.query(operation, self.now);
            self.expect(Command::Query, Expected::query(operation));
        }
    }

    /// Notes what the answer is, if there is one.
    #[inline(always)]
    fn expect(&mut self, command: Command, what: Expected) {
        if !command.has_answer() {
            return;
        }
        let Asked { commands, started, expected, rounds, .. } = self.asked;
        let number = commands.get();
        if number.wrapping_sub(self.answered.commands.get()) < PAIRED {
            let place = (number % PAIRED) as usize;
            if let (Some(started), Some(expected), Some(round)) =
                (started.get(place), expected.get(place), rounds.get(place))
            {
                started.set(Ticks::from_nanoseconds(self.now));
                expected.set(what);
                round.set(round_of(number));
            }
        }
        commands.set(number.wrapping_add(1));
    }
}

/// How often the places have been gone around.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it wraps")]
pub(super) const fn round_of(number: u32) -> u8 {
    (number / PAIRED) as u8
}

const _: () = assert!(HEAD_MAX >= BEHIND_NUMBER);
