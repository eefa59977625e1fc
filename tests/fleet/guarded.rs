//! The guard itself: over a daemon that is killed, over rules of a file, and over services that vanish.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{command::stderr, figures::say, wait};

use super::server::{LIMIT, Middle, PREFIX, Server, closed, open};

#[test]
fn a_killed_daemon_leaves_the_guard_to_the_next_one() -> Result<()> {
    let guard = "[guard]\nwithin = \"15s\"\nfall = \"80%\"\n";
    let middle = Middle::new()?;
    let etcd = middle.etcd(1)?;
    let key = format!("{PREFIX}/rules.toml");
    etcd.put(&key, open(guard).as_bytes())?;
    let mut server = Server::new(&middle, "web", &etcd.place(PREFIX), &[])?;
    server.foobar.start()?;
    server.busy();
    server.settle()?;
    let first = server.hash()?;
    etcd.put(&key, closed(guard).as_bytes())?;
    wait::until("the new rules are in force", LIMIT, || {
        Ok(server.foobar.status()?["pending"]["guarded"] == true)
    })?;
    server.foobar.kill()?;
    ensure!(!server.answers(), "answered while the daemon is dead: the new rules are not in force");
    server.foobar.start()?;
    let started = Instant::now();
    ensure!(server.hash()? != first, "the guard has ended with the daemon");
    server.wait_for(&first)?;
    say(&format!("the next daemon took them back {:?} after its start", started.elapsed()));
    ensure!(server.answers());
    // And a third one knows it.
    server.foobar.kill()?;
    server.foobar.start()?;
    ensure!(server.hash()? == first);
    let refused = server.fleet()?["decision"]["refused"].as_str().context("why")?.to_owned();
    ensure!(refused.contains("fell from"), "{refused}");
    server.wait_until("etcd answers", |fleet| fleet["connected"] == true && fleet["revision"].is_i64())?;
    std::thread::sleep(Duration::from_secs(2));
    ensure!(server.hash()? == first, "what was refused came again");
    // A key that is written again is tried again, also with the same text.
    let again = etcd.put(&key, closed(guard).as_bytes())?;
    server.wait_until("it is tried again", |fleet| fleet["decision"]["revision"] == again)?;
    Ok(())
}

#[test]
fn rules_of_a_file_can_be_guarded_and_services_do_not_vanish() -> Result<()> {
    let middle = Middle::new()?;
    let etcd = middle.etcd(1)?;
    let key = format!("{PREFIX}/rules.toml");
    etcd.put(&key, open("").as_bytes())?;
    let mut server = Server::new(&middle, "web", &etcd.place(PREFIX), &[])?;
    server.foobar.start()?;
    server.busy();
    server.settle()?;
    let first = server.hash()?;

    // The rule and the service are gone, as in a file that was cut off.
    etcd.put(&key, b"schema = 1\n")?;
    let fleet = server.wait_until("the refusal is told", |fleet| fleet["decision"]["refused"].is_string())?;
    let why = fleet["decision"]["refused"].as_str().context("why")?;
    ensure!(why.contains("www (tcp/443)") && why.contains("[guard]"), "{why}");
    ensure!(server.hash()? == first && server.answers());

    let path = server.foobar.write("closed.toml", &closed(""))?;
    let path = path.display().to_string();
    let output = server.foobar.command(&["rules", "apply", &path, "--guard", "1s"])?;
    ensure!(output.status.code() == Some(2) && stderr(&output).contains("5s"), "{}", stderr(&output));
    let said = server.foobar.succeed(&["rules", "apply", &path, "--guard", "10s"])?;
    ensure!(said.contains("guarded for 10s") && said.contains("www (tcp/443)"), "{said}");
    ensure!(!server.answers(), "the rules are not in force");
    // With a share that a busy machine does not reach.
    let path = server.foobar.write("open.toml", &open("[guard]\nfall = \"90%\"\n"))?;
    let path = path.display().to_string();
    let second = server.foobar.command(&["rules", "apply", &path])?;
    ensure!(second.status.code() == Some(1) && stderr(&second).contains("guarded"), "{}", stderr(&second));
    server.wait_for(&first)?;
    ensure!(server.answers());
    // What services usually get is counted anew, and rules that do no harm stay.
    let early = server.foobar.command(&["rules", "apply", &path, "--guard", "5s"])?;
    ensure!(early.status.code() == Some(1) && stderr(&early).contains("try again"), "{}", stderr(&early));
    std::thread::sleep(Duration::from_secs(5));
    server.foobar.succeed(&["rules", "apply", &path, "--guard", "5s"])?;
    let other = server.hash()?;
    wait::until("the guard is over", LIMIT, || Ok(server.foobar.status()?["pending"].is_null()))?;
    ensure!(server.hash()? == other && server.answers());
    // Who means it says so.
    let revision = etcd.put(&key, b"schema = 1\n[guard]\nservices = []\n")?;
    server.wait_until("the service is gone", |fleet| {
        fleet["decision"]["revision"] == revision && fleet["decision"]["refused"].is_null()
    })?;
    ensure!(server.foobar.status()?["services"].as_array().context("services")?.is_empty());
    Ok(())
}
