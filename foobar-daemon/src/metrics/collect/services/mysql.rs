//! What is counted of databases.

use std::time::Duration;

use foobar_common::{
    mysql::{Command, Operation},
    service::MysqlCounters,
};
use nix::time::{ClockId, clock_gettime};
use prometheus::proto::MetricFamily;

use super::Labels;
use crate::metrics::catalogue::{self, Family};

/// A server to which nobody wrote for so long is none that is written to.
const WRITER_ALIVE: Duration = Duration::from_mins(15);

pub(super) struct MysqlFamilies {
    queries: Family<3>,
    durations: Family<3>,
    errors: Family<2>,
    untimed: Family<2>,
    commands: Family<3>,
    sessions: Family<4>,
    login_failures: Family<2>,
    refused: Family<2>,
    replicas: Family<2>,
    writers: Family<0>,
    /// How many ports there are, and how many were written to.
    ports: u64,
    written: u64,
}

impl MysqlFamilies {
    pub(super) fn new() -> Self {
        Self {
            queries: catalogue::DB_QUERIES.family(),
            durations: catalogue::DB_DURATION.family(),
            errors: catalogue::DB_ERRORS.family(),
            untimed: catalogue::DB_UNTIMED.family(),
            commands: catalogue::DB_COMMANDS.family(),
            sessions: catalogue::DB_SESSIONS.family(),
            login_failures: catalogue::DB_LOGIN_FAILURES.family(),
            refused: catalogue::DB_REFUSED.family(),
            replicas: catalogue::DB_REPLICA_STREAMS.family(),
            writers: catalogue::DB_WRITERS.family(),
            ports: 0,
            written: 0,
        }
    }

    /// Adds those of a service, but for its losses.
    pub(super) fn add(&mut self, labels: &Labels<'_>, counters: &MysqlCounters, replicas: u64) {
        let Labels { port, service, .. } = labels;
        let MysqlCounters {
            sessions,
            refused,
            login_failures,
            commands,
            queries,
            errors,
            untimed,
            last_write,
            lost: _,
            durations,
        } = counters;
        let [plain, plain_compressed, tls, tls_compressed] = sessions;
        for (encryption, compression, count) in [
            ("none", "no", plain),
            ("none", "yes", plain_compressed),
            ("tls", "no", tls),
            ("tls", "yes", tls_compressed),
        ] {
            self.sessions.add_integer([service, port, encryption, compression], *count);
        }
        for (operation, (count, durations)) in Operation::ALL.iter().zip(queries.iter().zip(durations)) {
            self.queries.add_integer([service, port, operation.label()], *count);
            self.durations.add_histogram([service, port, operation.label()], durations);
        }
        for (command, count) in Command::ALL.iter().zip(commands) {
            self.commands.add_integer([service, port, command.label()], *count);
        }
        self.errors.add_integer([service, port], *errors);
        self.untimed.add_integer([service, port], *untimed);
        self.login_failures.add_integer([service, port], *login_failures);
        self.refused.add_integer([service, port], *refused);
        self.replicas.add_integer([service, port], replicas);
        self.ports += 1;
        self.written += u64::from(is_recent(*last_write));
    }

    pub(super) fn into_proto(self) -> impl Iterator<Item = MetricFamily> {
        let Self {
            queries,
            durations,
            errors,
            untimed,
            commands,
            sessions,
            login_failures,
            refused,
            replicas,
            mut writers,
            ports,
            written,
        } = self;
        if ports > 0 {
            writers.add_integer([], written);
        }
        [
            queries.into_proto(),
            durations.into_proto(),
            errors.into_proto(),
            untimed.into_proto(),
            commands.into_proto(),
            sessions.into_proto(),
            login_failures.into_proto(),
            refused.into_proto(),
            replicas.into_proto(),
            writers.into_proto(),
        ]
        .into_iter()
    }
}

/// Whether a moment of the kernel's monotonic clock, in nanoseconds, is within [`WRITER_ALIVE`]; zero is never.
fn is_recent(moment: u64) -> bool {
    let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC) else { return false };
    moment > 0 && Duration::from(now).saturating_sub(Duration::from_nanos(moment)) < WRITER_ALIVE
}
