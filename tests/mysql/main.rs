//! Sessions of MySQL through the programs: made ones in any segments, and those of a real MariaDB.

mod mariadb;
#[path = "../../foobar-common/tests/mysql/session.rs"]
mod session;

use std::cell::RefCell;

use foobar_common::{
    mysql::Operation,
    service::{Loss, MysqlCounters, ServiceBytes},
};
use foobar_daemon::dataplane::counters::ProtocolCounters;
use foobar_tests::{
    random::Random,
    segments::Connection,
    service::{Service, deliveries},
};
use proptest::{
    prelude::{ProptestConfig, any, prop_assert_eq},
    test_runner::TestRunner,
};
use session::{Login, Made, Packets, login, long_query, prepare_and_execute, together, turns};

const RULES: &str = "schema = 1\n[[service]]\nname = \"db\"\nport = [\"tcp/3306\"]\nprotocol = \"mysql\"\n";
/// Bytes of segments.
const LONGEST: &[usize] = &[1, 7, 100, 1448, 3000];

#[test]
fn sessions_are_counted_in_any_segments() {
    let config = ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() };
    let server = RefCell::new(Service::new(RULES, 3306));
    let made = RefCell::new(Made::default());
    TestRunner::new(config)
        .run(&(login(), turns(), any::<u64>()), |(login, turns, seed)| {
            let (mut server, mut made) = (server.borrow_mut(), made.borrow_mut());
            let mut session = Session::open(&mut server, seed);
            session.turn(&mut server, &login.turn(&mut made));
            for turn in &turns {
                session.turn(&mut server, &turn.packets(&mut made));
            }
            let counted = mysql(&server);
            prop_assert_eq!(counted.lost.total(), 0);
            made.check(&counted)?;
            server.assert_bytes_add_up();
            prop_assert_eq!(server.bytes().lost, 0);
            Ok(())
        })
        .unwrap();
}

/// Several commands are on their way at a time.
#[test]
fn commands_without_waiting_are_paired() {
    let config = ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() };
    let server = RefCell::new(Service::new(RULES, 3306));
    let made = RefCell::new(Made::default());
    TestRunner::new(config)
        .run(&(turns(), any::<u64>()), |(turns, seed)| {
            let (mut server, mut made) = (server.borrow_mut(), made.borrow_mut());
            let mut session = Session::open(&mut server, seed);
            session.turn(&mut server, &Login::plain().turn(&mut made));
            for several in turns.chunks(8) {
                session.turn(&mut server, &together(several, &mut made));
            }
            prop_assert_eq!(mysql(&server).lost.total(), 0);
            made.check(&mysql(&server))
        })
        .unwrap();
}

#[test]
fn a_query_of_more_than_a_packet_is_one_query() {
    let mut server = Service::new(RULES, 3306);
    let mut made = Made::default();
    let mut session = Session::open(&mut server, 1);
    session.longest = &[3_000];
    session.turn(&mut server, &Login::plain().turn(&mut made));
    session.turn(&mut server, &long_query(0xff_fffe, &mut made));
    session.turn(&mut server, &long_query(0xff_ffff, &mut made));
    session.turn(&mut server, &prepare_and_execute(Operation::Read, &mut made));
    made.check(&mysql(&server)).unwrap();
    assert_eq!(mysql(&server).lost.total(), 0);
}

#[test]
fn what_cannot_be_read_is_declared_once_and_its_bytes_are_lost() {
    for (login, loss) in [(Login::encrypted(), Loss::Encrypted), (Login::compressed(), Loss::Compressed)] {
        let mut server = Service::new(RULES, 3306);
        let mut made = Made::default();
        let mut session = Session::open(&mut server, 1);
        session.turn(&mut server, &login.turn(&mut made));
        let before = server.bytes();
        session.longest = &[1_000];
        for _ in 0..3 {
            session.turn(
                &mut server,
                &Packets { asked: vec![3; 500], answered: vec![0xff; 700], ..Packets::default() },
            );
        }
        made.lost(loss);
        made.check(&mysql(&server)).unwrap();
        let lost = mysql(&server).lost;
        assert_eq!(lost.total(), 2, "{loss:?}");
        assert_eq!(made.lost.map(|loss| loss.map_or(0, |loss| lost.0[0][loss as usize])), [1, 1]);
        let ServiceBytes { lost, .. } = server.bytes();
        assert!(lost - before.lost >= 3 * 1_200, "{lost}");
        server.assert_bytes_add_up();
    }
}

#[test]
fn a_gap_in_a_statement_is_passed_over_and_one_between_commands_is_closed() {
    let mut server = Service::new(RULES, 3306);
    let mut made = Made::default();
    let mut session = Session::open(&mut server, 1);
    session.turn(&mut server, &Login::plain().turn(&mut made));
    let query = long_query(5_000, &mut made);
    let (connection, asked) = (session.connection, session.asked);
    server.goes_in(&connection.asked(asked, &query.asked[..100]));
    server.goes_in(&connection.asked(asked + 1_500, &query.asked[1_500..]));
    server.goes_in(&connection.asked(asked + 100, &query.asked[100..1_500]));
    session.asked += query.asked.len();
    session.turn(&mut server, &Packets { answered: query.answered, ..Packets::default() });
    made.check(&mysql(&server)).unwrap();
    // Several commands, the last part of them first.
    let turn = prepare_and_execute(Operation::Write, &mut made);
    let asked = session.asked;
    let pieces: Vec<_> = turn.asked.chunks(9).enumerate().collect();
    for (number, piece) in pieces.into_iter().rev() {
        server.goes_in(&connection.asked(asked + number * 9, piece));
    }
    session.asked += turn.asked.len();
    session.turn(&mut server, &Packets { answered: turn.answered, ..Packets::default() });
    made.check(&mysql(&server)).unwrap();
    assert_eq!(mysql(&server).lost.total(), 0);
    // What the server accepts and never came by is declared.
    server.goes_in(&connection.asked(session.asked + 10, b"\x05\0\0\0\x03SHOW"));
    server.goes_out(&connection.answered(
        session.answered,
        session.asked + 19,
        b"\x07\0\0\x01\0\0\0\x02\0\0\0",
    ));
    assert_eq!(mysql(&server).lost.0.map(|way| way[Loss::Unseen as usize]), [1, 0]);
    made.check(&mysql(&server)).unwrap();
}

#[test]
fn what_the_server_accepts_and_nobody_saw_is_declared() {
    let mut server = Service::new(RULES, 3306);
    let mut made = Made::default();
    let mut session = Session::open(&mut server, 1);
    session.turn(&mut server, &Login::plain().turn(&mut made));
    let Session { connection, asked, answered, .. } = session;
    server.goes_out(&connection.answered(answered, asked + 9, b"\x07\0\0\x01\0\0\0\x02\0\0\0"));
    server.goes_out(&connection.answered(answered + 11, asked + 9, b""));
    assert_eq!(mysql(&server).lost.0.map(|way| way[Loss::Unseen as usize]), [1, 0]);
    server.goes_in(&connection.asked(asked, b"\x05\0\0\0\x03SHOW"));
    assert_eq!(mysql(&server).queries, [0; 8]);
    assert_eq!(mysql(&server).lost.total(), 1);
}

fn mysql(service: &Service) -> MysqlCounters {
    let ProtocolCounters::Mysql(counters, _) = service.spoken() else { unreachable!("a service of MySQL") };
    *counters
}

/// A session, and how much of it both sides have sent.
struct Session {
    connection: Connection,
    random: Random,
    longest: &'static [usize],
    asked: usize,
    answered: usize,
}

impl Session {
    fn open(server: &mut Service, seed: u64) -> Self {
        let connection = server.connect();
        Self { connection, random: Random::new(seed), longest: LONGEST, asked: 0, answered: 0 }
    }

    fn turn(&mut self, server: &mut Service, Packets { opening, greeting, asked, answered }: &Packets) {
        self.asks(server, opening);
        self.answers(server, greeting);
        self.asks(server, asked);
        self.answers(server, answered);
    }

    fn asks(&mut self, server: &mut Service, bytes: &[u8]) {
        for (start, end) in deliveries(bytes.len(), self.longest, &mut self.random) {
            server.goes_in(&self.connection.asked(self.asked + start, &bytes[start..end]));
        }
        self.asked += bytes.len();
    }

    fn answers(&mut self, server: &mut Service, bytes: &[u8]) {
        for (start, end) in deliveries(bytes.len(), self.longest, &mut self.random) {
            server.goes_out(&self.connection.answered(self.answered + start, self.asked, &bytes[start..end]));
        }
        self.answered += bytes.len();
    }
}
