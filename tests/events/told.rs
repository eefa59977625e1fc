//! What is told of which packets.

use std::{collections::BTreeMap, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use foobar_daemon::rules::bundle::hexadecimal;
use foobar_tests::{
    command::{stderr, succeed},
    daemon::Foobar,
    frames::{self, Family},
    network::{CLIENT, CLIENT_V4, Network, SERVER},
    sender::PacketSocket,
    tap::settle,
    wait,
};
use serde_json::Value;

use crate::{DROPS, PACE, watching::Watching};

/// A rule that tells of each of its packets, and one that tells of none.
const RULES: &str = "schema = 1\n[policy]\nin = \"drop\"\n\
                     [[rule]]\nid = \"seven\"\naction = \"accept\"\nprotocol = \"udp\"\ndestination_port = 7\nlog = \"1/1\"\n\
                     [[rule]]\nid = \"nine\"\naction = \"accept\"\nprotocol = \"udp\"\ndestination_port = 9\n";

fn words<'v>(event: &'v Value, keys: &[&str]) -> Vec<&'v str> {
    keys.iter().map(|key| event[*key].as_str().unwrap_or("none")).collect()
}

#[test]
fn each_packet_of_a_rule_is_told_of_once_while_rules_change() -> Result<()> {
    told_while_rules_change(&[])
}

#[test]
fn so_it_is_where_nothing_stays_pinned() -> Result<()> {
    told_while_rules_change(&["--ephemeral", "--mode", "generic"])
}

fn told_while_rules_change(options: &[&str]) -> Result<()> {
    let network = Network::new()?;
    network.introduce()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?.with_options(options);
    foobar.start()?;
    let watching = Watching::start(&foobar, "all", &[])?;
    let others = Watching::start(&foobar, "others", &["--reason", "ban"])?;
    let sent: Vec<Vec<u8>> = (0..4_000_u32)
        .map(|number| frames::udp(Family::V4, 7, &[&number.to_be_bytes()[..], &[0x5a; 400]].concat()))
        .collect::<Result<_>>()?;
    let ninth = frames::udp(Family::V4, 9, b"not told of")?;
    let socket = PacketSocket::new(&network.client, CLIENT)?;
    thread::scope(|scope| {
        let sending = scope.spawn(|| -> Result<()> {
            for frame in &sent {
                socket.send(frame)?;
                socket.send(&ninth)?;
                thread::sleep(Duration::from_micros(1_000_000 / PACE));
            }
            Ok(())
        });
        let mut swaps = 0;
        while !sending.is_finished() {
            // The rule moves to other places and numbers, and stays what it is.
            let more = format!(
                "{RULES}[[rule]]\nid = \"more{swaps}\"\naction = \"drop\"\nprotocol = \"udp\"\ndestination_port = 1\n"
            );
            foobar.apply(&more)?;
            swaps += 1;
        }
        ensure!(swaps >= 3, "{swaps} swaps");
        sending.join().map_err(|_payload| anyhow::anyhow!("the sender panicked"))?
    })?;
    watching.wait_for(sent.len())?;
    let said = watching.interrupt()?;
    ensure!(said.status.success(), "{}", said.err);
    ensure!(said.events.len() == sent.len() && said.lost()? == 0, "{}", said.err);
    let mut before = String::new();
    for (event, frame) in said.events.iter().zip(&sent) {
        ensure!(
            words(event, &["interface", "direction", "verdict", "reason", "rule"])
                == [SERVER, "in", "accept", "rule", "seven"],
            "{event}"
        );
        ensure!(event["length"] == frame.len() && event["one_in"] == 1 && event["packets"] == 1, "{event}");
        ensure!(event["bytes"] == hexadecimal(&frame[..256]), "{event}");
        let packet = event["packet"].as_str().context("no packet")?;
        ensure!(packet.starts_with("udp 192.0.2.2:40000 > 192.0.2.1:7 length 432"), "{packet}");
        let time = event["time"].as_str().context("no time")?;
        ensure!(*time > *before, "{time} after {before}");
        time.clone_into(&mut before);
    }
    let told = humantime::parse_rfc3339(&before)?;
    ensure!(told.elapsed().is_ok_and(|age| age < Duration::from_mins(1)), "{before} is not now");
    let others = others.interrupt()?;
    ensure!(others.events.is_empty() && others.lost()? == 0, "{:?}", others.events);
    let scrape = foobar.scrape()?;
    ensure!(scrape.count("foobar_events_total", &[]) == sent.len() as u64);
    ensure!(scrape.count("foobar_events_lost_total", &[]) == 0);
    Ok(())
}

#[test]
fn one_in_a_hundred_is_drawn_by_chance() -> Result<()> {
    /// Each is drawn by itself: of so many, 2,000 on average, with a standard deviation of 44.5. Five of those are
    /// exceeded once in 1.7 million runs.
    const FRAMES: u64 = 200_000;
    let network = Network::new()?;
    network.introduce()?;
    let rules = RULES.replace("1/1", "1/100");
    let mut foobar = Foobar::new(&network.server, &[SERVER], &rules)?;
    foobar.start()?;
    let socket = PacketSocket::new(&network.client, CLIENT)?;
    socket.send_times(&frames::udp(Family::V4, 7, b"x")?, FRAMES)?;
    let mut drawn = 0;
    wait::until("all are counted", Duration::from_secs(20), || {
        let scrape = foobar.scrape()?;
        drawn = scrape.count("foobar_events_total", &[]);
        Ok(scrape.count("foobar_firewall_rule_hits_total", &[("rule", "seven")]) == FRAMES)
    })?;
    ensure!(drawn.abs_diff(FRAMES / 100) <= 222, "{drawn} of {FRAMES} were drawn");
    // Nobody watched, and nothing was lost.
    let scrape = foobar.scrape()?;
    ensure!(scrape.count("foobar_events_lost_total", &[("where", "unwatched")]) == drawn);
    ensure!(scrape.count("foobar_events_lost_total", &[]) == drawn);
    Ok(())
}

#[test]
fn what_is_dropped_is_told_of_for_whatever_reason() -> Result<()> {
    let network = Network::new()?;
    network.introduce()?;
    let rules = format!(
        "{DROPS}[[service]]\nname = \"www\"\nport = \"tcp/443\"\nprotocol = \"tls\"\nrequire_tls = true\n\
         [[rule]]\nid = \"limited\"\naction = \"accept\"\nprotocol = \"udp\"\ndestination_port = 7\n\
         limit = {{ rate = \"1/d\" }}\n\
         [[rule]]\nid = \"refused\"\naction = \"drop\"\nprotocol = \"udp\"\ndestination_port = 9\n\
         [[rule]]\nid = \"quiet\"\naction = \"drop\"\nprotocol = \"udp\"\ndestination_port = 11\nlog = \"1/4000000000\"\n\
         [[rule]]\nid = \"web\"\naction = \"accept\"\nprotocol = \"tcp\"\ndestination_port = 443\n"
    );
    let mut foobar = Foobar::new(&network.server, &[SERVER], &rules)?;
    foobar.start()?;
    foobar.succeed(&["ban", "2001:db8::2"])?;
    let watching = Watching::start(&foobar, "drops", &["--verdict", "drop"])?;
    let limits = Watching::start(&foobar, "limits", &["--rule", "limited", "--count", "1"])?;
    let socket = PacketSocket::new(&network.client, CLIENT)?;
    let mut broken = frames::udp(Family::V4, 7, b"x")?;
    // An IP header of 16 bytes.
    broken[14] = 0x44;
    for frame in [
        &frames::udp(Family::V4, 1, b"policy")?,
        &frames::udp(Family::V6, 1, b"ban")?,
        &broken,
        &frames::udp(Family::V4, 7, b"within")?,
        &frames::udp(Family::V4, 7, b"over")?,
        &frames::udp(Family::V4, 9, b"refused")?,
        // What its rule says of it takes the place of what the policy says.
        &frames::udp(Family::V4, 11, b"quiet")?,
    ] {
        socket.send(frame)?;
    }
    // One that is no TLS: the service program drops it after the rules have accepted it.
    let mut server = network.server.command("/usr/bin/python3");
    server.args(["-c", "import socket\ns = socket.create_server(('192.0.2.1', 443))\nc = s.accept()\nimport time\ntime.sleep(60)"]);
    let mut server = server.spawn()?;
    let talked = wait::until("the server listens", Duration::from_secs(10), || {
        let mut client = network.client.command("/usr/bin/python3");
        client.args([
            "-c",
            "import socket\nc = socket.create_connection(('192.0.2.1', 443), 5)\nc.send(b'GET / HTTP/1.1\\r\\n\\r\\n')\nimport time\ntime.sleep(0.1)",
        ]);
        Ok(succeed(&mut client).is_ok())
    });
    drop(server.kill());
    drop(server.wait());
    talked?;
    watching.wait_for(6)?;
    settle();
    let said = watching.interrupt()?;
    let mut reasons: BTreeMap<(String, String), u32> = BTreeMap::new();
    for event in &said.events {
        let [reason, rule] = ["reason", "rule"].map(|key| event[key].as_str().unwrap_or("none").to_owned());
        *reasons.entry((reason, rule)).or_default() += 1;
    }
    let count =
        |reason: &str, rule: &str| reasons.get(&(reason.to_owned(), rule.to_owned())).copied().unwrap_or(0);
    ensure!(count("policy", "none") == 1 && count("ban", "none") == 1, "{reasons:?}");
    ensure!(count("ip_header_length", "none") == 1 && count("rule", "refused") == 1, "{reasons:?}");
    ensure!(count("limit", "limited") == 1 && count("rule", "quiet") == 0, "{reasons:?}");
    // The client sends it again, as nobody answers.
    ensure!(count("not_tls", "none") >= 1, "{reasons:?}");
    let no_tls = said.events.iter().find(|event| event["reason"] == "not_tls").context("no event")?;
    ensure!(
        no_tls["bytes"].as_str().context("no bytes")?.ends_with(&hexadecimal(b"GET / HTTP/1.1\r\n\r\n")),
        "{no_tls}"
    );
    ensure!(said.events.iter().all(|event| event["verdict"] == "drop"));
    // The number that it wanted is there.
    let limits = limits.wait()?;
    ensure!(limits.status.success() && limits.events.len() == 1, "{}", limits.err);
    Ok(())
}

#[test]
fn frames_are_shown_as_they_go_over_the_wire() -> Result<()> {
    let network = Network::with_mtu(9_000)?;
    network.introduce()?;
    let out = "[[rule]]\nid = \"out\"\naction = \"accept\"\ndirection = \"out\"\nlog = \"1/1\"\n";
    let mut foobar = Foobar::new(&network.server, &[SERVER], &format!("{RULES}{out}"))?;
    foobar.start()?;
    // A jumbo frame lies in several buffers.
    let watching = Watching::start(&foobar, "jumbo", &["--rule", "seven"])?;
    let jumbo = frames::udp(Family::V4, 7, &[0xa5; 8_900])?;
    PacketSocket::new(&network.client, CLIENT)?.send(&jumbo)?;
    watching.wait_for(1)?;
    let event = &watching.interrupt()?.events[0];
    ensure!(event["length"] == jumbo.len() && event["bytes"] == hexadecimal(&jumbo[..256]), "{event}");

    // A tag that the card is to add lies beside the frame: a bridge passes on what the kernel has taken off.
    let (inner, outer) = ("bridged0", "bridged1");
    network.server.ip(&format!(
        "link add {inner} type veth peer name {outer} netns {}\nlink add bridge type bridge mcast_snooping 0\n\
         link set {SERVER} master bridge\nlink set {inner} master bridge\nlink set {inner} up\nlink set bridge up\n",
        network.client.path().display()
    ))?;
    network.client.ip(&format!("link set {outer} up\n"))?;
    let watching = Watching::start(&foobar, "tagged", &["--rule", "out"])?;
    let mut frame = frames::tagged(&frames::udp(Family::V4, 4_242, b"with a tag")?, 42);
    // To somebody behind the other port.
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    let socket = PacketSocket::new(&network.client, outer)?;
    let is_ours =
        |event: &Value| event["packet"].as_str().is_some_and(|packet| packet.contains("192.0.2.1:4242"));
    // A port of a bridge learns before it passes anything on.
    let passed = wait::until("the bridge passes frames on", Duration::from_secs(10), || {
        socket.send(&frame)?;
        thread::sleep(Duration::from_millis(200));
        Ok(watching.events()?.iter().any(is_ours))
    });
    passed.with_context(|| format!("{:?}", watching.events()))?;
    let said = watching.interrupt()?;
    let event = said.events.iter().find(|event| is_ours(event)).context("no event of the datagram")?;
    ensure!(event["direction"] == "out" && event["length"] == frame.len(), "{event}");
    ensure!(event["bytes"] == hexadecimal(&frame), "{event}");
    ensure!(event["packet"].as_str().is_some_and(|packet| packet.contains(" vlan 42 ")), "{event}");
    Ok(())
}

#[test]
fn who_would_see_nothing_is_told_why() -> Result<()> {
    let network = Network::new()?;
    let none = RULES.replace("log = \"1/1\"\n", "");
    let mut foobar = Foobar::new(&network.server, &[SERVER], &none)?;
    foobar.start()?;
    let refused = |arguments: &[&str], code: i32, said: &str| -> Result<()> {
        let output = foobar.command(arguments)?;
        let words = stderr(&output);
        ensure!(output.status.code() == Some(code) && words.contains(said), "{arguments:?}: {words}");
        Ok(())
    };
    refused(&["watch"], 1, "Write log = \"1/1000\" into a rule")?;
    foobar.apply(RULES)?;
    refused(&["watch", "--rule", "nine"], 1, "has no log = \"1/1000\"")?;
    refused(&["watch", "--rule", "x\u{1b}[2J"], 1, "\\u{1b}[2J")?;
    refused(&["watch", "--reason", "bans"], 2, "invalid value 'bans'")?;
    refused(&["watch", "--json", "--write", "x"], 2, "cannot be used with")?;
    refused(&["watch", "--write", "/nowhere/x.pcapng"], 1, "write /nowhere/x.pcapng: ")?;
    // For a time without packets.
    let output = foobar.command(&["watch", "--for", "100ms"])?;
    ensure!(output.status.success() && stderr(&output).contains("0 packets"), "{}", stderr(&output));
    // Rules that draw nothing come into force meanwhile.
    let watching = Watching::start(&foobar, "note", &[])?;
    foobar.apply(&none)?;
    foobar.apply(RULES)?;
    network.introduce()?;
    PacketSocket::new(&network.client, CLIENT)?.send(&frames::udp(Family::V4, 7, b"x")?)?;
    watching.wait_for(1)?;
    // The daemon ends while somebody watches.
    ensure!(foobar.terminate()?.success());
    let said = watching.wait()?;
    ensure!(said.status.code() == Some(3) && said.err.contains("the daemon has ended"), "{}", said.err);
    ensure!(said.err.contains("draw no packets"), "{}", said.err);
    let packet = said.events[0]["packet"].as_str().context("no packet")?;
    ensure!(packet.contains(&format!("udp {CLIENT_V4}:40000")), "{packet}");
    Ok(())
}
