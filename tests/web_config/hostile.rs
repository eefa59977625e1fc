//! Those who are slow, and those who try passwords.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use foobar_tests::{
    figures::say,
    network::{SERVER_V4, SERVER_V6},
};

use crate::{PLAIN_URL, Served, TLS, URL, bcrypt, check_served};

const METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(SERVER_V4), 9477);

#[test]
fn a_slow_handshake_holds_a_place_no_longer_than_a_slow_request() -> Result<()> {
    let served = Served::start(TLS)?;
    // All places, and those who stop after nothing, within a record, after a record, and within the request.
    let begun = Instant::now();
    let mut silent = served.network.client.enter(|| {
        let beginnings: [&[u8]; 3] = [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"];
        let open = |number: usize| -> Result<TcpStream> {
            let mut stream = TcpStream::connect_timeout(&METRICS, Duration::from_secs(2))?;
            stream.write_all(beginnings[number % beginnings.len()])?;
            Ok(stream)
        };
        (0..64).map(open).collect::<Result<Vec<_>>>()
    })?;
    // Whoever comes next waits in the kernel's queue for a place, and gets one.
    check_served(&served.curl().get(URL)?)?;
    let waited = begun.elapsed();
    ensure!(waited < Duration::from_secs(6), "the next one had to wait for {waited:?}");
    for stream in &mut silent {
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut bytes = Vec::new();
        // Closed, with an alert or without.
        stream.read_to_end(&mut bytes).context("a silent connection is still open")?;
    }
    check_served(&served.curl().get(URL)?)
}

/// Processor time that a process has taken.
fn processor_time(pid: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Fields 14 and 15 of proc(5); the name before them may hold anything but its closing bracket.
    let fields: Vec<&str> = text.rsplit_once(')').context("no name")?.1.split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|number| fields[*number].parse::<u64>()).sum::<Result<u64, _>>()?;
    // A hundred in a second (USER_HZ).
    Ok(Duration::from_millis(ticks * 10))
}

/// Asks once with a wrong password, and gives the status of the answer.
fn guess(server: SocketAddr, login: &str) -> Result<u16> {
    let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(15)))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: foobar\r\nAuthorization: Basic {login}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split(' ').nth(1).context("no status")?.parse()?)
}

#[test]
fn a_flood_of_wrong_passwords_takes_little_and_keeps_nobody_out() -> Result<()> {
    let users = format!("basic_auth_users:\n  alice: {0}\n  bob: {0}\n", bcrypt("secret", 5)?);
    let mut served = Served::prepare(&users)?;
    // At all addresses of the server, so that there is somebody else than the flood.
    served.foobar = served.foobar.with_listen("[::]:9477".parse()?);
    served.foobar.start_guarded()?;
    let curl = |login: &str| served.curl().logged_in(login);
    check_served(&curl("alice:secret").get(PLAIN_URL)?)?;

    let (ends, wrong, busy) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..8 {
            let (ends, wrong, busy, client) = (&ends, &wrong, &busy, &served.network.client);
            scope.spawn(move || {
                client.enter(|| {
                    for turn in 0..100_000 {
                        if ends.load(Ordering::Relaxed) {
                            break;
                        }
                        // "guesser:gess" in Base64, and something else behind it each time: nothing is known of any.
                        let login = format!("Z3Vlc3NlcjpnZXNz{number:02}{turn:06}");
                        match guess(METRICS, &login) {
                            Ok(401) => _ = wrong.fetch_add(1, Ordering::Relaxed),
                            Ok(429) => {
                                busy.fetch_add(1, Ordering::Relaxed);
                                thread::sleep(Duration::from_millis(20));
                            }
                            Ok(status) => anyhow::bail!("a guess got {status}"),
                            // No place was free for a time.
                            Err(_) => thread::sleep(Duration::from_millis(20)),
                        }
                    }
                    Ok(())
                })
            });
        }
        let result = (|| {
            thread::sleep(Duration::from_millis(500));
            let (begun, before) = (Instant::now(), processor_time(served.foobar.pid()?)?);
            // Who was let in before is let in, however many guess.
            for _ in 0..5 {
                check_served(&curl("alice:secret").get(PLAIN_URL)?)?;
            }
            // Who was not yet, gets a turn from another address.
            let url = format!("http://[{SERVER_V6}]:9477/metrics");
            check_served(&curl("bob:secret").get(&url)?)?;
            thread::sleep(Duration::from_secs(4));
            let taken = processor_time(served.foobar.pid()?)?.saturating_sub(before);
            let share = taken.as_secs_f64() / begun.elapsed().as_secs_f64();
            ensure!(share < 0.5, "{share} of a processor");
            Ok(())
        })();
        ends.store(true, Ordering::Relaxed);
        result
    })?;
    let (wrong, busy) = (wrong.into_inner(), busy.into_inner());
    ensure!(wrong > 3 && busy > 0, "{wrong} were checked, {busy} sent away");
    ensure!(!served.foobar.log()?.contains("guess"), "nothing that strangers say is logged");
    Ok(())
}

/// In turns, and the least of each: whatever else the machine does meanwhile only makes an answer later.
#[test]
fn time_does_not_tell_who_exists() -> Result<()> {
    const TURNS: usize = 4;
    let served = Served::start(&format!("basic_auth_users:\n  alice: {}\n", bcrypt("secret", 7)?))?;
    let time = |login: &str| -> Result<Duration> {
        let begun = Instant::now();
        let status = served.network.client.enter(|| guess(METRICS, login))?;
        ensure!(status == 401, "a guess got {status}");
        let took = begun.elapsed();
        // The rest after a wrong one, three times as long as its check, is no part of the next.
        thread::sleep(4 * took);
        Ok(took)
    };
    let (mut alice, mut mallory) = (Duration::MAX, Duration::MAX);
    // On a busy machine it takes more turns until each was undisturbed once.
    for turn in 1..=3 * TURNS {
        // "alice:wrong" and "mallory:wrong" in Base64.
        alice = alice.min(time("YWxpY2U6d3Jvbmc=")?);
        mallory = mallory.min(time("bWFsbG9yeTp3cm9uZw==")?);
        if turn >= TURNS && (0.5..2.0).contains(&(mallory.as_secs_f64() / alice.as_secs_f64())) {
            say(&format!("{alice:?} for one who exists, {mallory:?} for one who does not, in {turn} turns"));
            return Ok(());
        }
    }
    bail!("{alice:?} for one who exists, {mallory:?} for one who does not")
}
