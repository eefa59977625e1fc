//! What rules refer to outside of their file, and who may change them at a time: set files, interfaces,
//! several callers at once.

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use foobar_tests::{
    daemon::Foobar,
    figures::say,
    frames::{Family, udp},
    network::{CLIENT, CLIENT_V4, CLIENT_V6, Network, SERVER},
    sender::PacketSocket,
    tap::{Tap, is_udp_to, settle},
    wait,
};
use nix::sys::signal::Signal;

#[test]
fn a_set_file_is_read_again_at_sighup() -> Result<()> {
    let rules = r#"
        schema = 1
        [sets.unwanted]
        file = "sets/unwanted.txt"
        [[rule]]
        id = "unwanted"
        action = "drop"
        source = ["@unwanted"]
        protocol = "udp"
    "#;
    let network = Network::new()?;
    network.introduce()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], rules)?;
    fs::create_dir(foobar.folder().join("sets"))?;
    let mut dropped = 0;
    for (what, text, v4, v6) in [
        ("another address", "# nobody\n198.51.100.1\n".to_owned(), 0, 0),
        ("IPv4", format!("{CLIENT_V4} ; the client\n"), 10, 0),
        ("IPv6, a prefix", "2001:db8::/64\n".to_owned(), 0, 10),
        ("both", format!("{CLIENT_V6}\n\n192.0.2.0/28\n"), 10, 10),
        ("nobody", "# nobody any more\n".to_owned(), 0, 0),
    ] {
        foobar.write("sets/unwanted.txt", &text)?;
        if foobar.is_running()? {
            reload(&foobar)?;
        } else {
            foobar.start()?;
        }
        for (family, expected) in [(Family::V4, v4), (Family::V6, v6)] {
            let tap = Tap::start(&network.server, SERVER, |frame| is_udp_to(frame, 9))?;
            PacketSocket::new(&network.client, CLIENT)?.send_times(&udp(family, 9, b"x")?, 10)?;
            settle();
            assert_eq!(tap.stop()?, 10 - expected, "{what}: {family:?} that got through");
            dropped += expected;
            assert_eq!(foobar.scrape()?.rule("unwanted"), dropped, "{what}: {family:?} that were dropped");
        }
    }
    Ok(())
}

#[test]
fn rules_and_counters_tell_interfaces_apart() -> Result<()> {
    let rules = r#"
        schema = 1
        [[rule]]
        id = "here"
        action = "drop"
        interface = ["lo"]
        protocol = "udp"
        destination_port = [9]
        [[rule]]
        id = "outside"
        action = "drop"
        interface = ["srv0"]
        protocol = "udp"
        destination_port = [10]
    "#;
    let network = Network::new()?;
    network.introduce()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER, "lo"], rules)?;
    foobar.start()?;
    let outside = PacketSocket::new(&network.client, CLIENT)?;
    let here = network.server.enter(|| Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?))?;
    // Somebody listens, so that the kernel says nothing of closed ports.
    let _listening = network.server.enter(|| {
        let listen = |port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port));
        Ok([listen(9)?, listen(10)?])
    })?;
    for port in [9, 10] {
        outside.send_times(&udp(Family::V4, port, b"x")?, 10)?;
        for _ in 0..7 {
            here.send_to(b"x", (Ipv4Addr::LOCALHOST, port))?;
        }
    }
    settle();
    let metrics = foobar.scrape()?;
    assert_eq!((metrics.rule("here"), metrics.rule("outside")), (7, 10));
    for (interface, verdict, reason, expected) in
        [("lo", "drop", "rule", 7), (SERVER, "drop", "rule", 10), (SERVER, "accept", "policy", 10)]
    {
        let labels = [("iface", interface), ("action", verdict), ("reason", reason)];
        assert_eq!(metrics.packets(&labels), expected, "{labels:?}");
    }
    // Beside the datagrams, the scrapes themselves come through the loopback interface.
    let labels = [("iface", "lo"), ("action", "accept"), ("reason", "policy")];
    ensure!(metrics.packets(&labels) > 7, "{}", metrics.packets(&labels));
    let labels = [("iface", "lo"), ("direction", "in"), ("l4", "udp")];
    assert_eq!(metrics.count("foobar_packets_total", &labels), 14);
    Ok(())
}

#[test]
fn callers_at_the_same_time_are_served_one_after_the_other() -> Result<()> {
    const CALLERS: u64 = 4;
    const TIMES: u64 = 3;
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], "schema = 1\n")?;
    foobar.start()?;
    let before = generation(&foobar)?;
    thread::scope(|scope| -> Result<()> {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let foobar = &foobar;
                scope.spawn(move || -> Result<()> {
                    for time in 0..TIMES {
                        let rules = format!("schema = 1\n# {caller}, {time}\n");
                        let path = foobar.write(&format!("{caller}-{time}.toml"), &rules)?;
                        foobar.succeed(&["rules", "apply", &path.display().to_string()])?;
                    }
                    Ok(())
                })
            })
            .collect();
        callers
            .into_iter()
            .try_for_each(|caller| caller.join().map_err(|_payload| anyhow!("a caller panicked"))?)
    })?;
    assert_eq!(generation(&foobar)? - before, CALLERS * TIMES);
    let status = foobar.status()?;
    assert_eq!(status["ready"], true, "{status}");
    let interface = &status["interfaces"][0];
    assert_eq!(interface["expected_program"], interface["found_program"], "{status}");
    Ok(())
}

/// Loading programs takes tens of megabytes for a moment, which the allocator would keep for good.
#[test]
fn what_loading_takes_is_given_back() -> Result<()> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], "schema = 1\n[policy]\nin = \"drop\"\n")?;
    foobar.start()?;
    // 5 and 6 MiB; without giving anything back 20 and 60.
    has_at_most(&foobar, 10 << 10, "started")?;
    for time in 0..6 {
        foobar.apply(&format!("schema = 1\n# {time}\n[policy]\nin = \"drop\"\n"))?;
    }
    has_at_most(&foobar, 12 << 10, "after six swaps")
}

/// So does reading ten thousand rules, and a scrape of theirs takes some. What is left are the counters, and what each rule does.
#[test]
fn ten_thousand_rules_take_little_memory() -> Result<()> {
    const COUNT: u32 = 9_997;
    let rules = |first: u32| -> String {
        let rules = (first..first + COUNT).map(|number| {
            format!(
                "[[rule]]\nid = \"r{number}\"\naction = \"drop\"\nsource = \"10.{}.{}.0/24\"\nprotocol = \"tcp\"\n\
                 destination_port = {}\n",
                number >> 8,
                number & 255,
                1_024 + number
            )
        });
        "schema = 1\n".to_owned() + &rules.collect::<String>()
    };
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], &rules(0))?;
    foobar.start()?;
    // 8, 9 and 12 MiB. With the rules themselves, names for each who holds them, and nothing given back after scrapes, a release
    // build had 19, 22 and 34.
    has_at_most(&foobar, 11 << 10, "started")?;
    for _ in 0..3 {
        ensure!(foobar.scrape()?.samples().len() > COUNT as usize, "a rule is missing");
    }
    has_at_most(&foobar, 11 << 10, "scraped")?;
    // Half of them are others, and the book of slots remembers those that they replace.
    foobar.apply(&rules(5_000))?;
    ensure!(foobar.scrape()?.samples().len() > COUNT as usize, "a rule is missing");
    has_at_most(&foobar, 15 << 10, "with other rules")
}

/// Whether the daemon has so many KiB of memory that belongs to no file, at most, once it has given back what it does not need.
fn has_at_most(foobar: &Foobar, most: u64, when: &str) -> Result<()> {
    let before = foobar.memory("RssAnon")?;
    // Which takes a second.
    thread::sleep(Duration::from_millis(2_200));
    let after = foobar.memory("RssAnon")?;
    say(&format!("{when}: {before} KiB of its own, and {after} KiB a moment later"));
    ensure!(after < most, "{after} KiB {when}, at most {most}");
    Ok(())
}

fn reload(foobar: &Foobar) -> Result<()> {
    let before = generation(foobar)?;
    foobar.signal(Signal::SIGHUP)?;
    wait::until("the daemon reloads", Duration::from_secs(10), || Ok(generation(foobar)? > before))
}

fn generation(foobar: &Foobar) -> Result<u64> {
    foobar.status()?["ruleset"]["generation"].as_u64().context("no generation in the status")
}
