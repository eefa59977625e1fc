//! Sessions of MySQL, in segments of any size, against what they were made of.

mod session;
mod statements;

use std::collections::BTreeMap;

use foobar_common::{
    mysql::{Commands, Operation, Replies, Session, Statements},
    service::{Loss, MysqlCounters},
    stream::Reader as _,
};
use proptest::{
    prelude::{ProptestConfig, any, prop_assert_eq, proptest},
    test_runner::TestCaseError,
};
use session::{Login, Made, Packets, login, long_query, prepare_and_execute, together, turns};

fn cases() -> ProptestConfig {
    let long = std::env::var_os("FOOBAR_LONG").is_some();
    ProptestConfig { cases: if long { 300_000 } else { 1_000 }, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn everything_is_counted_as_it_was_made(login in login(), turns in turns(), piece in 1_usize..3_000) {
        let mut reading = Reading::new();
        let mut made = Made::default();
        reading.turn(&login.turn(&mut made), piece);
        for turn in &turns {
            reading.turn(&turn.packets(&mut made), piece);
        }
        reading.check(&made)?;
    }

    /// Several commands are on their way at a time.
    #[test]
    fn commands_without_waiting_are_paired(turns in turns(), piece in 1_usize..3_000) {
        let mut reading = Reading::new();
        let mut made = Made::default();
        reading.turn(&Login::plain().turn(&mut made), piece);
        for several in turns.chunks(8) {
            reading.turn(&together(several, &mut made), piece);
        }
        reading.check(&made)?;
    }

    /// Whatever comes, it reads the same in pieces as in one.
    #[test]
    fn noise_reads_the_same_in_any_pieces(
        turns in turns(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
        piece in 1_usize..100,
    ) {
        let mut made = Made::default();
        let mut all = vec![Login::plain().turn(&mut made)];
        all.extend(turns.iter().map(|turn| turn.packets(&mut made)));
        let last = all.len() - 1;
        for (place, byte) in changes {
            let Packets { asked, answered, .. } = &mut all[place.index(last + 1)];
            for bytes in [asked, answered] {
                if !bytes.is_empty() {
                    let at = place.index(bytes.len());
                    bytes[at] = byte;
                }
            }
        }
        let (mut whole, mut cut) = (Reading::new(), Reading::new());
        for packets in &all {
            whole.turn(packets, usize::MAX);
            cut.turn(packets, piece);
        }
        // Errors and durations of what is lost on one side are those of a guess, and the same one.
        prop_assert_eq!(whole.counters, cut.counters);
    }
}

#[test]
fn a_query_of_more_than_a_packet_is_one_query() {
    let mut made = Made::default();
    let mut reading = Reading::new();
    reading.turn(&Login::plain().turn(&mut made), 1_460);
    for length in [0xff_fffd, 0xff_fffe, 0xff_ffff, 0x1ff_fffd] {
        reading.turn(&long_query(length, &mut made), 65_000);
        reading.turn(&prepare_and_execute(Operation::Read, &mut made), 3);
    }
    reading.check(&made).unwrap();
}

#[test]
fn what_cannot_be_read_is_declared() {
    for (login, loss) in [(Login::encrypted(), Loss::Encrypted), (Login::compressed(), Loss::Compressed)] {
        let mut made = Made::default();
        let mut reading = Reading::new();
        reading.turn(&login.turn(&mut made), 1_000);
        made.lost(loss);
        reading
            .turn(&Packets { asked: vec![0x17; 700], answered: vec![0x17; 900], ..Packets::default() }, 100);
        reading.check(&made).unwrap();
    }
}

#[test]
fn a_command_before_the_server_has_agreed_is_declared() {
    let mut made = Made::default();
    let Packets { greeting, asked, .. } = Login::plain().turn(&mut made);
    let mut reading = Reading::new();
    let early = [asked, session::packet(0, b"\x03SELECT 1")].concat();
    reading.turn(&Packets { greeting, asked: early, ..Packets::default() }, 1_000);
    assert_eq!(reading.lost(), [Some(Loss::Order), None]);
    assert_eq!(reading.counters.queries, [0; 8]);
}

/// A session as it is read.
struct Reading {
    session: Session,
    counters: MysqlCounters,
    statements: BTreeMap<u32, Operation>,
    now: u64,
}

impl Reading {
    fn new() -> Self {
        let mut session = Session::default();
        session.open(1, 1);
        Self { session, counters: MysqlCounters::default(), statements: BTreeMap::new(), now: 0 }
    }

    /// Reads what one side sends and then the other, in pieces.
    fn turn(&mut self, Packets { opening, greeting, asked, answered }: &Packets, piece: usize) {
        opening.chunks(piece).for_each(|bytes| self.client(bytes));
        greeting.chunks(piece).for_each(|bytes| self.server(bytes));
        asked.chunks(piece).for_each(|bytes| self.client(bytes));
        answered.chunks(piece).for_each(|bytes| self.server(bytes));
        self.now += 1_000_000;
    }

    fn client(&mut self, mut bytes: &[u8]) {
        let Session { client, asked, answered, .. } = &mut self.session;
        let (counters, statements) = (&mut self.counters, &mut self.statements);
        let mut side =
            Commands { client, asked, answered, counters, statements: Known(statements), now: self.now };
        side.notice();
        while !bytes.is_empty() && !side.is_lost() {
            let passed = side.pass(length(bytes));
            let passed = if passed > 0 { passed } else { side.read(word(bytes), length(bytes).min(8)) };
            assert!(passed > 0, "it stands still");
            bytes = &bytes[passed as usize..];
        }
    }

    fn server(&mut self, mut bytes: &[u8]) {
        let Session { server, asked, answered, .. } = &mut self.session;
        let (counters, statements) = (&mut self.counters, &mut self.statements);
        let mut side =
            Replies { server, asked, answered, counters, statements: Known(statements), now: self.now };
        side.notice();
        while !bytes.is_empty() && !side.is_lost() {
            let passed = side.pass(length(bytes));
            let passed = if passed > 0 { passed } else { side.read(word(bytes), length(bytes).min(8)) };
            assert!(passed > 0, "it stands still");
            bytes = &bytes[passed as usize..];
        }
    }

    fn lost(&self) -> [Option<Loss>; 2] {
        self.counters.lost.0.map(|counts| {
            let mut reasons = Loss::ALL.iter().filter(|loss| counts[**loss as usize] > 0);
            let reason = reasons.next().copied();
            assert_eq!(reasons.next(), None, "{counts:?}");
            reason
        })
    }

    fn check(&self, made: &Made) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.lost(), made.lost);
        prop_assert_eq!(&self.statements, &made.prepared);
        made.check(&self.counters)
    }
}

fn length(bytes: &[u8]) -> u32 {
    bytes.len().try_into().expect("less than 4 GiB")
}

/// The first eight bytes, the first one lowest.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0xaa; 8];
    let there = bytes.len().min(8);
    word[..there].copy_from_slice(&bytes[..there]);
    u64::from_le_bytes(word)
}

struct Known<'a>(&'a mut BTreeMap<u32, Operation>);

impl Statements for Known<'_> {
    fn find(&mut self, number: u32) -> Option<Operation> {
        self.0.get(&number).copied()
    }

    fn keep(&mut self, number: u32, operation: Operation) {
        self.0.insert(number, operation);
    }

    fn forget(&mut self, number: u32) {
        self.0.remove(&number);
    }
}
