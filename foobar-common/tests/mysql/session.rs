//! Sessions made of turns, with what is in them.

use std::collections::BTreeMap;

use foobar_common::{
    mysql::{Command, Operation},
    service::{Loss, MysqlCounters},
};
use proptest::{
    collection::vec,
    prelude::{BoxedStrategy, Just, Strategy as _, any, prop_assert_eq, prop_oneof},
    sample::select,
    test_runner::TestCaseError,
};

const COMPRESS: u32 = 1 << 5;
const PROTOCOL_41: u32 = 1 << 9;
const SSL: u32 = 1 << 11;
const ZSTD: u32 = 1 << 26;
const ATTRIBUTES: u32 = 1 << 27;

/// What the two sides send, one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packets {
    /// What the client says before that.
    pub(crate) opening: Vec<u8>,
    /// What the server says at first, or asks for.
    pub(crate) greeting: Vec<u8>,
    pub(crate) asked: Vec<u8>,
    pub(crate) answered: Vec<u8>,
}

/// What a session was made of.
#[derive(Debug, Default)]
pub(crate) struct Made {
    sessions: [u64; 4],
    login_failures: u64,
    commands: BTreeMap<Command, u64>,
    queries: [u64; 8],
    errors: u64,
    pub(crate) lost: [Option<Loss>; 2],
    /// What prepared statements do, by their numbers.
    pub(crate) prepared: BTreeMap<u32, Operation>,
    /// How many have been prepared.
    statements: u32,
    last_prepared: Operation,
}

impl Made {
    pub(crate) fn lost(&mut self, loss: Loss) {
        self.lost = [Some(loss), Some(loss)];
    }

    /// The next session begins.
    fn begin(&mut self) {
        self.prepared = BTreeMap::new();
        self.statements = 0;
        self.last_prepared = Operation::Unknown;
    }

    /// Whether that is what was counted, but for what was lost.
    pub(crate) fn check(&self, counters: &MysqlCounters) -> Result<(), TestCaseError> {
        prop_assert_eq!(counters.sessions, self.sessions);
        prop_assert_eq!(counters.login_failures, self.login_failures);
        let commands: BTreeMap<Command, u64> = Command::ALL
            .iter()
            .map(|command| (*command, counters.commands[*command as usize]))
            .filter(|(_, count)| *count > 0)
            .collect();
        prop_assert_eq!(&commands, &self.commands);
        prop_assert_eq!(counters.queries, self.queries);
        prop_assert_eq!(counters.errors, self.errors);
        let timed = counters.durations.map(|durations| durations.buckets.iter().sum::<u64>());
        prop_assert_eq!(timed, self.queries);
        prop_assert_eq!(counters.untimed, 0);
        Ok(())
    }
}

/// How a session begins.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    version: String,
    offered: u32,
    wanted: u32,
    /// Packets that both sides send before the server agrees.
    more: usize,
}

pub(crate) fn login() -> impl proptest::prelude::Strategy<Value = Login> {
    let bits = any::<u32>().prop_map(|bits| bits & !(COMPRESS | SSL | ZSTD | ATTRIBUTES));
    ("[0-9a-zA-Z.-]{0,30}", bits.clone(), bits, 0_usize..3, any::<bool>()).prop_map(
        |(version, offered, wanted, more, wants_what_is_not_there)| {
            let extra = if wants_what_is_not_there { COMPRESS | ZSTD | ATTRIBUTES } else { 0 };
            Login { version, offered, wanted: wanted | extra, more }
        },
    )
}

impl Login {
    pub(crate) fn plain() -> Self {
        Self { version: "5.5.5-10.11.6-MariaDB".to_owned(), offered: 0, wanted: PROTOCOL_41, more: 0 }
    }

    pub(crate) fn encrypted() -> Self {
        Self { offered: SSL | COMPRESS, wanted: PROTOCOL_41 | SSL | COMPRESS, ..Self::plain() }
    }

    pub(crate) fn compressed() -> Self {
        Self { offered: ZSTD, wanted: PROTOCOL_41 | ZSTD, ..Self::plain() }
    }

    pub(crate) fn turn(&self, made: &mut Made) -> Packets {
        made.begin();
        let Self { version, offered, wanted, more } = self;
        let [low, high, upper_low, upper_high] = offered.to_le_bytes();
        let greeting = [
            &[10],
            version.as_bytes(),
            &[0],
            &[1, 0, 0, 0],
            b"12345678\0",
            &[low, high, 45, 2, 0, upper_low, upper_high, 21],
            &[0; 10],
            b"123456789012\0mysql_native_password\0",
        ]
        .concat();
        let agreed = wanted & offered;
        let (is_encrypted, is_compressed) = (agreed & SSL != 0, agreed & (COMPRESS | ZSTD) != 0);
        made.sessions[usize::from(is_encrypted) * 2 + usize::from(is_compressed)] += 1;
        let is_new = wanted & PROTOCOL_41 != 0;
        let mut said = wanted.to_le_bytes().to_vec();
        if !is_new {
            // Their upper half is the length of a packet.
            said.truncate(2);
            said.extend([0xff, 0xff, 0xff]);
        }
        said.extend(if is_encrypted { vec![0; 28] } else { vec![1; 60] });
        let mut sequence = 1;
        let mut asked = packet(sequence, &said);
        let mut answered = Vec::new();
        if is_encrypted {
            return Packets { opening: Vec::new(), greeting: packet(0, &greeting), asked, answered };
        }
        for _ in 0..*more {
            answered.extend(packet(sequence + 1, b"\xfemysql_native_password\0"));
            asked.extend(packet(sequence + 2, &[9; 20]));
            sequence += 2;
        }
        answered.extend(packet(sequence + 1, &[0, 0, 0, 2, 0, 0, 0]));
        Packets { opening: Vec::new(), greeting: packet(0, &greeting), asked, answered }
    }
}

/// A command and its answer.
#[derive(Clone, Debug)]
pub(crate) enum Turn {
    Query(Operation, Answer),
    Prepare(Operation, bool),
    /// Executes one of the prepared statements, or one that there is not.
    Execute(usize, Answer),
    ExecuteLast(Answer),
    Close(usize),
    Plain(u8, Answer),
    File(Vec<Vec<u8>>),
}

/// What the server says to a command.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Ok,
    Error,
    /// Rows in text, that many; `true` if an error ends them.
    Rows(usize, bool),
    /// Several results.
    Results(usize),
    /// Something that tells of progress, then the end.
    Progress,
}

const OPERATIONS: [Operation; 6] =
    [Operation::Read, Operation::Write, Operation::Ddl, Operation::Tx, Operation::Other, Operation::Unknown];

pub(crate) fn turns() -> impl proptest::prelude::Strategy<Value = Vec<Turn>> {
    vec(turn(), 0..24)
}

fn turn() -> BoxedStrategy<Turn> {
    let operation = select(&OPERATIONS[..]);
    prop_oneof![
        4 => (operation.clone(), answer()).prop_map(|(operation, answer)| Turn::Query(operation, answer)),
        2 => (operation, any::<bool>()).prop_map(|(operation, fails)| Turn::Prepare(operation, fails)),
        2 => (0_usize..4, answer()).prop_map(|(which, answer)| Turn::Execute(which, answer)),
        1 => answer().prop_map(Turn::ExecuteLast),
        1 => (0_usize..4).prop_map(Turn::Close),
        1 => (select(&[0x0e_u8, 0x02, 0x09, 0x1a, 0x1c, 0x1f, 0x0d][..]), answer())
            .prop_map(|(byte, answer)| Turn::Plain(byte, answer)),
        1 => vec(vec(any::<u8>(), 1..40), 0..300).prop_map(Turn::File),
    ]
    .boxed()
}

fn answer() -> BoxedStrategy<Answer> {
    prop_oneof![
        Just(Answer::Ok),
        Just(Answer::Error),
        // 256 packets are where their numbers begin anew.
        (prop_oneof![0_usize..5, 245_usize..260, 508_usize..512], any::<bool>())
            .prop_map(|(rows, fails)| Answer::Rows(rows, fails)),
        (1_usize..4).prop_map(Answer::Results),
        Just(Answer::Progress),
    ]
    .boxed()
}

impl Turn {
    /// Whether a client can send it before the answers to others have come.
    fn needs_no_wait(&self) -> bool {
        !matches!(self, Self::File(_) | Self::Execute(..) | Self::Close(_))
    }

    pub(crate) fn packets(&self, made: &mut Made) -> Packets {
        let mut answered = Vec::new();
        let asked = match self {
            Self::Query(operation, answer) => {
                count(made, Command::Query);
                made.queries[*operation as usize] += 1;
                answer.packets(1, made, &mut answered);
                packet(0, &[b"\x03", text(*operation)].concat())
            }
            Self::Prepare(operation, fails) => {
                count(made, Command::Prepare);
                made.last_prepared = *operation;
                if *fails {
                    Answer::Error.packets(1, made, &mut answered);
                } else {
                    made.statements += 1;
                    let number = made.statements;
                    made.prepared.insert(number, *operation);
                    let head = [&[0], &number.to_le_bytes()[..], &[1, 0, 1, 0, 0, 0, 0]].concat();
                    for (sequence, payload) in (1..).zip([head.as_slice(), COLUMN, END, COLUMN, END]) {
                        answered.extend(packet(sequence, payload));
                    }
                }
                packet(0, &[b"\x16", text(*operation)].concat())
            }
            Self::Execute(which, answer) => {
                let number = made.prepared.keys().nth(*which).copied();
                let operation = number.map_or(Operation::Unknown, |number| made.prepared[&number]);
                execute(number.unwrap_or(77_777), operation, answer, made, &mut answered)
            }
            Self::ExecuteLast(answer) => execute(u32::MAX, made.last_prepared, answer, made, &mut answered),
            Self::Close(which) => {
                count(made, Command::Close);
                let number = made.prepared.keys().nth(*which).copied().unwrap_or(77_777);
                made.prepared.remove(&number);
                packet(0, &[&[0x19], &number.to_le_bytes()[..]].concat())
            }
            Self::Plain(byte, answer) => {
                count(made, Command::of_byte(*byte));
                answer.packets(1, made, &mut answered);
                packet(0, &[*byte, 1, 0, 0, 0])
            }
            Self::File(parts) => {
                count(made, Command::Query);
                made.queries[Operation::Write as usize] += 1;
                return file(parts);
            }
        };
        Packets { asked, answered, ..Packets::default() }
    }
}

fn execute(
    number: u32,
    operation: Operation,
    answer: &Answer,
    made: &mut Made,
    answered: &mut Vec<u8>,
) -> Vec<u8> {
    count(made, Command::Execute);
    made.queries[operation as usize] += 1;
    answer.packets(1, made, answered);
    packet(0, &[&[0x17], &number.to_le_bytes()[..], &[0, 1, 0, 0, 0]].concat())
}

/// Those that a client can send before the answers to others have come, and all their answers.
pub(crate) fn together(turns: &[Turn], made: &mut Made) -> Packets {
    let mut together = Packets::default();
    for turn in turns.iter().filter(|turn| turn.needs_no_wait()) {
        let Packets { asked, answered, .. } = turn.packets(made);
        together.asked.extend(asked);
        together.answered.extend(answered);
    }
    together
}

/// The server asks for a file, which looks like commands where the numbers of packets begin anew.
fn file(parts: &[Vec<u8>]) -> Packets {
    let query = packet(0, b"\x03LOAD DATA LOCAL INFILE 'rows' INTO TABLE t");
    let mut sequence = 2_u8;
    let mut sent = Vec::new();
    for part in parts {
        sent.extend(packet(sequence, &[b"\x03DROP TABLE t;", part.as_slice()].concat()));
        sequence = sequence.wrapping_add(1);
    }
    sent.extend(packet(sequence, b""));
    Packets {
        opening: query,
        greeting: packet(1, b"\xfbrows"),
        asked: sent,
        answered: packet(sequence.wrapping_add(1), &[0, 1, 0, 2, 0, 0, 0]),
    }
}

pub(crate) fn prepare_and_execute(operation: Operation, made: &mut Made) -> Packets {
    let prepare = Turn::Prepare(operation, false).packets(made);
    let execute = Turn::ExecuteLast(Answer::Rows(3, false)).packets(made);
    Packets {
        asked: [prepare.asked, execute.asked].concat(),
        answered: [prepare.answered, execute.answered].concat(),
        ..Packets::default()
    }
}

/// A query whose text has this many bytes.
pub(crate) fn long_query(length: usize, made: &mut Made) -> Packets {
    count(made, Command::Query);
    made.queries[Operation::Write as usize] += 1;
    let mut text = b"\x03INSERT INTO t VALUES ('".to_vec();
    text.resize(length + 1, b'x');
    let mut asked = Vec::new();
    let mut sequence = 0;
    let mut rest = text.as_slice();
    loop {
        let (part, behind) = rest.split_at(rest.len().min(0xff_ffff));
        asked.extend(packet(sequence, part));
        sequence += 1;
        if part.len() < 0xff_ffff {
            break;
        }
        rest = behind;
    }
    let mut answered = Vec::new();
    Answer::Ok.packets(sequence, made, &mut answered);
    Packets { asked, answered, ..Packets::default() }
}

const COLUMN: &[u8] = b"\x03def\x04shop\x01t\x01t\x01a\x01a\x0c\x3f\0\x0b\0\0\0\x03\0\0\0\0\0";
const END: &[u8] = &[0xfe, 0, 0, 2, 0];
const END_BEFORE_MORE: &[u8] = &[0xfe, 0, 0, 10, 0];

impl Answer {
    /// Adds its packets, of which the first has this number.
    fn packets(&self, first: u8, made: &mut Made, answered: &mut Vec<u8>) {
        let mut sequence = first;
        let mut add = |payload: &[u8]| {
            answered.extend(packet(sequence, payload));
            sequence = sequence.wrapping_add(1);
        };
        match self {
            Self::Ok => add(&[0, 1, 0, 2, 0, 0, 0]),
            Self::Error => {
                made.errors += 1;
                add(b"\xff\x15\x04#42000no");
            }
            Self::Rows(rows, fails) => {
                add(&[1]);
                add(COLUMN);
                add(END);
                for row in 0..*rows {
                    // A string, an empty one, and what is none (NULL).
                    add([&b"\x03abc"[..], b"\0", b"\xfb"][row % 3]);
                }
                if *fails {
                    made.errors += 1;
                    add(b"\xff\x25\x05#70100killed");
                } else {
                    add(END);
                }
            }
            Self::Results(results) => {
                for number in 1..=*results {
                    add(&[1]);
                    add(COLUMN);
                    add(END_BEFORE_MORE);
                    add(b"\x03abc");
                    add(if number == *results { END } else { END_BEFORE_MORE });
                }
            }
            Self::Progress => {
                for _ in 0..3 {
                    add(b"\xff\xff\xff\x01\x02\x03\x10\x00\x00\x07copying");
                }
                add(&[0, 1, 0, 2, 0, 0, 0]);
            }
        }
    }
}

/// A statement that does this.
fn text(operation: Operation) -> &'static [u8] {
    match operation {
        Operation::Read => b"SELECT a FROM t",
        Operation::Write => b"/* DROP */ INSERT INTO t VALUES (1)",
        Operation::Ddl => b"CREATE TABLE u (a INT)",
        Operation::Tx => b"commit",
        Operation::Other => b"SET a = 1",
        Operation::Unknown => b"CALL p()",
    }
}

fn count(made: &mut Made, command: Command) {
    *made.commands.entry(command).or_default() += 1;
}

pub(crate) fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let [low, middle, high, _] = u32::try_from(payload.len()).expect("less than 4 GiB").to_le_bytes();
    [&[low, middle, high, sequence], payload].concat()
}
