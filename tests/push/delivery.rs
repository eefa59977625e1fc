//! What targets say, and what comes of it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::{
    Pushing,
    stand_in::{Answer, StandIn},
    sumo, times,
};

#[test]
fn what_is_refused_is_lost_and_told_and_holds_nothing_up() -> Result<()> {
    let mut pushing = Pushing::prepare("")?;
    let stand_in = StandIn::with(&pushing.network.server, 8001, |number, _| match number {
        0..2 => Answer("400 Bad Request", vec![], b"out of bounds:\n\x1b[31m really".to_vec()),
        _ => Answer::ok(),
    })?;
    pushing.write(&sumo(&stand_in, "series = [\"foobar_up\"]"))?;
    pushing.foobar.start()?;
    let requests = stand_in.wait_for(4)?;
    let times = times(&requests)?;
    assert_eq!(times.len(), requests.len(), "a refused request came again");
    let target = pushing.wait_for("sumo", "two were taken", |target| target["points"].as_u64() >= Some(2))?;
    assert_eq!(target["lost"]["refused"], 2, "{target}");
    assert_eq!(target["problem"], serde_json::Value::Null);
    let log = pushing.foobar.log()?;
    let told = "the target sumo refuses points, which are lost: 400 Bad Request: out of bounds: [31m really";
    assert_eq!(log.matches(told).count(), 1, "{log}");
    Ok(())
}

#[test]
fn statuses_say_whether_to_come_again() -> Result<()> {
    // Each row: a status, and whether the same request comes again.
    let rows = [
        ("204 No Content", false),
        ("500 Internal Server Error", true),
        ("502 Bad Gateway", true),
        ("503 Service Unavailable", true),
        ("504 Gateway Timeout", true),
        ("408 Request Timeout", true),
        ("401 Unauthorized", false),
        ("404 Not Found", false),
        ("413 Content Too Large", false),
    ];
    let mut pushing = Pushing::prepare("")?;
    let namespace = std::sync::Arc::clone(&pushing.network.server);
    let stand_ins = rows
        .iter()
        .enumerate()
        .map(|(number, (status, _))| {
            let status = *status;
            StandIn::with(&namespace, 8100 + u16::try_from(number)?, move |number, _| match number {
                0 => Answer::status(status),
                _ => Answer::ok(),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let targets: Vec<String> = stand_ins
        .iter()
        .enumerate()
        .map(|(number, stand_in)| {
            sumo(stand_in, "series = [\"foobar_up\"]")
                .replace("\"sumo\"\nkind", &format!("\"t{number}\"\nkind"))
        })
        .collect();
    pushing.write(&targets.concat())?;
    pushing.foobar.start()?;
    for ((status, again), stand_in) in rows.into_iter().zip(&stand_ins) {
        let requests = stand_in.wait_for(2)?;
        assert_eq!(requests[0].body == requests[1].body, again, "{status}");
    }
    Ok(())
}

#[test]
fn a_redirect_is_not_followed() -> Result<()> {
    let mut pushing = Pushing::prepare("")?;
    let elsewhere = StandIn::start(&pushing.network.server, 8002)?;
    let stand_in = StandIn::with(&pushing.network.server, 8001, |_, _| {
        Answer("307 Temporary Redirect", vec!["Location: http://127.0.0.1:8002/".to_owned()], vec![])
    })?;
    pushing.write(&sumo(&stand_in, "series = [\"foobar_up\"]"))?;
    pushing.foobar.start()?;
    stand_in.wait_for(2)?;
    let target = pushing.target("sumo")?;
    ensure!(
        target["problem"].as_str().is_some_and(|problem| problem.contains("redirects are not followed")),
        "{target}"
    );
    assert_eq!(elsewhere.requests().len(), 0);
    Ok(())
}

#[test]
fn a_budget_is_kept_and_what_is_over_it_is_counted() -> Result<()> {
    let mut pushing = Pushing::prepare("")?;
    let stand_in = StandIn::start(&pushing.network.server, 8001)?;
    // Two series each second are 120 in a minute.
    let two = "series = [\"foobar_up\", \"foobar_ruleset_generation\"]\npoints_per_minute = 10";
    pushing.write(&sumo(&stand_in, two))?;
    pushing.foobar.start()?;
    let target =
        pushing.wait_for("sumo", "some are lost", |target| target["lost"]["budget"].as_u64() >= Some(6))?;
    std::thread::sleep(Duration::from_secs(1));
    let requests = stand_in.requests();
    // The first five fill a minute's, and a twelfth of a minute later there may be one more.
    ensure!((5..=6).contains(&requests.len()), "{} requests: {target}", requests.len());
    assert_eq!(target["lost"].as_object().map(serde_json::Map::len), Some(1), "{target}");
    // One gathering alone is over it: the first series are sent, and the others counted.
    pushing.write(&sumo(&stand_in, "series = [\"foobar_firewall_packets_total\"]\npoints_per_minute = 7"))?;
    let requests = stand_in.wait_for(requests.len() + 1)?;
    let text = String::from_utf8(requests.last().context("no request")?.unzipped()?)?;
    assert_eq!(text.lines().count(), 7, "{text}");
    Ok(())
}

#[test]
fn a_connection_is_kept_for_the_next_request() -> Result<()> {
    let mut pushing = Pushing::prepare("")?;
    let stand_in = StandIn::start(&pushing.network.server, 8001)?;
    pushing.write(&sumo(&stand_in, "series = [\"foobar_up\"]"))?;
    pushing.foobar.start()?;
    stand_in.wait_for(4)?;
    assert_eq!(stand_in.connections(), 1);
    // One that the target has closed in the meantime is no failure.
    stand_in.close_connections();
    let before = stand_in.requests().len();
    stand_in.wait_for(before + 2)?;
    let target = pushing.target("sumo")?;
    assert_eq!(target["failures"], serde_json::json!({}), "{target}");
    assert_eq!(stand_in.connections(), 2);
    Ok(())
}
