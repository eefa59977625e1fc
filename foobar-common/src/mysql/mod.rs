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

pub use self::{
    command::{Command, Expected},
    commands::Commands,
    packets::{HEAD_MAX, PAYLOAD_MAX, Packets},
    replies::Replies,
    session::{
        Answered, Asked, Client, ClientPhase, PAIRED, REPLICAS_MAX, ReplicaKey, SESSIONS_MAX, STATEMENTS_MAX,
        Server, ServerPhase, Session, StatementKey,
    },
    statement::{Operation, Statement},
};

use crate::service::MysqlCounters;

/// [`HEAD_MAX`], as it is asked for.
#[expect(clippy::cast_possible_truncation, reason = "it is eight")]
const HEAD_MAX_BYTE: u8 = HEAD_MAX as u8;

/// What lies elsewhere of a session: its prepared statements, by the numbers that the server gave them, and where it is
/// counted.
pub trait Statements {
    /// Counts the session.
    #[inline(always)]
    fn begun(&mut self, counters: &mut MysqlCounters, is_encrypted: bool, is_compressed: bool) {
        counters.session(is_encrypted, is_compressed);
    }
    /// What a statement does, if that is known.
    fn find(&mut self, number: u32) -> Option<Operation>;
    /// Keeps what a statement does.
    fn keep(&mut self, number: u32, operation: Operation);
    /// Forgets a statement.
    fn forget(&mut self, number: u32);
}
