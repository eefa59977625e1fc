//! MariaDB, with sessions over the network, which foobar sees, and over its socket, which it does not.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use anyhow::{Context as _, Result, ensure};
use foobar_daemon::reconcile::Reason;
use foobar_tests::{
    daemon::Foobar,
    database::{Database, PASSWORD, PORT, USER},
    figures::say,
    network::{Network, SERVER, SERVER_V4},
    wait,
};
use mysql::{Conn, OptsBuilder, prelude::Queryable as _};

use super::{after, compared, next, published};

/// Of the user who asks for the count.
const SECRET: &str = "none of your business";
/// How often the server is asked over its socket.
const UNSEEN: u64 = 5;
/// How many statements are the second one of a query.
const BEHIND: u64 = 3;

fn rules(credentials: &str) -> String {
    format!(
        "schema = 1\n[[service]]\nname = \"db\"\nport = \"tcp/{PORT}\"\nprotocol = \"mysql\"\n\
         reconcile = {{ mysql = \"{credentials}\", every = \"3s\" }}\n"
    )
}

/// A session over the network.
fn log_in() -> Result<Conn> {
    let place =
        OptsBuilder::new().ip_or_hostname(Some(SERVER_V4.to_string())).tcp_port(PORT).prefer_socket(false);
    Conn::new(place.user(Some(USER)).pass(Some(PASSWORD)).db_name(Some("shop"))).context("log in")
}

/// Everything that a session can do and that can be asked for; each of it changes the count of the server, or does not.
fn use_session() -> Result<()> {
    let mut session = log_in()?;
    session.query_drop("CREATE TABLE IF NOT EXISTS t (a INT)")?;
    session.query_drop("CREATE OR REPLACE PROCEDURE twice() BEGIN SELECT 1; SELECT 2; END")?;
    for round in 0..20 {
        session.query_drop("INSERT INTO t VALUES (1)")?;
        session.query_drop("CALL twice()")?;
        let statement = session.prep("SELECT a FROM t WHERE a < ?")?;
        for number in 0..3 {
            let _rows: Vec<u32> = session.exec(&statement, (number + round,))?;
        }
        session.close(statement)?;
        session.query_drop("PREPARE s FROM 'SELECT 1'; ")?;
        session.query_drop("EXECUTE s")?;
        session.query_drop("START TRANSACTION")?;
        session.query_drop("COMMIT")?;
        session.ping()?;
        session.select_db("mysql")?;
        session.select_db("shop")?;
        ensure!(session.query_drop("SELECT nothing FROM t").is_err(), "a column that there is none of");
        ensure!(session.query_drop("no SQL").is_err(), "a statement that is none");
        session.reset()?;
        session.select_db("shop")?;
    }
    session.change_user(mysql::ChangeUserOpts::default())?;
    Ok(())
}

/// How many questions the server counts for one statement that is executed over its socket, and the session around it.
/// The foobar that compares asks in between, sometimes.
fn of_one(database: &Database) -> Result<u64> {
    let mut counts = Vec::new();
    for _ in 0..4 {
        counts.push(database.status()?["Questions"]);
    }
    counts.windows(2).map(|two| two[1] - two[0]).min().context("several counts")
}

#[test]
fn the_difference_is_what_foobar_does_not_see() -> Result<()> {
    let network = Network::new()?;
    let database = Database::start(&network.server, 1)?;
    database.run(&format!("CREATE USER foobar@localhost IDENTIFIED BY '{SECRET}'"))?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], "schema = 1\n")?;
    let options = format!(
        "[client]\nuser = foobar\npassword = \"{SECRET}\"\nsocket = {}\n",
        database.socket().display()
    );
    let credentials = foobar.write("mysql.cnf", &options)?;
    foobar.write_rules(&rules(&credentials.display().to_string()))?;
    let mode = |mode| fs::set_permissions(&credentials, fs::Permissions::from_mode(mode));
    mode(0o644)?;
    foobar.start()?;

    // Not while others can read the password.
    wait::until("the file is refused", Duration::from_secs(10), || Ok(compared(&foobar)?.problem.is_some()))?;
    let refused = compared(&foobar)?;
    ensure!(refused.failures.keys().eq([&Reason::Credentials]), "{refused:?}");
    ensure!(refused.problem.as_ref().is_some_and(|problem| problem.contains("chmod 600")), "{refused:?}");
    mode(0o600)?;
    let first = after(&foobar, &refused)?;
    ensure!((first.difference, first.uncertainty, first.baselines) == (Some(0), Some(0), 1), "{first:?}");

    for family in 0..3 {
        network.client.enter(use_session).with_context(|| format!("session {family}"))?;
        let now = compared(&foobar)?;
        ensure!(now.difference.unwrap_or_default() == 0, "{now:?}");
    }
    let quiet = next(&foobar)?;
    let metrics = foobar.scrape()?;
    let queries = metrics.count("foobar_db_queries_total", &[]);
    say(&format!("{queries} queries: {quiet:?}"));
    ensure!(queries > 500, "only {queries} queries");
    ensure!(metrics.count("foobar_l7_framing_lost_total", &[]) == 0, "lost");
    ensure!((quiet.difference, quiet.uncertainty) == (Some(0), Some(0)), "{quiet:?}");

    // What goes over the socket, by the server's own count, and statements that others stand before in a query.
    network.client.enter(|| {
        let mut session = log_in()?;
        (0..BEHIND).try_for_each(|_| Ok(session.query_drop("SELECT 1; SELECT 2")?))
    })?;
    for _ in 0..UNSEEN {
        database.run("SELECT 1")?;
    }
    let less = next(&foobar)?;
    let expected = -i64::try_from(UNSEEN * of_one(&database)? + BEHIND)?;
    ensure!((less.difference, less.uncertainty) == (Some(expected), Some(0)), "{expected}: {less:?}");
    ensure!(published(&foobar, "mysql")?.is_some_and(|value| value < 0.0), "published");

    // The server goes away and comes back.
    drop(database);
    wait::until("MariaDB is missed", Duration::from_secs(15), || Ok(compared(&foobar)?.problem.is_some()))?;
    ensure!(published(&foobar, "mysql")?.is_none(), "an old value");
    for text in [foobar.log()?, foobar.succeed(&["status"])?, foobar.succeed(&["status", "--json"])?] {
        ensure!(!text.contains(SECRET), "the password is told: {text}");
    }
    Ok(())
}

#[test]
fn a_wrong_password_is_told_and_a_new_session_goes_on() -> Result<()> {
    let network = Network::new()?;
    let database = Database::start(&network.server, 1)?;
    database.run("CREATE USER foobar@'127.0.0.1' IDENTIFIED BY 'right'")?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], "schema = 1\n")?;
    let options = |password: &str| {
        format!("[client]\nuser = foobar\npassword = {password}\nhost = 127.0.0.1\nport = {PORT}\n")
    };
    let credentials = foobar.write("mysql.cnf", &options("wrong"))?;
    fs::set_permissions(&credentials, fs::Permissions::from_mode(0o600))?;
    foobar.write_rules(&rules(&credentials.display().to_string()))?;
    foobar.start()?;
    wait::until("the password is refused", Duration::from_secs(10), || {
        Ok(compared(&foobar)?.problem.is_some())
    })?;
    let refused = compared(&foobar)?;
    ensure!(refused.failures.keys().eq([&Reason::Login]), "{refused:?}");
    ensure!(refused.problem.as_ref().is_some_and(|problem| problem.contains("1045")), "{refused:?}");
    foobar.write("mysql.cnf", &options("right"))?;
    let first = after(&foobar, &refused)?;
    ensure!(first.difference == Some(0) && first.baselines == 1, "{first:?}");
    // Somebody ends the session; the next one is of somebody who needs no password.
    database.run("ALTER USER root@localhost IDENTIFIED VIA unix_socket")?;
    let options = format!("[client]\nuser = root\nsocket = {}\n", database.socket().display());
    foobar.write("mysql.cnf", &options)?;
    let sessions = "SELECT id FROM information_schema.processlist WHERE user = 'foobar'";
    let id = database.run(sessions)?;
    database.run(&format!("KILL {}", id.trim()))?;
    wait::until("the session is missed", Duration::from_secs(15), || {
        Ok(compared(&foobar)?.failures.contains_key(&Reason::Answer))
    })?;
    let again = after(&foobar, &compared(&foobar)?)?;
    // How many of its last commands were counted is not known, and how many of those over the socket foobar has not
    // seen is told as far as that leaves it open.
    ensure!(again.baselines == 1, "{again:?}");
    let least = again.difference.context("a difference")?;
    let uncertainty = again.uncertainty.context("an uncertainty")?;
    let most = least - i64::try_from(uncertainty)?;
    ensure!(least <= 0 && (1..=6).contains(&uncertainty), "{again:?}");
    let unseen = -i64::try_from(3 * of_one(&database)?)?;
    ensure!((most..=least).contains(&unseen), "{unseen}: {again:?}");
    Ok(())
}
