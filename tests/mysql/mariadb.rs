//! A real MariaDB and real clients: foobar counts what MariaDB counts, to the last query.

use std::{io::Write as _, net::IpAddr, thread, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};
use foobar_tests::{
    command::{stderr, succeed},
    daemon::Foobar,
    database::{Database, PASSWORD, PORT, USER},
    figures::say,
    frames::Family,
    network::{CLIENT, Network, SERVER, SERVER_V4},
    tap::settle,
    wait,
    wire::{Disturbance, Wire},
};
use mysql::{Conn, LocalInfileHandler, OptsBuilder, prelude::Queryable as _};

use super::RULES;

const SESSIONS: usize = 8;
/// How often each session does everything that it does.
const ROUNDS: usize = 25;
/// The same over a bad cable, where it takes longer.
const DISTURBED_ROUNDS: usize = 2;
const TABLES: &str = "USE shop; CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, a LONGTEXT); \
                      CREATE TABLE many (a INT); INSERT INTO many SELECT seq FROM seq_1_to_1000; \
                      CREATE PROCEDURE once() SELECT COUNT(*) FROM many";

#[test]
fn native_without_offload() -> Result<()> {
    counts_what_mariadb_counts("native", "off")
}

#[test]
fn generic_with_offload() -> Result<()> {
    counts_what_mariadb_counts("generic", "on")
}

/// Where bytes go missing or come in another order, nothing is counted that was not sent, and what is missing was
/// declared lost.
#[test]
fn what_a_bad_cable_hides_is_declared_lost() -> Result<()> {
    let network = Network::new()?;
    let disturbance = Disturbance { lost: 2, doubled: 2, delayed: 2, cut: 5, repeated: 5 };
    let wire = Wire::between(&network, disturbance, 1)?;
    let database = Database::start(&network.server, 1)?;
    database.run(TABLES)?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    foobar.start()?;
    let done_before = database.status()?;
    let failed = network.client.enter(|| use_sessions(DISTURBED_ROUNDS))?;
    settle();
    let (counted, done) = (foobar.scrape()?, database.status()?);
    let lost = counted.count("foobar_l7_framing_lost_total", &[]);
    let losses = counted.select("foobar_l7_framing_lost_total", &[]).filter(|sample| sample.value > 0.0);
    losses.for_each(|sample| say(&format!("lost: {}, {} times", sample.labels["reason"], sample.value)));
    let did = |names: &[&str]| names.iter().map(|name| done[*name] - done_before[*name]).sum::<u64>();
    let commands = |command: &str| counted.count("foobar_db_commands_total", &[("command", command)]);
    let queries = |operation: &str| counted.count("foobar_db_queries_total", &[("op", operation)]);
    for (what, seen, done) in [
        ("executions", commands("execute"), did(&["Com_stmt_execute"])),
        ("prepares", commands("prepare"), did(&["Com_stmt_prepare"])),
        ("tx", queries("tx"), did(&["Com_begin", "Com_commit", "Com_rollback", "Com_savepoint"])),
        ("errors", counted.count("foobar_db_query_errors_total", &[]), failed),
    ] {
        let text = format!("{what}: {seen} counted, {done} by MariaDB, {lost} times lost");
        say(&text);
        ensure!(seen <= done && (seen == done || lost > 0), "{text}");
    }
    let bytes = counted.count("foobar_l7_bytes_total", &[]);
    let carried = counted.count("foobar_bytes_total", &[("port", "3306")]);
    ensure!(bytes == carried, "{bytes} bytes framed or lost of {carried}");
    ensure!(wire.stop()? > 100, "the cable disturbed hardly anything");
    Ok(())
}

fn counts_what_mariadb_counts(mode: &str, offload: &str) -> Result<()> {
    let network = Network::new()?;
    for (namespace, interface) in [(&network.server, SERVER), (&network.client, CLIENT)] {
        let words = ["-K", interface, "tx", offload, "tso", offload, "gso", offload, "gro", offload];
        succeed(namespace.command("ethtool").args(words))?;
    }
    let database = Database::start(&network.server, 1)?;
    database.run(TABLES)?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?.with_options(&["--mode", mode]);
    foobar.start()?;
    let (counted_before, done_before) = (foobar.scrape()?, database.status()?);
    let failed = network.client.enter(|| use_sessions(ROUNDS))?;
    settle();
    let (counted, done) = (foobar.scrape()?, database.status()?);
    let did = |names: &[&str]| -> u64 {
        names.iter().map(|name| done[&format!("Com_{name}")] - done_before[&format!("Com_{name}")]).sum()
    };
    let grown = |metric: &str, labels: &[(&str, &str)]| {
        counted.count(metric, labels) - counted_before.count(metric, labels)
    };
    let queries = |operation: &str| grown("foobar_db_queries_total", &[("server", "db"), ("op", operation)]);
    let commands = |command: &str| grown("foobar_db_commands_total", &[("command", command)]);
    for (what, seen, done) in [
        // A call executes one SELECT inside of the server.
        ("read", queries("read") + queries("unknown"), did(&["select", "show_tables", "show_variables"])),
        ("write", queries("write"), did(&["insert", "update", "delete", "replace", "load"])),
        ("ddl", queries("ddl"), did(&["create_table", "alter_table", "truncate", "drop_table"])),
        ("tx", queries("tx"), did(&["begin", "commit", "rollback", "savepoint"])),
        ("other", queries("other"), did(&["set_option", "do"])),
        ("unknown", queries("unknown"), did(&["call_procedure"])),
        ("prepare", commands("prepare"), did(&["stmt_prepare"])),
        ("execute", commands("execute"), did(&["stmt_execute"])),
        ("close", commands("close"), did(&["stmt_close"])),
        ("errors", grown("foobar_db_query_errors_total", &[]), failed),
        ("sessions", grown("foobar_db_sessions_total", &[("encryption", "none")]), SESSIONS as u64),
        ("lost", grown("foobar_l7_framing_lost_total", &[]), 0),
        ("lost bytes", grown("foobar_l7_bytes_total", &[("state", "lost")]), 0),
    ] {
        say(&format!("{mode}, offload {offload}, {what}: {seen} counted, {done} by MariaDB"));
        ensure!(seen == done, "{what}: {seen} counted, {done} by MariaDB");
        ensure!(seen > 0 || what.starts_with("lost"), "there was no {what}");
    }
    let all = grown("foobar_db_queries_total", &[]);
    let timed = grown("foobar_db_query_duration_seconds_count", &[]);
    ensure!(all == timed, "{all} queries, {timed} of them timed");
    let framed = counted.count("foobar_l7_bytes_total", &[]);
    let carried = counted.count("foobar_bytes_total", &[("port", "3306")]);
    ensure!(framed == carried, "{framed} bytes framed or lost of {carried}");
    ensure!(counted.count("foobar_db_writers", &[]) == 1, "nobody wrote");
    Ok(())
}

#[test]
fn what_cannot_be_seen_is_declared() -> Result<()> {
    let network = Network::new()?;
    let _database = Database::start(&network.server, 1)?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    foobar.start()?;
    for (options, password, encryption, compression, reason) in [
        (&["--ssl"][..], PASSWORD, "tls", "no", Some("encrypted")),
        (&["--skip-ssl", "--compress"], PASSWORD, "none", "yes", Some("compressed")),
        (&["--skip-ssl"], PASSWORD, "none", "no", None),
        (&["--skip-ssl"], "wrong", "none", "no", None),
    ] {
        let before = foobar.scrape()?;
        let output = network
            .client
            .command("mariadb")
            .args(["--no-defaults", "--batch"])
            .args(options)
            .args(["--host", &SERVER_V4.to_string(), "--user", USER])
            .arg(format!("--password={password}"))
            .args(["--execute", "SELECT 1"])
            .output()?;
        ensure!(output.status.success() == (password == PASSWORD), "{options:?}: {}", stderr(&output));
        settle();
        let after = foobar.scrape()?;
        let grown = |metric: &str, labels: &[(&str, &str)]| {
            after.count(metric, labels) - before.count(metric, labels)
        };
        let labels = [("encryption", encryption), ("compression", compression)];
        ensure!(
            grown("foobar_db_sessions_total", &labels) == 1,
            "{options:?}: no session: {:?}",
            after.select("foobar_db_sessions_total", &[]).collect::<Vec<_>>()
        );
        let failures = grown("foobar_db_login_failures_total", &[]);
        ensure!(failures == u64::from(password != PASSWORD), "{options:?}: {failures} failures");
        let reads = grown("foobar_db_queries_total", &[("op", "read")]);
        ensure!(reads == u64::from(reason.is_none() && failures == 0), "{options:?}: {reads} queries");
        let lost = grown("foobar_l7_framing_lost_total", &[]);
        let expected =
            reason.map_or(0, |reason| grown("foobar_l7_framing_lost_total", &[("reason", reason)]));
        ensure!(lost == expected && lost == if reason.is_some() { 2 } else { 0 }, "{options:?}: {lost} lost");
        say(&format!("{options:?}: {reads} queries, {failures} failures, {lost} directions not followed"));
    }
    Ok(())
}

#[test]
fn a_replica_is_seen() -> Result<()> {
    let network = Network::new()?;
    let database = Database::start(&network.server, 1)?;
    let replica = Database::start(&network.client, 2)?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    foobar.start()?;
    let streams =
        || -> Result<u64> { Ok(foobar.scrape()?.count("foobar_db_replica_streams", &[("server", "db")])) };
    ensure!(streams()? == 0, "a replica before there is one");
    replica.run(&format!(
        "CHANGE MASTER TO MASTER_HOST = '{SERVER_V4}', MASTER_PORT = {PORT}, MASTER_USER = '{USER}', \
         MASTER_PASSWORD = '{PASSWORD}', MASTER_USE_GTID = slave_pos; START SLAVE"
    ))?;
    database.run("CREATE TABLE shop.t (a INT); INSERT INTO shop.t VALUES (7)")?;
    wait::until("the replica has what was written", Duration::from_secs(20), || {
        Ok(replica.run("SELECT a FROM shop.t").is_ok_and(|rows| rows.trim() == "7"))
    })?;
    ensure!(streams()? == 1, "{} replicas", streams()?);
    let metrics = foobar.scrape()?;
    let dumps = metrics.count("foobar_db_commands_total", &[("command", "binlog_dump")]);
    let lost = metrics.count("foobar_l7_framing_lost_total", &[]);
    ensure!((dumps, lost) == (1, 0), "{dumps} dumps, {lost} lost");
    replica.run("STOP SLAVE")?;
    wait::until("the replica is gone", Duration::from_secs(10), || Ok(streams()? == 0))
}

/// Does everything that sessions can do, in several at a time. How many errors the server told of.
fn use_sessions(rounds: usize) -> Result<u64> {
    thread::scope(|scope| {
        let sessions: Vec<_> = (0..SESSIONS)
            .map(|number| {
                let family = Family::BOTH[number % 2];
                scope.spawn(move || use_session(number, family.server(), rounds))
            })
            .collect();
        let ends = sessions
            .into_iter()
            .map(|session| session.join().map_err(|panic| anyhow!("a session panicked: {panic:?}"))?);
        ends.sum()
    })
}

/// Does everything that a session can do. How many errors the server told of.
fn use_session(number: usize, server: IpAddr, rounds: usize) -> Result<u64> {
    let mut session = Conn::new(
        OptsBuilder::new()
            .ip_or_hostname(Some(server.to_string()))
            .tcp_port(PORT)
            .user(Some(USER))
            .pass(Some(PASSWORD))
            .db_name(Some("shop"))
            .prefer_socket(false)
            .local_infile_handler(Some(LocalInfileHandler::new(|_, writer| {
                // Packets of it look like queries, and their numbers begin anew.
                for _ in 0..600 {
                    writer.write_all(b"\x03DROP TABLE many;\n")?;
                    writer.flush()?;
                }
                Ok(())
            }))),
    )
    .context("log in")?;
    let mut failed = 0;
    for round in 0..rounds {
        session.query_drop("INSERT INTO t (a) VALUES ('one')")?;
        session.query_drop("/* a tag */ UPDATE t SET a = 'two' WHERE id = 1")?;
        let _read: Vec<String> = session.query("(SELECT a FROM t LIMIT 1)")?;
        // As many packets as there are numbers for them, and others.
        for rows in [1, 250 + round, 1_000] {
            let read: Vec<u32> = session.query(format!("SELECT a FROM many LIMIT {rows}"))?;
            ensure!(read.len() == rows, "{} rows", read.len());
        }
        let insert = session.prep("INSERT INTO t (a) VALUES (?)")?;
        let select = session.prep("SELECT a FROM many WHERE a < ?")?;
        for number in 0..5 {
            session.exec_drop(&insert, ("x".repeat(number * 1_000),))?;
            let read: Vec<u32> = session.exec(&select, (250 + round,))?;
            ensure!(read.len() == 249 + round, "{} rows", read.len());
        }
        session.close(insert)?;
        session.query_drop("START TRANSACTION")?;
        session.query_drop("REPLACE INTO t (id, a) VALUES (1, 'three')")?;
        session.query_drop("SAVEPOINT s")?;
        session.query_drop(if round % 2 == 0 { "COMMIT" } else { "ROLLBACK" })?;
        session.query_drop("SET @a = 1")?;
        session.query_drop("DO SLEEP(0)")?;
        session.query_drop("SHOW TABLES")?;
        session.query_drop("SHOW VARIABLES LIKE 'port'")?;
        session.ping()?;
        failed += u64::from(session.query_drop("SELECT nothing FROM t").is_err());
        failed += u64::from(session.query_drop("INSERT INTO nowhere VALUES (1)").is_err());
        failed += u64::from(session.prep("DELETE FROM nowhere").is_err());
    }
    session.query_drop(format!("INSERT INTO t (a) VALUES ('{}')", "SELECT 1; ".repeat(30_000)))?;
    if number == 0 && rounds == ROUNDS {
        // More than a packet.
        session.query_drop(format!("INSERT INTO t (a) VALUES ('{}')", "x".repeat(17_000_000)))?;
        let _read: Option<String> = session.query_first("SELECT a FROM t ORDER BY LENGTH(a) DESC LIMIT 1")?;
    }
    session.query_drop("CREATE TABLE IF NOT EXISTS rows_of_a_file (a VARCHAR(40))")?;
    session.query_drop("ALTER TABLE rows_of_a_file COMMENT 'none'")?;
    session.query_drop("LOAD DATA LOCAL INFILE 'rows' INTO TABLE rows_of_a_file")?;
    session.query_drop("DELETE FROM rows_of_a_file LIMIT 10")?;
    session.query_drop("TRUNCATE rows_of_a_file")?;
    session.query_drop("CALL once()")?;
    Ok(failed)
}
