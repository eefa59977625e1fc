//! Members of etcd that die, one and all of them.

use std::time::Instant;

use anyhow::{Result, ensure};
use foobar_tests::{command::stderr, figures::say};

use super::server::{Middle, PREFIX, Server};

fn rules(number: usize) -> String {
    format!("schema = 1\n[[rule]]\nid = \"r{number}\"\naction = \"accept\"\n")
}

#[test]
fn a_leader_that_dies_holds_nothing_up_and_without_all_the_rules_stay() -> Result<()> {
    let middle = Middle::new()?;
    let mut etcd = middle.etcd(3)?;
    let key = format!("{PREFIX}/rules.toml");
    etcd.put(&key, rules(0).as_bytes())?;
    let mut server = Server::new(&middle, "web", &etcd.place(PREFIX), &[])?;
    server.foobar.start()?;
    server.wait_until("etcd answers", |fleet| fleet["connected"] == true)?;

    let leader = etcd.leader()?;
    etcd.kill(leader)?;
    etcd.wait_until_healthy()?;
    let written = Instant::now();
    let revision = etcd.put(&key, rules(1).as_bytes())?;
    server.wait_until("the change is in force", |fleet| fleet["decision"]["revision"] == revision)?;
    say(&format!("with the leader dead, a change was in force after {:?}", written.elapsed()));
    let endpoint = etcd.endpoint(leader);
    server.wait_until("the dead member is told", |fleet| {
        fleet["endpoints"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one[0] == endpoint && one[1] == false))
    })?;
    // That, and nothing else.
    let metrics = server.foobar.scrape()?;
    for number in 0..3 {
        let up = metrics.value("foobar_fleet_endpoint_up", &[("endpoint", &etcd.endpoint(number))])?;
        ensure!((up - if number == leader { 0.0 } else { 1.0 }).abs() < 0.1, "{number}: {up}");
    }
    ensure!(metrics.value("foobar_fleet_connected", &[])? > 0.9);
    ensure!(metrics.value("foobar_config_reload_success", &[])? > 0.9);

    // All of them.
    let hash = server.hash()?;
    for number in (0..3).filter(|number| *number != leader) {
        etcd.kill(number)?;
    }
    server.wait_until("nobody answers", |fleet| fleet["connected"] == false)?;
    ensure!(server.metric("foobar_fleet_connected")? < 0.1 && server.hash()? == hash);
    server.foobar.kill()?;
    server.foobar.start()?;
    ensure!(server.hash()? == hash && server.foobar.log()?.contains("etcd does not answer"));
    let mut command = server.network.server.command(foobar_tests::binary::foobar()?);
    let output = command.args(["fleet", "status", "--etcd", &etcd.place(PREFIX)]).output()?;
    ensure!(output.status.code() == Some(1), "{}", stderr(&output));

    for number in 0..3 {
        etcd.revive(number)?;
    }
    etcd.wait_until_healthy()?;
    let revision = etcd.put(&key, rules(2).as_bytes())?;
    server.wait_until("the change is in force", |fleet| {
        fleet["connected"] == true && fleet["decision"]["revision"] == revision
    })?;
    Ok(())
}

#[test]
fn the_first_start_of_all_needs_etcd_and_says_so() -> Result<()> {
    let middle = Middle::new()?;
    let server = Server::new(&middle, "web", "etcd://127.0.0.1:1/foobar", &[])?;
    let output = server.foobar.run_to_end()?;
    ensure!(output.status.code() == Some(1), "{}", stderr(&output));
    ensure!(stderr(&output).contains("start etcd first"), "{}", stderr(&output));
    ensure!(server.network.xdp_program()?.is_none(), "something was attached");
    Ok(())
}
