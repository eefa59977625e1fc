//! Targets that are away, and what is kept for them.

use std::{
    env,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    Pushing, check_complete,
    stand_in::{Answer, StandIn},
    sumo, sumo_at, times,
};

const URL: &str = "http://127.0.0.1:8001/";

#[test]
fn nothing_is_missing_after_an_outage() -> Result<()> {
    let outage = if env::var_os("FOOBAR_LONG").is_some() { 60 } else { 5 };
    let mut pushing = Pushing::prepare("")?;
    let namespace = std::sync::Arc::clone(&pushing.network.server);
    let stand_in = StandIn::start(&namespace, 8001)?;
    pushing.write(&sumo(&stand_in, "series = [\"foobar_up\"]"))?;
    pushing.foobar.start()?;
    let mut requests = stand_in.wait_for(2)?;
    drop(stand_in);
    let away = pushing.wait_for("sumo", "it is away", |target| target["problem"].is_string())?;
    ensure!(away["failures"]["connect"].as_u64() >= Some(1), "{away}");
    sleep(Duration::from_secs(outage));
    let away = pushing.target("sumo")?;
    ensure!(away["lag_seconds"].as_f64() >= Some(3.0) && away["spool_points"].as_u64() >= Some(3), "{away}");
    let metrics = pushing.foobar.scrape()?;
    ensure!(metrics.value("foobar_push_lag_seconds", &[("target", "sumo")])? >= 3.0);
    ensure!(metrics.value("foobar_push_spool_bytes", &[("target", "sumo")])? > 0.0);
    let stand_in = StandIn::start(&namespace, 8001)?;
    // It is tried again after a minute at most; what has waited then comes at once.
    let back = Instant::now();
    let limit = Duration::from_secs(65);
    foobar_tests::wait::until("all has arrived", limit, || Ok(pushing.target("sumo")?["spool_points"] == 0))?;
    let newest = times(&stand_in.requests())?.last().copied().context("nothing has arrived")?;
    println!(
        "{outage} s away; all had arrived {:?} after the return, the newest of {newest}",
        back.elapsed()
    );
    stand_in.wait_for(3)?;
    let target = pushing.stop_and_settle("sumo")?;
    assert_eq!(target["lost"], serde_json::json!({}), "{target}");
    assert_eq!(target["problem"], serde_json::Value::Null);
    requests.extend(stand_in.requests());
    let times = times(&requests)?;
    ensure!(times.len() as u64 >= outage, "{times:?}");
    check_complete(&times, target["points"].as_u64())?;
    let log = pushing.foobar.log()?;
    ensure!(log.matches("the target sumo is away").count() == 1, "{log}");
    ensure!(log.contains("the target sumo is there again after"), "{log}");
    Ok(())
}

#[test]
fn a_full_spool_loses_the_oldest_and_counts_them() -> Result<()> {
    let file = |url: &str| {
        sumo_at(
            url,
            "gzip = false\nseries = [\"foobar_firewall_*\", \"foobar_up\"]\nspool = { bytes = \"64KiB\" }",
        )
    };
    let mut pushing = Pushing::prepare(&file(URL))?;
    pushing.foobar.start()?;
    let target =
        pushing.wait_for("sumo", "something is lost", |target| target["lost"]["bytes"].as_u64() > Some(0))?;
    ensure!(target["spool_bytes"].as_u64() <= Some(64 << 10), "{target}");
    let stand_in = StandIn::start(&pushing.network.server, 8001)?;
    pushing.wait_until_empty("sumo")?;
    let target = pushing.stop_and_settle("sumo")?;
    let requests = stand_in.requests();
    let times = times(&requests)?;
    // What was lost is what came before, and all of it was counted: each gathering has as many points.
    let points = String::from_utf8_lossy(&requests[0].body).lines().count() as u64;
    let lost = target["lost"]["bytes"].as_u64().context("nothing was lost")?;
    assert_eq!(lost % points, 0, "{lost} of {points} each");
    check_complete(&times, target["points"].as_u64().map(|sent| sent / points))?;
    ensure!(lost > 0 && times.len() > 1, "{times:?}");
    let metrics = pushing.foobar.scrape()?;
    assert_eq!(
        metrics.count("foobar_push_lost_points_total", &[("target", "sumo"), ("reason", "bytes")]),
        lost
    );
    assert_eq!(metrics.count("foobar_push_lost_points_total", &[]), lost);
    Ok(())
}

#[test]
fn what_waits_outlives_a_daemon_that_is_killed() -> Result<()> {
    let mut pushing = Pushing::prepare(&sumo_at(URL, "series = [\"foobar_up\"]"))?;
    pushing.foobar.start()?;
    pushing.wait_for("sumo", "four wait", |target| target["spool_points"].as_u64() >= Some(4))?;
    pushing.foobar.kill()?;
    pushing.foobar.start()?;
    ensure!(pushing.foobar.log()?.contains("points wait for the target sumo from before"));
    pushing.wait_for("sumo", "six wait", |target| target["spool_points"].as_u64() >= Some(6))?;
    pushing.foobar.kill()?;
    let stand_in = StandIn::start(&pushing.network.server, 8001)?;
    pushing.foobar.start()?;
    pushing.wait_until_empty("sumo")?;
    let times = times(&stand_in.requests())?;
    ensure!(times.len() >= 7 && times.is_sorted(), "{times:?}");
    // Where the daemon was killed and started again there may be a little more than a second.
    let widest = times.windows(2).map(|pair| pair[1] - pair[0]).max();
    ensure!(widest < Some(4_000), "{times:?}");
    Ok(())
}

#[test]
fn a_target_that_asks_for_time_gets_it() -> Result<()> {
    let mut pushing = Pushing::prepare("")?;
    let stand_in = StandIn::with(&pushing.network.server, 8001, |number, _| match number {
        0 => Answer("429 Too Many Requests", vec!["Retry-After: 4".to_owned()], b"slow down".to_vec()),
        _ => Answer::ok(),
    })?;
    pushing.write(&sumo(&stand_in, "series = [\"foobar_up\"]"))?;
    pushing.foobar.start()?;
    stand_in.wait_for(6)?;
    let target = pushing.stop_and_settle("sumo")?;
    let requests = stand_in.requests();
    ensure!(requests[1].at - requests[0].at >= Duration::from_secs(4), "it came back early");
    ensure!(requests[3].at - requests[1].at < Duration::from_secs(1), "what waited did not come at once");
    assert_eq!(requests[0].body, requests[1].body);
    check_complete(&times(&requests)?, target["points"].as_u64())?;
    assert_eq!(target["failures"]["throttled"], 1, "{target}");
    assert_eq!(target["lost"], serde_json::json!({}));
    Ok(())
}
