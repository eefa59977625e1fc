//! What MySQL and MariaDB count: `Questions`, the commands of clients that the server has executed.
//!
//! `Com_select` and its like do not tell the same as our classes of queries do: they count what runs inside of stored
//! procedures, and the kinds differ from server to server. `Questions` counts each command once, but for those that
//! [`questions`] leaves out as well (`server_command_flags` with `CF_SKIP_QUESTIONS` in MariaDB's `sql/sql_parse.cc`).

use std::{collections::BTreeMap, path::PathBuf};

use foobar_common::{mysql::Command, service::MysqlCounters};
use tokio::time::timeout;

use super::{
    Failure, Own, PATIENCE, Reason, Told,
    credentials::{Credentials, ServerPlace},
    session::Session,
};
use crate::rules::model::{PortProtocol, ServicePort};

/// For all sessions, and since when.
const OF_ALL: &str =
    "SHOW GLOBAL STATUS WHERE Variable_name IN ('Questions', 'Uptime', 'Uptime_since_flush_status')";
/// For the session that asks.
const OF_THIS: &str = "SHOW SESSION STATUS WHERE Variable_name = 'Questions'";
/// How many commands of a session that broke off can have been counted after the last known count: both statements,
/// and the end.
const LAST_COMMANDS: u64 = 3;

/// A server that is asked, in one session for as long as it lasts.
pub(super) struct Mysql {
    credentials: PathBuf,
    /// Ports where foobar counts the session as well, so that there is nothing to take off.
    visible_ports: Vec<ServicePort>,
    session: Option<Session>,
    /// Questions of the session that is open, when it was last asked.
    of_session: u64,
    /// Those of sessions before it.
    own: Own,
    last: Counts,
}

/// What the server tells of all sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    questions: u64,
    uptime: u64,
    since_flush: u64,
}

impl Mysql {
    /// One whose user and password are in this file.
    pub(super) fn new(credentials: PathBuf, visible_ports: Vec<ServicePort>) -> Self {
        Self {
            credentials,
            visible_ports,
            session: None,
            of_session: 0,
            own: Own::default(),
            last: Counts::default(),
        }
    }

    /// Asks for its count.
    pub(super) async fn ask(&mut self) -> Result<Told, Failure> {
        let asked = timeout(PATIENCE, self.ask_in_session()).await;
        let told = asked.unwrap_or_else(|_| Err(Failure::late()));
        if told.is_err() {
            self.end_session();
        }
        told
    }

    async fn ask_in_session(&mut self) -> Result<Told, Failure> {
        if self.session.is_none() {
            let credentials = Credentials::read(&self.credentials)
                .map_err(|problem| Failure::new(Reason::Credentials, problem))?;
            if let ServerPlace::Loopback(address) = credentials.place {
                let port = ServicePort { protocol: PortProtocol::Tcp, port: address.port() };
                self.own.is_seen = self.visible_ports.contains(&port);
            }
            self.session = Some(Session::open(&credentials).await?);
        }
        let session = self.session.as_mut().ok_or_else(|| unreadable("the session"))?;
        session.begin_answers();
        let of_all = session.rows(OF_ALL).await?;
        let counts = Counts {
            questions: number(&of_all, "Questions")?,
            uptime: number(&of_all, "Uptime")?,
            since_flush: number(&of_all, "Uptime_since_flush_status")?,
        };
        let of_this = number(&session.rows(OF_THIS).await?, "Questions")?;
        let anew = counts.is_behind(&self.last) || of_this < self.of_session;
        self.last = counts;
        self.of_session = of_this;
        if anew {
            self.own = Own { is_seen: self.own.is_seen, ..Own::default() };
        }
        // The last statement came after the count of all.
        let own = Own { sure: self.own.sure + of_this.saturating_sub(1), ..self.own };
        Ok(Told { counted: own.taken_from(counts.questions), anew })
    }

    /// Ends the session: how many of its last commands were counted will not be known.
    fn end_session(&mut self) {
        if self.session.take().is_some() {
            self.own.sure += self.of_session;
            self.own.unsure += LAST_COMMANDS;
            self.of_session = 0;
        }
    }
}

impl Counts {
    /// Whether they began anew: at a start of the server, or by `FLUSH STATUS`.
    fn is_behind(&self, earlier: &Self) -> bool {
        let Self { questions, uptime, since_flush } = *self;
        questions < earlier.questions || uptime < earlier.uptime || since_flush < earlier.since_flush
    }
}

/// The commands of ours that a server counts as `Questions`.
pub(super) fn questions(counters: &MysqlCounters) -> u64 {
    let is_counted = |command: Command| {
        !matches!(
            command,
            Command::Ping | Command::Statistics | Command::Prepare | Command::Close | Command::Reset
        )
    };
    let commands = Command::ALL.iter().zip(counters.commands);
    commands.filter(|(command, _)| is_counted(**command)).map(|(_, count)| count).sum()
}

fn number(rows: &BTreeMap<String, String>, name: &str) -> Result<u64, Failure> {
    rows.get(name).and_then(|value| value.parse().ok()).ok_or_else(|| unreadable(name))
}

fn unreadable(what: &str) -> Failure {
    let message = format!("the server does not tell {what}; is it MySQL or MariaDB that listens there?");
    Failure::new(Reason::Answer, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_does_not_count_is_left_out() {
        let mut counters = MysqlCounters::default();
        for (place, count) in counters.commands.iter_mut().enumerate() {
            *count = 1 << place;
        }
        let all: u64 = (1 << Command::ALL.len()) - 1;
        let left_out = [Command::Prepare, Command::Close, Command::Reset, Command::Ping, Command::Statistics];
        let left_out: u64 = left_out.into_iter().map(|command| 1 << command as u64).sum();
        assert_eq!(questions(&counters), all - left_out);
    }

    #[test]
    fn a_server_that_started_again_or_was_flushed_counts_anew() {
        let last = Counts { questions: 100, uptime: 50, since_flush: 40 };
        assert!(!Counts { questions: 101, uptime: 51, since_flush: 41 }.is_behind(&last));
        assert!(Counts { questions: 900, uptime: 2, since_flush: 2 }.is_behind(&last));
        assert!(Counts { questions: 900, uptime: 60, since_flush: 2 }.is_behind(&last));
        assert!(Counts { questions: 99, uptime: 60, since_flush: 50 }.is_behind(&last));
    }
}
