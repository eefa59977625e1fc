//! What is lost is counted, and packets go their way.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    daemon::Foobar,
    frames::{self, Family},
    network::{CLIENT, Network, SERVER},
    sender::PacketSocket,
    tap::{self, Tap},
    wait,
};
use nix::sys::signal::Signal;

use crate::watching::{Watching, watchers};

const RULES: &str = "schema = 1\n[policy]\nin = \"drop\"\n\
                     [[rule]]\nid = \"seven\"\naction = \"accept\"\nprotocol = \"udp\"\ndestination_port = 7\nlog = \"1/1\"\n";

#[test]
fn a_full_buffer_holds_up_no_packet_and_what_is_lost_is_told() -> Result<()> {
    const FRAMES: u64 = 5_000;
    let network = Network::new()?;
    network.introduce()?;
    let mut foobar =
        Foobar::new(&network.server, &[SERVER], RULES)?.with_options(&["--event-buffer", "64KiB"]);
    foobar.start()?;
    let watching = Watching::start(&foobar, "full", &[])?;
    let tap = Tap::start(&network.server, SERVER, |frame| tap::is_udp_to(frame, 7))?;
    // Nobody reads while the daemon stands still.
    foobar.signal(Signal::SIGSTOP)?;
    tap::settle();
    let socket = PacketSocket::new(&network.client, CLIENT)?;
    socket.send_times(&frames::udp(Family::V4, 7, b"x")?, FRAMES)?;
    tap::settle();
    let seen = tap.stop()?;
    foobar.signal(Signal::SIGCONT)?;
    ensure!(seen == FRAMES, "{seen} of {FRAMES} packets went their way");
    // The buffer has room for 64 KiB / 312 bytes.
    watching.wait_for(200)?;
    std::thread::sleep(Duration::from_millis(2_500));
    let said = watching.interrupt()?;
    let told = said.events.len() as u64;
    ensure!((200..=211).contains(&told), "{told} were told");
    ensure!(told + said.lost()? == FRAMES, "{told} told: {}", said.err);
    let scrape = foobar.scrape()?;
    let lost = |place: &str| scrape.count("foobar_events_lost_total", &[("where", place)]);
    ensure!(scrape.count("foobar_events_total", &[]) == FRAMES);
    ensure!(
        told + lost("ring") == FRAMES && lost("watcher") == 0 && lost("unwatched") == 0,
        "{told} and {}",
        lost("ring")
    );
    let status = foobar.succeed(&["status"])?;
    ensure!(status.contains(&format!("events   {FRAMES} packets were drawn")), "{status}");
    Ok(())
}

#[test]
fn a_slow_watcher_loses_its_own_events_alone() -> Result<()> {
    /// More than fit a queue and a socket.
    const FRAMES: u64 = 12_000;
    let network = Network::new()?;
    network.introduce()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    foobar.start()?;
    let quick = Watching::start(&foobar, "quick", &[])?;
    let slow = Watching::start(&foobar, "slow", &[])?;
    let killed = Watching::start(&foobar, "killed", &[])?;
    ensure!(watchers(&foobar)? == 3);
    slow.signal(Signal::SIGSTOP)?;
    let socket = PacketSocket::new(&network.client, CLIENT)?;
    let frame = frames::udp(Family::V4, 7, &[0; 300])?;
    for part in 0..FRAMES / 200 {
        socket.send_times(&frame, 200)?;
        if part == 5 {
            killed.signal(Signal::SIGKILL)?;
        }
        // As fast as the quick one reads.
        quick.wait_for(usize::try_from((part + 1) * 200)?)?;
    }
    wait::until("the one that was killed is forgotten", Duration::from_secs(5), || {
        Ok(watchers(&foobar)? == 2)
    })?;
    let said = quick.interrupt()?;
    ensure!(said.events.len() as u64 == FRAMES && said.lost()? == 0, "{}", said.err);
    let by_watchers = foobar.status()?["events"]["lost_by_watchers"].as_u64().context("no number")?;
    ensure!(by_watchers > 0, "the slow one lost nothing");
    slow.signal(Signal::SIGCONT)?;
    std::thread::sleep(Duration::from_millis(2_500));
    let said = slow.interrupt()?;
    let told = said.events.len() as u64;
    ensure!(told < FRAMES && told + said.lost()? == FRAMES, "{told} told: {}", said.err);
    ensure!(said.lost()? == by_watchers);
    wait::until("nobody watches", Duration::from_secs(5), || Ok(watchers(&foobar)? == 0))?;
    // From here on no events are made.
    socket.send_times(&frame, 100)?;
    tap::settle();
    let scrape = foobar.scrape()?;
    ensure!(scrape.count("foobar_events_total", &[]) == FRAMES + 100);
    ensure!(scrape.count("foobar_events_lost_total", &[("where", "unwatched")]) == 100);
    ensure!(scrape.count("foobar_events_lost_total", &[("where", "ring")]) == 0);
    Ok(())
}

#[test]
fn counts_go_on_after_a_daemon_that_was_killed_while_somebody_watched() -> Result<()> {
    let network = Network::new()?;
    network.introduce()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    let settings = foobar.write("foobar.toml", "event_buffer = \"64KiB\"\n")?.display().to_string();
    foobar = foobar.with_options(&["--config", &settings]);
    foobar.start()?;
    let watching = Watching::start(&foobar, "first", &[])?;
    let socket = PacketSocket::new(&network.client, CLIENT)?;
    let frame = frames::udp(Family::V4, 7, b"x")?;
    socket.send_times(&frame, 10)?;
    watching.wait_for(10)?;
    foobar.kill()?;
    let said = watching.wait()?;
    ensure!(said.status.code() == Some(3) && said.events.len() == 10, "{}", said.err);
    // The programs go on, and take it that somebody watches: the buffer fills up.
    socket.send_times(&frame, 1_000)?;
    tap::settle();
    foobar.start()?;
    let mut last = String::new();
    wait::until("what was left is taken out", Duration::from_secs(5), || {
        let scrape = foobar.scrape()?;
        let lost = |place: &str| scrape.count("foobar_events_lost_total", &[("where", place)]);
        last = format!("{} in the ring, {} unwatched", lost("ring"), lost("unwatched"));
        ensure!(scrape.count("foobar_events_total", &[]) == 1_010);
        Ok(lost("ring") + lost("unwatched") == 1_000 && lost("unwatched") > 200)
    })
    .context(last)?;
    // What came before is not told to who comes later.
    let watching = Watching::start(&foobar, "second", &["--count", "5"])?;
    socket.send_times(&frame, 5)?;
    let said = watching.wait()?;
    ensure!(said.status.success() && said.events.len() == 5, "{}", said.err);
    // Another size: the buffer is made anew, and filled as soon as rules come into force.
    ensure!(foobar.terminate()?.success());
    foobar.write("foobar.toml", "event_buffer = \"128KiB\"\n")?;
    foobar.start()?;
    let watching = Watching::start(&foobar, "third", &[])?;
    foobar.signal(Signal::SIGSTOP)?;
    tap::settle();
    socket.send_times(&frame, 1_000)?;
    tap::settle();
    foobar.signal(Signal::SIGCONT)?;
    watching.wait_for(400)?;
    std::thread::sleep(Duration::from_millis(2_500));
    let said = watching.interrupt()?;
    let told = said.events.len() as u64;
    ensure!((400..=421).contains(&told) && told + said.lost()? == 1_000, "{told} told: {}", said.err);
    Ok(())
}
