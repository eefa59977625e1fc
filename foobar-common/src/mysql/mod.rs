//! The protocol of MySQL and MariaDB (the client/server protocol of MySQL 4.1 and newer), as far as it tells what is
//! asked for and what comes of it.
//!
//! Both sides send [`Packets`]. The server speaks first; the client says who it is and what it can, and then
//! sends [`Command`]s, each of which begins with a packet of number zero. What a query does is read from the first words
//! of its [`Statement`], or known by the number of a prepared one. Of an answer the first packet counts.
//! [`Commands`] and [`Replies`] read the two sides of a [`Session`] on, in any portions.

mod command;
mod commands;
pub mod login;
mod packets;
mod replies;
mod session;
mod statement;

use crate::{flow::Direction, service::Loss};

pub use self::{
    command::{Command, Expected},
    commands::Commands,
    packets::{HEAD_MAX, PAYLOAD_MAX, Packets},
    replies::Replies,
    session::{
        Answered, Asked, Client, ClientPhase, Followed, PAIRED, REPLICAS_MAX, ReplicaKey, SESSIONS_MAX,
        STATEMENTS_MAX, Server, ServerPhase, Session, StatementKey,
    },
    statement::{Operation, Statement},
};

/// [`HEAD_MAX`], as it is asked for.
#[expect(clippy::cast_possible_truncation, reason = "it is eight")]
const HEAD_MAX_BYTE: u8 = HEAD_MAX as u8;

/// One side of a session, while bytes of it are read.
pub trait Side {
    /// Which one.
    const DIRECTION: Direction;

    /// Gives up if the other side has shown that nobody can go on; to be asked before each segment.
    fn notice(&mut self);
    /// Whether nothing more is read.
    fn is_lost(&self) -> bool;
    /// The side is no longer followed.
    fn lose(&mut self, loss: Loss);
    /// Whether nothing that counts is in as many of the next bytes.
    fn can_miss(&self, bytes: u64) -> bool;
    /// Passes over as many of the next `bytes` as need no look, and says how many.
    fn pass(&mut self, bytes: u32) -> u32;
    /// Reads bytes of a word, of which there are `bytes`, one to eight, the lowest first; how many it has read, at least
    /// one.
    fn read(&mut self, word: u64, bytes: u32) -> u32;
}

/// The prepared statements of a session, by the numbers that the server gave them.
pub trait Statements {
    /// What a statement does, if that is known.
    fn find(&mut self, number: u32) -> Option<Operation>;
    /// Keeps what a statement does.
    fn keep(&mut self, number: u32, operation: Operation);
    /// Forgets a statement.
    fn forget(&mut self, number: u32);
}
