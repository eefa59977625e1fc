//! The support of the tests, tested by itself: namespaces, sender, receiver, web server.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Result, ensure};
use foobar_tests::{
    bpffs::PinFolder,
    command::{stdout, succeed},
    foreign::ForeignProgram,
    frames::{Family, tagged, tcp_syn, udp},
    metrics::{Highest, Metrics},
    namespace::Namespace,
    network::{CLIENT, Network, SERVER},
    sender::{Flood, PacketSocket},
    tap::{Tap, is_udp_to, settle},
    web_server::{PAGE, WebServer, curl},
};

#[test]
fn ping_reaches_the_server_of_a_network() -> Result<()> {
    let network = Network::new()?;
    for family in Family::BOTH {
        let server = family.server().to_string();
        succeed(network.client.command("ping").args(["-n", "-c", "3", "-i", "0.01", "-W", "2", &server]))?;
    }
    Ok(())
}

#[test]
fn jumbo_frames_pass_a_network_of_mtu_9000() -> Result<()> {
    let network = Network::with_mtu(9000)?;
    let server = Family::V4.server().to_string();
    succeed(
        network.client.command("ping").args(["-n", "-c", "1", "-M", "do", "-s", "8972", "-W", "2", &server]),
    )?;
    Ok(())
}

#[test]
fn every_frame_of_a_flood_arrives_at_the_tap_and_in_the_count_of_the_cable() -> Result<()> {
    let network = Network::new()?;
    let tap = Tap::start(&network.server, SERVER, |frame| is_udp_to(frame, 9))?;
    let outgoing = Tap::start(&network.client, CLIENT, |frame| is_udp_to(frame, 9))?;
    let frames = vec![udp(Family::V4, 9, b"x")?, udp(Family::V6, 9, b"x")?];
    let flood = Flood::start(&network.client, CLIENT, frames, 20_000)?;
    std::thread::sleep(Duration::from_millis(500));
    let sent = flood.stop()?;
    settle();
    assert_eq!(tap.stop()?, sent);
    assert_eq!(outgoing.stop()?, sent);
    assert!(sent > 2_000, "a flood of only {sent} frames");
    Ok(())
}

#[test]
fn a_raw_datagram_is_received_by_an_ordinary_socket() -> Result<()> {
    let network = Network::new()?;
    for family in Family::BOTH {
        let receiver = network.server.enter(|| {
            let socket = UdpSocket::bind(SocketAddr::new(family.server(), 5000))?;
            socket.set_read_timeout(Some(Duration::from_secs(2)))?;
            Ok(socket)
        })?;
        PacketSocket::new(&network.client, CLIENT)?.send(&udp(family, 5000, b"hello")?)?;
        let mut payload = [0; 16];
        let length = receiver.recv(&mut payload)?;
        assert_eq!(payload.get(..length), Some(&b"hello"[..]));
    }
    Ok(())
}

#[test]
fn a_tagged_frame_has_its_tag_in_front_of_the_ethertype() -> Result<()> {
    let frame = tcp_syn(Family::V4, 80)?;
    let tagged = tagged(&frame, 10);
    assert_eq!(tagged.get(12..18), Some(&[0x81, 0, 0, 10, 0x08, 0][..]));
    assert_eq!(tagged.len(), frame.len() + 4);
    Ok(())
}

#[test]
fn an_unplugged_cable_can_be_plugged_in_again() -> Result<()> {
    let network = Network::new()?;
    network.unplug()?;
    ensure!(network.server_link().is_err(), "the interface is still there");
    network.plug()?;
    network.server_link().map(drop)
}

#[test]
fn the_web_server_answers_on_both_families() -> Result<()> {
    let network = Network::new()?;
    let _server = WebServer::start(&network.server, &[80, 8080])?;
    for family in Family::BOTH {
        for port in [80, 8080] {
            let output = curl(&network.client, family.server(), port, "2")?;
            assert_eq!(stdout(&output), PAGE);
        }
    }
    Ok(())
}

#[test]
fn a_namespace_is_gone_when_it_is_dropped() -> Result<()> {
    let namespace = Namespace::new()?;
    let path = namespace.path().to_owned();
    let identity = std::fs::read_link(&path)?;
    assert!(identity.to_string_lossy().starts_with("net:"), "{}", identity.display());
    drop(namespace);
    // The number of the file may belong to another test by now.
    assert_ne!(std::fs::read_link(&path).unwrap_or_default(), identity);
    Ok(())
}

#[test]
fn a_pin_folder_is_gone_when_it_is_dropped() -> Result<()> {
    let folder = PinFolder::new()?;
    let path = folder.path().to_owned();
    std::fs::create_dir_all(path.join("ingress"))?;
    assert!(folder.pins()?.is_empty());
    drop(folder);
    assert!(!path.exists());
    Ok(())
}

#[test]
fn a_foreign_program_stays_with_its_interface() -> Result<()> {
    let network = Network::new()?;
    let foreign = ForeignProgram::attach(&network.server, SERVER)?;
    assert!(network.xdp_program()?.is_some());
    drop(foreign);
    assert!(network.xdp_program()?.is_some());
    Ok(())
}

#[test]
fn a_scrape_is_read_with_its_labels() -> Result<()> {
    let before = Metrics::parse(
        "# HELP a b\n# TYPE a_total counter\na_total{x=\"1\",y=\"q\\\"\\\\\"} 2\na_total{x=\"2\",y=\"\"} 3\nup 1\n",
    )?;
    assert_eq!(before.count("a_total", &[]), 5);
    assert_eq!(before.count("a_total", &[("y", "q\"\\")]), 2);
    assert!((before.value("up", &[])? - 1.0).abs() < f64::EPSILON);
    Ok(())
}

#[test]
fn a_counter_that_goes_back_or_away_is_noticed() -> Result<()> {
    let of = |values: &str| Metrics::parse(&format!("# TYPE a_total counter\n{values}"));
    for (then, fine) in [
        ("a_total{rule=\"x\"} 2\na_total{rule=\"y\"} 3\n", true),
        ("a_total{rule=\"x\"} 9\n", true),
        ("a_total{rule=\"x\"} 1\na_total{rule=\"y\"} 3\n", false),
        ("a_total{rule=\"y\"} 3\n", false),
    ] {
        let mut highest = Highest::default();
        highest.observe(&of("a_total{rule=\"x\"} 2\na_total{rule=\"y\"} 3\n")?, &[])?;
        assert_eq!(highest.observe(&of(then)?, &[("rule", "y")]).is_ok(), fine, "{then}");
        assert_eq!(highest.scrapes(), 1 + u64::from(fine));
    }
    Ok(())
}
