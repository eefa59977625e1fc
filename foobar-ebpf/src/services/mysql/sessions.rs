//! Sessions of MySQL, and the statements that they have prepared.

use aya_ebpf::{
    btf_maps::{LruHashMap, PerCpuArray},
    macros::btf_map,
};
use foobar_common::{
    connection::ConnectionKey,
    flow::Direction,
    mysql::{Operation, SESSIONS_MAX, STATEMENTS_MAX, Session, StatementKey, Statements},
    service::MysqlCounters,
};

use crate::{
    scratch,
    services::{peers, segment::Segment},
};

#[btf_map]
static MYSQL_SESSIONS: LruHashMap<ConnectionKey, Session, { SESSIONS_MAX as usize }> = LruHashMap::new();
#[btf_map]
static MYSQL_STATEMENTS: LruHashMap<StatementKey, u64, { STATEMENTS_MAX as usize }> = LruHashMap::new();
/// Where new ones are made: they are too large for the stack.
#[btf_map]
static MYSQL_NEW: PerCpuArray<Session, 2> = PerCpuArray::new();

/// What is kept of a session.
#[inline(always)]
pub(super) fn find(key: &ConnectionKey) -> Option<*mut Session> {
    MYSQL_SESSIONS.get_ptr_mut(key)
}

/// Keeps a new session that this segment of the server is the first one of; made by what goes this way.
#[inline(always)]
pub(super) fn open(segment: &Segment, direction: Direction) -> Option<()> {
    let session = new(direction)?;
    session.open(segment.sequence(), segment.acknowledged());
    keep(&segment.key, session);
    Some(())
}

/// Keeps a session that is met in the middle, behind this segment of the server.
#[inline(always)]
pub(super) fn open_lost(segment: &Segment) -> Option<()> {
    let session = new(Direction::Out)?;
    session.open_lost(segment.next(), segment.acknowledged());
    keep(&segment.key, session);
    Some(())
}

#[inline(always)]
fn new(direction: Direction) -> Option<&'static mut Session> {
    let place = MYSQL_NEW.get_ptr_mut(direction as u32)?;
    // SAFETY: the map gave the pointer, and programs of one direction do not interrupt each other on a processor.
    Some(unsafe { &mut *place })
}

/// Keeps a session, in the place of an older one with the same ends. Where there is no room, another one is forgotten
/// that was not in use for long.
#[inline(always)]
fn keep(key: &ConnectionKey, session: &Session) {
    // If it fails, the session counts as one that is met in the middle.
    let _kept: Result<(), i32> = MYSQL_SESSIONS.insert(key, session, 0);
}

/// The statements of the session of the present packet, which goes this way. Where there is no room, one is forgotten that was
/// not in use for long.
pub(super) struct Prepared<const IS_OUTBOUND: bool>;

impl<const IS_OUTBOUND: bool> Prepared<IS_OUTBOUND> {
    /// From the packet's headers: kept on the stack, the session's ends would take what others need of it.
    #[inline(always)]
    fn key(number: u32) -> Option<StatementKey> {
        let direction = if IS_OUTBOUND { Direction::Out } else { Direction::In };
        let connection = ConnectionKey::of(&scratch::headers(direction)?.flow, direction);
        Some(StatementKey { connection, statement: u64::from(number) })
    }
}

impl<const IS_OUTBOUND: bool> Statements for Prepared<IS_OUTBOUND> {
    #[inline(always)]
    fn begun(&mut self, counters: &mut MysqlCounters, is_encrypted: bool, is_compressed: bool) {
        match peers::counters(Direction::In) {
            Some(of_group) => of_group.session(is_encrypted, is_compressed),
            None => counters.session(is_encrypted, is_compressed),
        }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the number of an operation")]
    fn find(&mut self, number: u32) -> Option<Operation> {
        let place = MYSQL_STATEMENTS.get_ptr(Self::key(number)?)?;
        // SAFETY: the map gave the pointer.
        Operation::from_number(unsafe { *place } as u32)
    }

    #[inline(always)]
    fn keep(&mut self, number: u32, operation: Operation) {
        let Some(key) = Self::key(number) else { return };
        // If it fails, what is executed counts as unknown.
        let _kept: Result<(), i32> = MYSQL_STATEMENTS.insert(key, u64::from(operation.number()), 0);
    }

    #[inline(always)]
    fn forget(&mut self, number: u32) {
        let Some(key) = Self::key(number) else { return };
        // It may have been forgotten before.
        let _there: Result<(), i32> = MYSQL_STATEMENTS.remove(key);
    }
}

/// Forgets a session whose ends open another one.
#[inline(always)]
pub(in crate::services) fn forget(key: &ConnectionKey) {
    if find(key).is_some() {
        // Another processor may have been faster.
        let _there: Result<(), i32> = MYSQL_SESSIONS.remove(key);
    }
}
