//! What is kept of a session, that is, of a TCP connection to a service of MySQL.
//!
//! As of a [`crate::connection::Connection`], each side is written by the program of one direction alone, under its
//! lock; what the other reads of it lies apart, in cells.

use core::cell::Cell;

use super::{Packets, Statement, command::Expected, login::Greeting, statement::Operation};
use crate::{connection::ConnectionKey, service::Ticks, stream::Followed};

/// How many commands can wait for their answers and still be told apart.
pub const PAIRED: u32 = 16;
/// How many sessions are kept: those that were in use last.
pub const SESSIONS_MAX: u32 = 16_384;
/// How many prepared statements are known: those that were used last.
pub const STATEMENTS_MAX: u32 = 65_536;

/// A session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Session {
    /// Sequence number of the client's first byte, as in [`crate::connection::Connection`].
    pub first: u32,
    /// Always zero.
    pub padding: u32,
    /// How far what comes in has been read.
    pub inbound: Followed,
    /// How far what goes out has been read.
    pub outbound: Followed,
    /// Written by what comes in.
    pub client: Client,
    /// Written by what goes out.
    pub server: Server,
    /// What the server's side reads of the client's.
    pub asked: Asked,
    /// What the client's side reads of the server's.
    pub answered: Answered,
}

impl Session {
    /// One whose SYN-ACK has these numbers.
    #[inline(always)]
    pub fn open(&mut self, sequence: u32, acknowledged: u32) {
        *self = Self::default();
        self.first = acknowledged;
        self.inbound.next.set(acknowledged);
        self.client.packets.want(super::HEAD_MAX_BYTE);
        // The SYN counts as one byte.
        self.outbound.next.set(sequence.wrapping_add(1));
    }

    /// One that is met in the middle, so that neither side can be followed.
    #[inline(always)]
    pub fn open_lost(&mut self, sequence: u32, acknowledged: u32) {
        self.open(sequence, acknowledged);
        self.outbound.next.set(sequence);
        self.client.phase = ClientPhase::Lost;
        self.server.phase = ServerPhase::Lost;
    }
}

/// The client's side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Client {
    /// Where it is in its packets.
    pub packets: Packets,
    /// The statement that is being read.
    pub statement: Statement,
    /// Files that were sent to their ends, of those that the server has asked for.
    pub files: u32,
    /// How far the session has come.
    pub phase: ClientPhase,
    /// Number of the [`super::Command`] that is being read.
    pub command: u8,
    /// Whether the text of a statement is being read.
    pub is_text: bool,
    /// Whether attributes come before a statement.
    pub has_attributes: bool,
    /// What the last statement does that was prepared.
    pub prepared: Operation,
    /// Always zero.
    pub padding: [u8; 4],
}

impl Client {
    /// Whether nothing that counts is in as many of the next bytes.
    #[inline(always)]
    pub fn can_miss(&self, bytes: u64) -> bool {
        !self.is_text && self.packets.can_miss(bytes)
    }
}

/// How far the client's side has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ClientPhase {
    /// It has said nothing.
    #[default]
    Silent = 0,
    /// It has said who it is.
    Known,
    /// It is no longer followed.
    Lost,
}

/// The server's side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Server {
    /// Where it is in its packets.
    pub packets: Packets,
    /// What it says at first.
    pub greeting: Greeting,
    /// How far the session has come.
    pub phase: ServerPhase,
    /// Number of the packet before.
    pub sequence: u8,
    /// Whether that can have been the last of an answer.
    pub is_over: bool,
    /// Whether it was one that asks for a file.
    pub wants_file: bool,
    /// Always zero.
    pub padding: [u8; 4],
}

/// How far the server's side has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ServerPhase {
    /// It has not said everything that it says at first.
    #[default]
    Greeting = 0,
    /// It has not accepted the client.
    Login,
    /// It answers commands.
    Ready,
    /// Nothing that it says now means anything.
    Refused,
    /// It is no longer followed.
    Lost,
}

/// What has been read of the client's side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Asked {
    /// Commands that have an answer.
    pub commands: Cell<u32>,
    /// 1 once all that follows is TLS.
    pub is_encrypted: Cell<u8>,
    /// 1 if all is compressed once the server has accepted the client.
    pub is_compressed: Cell<u8>,
    /// 1 once the client's side is no longer followed.
    pub is_lost: Cell<u8>,
    /// 1 once the client has asked for what changes, as a replica does.
    pub is_replica: Cell<u8>,
    /// When command `n` began, at `n % PAIRED`.
    pub started: [Cell<Ticks>; PAIRED as usize],
    /// What its answer is.
    pub expected: [Cell<Expected>; PAIRED as usize],
    /// Which command that was: `n / PAIRED`.
    pub rounds: [Cell<u8>; PAIRED as usize],
}

/// What has been read of the server's side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Answered {
    /// Commands whose answers have begun.
    pub commands: Cell<u32>,
    /// How often it has asked for a file.
    pub files: Cell<u32>,
    /// The capabilities that it offers.
    pub offered: Cell<u32>,
    /// 1 once it has accepted the client.
    pub is_ready: Cell<u8>,
    /// 1 once the server's side is no longer followed.
    pub is_lost: Cell<u8>,
    /// 1 once it has accepted bytes of the client that never came by.
    pub unseen: Cell<u8>,
    /// Always zero.
    pub padding: Cell<u8>,
}

/// How many replicas are kept: those that something went to last.
pub const REPLICAS_MAX: u32 = 256;

/// A session in which a replica is told what changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ReplicaKey {
    /// The connection.
    pub connection: ConnectionKey,
    /// Counter slot of the service.
    pub service: u64,
}

/// A prepared statement of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct StatementKey {
    /// The connection.
    pub connection: ConnectionKey,
    /// The number that the server gave it.
    pub statement: u64,
}
