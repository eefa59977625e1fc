//! What targets say, and what comes of it.

use std::{fmt::Write as _, time::Duration};

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
fn statuses_say_whether_to_come_again_as_each_protocol_has_it() -> Result<()> {
    // Each row: what is spoken, a status, and why it is lost unless the same request comes again.
    let rows = [
        ("sumo", "204 No Content", None),
        ("sumo", "500 Internal Server Error", Some("again")),
        ("sumo", "408 Request Timeout", Some("again")),
        ("sumo", "401 Unauthorized", Some("refused")),
        ("remote-write", "500 Internal Server Error", Some("again")),
        ("remote-write", "501 Not Implemented", Some("again")),
        ("remote-write", "408 Request Timeout", Some("refused")),
        ("remote-write", "404 Not Found", Some("refused")),
        ("otlp", "500 Internal Server Error", Some("given_up")),
        ("otlp", "501 Not Implemented", Some("given_up")),
        ("otlp", "502 Bad Gateway", Some("again")),
        ("otlp", "503 Service Unavailable", Some("again")),
        ("otlp", "504 Gateway Timeout", Some("again")),
        ("otlp", "429 Too Many Requests", Some("again")),
        ("otlp", "408 Request Timeout", Some("refused")),
        ("otlp", "413 Content Too Large", Some("refused")),
    ];
    let mut pushing = Pushing::prepare("")?;
    let namespace = std::sync::Arc::clone(&pushing.network.server);
    let mut file = String::new();
    let mut stand_ins = Vec::new();
    for (number, (kind, status, _)) in rows.into_iter().enumerate() {
        let stand_in =
            StandIn::with(&namespace, 8100 + u16::try_from(number)?, move |number, _| match number {
                0 => Answer(status, vec!["Retry-After: 3".to_owned()], b"because".to_vec()),
                _ => Answer::ok(),
            })?;
        writeln!(
            file,
            "[[target]]\nname = \"t{number}\"\nkind = \"{kind}\"\nurl = \"{}\"\ninterval = \"1s\"\nseries = [\"foobar_up\"]",
            stand_in.url("/")
        )?;
        stand_ins.push(stand_in);
    }
    pushing.write(&file)?;
    pushing.foobar.start()?;
    for (number, ((kind, status, what), stand_in)) in rows.into_iter().zip(&stand_ins).enumerate() {
        let requests = stand_in.wait_for(2)?;
        let is_again = what == Some("again");
        assert_eq!(requests[0].body == requests[1].body, is_again, "{kind}: {status}");
        let pause = requests[1].at - requests[0].at;
        ensure!(!is_again || pause >= Duration::from_secs(3), "{kind}: {status} was back after {pause:?}");
        let target = pushing.target(&format!("t{number}"))?;
        let expected = match what {
            Some("again") | None => serde_json::json!({}),
            Some(reason) => serde_json::json!({ reason: 1 }),
        };
        assert_eq!(target["lost"], expected, "{kind}: {status}");
        let failures = if status.starts_with("429") { "throttled" } else { "status" };
        assert_eq!(target["failures"][failures].as_u64(), is_again.then_some(1), "{kind}: {status}");
    }
    let metrics = pushing.foobar.scrape()?;
    assert_eq!(metrics.count("foobar_push_lost_points_total", &[("reason", "given_up")]), 2);
    assert_eq!(metrics.count("foobar_push_lost_points_total", &[]), 7);
    let told =
        "the target t8 fails in a way that is not to be tried again, and points are lost: 500 Internal";
    ensure!(pushing.foobar.log()?.contains(told));
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
