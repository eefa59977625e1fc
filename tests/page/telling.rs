//! What viewers are told, how many there may be, and what they cost.

use std::{
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    figures::say,
    frames::{Family, tcp_syn},
    network::CLIENT,
    sender::PacketSocket,
    tap::settle,
    wait,
};
use serde_json::Value;

use crate::{
    site::{self, HOST, Load, METRICS, Site},
    stream::{Stream, refused, service},
};

/// How many may look at a time.
const VIEWERS_MAX: usize = 32;

fn number(value: &Value) -> Result<f64> {
    value.as_f64().with_context(|| format!("{value} is no number"))
}

fn is_near(one: f64, other: f64, part: f64) -> bool {
    (one - other).abs() <= part * other
}

#[test]
fn what_is_told_is_what_was_sent_and_what_the_metrics_say() -> Result<()> {
    let site = Site::start()?;
    site.network.introduce()?;
    let mut stream = Stream::open(&site.network.client, METRICS)?;
    let load = site.load(&["/", "/", "/", "/missing", "/large"], 94);
    // Each of them takes a second and more.
    let slow = [(); 6].map(|()| site.load(&["/slow"], 1));
    let done = || load.done() + slow.iter().map(Load::done).sum::<u64>();
    thread::sleep(Duration::from_secs(12));
    let (begun, before) = (Instant::now(), done());
    thread::sleep(Duration::from_secs(10));
    let sent_per_second = Duration::from_secs(done() - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    // Those that have come meanwhile are read first.
    let now = unix_ms()?;
    let during = stream.snapshot_where(|told| told["unix_ms"].as_f64().is_some_and(|at| at >= now))?;
    let www = service(&during, "www")?;
    let over_ten = number(&www["per_second"][1])?;
    say(&format!("{sent_per_second:.2} requests a second were sent, {over_ten:.2} told over 10 s"));
    ensure!(is_near(over_ten, sent_per_second, 0.03), "{over_ten} told, {sent_per_second} sent: {www}");
    ensure!(is_near(number(&during["requests_per_second"])?, sent_per_second, 0.2), "{during}");
    let outcomes = &www["outcomes_per_second"];
    ensure!(is_near(number(&outcomes["2xx"])?, 0.812 * sent_per_second, 0.05), "{outcomes}");
    ensure!(is_near(number(&outcomes["4xx"])?, 0.188 * sent_per_second, 0.05), "{outcomes}");
    let (median, p99) = (number(&www["median_seconds"])?, number(&www["p99_seconds"])?);
    ensure!(median < 0.01 && (0.5..2.5).contains(&p99), "{www}");
    PacketSocket::new(&site.network.client, CLIENT)?.send_times(&tcp_syn(Family::V4, 23)?, 70)?;
    let mut done = load.stop()?;
    for slow in slow {
        done += slow.stop()?;
    }
    settle();

    // Nothing passes any more but what is told itself.
    let now = unix_ms()?;
    let after = stream.snapshot_where(|told| {
        let is_later = told["unix_ms"].as_f64().is_some_and(|at| at > now + 1_500.0);
        is_later && told["services"][0]["per_second"][0] == 0.0
    })?;
    let (metrics, status) = (site.foobar.scrape()?, site.foobar.status()?);
    let requests = metrics.count("foobar_http_requests_total", &[("port", "80")]);
    ensure!(requests == done, "{requests} requests counted, {done} sent");
    ensure!(service(&after, "www")?["total"] == done && service(&status, "www")?["total"] == done, "{after}");
    ensure!(service(&after, "https")?["total"] == 0 && after["lost"] == 0, "{after}");
    ensure!(after["host"] == HOST && after["hash"] == status["ruleset"]["hash"], "{after}");
    ensure!(
        after["generation"] == status["ruleset"]["generation"] && after["version"] == status["version"],
        "{after}"
    );
    ensure!(after["attached"][0]["mode"] == status["interfaces"][0]["mode"], "{after}");
    let telnet = metrics.rule("no-telnet");
    let rules = after["rules"]["shown"].as_array().context("rules")?;
    let of = |id: &str| rules.iter().find(|rule| rule["rule"] == id).with_context(|| format!("no rule {id}"));
    ensure!(
        telnet == 70 && of("no-telnet")?["packets"] == 70 && of("no-telnet")?["action"] == "drop",
        "{after}"
    );
    ensure!(of("ping")?["packets"] == 0 && of("ping")?["place"] == 2, "{after}");
    ensure!(after["rules"]["count"] == 4 && after["rules"]["hit"] == 3, "{after}");
    let dropped: u64 = after["verdicts"]
        .as_array()
        .context("verdicts")?
        .iter()
        .filter(|one| one["action"] == "drop")
        .filter_map(|one| one["packets"].as_u64())
        .sum();
    ensure!(dropped == metrics.packets(&[("action", "drop")]), "{dropped}: {after}");
    Ok(())
}

/// Rules of these names that drop what comes to a UDP port, from 10000.
fn drops(names: impl Iterator<Item = String>) -> String {
    let rules = names.zip(10_000..).map(|(name, port)| {
        format!(
            "[[rule]]\nid = \"{name}\"\naction = \"drop\"\nprotocol = \"udp\"\ndestination_port = {port}\n"
        )
    });
    rules.collect::<Vec<_>>().concat()
}

/// KiB of memory that the daemon holds.
fn resident(site: &Site) -> Result<u64> {
    site.foobar.memory("VmRSS")
}

fn unix_ms() -> Result<f64> {
    Ok(1_000.0 * SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

/// Who comes first sees the last two minutes though nobody has looked; who goes on is told each second once.
#[test]
fn the_last_two_minutes_are_known_before_anybody_looks() -> Result<()> {
    let site = Site::start()?;
    let load = site.load(&["/"], 50);
    thread::sleep(Duration::from_secs(8));
    let asked = Instant::now();
    let mut stream = Stream::open(&site.network.client, METRICS)?;
    let first = stream.snapshot()?;
    say(&format!("the first numbers came after {:?}", asked.elapsed()));
    ensure!(asked.elapsed() < Duration::from_millis(1_500), "after {:?}", asked.elapsed());
    let seconds = service(&first, "www")?["each_second"].as_array().context("seconds")?.clone();
    ensure!((5..=12).contains(&seconds.len()), "{seconds:?}");
    for second in seconds.iter().skip(3) {
        ensure!(is_near(number(second)?, 50.0, 0.2), "{seconds:?}");
    }
    for _ in 0..3 {
        let next = stream.snapshot()?;
        let length = service(&next, "www")?["each_second"].as_array().map(Vec::len);
        ensure!(length == Some(1), "{next}");
    }
    load.stop().map(drop)
}

#[test]
fn a_bounded_number_may_look_and_the_metrics_stay_open() -> Result<()> {
    let site = Site::start()?;
    let client = &site.network.client;
    let viewers = |count: usize| {
        wait::until(&format!("{count} look"), Duration::from_secs(10), || {
            Ok(site.foobar.scrape()?.count("foobar_page_viewers", &[]) == count as u64)
        })
    };
    viewers(0)?;
    let alone = resident(&site)?;
    let mut streams = (0..VIEWERS_MAX).map(|_| Stream::open(client, METRICS)).collect::<Result<Vec<_>>>()?;
    viewers(VIEWERS_MAX)?;
    for stream in &mut streams {
        stream.snapshot()?;
    }
    say(&format!("{alone} KiB resident, and {} while {VIEWERS_MAX} look", resident(&site)?));
    ensure!(site.foobar.status()?["page_viewers"] == VIEWERS_MAX, "{}", site.foobar.status()?);
    let answer = refused(client, METRICS)?;
    ensure!(answer.contains(" 503 ") && answer.contains("32 look at this page already"), "{answer}");
    // Others who come at the same time still have their places.
    for _ in 0..40 {
        ensure!(site.foobar.get("/metrics")?.status == 200, "no metrics while {VIEWERS_MAX} look");
    }
    drop(streams.pop());
    viewers(VIEWERS_MAX - 1)?;
    Stream::open(client, METRICS)?.snapshot()?;
    drop(streams);
    viewers(0)
}

/// One look a second, whatever the number of viewers, and none without.
#[test]
fn it_is_looked_once_a_second_for_all_and_not_at_all_for_none() -> Result<()> {
    let mut site = Site::prepare(&site::rules())?;
    site.foobar = site.foobar.with_options(&["--log", "info,foobar_daemon::page=debug"]);
    site.foobar.start()?;
    let looks = || -> Result<usize> { Ok(site.foobar.log()?.matches("looked for").count()) };
    thread::sleep(Duration::from_secs(3));
    ensure!(looks()? == 0, "{}", site.foobar.log()?);
    let streams = (0..10).map(|_| Stream::open(&site.network.client, METRICS)).collect::<Result<Vec<_>>>()?;
    thread::sleep(Duration::from_secs(6));
    let during = looks()?;
    ensure!((4..=9).contains(&during), "{during} looks in six seconds: {}", site.foobar.log()?);
    drop(streams);
    thread::sleep(Duration::from_secs(3));
    let after = looks()?;
    thread::sleep(Duration::from_secs(3));
    ensure!(looks()? == after && after <= during + 3, "{} looks while nobody looks", looks()? - during);
    Ok(())
}

#[test]
fn who_is_slow_gets_the_newest_and_no_queue_grows() -> Result<()> {
    // Rules with long names make large snapshots.
    let rules = drops((0..200).map(|number| format!("{}-{number:03}", "rule".repeat(14))));
    let mut site = Site::prepare(&(site::rules() + &rules))?;
    site.foobar.start()?;
    let client = &site.network.client;
    let mut slow = Stream::with_buffer(client, METRICS, 4_096)?;
    let mut quick = Stream::open(client, METRICS)?;
    let bytes = quick.snapshot()?.to_string().len();
    for _ in 0..20 {
        quick.snapshot()?;
    }
    let now = unix_ms()?;
    let mut old = 0;
    let newest = loop {
        let snapshot = slow.snapshot()?;
        if number(&snapshot["unix_ms"])? > now - 1_500.0 {
            break snapshot;
        }
        old += 1;
    };
    say(&format!(
        "snapshots of {bytes} bytes; {old} old ones had been on their way to who was slow for 20 s"
    ));
    ensure!(old <= 6, "{old} old snapshots were kept");
    // After a gap it is told all seconds again.
    let seconds = service(&newest, "www")?["each_second"].as_array().map_or(0, Vec::len);
    ensure!(seconds > 15, "{newest}");
    Ok(())
}

#[test]
fn the_end_of_the_daemon_waits_for_no_viewer() -> Result<()> {
    let mut site = Site::start()?;
    let client = std::sync::Arc::clone(&site.network.client);
    let mut streams = (0..5).map(|_| Stream::open(&client, METRICS)).collect::<Result<Vec<_>>>()?;
    let _slow = Stream::with_buffer(&client, METRICS, 4_096)?;
    for stream in &mut streams {
        stream.snapshot()?;
    }
    let begun = Instant::now();
    let status = site.foobar.terminate()?;
    let taken = begun.elapsed();
    say(&format!("the daemon ended within {taken:?} while six looked"));
    ensure!(status.success() && taken < Duration::from_millis(1_500), "{status} after {taken:?}");
    for stream in &mut streams {
        // In order, and not by a reset.
        while stream.next()?.is_some() {}
    }
    Ok(())
}

/// Of many rules the busiest are told, and how many there are.
#[test]
fn of_many_rules_a_hundred_are_told() -> Result<()> {
    const COUNT: usize = 10_000;
    let rules = drops((0..COUNT).map(|number| format!("r{number}")));
    let mut site = Site::prepare(&(site::rules() + &rules))?;
    site.foobar = site.foobar.with_options(&["--log", "info,foobar_daemon::page=debug"]);
    site.foobar.start()?;
    let socket = PacketSocket::new(&site.network.client, CLIENT)?;
    for (number, times) in [(9_999, 30), (5_000, 20)] {
        let frame = foobar_tests::frames::udp(Family::V4, 10_000 + number, b"x")?;
        socket.send_times(&frame, times)?;
    }
    settle();
    let before = resident(&site)?;
    let mut stream = Stream::open(&site.network.client, METRICS)?;
    let told = stream.snapshot_where(|told| told["rules"]["shown"][0]["packets"] == 30)?;
    let shown = told["rules"]["shown"].as_array().context("rules")?;
    ensure!(told["rules"]["count"] == COUNT + 4 && shown.len() == 100, "{}", told["rules"]["count"]);
    ensure!(
        shown[0]["rule"] == "r9999" && shown[0]["place"] == COUNT + 4 && shown[1]["rule"] == "r5000",
        "{told}"
    );
    for _ in 0..5 {
        stream.snapshot()?;
    }
    say(&format!("with {COUNT} rules {before} KiB resident, and {} with a viewer", resident(&site)?));
    say(site.foobar.log()?.lines().rfind(|line| line.contains("looked for")).unwrap_or_default());
    Ok(())
}
