//! A ruleset that drops 443 by mistake: all servers have the old one back within the time of the guard, and say why.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    command::{stderr, stdout},
    figures::say,
    wait,
};
use serde_json::Value;

use super::server::{LIMIT, Middle, PREFIX, Server, closed, open};

const GUARD: &str = "[guard]\nwithin = \"12s\"\n";

#[test]
fn a_mistake_is_taken_back_on_all_servers_which_say_why() -> Result<()> {
    let middle = Middle::new()?;
    let etcd = middle.etcd(3)?;
    let key = format!("{PREFIX}/rules.toml");
    etcd.put(&key, open(GUARD).as_bytes())?;
    let place = etcd.place(PREFIX);
    let mut servers = Vec::new();
    for name in ["web-1", "web-2", "web-3"] {
        let mut server = Server::new(&middle, name, &place, &[])?;
        server.foobar.start()?;
        server.busy();
        servers.push(server);
    }
    let first = servers[0].hash()?;
    let fleet_status = |arguments: &[&str]| -> Result<std::process::Output> {
        let mut command = servers[0].network.server.command(foobar_tests::binary::foobar()?);
        Ok(command.args(["fleet", "status", "--etcd", &place]).args(arguments).output()?)
    };
    wait::until("all members are there", LIMIT, || Ok(fleet_status(&[])?.status.code() == Some(0)))?;
    for server in &servers {
        server.settle()?;
        ensure!(server.answers(), "{} does not answer", server.name);
    }

    let mistaken = Instant::now();
    let revision = etcd.put(&key, closed(GUARD).as_bytes())?;
    for server in &servers {
        server.wait_until("the mistake is refused", |fleet| {
            fleet["decision"]["revision"] == revision && fleet["decision"]["refused"].is_string()
        })?;
    }
    let took = mistaken.elapsed();
    ensure!(took < Duration::from_secs(12), "after {took:?}");
    say(&format!("three servers have the old rules back {took:?} after the key was written"));
    for server in &servers {
        ensure!(server.hash()? == first && server.answers(), "{}", server.foobar.log()?);
        let why = server.fleet()?["decision"]["refused"].as_str().context("why")?.to_owned();
        ensure!(why.starts_with("service www (tcp/443) fell from "), "{why}");
        ensure!(server.foobar.log()?.contains(&why), "{}", server.foobar.log()?);
        ensure!(server.foobar.succeed(&["status"])?.contains(&why));
        let metrics = server.foobar.scrape()?;
        let labels = [("service", "www"), ("port", "tcp/443")];
        let before = metrics.value("foobar_guard_fallen_before_per_second", &labels)?;
        let after = metrics.value("foobar_guard_fallen_after_per_second", &labels)?;
        ensure!(before > 10.0 && after < before / 2.0, "{before} {after}");
        for (name, value) in [
            ("foobar_guard_rollbacks_total", 1.0),
            ("foobar_fleet_refused", 1.0),
            ("foobar_guard_pending", 0.0),
        ] {
            ensure!((metrics.value(name, &[])? - value).abs() < 0.1, "{name} of {}", server.name);
        }
    }
    wait::until("the others are told", LIMIT, || {
        let output = fleet_status(&["--json"])?;
        let report: Value = serde_json::from_str(&stdout(&output)).with_context(|| stderr(&output))?;
        let members = report["members"].as_array().context("members")?;
        Ok(output.status.code() == Some(3)
            && members.len() == 3
            && members.iter().all(|told| {
                told["member"]["hash"] == first
                    && told["member"]["refused"]["revision"] == revision
                    && told["member"]["refused"]["why"].as_str().unwrap().contains("fell from")
            }))
    })?;
    let shown = stdout(&fleet_status(&[])?);
    ensure!(shown.contains("REFUSED") && shown.contains("fell from"), "{shown}");

    // It is not tried again, and the next one that is right comes at once.
    let second = etcd.put(&key, open(&format!("{GUARD}# mended\n")).as_bytes())?;
    for server in &servers {
        server.wait_until("the mended rules are in force", |fleet| {
            fleet["decision"]["revision"] == second && fleet["decision"]["refused"].is_null()
        })?;
        ensure!(server.hash()? != first && server.answers());
        ensure!(server.foobar.status()?["pending"]["guarded"] == true, "not guarded");
    }
    Ok(())
}
