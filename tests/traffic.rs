//! Real traffic through the filter: what is accepted arrives, what is dropped does not, and every packet that
//! the client put on the cable is in the counters, by packets and bytes.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use foobar_tests::{
    daemon::Foobar,
    frames::{Family, tagged, udp},
    metrics::Metrics,
    namespace::Namespace,
    network::{CLIENT, CLIENT_MAC, Network, SERVER},
    sender::PacketSocket,
    tap::{Tap, is_tcp_to, settle},
};
use nix::sys::socket::{setsockopt, sockopt};

const RULES: &str = r#"
schema = 1
[policy]
in = "drop"

[[service]]
name = "echo"
port = ["tcp/5001", "udp/5002"]
protocol = "raw"

[[rule]]
id = "tcp-open"
action = "accept"
protocol = "tcp"
destination_port = [5001]

[[rule]]
id = "udp-open"
action = "accept"
protocol = "udp"
destination_port = [5002]

[[rule]]
id = "udp-closed"
action = "drop"
protocol = "udp"
destination_port = [5003]

[[rule]]
id = "big-ping"
action = "drop"
icmp = ["echo-request"]
length = "500-65535"

[[rule]]
id = "ping"
action = "accept"
icmp = ["echo-request"]
"#;

/// Bytes that a TCP connection carries each way.
const STREAM: usize = 200_000;
/// Datagrams and pings of each kind.
const DATAGRAMS: u64 = 500;
const PINGS: u64 = 20;

#[test]
fn tcp_udp_and_ping_meet_the_rules_in_native_mode() -> Result<()> {
    everything(&Network::new()?, "native", 64)
}

#[test]
fn tcp_udp_and_ping_meet_the_rules_in_generic_mode() -> Result<()> {
    everything(&Network::new()?, "generic", 64)
}

#[test]
fn jumbo_frames_meet_the_rules_in_native_mode() -> Result<()> {
    everything(&Network::with_mtu(9000)?, "native", 8_900)
}

#[test]
fn jumbo_frames_meet_the_rules_in_generic_mode() -> Result<()> {
    everything(&Network::with_mtu(9000)?, "generic", 8_900)
}

#[test]
fn vlan_tags_meet_the_rules_in_native_mode() -> Result<()> {
    vlans("native")
}

#[test]
fn vlan_tags_meet_the_rules_in_generic_mode() -> Result<()> {
    vlans("generic")
}

/// Sends TCP, UDP and pings of both families, with datagrams of `size` bytes, and looks at all counters.
fn everything(network: &Network, mode: &str, size: usize) -> Result<()> {
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?.with_options(&["--mode", mode]);
    foobar.start()?;
    check_mode(network, &foobar, mode)?;
    let cable = Tap::start(&network.client, CLIENT, |frame| frame.get(6..12) == Some(&CLIENT_MAC))?;
    let (before, sent_before) = stable(&cable, &foobar)?;

    let mut tcp_sent = 0;
    for family in Family::BOTH {
        // What the client sends to the open port, as seen on the cable.
        let outgoing = Tap::start(&network.client, CLIENT, |frame| is_tcp_to(frame, 5001))?;
        echo_stream(network, SocketAddr::new(family.server(), 5001))?;
        settle();
        tcp_sent += outgoing.stop()?;
        refused_stream(&network.client, SocketAddr::new(family.server(), 5009))?;
        let open = datagrams(network, family.server(), 5002, size)?;
        assert_eq!(open, DATAGRAMS, "{family:?}: datagrams to the open port");
        let closed = datagrams(network, family.server(), 5003, size)?;
        assert_eq!(closed, 0, "{family:?}: datagrams to the closed port");
        assert_eq!(pings(&network.client, family.server(), 56)?, PINGS, "{family:?}: pings");
        assert_eq!(pings(&network.client, family.server(), 1_000)?, 0, "{family:?}: big pings");
    }

    let (after, sent_after) = stable(&cable, &foobar)?;
    for (rule, expected) in [
        ("tcp-open", tcp_sent),
        ("udp-open", 2 * DATAGRAMS),
        ("udp-closed", 2 * DATAGRAMS),
        ("ping", 2 * PINGS),
        ("big-ping", 2 * PINGS),
    ] {
        assert_eq!(after.rule(rule) - before.rule(rule), expected, "hits of rule {rule}");
    }
    let of = |labels: &[(&str, &str)]| after.packets(labels) - before.packets(labels);
    assert_eq!(of(&[("action", "accept"), ("reason", "rule")]), tcp_sent + 2 * (DATAGRAMS + PINGS));
    assert_eq!(of(&[("action", "drop"), ("reason", "rule")]), 2 * (DATAGRAMS + PINGS));
    // The first segments to the closed port, and their repetitions.
    let refused = of(&[("action", "drop"), ("reason", "policy")]);
    assert!(refused >= 2, "{refused} first segments to a closed port");
    check_all_counted(&before, &after, sent_before, sent_after);

    let port = |l4: &str, port: &str| {
        let labels = [("iface", SERVER), ("direction", "in"), ("l4", l4), ("port", port)];
        after.count("foobar_packets_total", &labels) - before.count("foobar_packets_total", &labels)
    };
    assert_eq!(port("tcp", "5001"), tcp_sent, "packets of the TCP service");
    assert_eq!(port("udp", "5002"), 2 * DATAGRAMS, "packets of the UDP service");
    assert_eq!(port("udp", "other"), 2 * DATAGRAMS, "packets of other UDP ports");
    assert_eq!(port("tcp", "other"), refused, "packets of other TCP ports");
    Ok(())
}

/// Sends frames without a tag and with one or two, and looks which get through.
fn vlans(mode: &str) -> Result<()> {
    let rules = r#"
        schema = 1
        [[rule]]
        id = "vlan-10"
        action = "drop"
        vlan = [10]
        protocol = "udp"
        [[rule]]
        id = "vlan-20"
        action = "accept"
        vlan = [20, 30]
        protocol = "udp"
    "#;
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], rules)?.with_options(&["--mode", mode]);
    foobar.start()?;
    let cable = Tap::start(&network.client, CLIENT, |frame| frame.get(6..12) == Some(&CLIENT_MAC))?;
    let (before, sent_before) = stable(&cable, &foobar)?;
    let socket = PacketSocket::new(&network.client, CLIENT)?;
    for family in Family::BOTH {
        let frame = udp(family, 7, b"tagged or not")?;
        for (what, frame, arrive) in [
            ("no tag", frame.clone(), true),
            ("tag 10", tagged(&frame, 10), false),
            ("tag 20", tagged(&frame, 20), true),
            ("tag 10 inside of tag 20", tagged(&tagged(&frame, 10), 20), true),
            ("tag 20 inside of tag 10", tagged(&tagged(&frame, 20), 10), false),
            ("three tags", tagged(&tagged(&tagged(&frame, 20), 20), 20), false),
        ] {
            // The kernel may take the outermost tag off before it shows a frame: found by its end.
            let payload = frame.clone();
            let tap = Tap::start(&network.server, SERVER, move |seen| {
                seen.len() >= 50 && payload.ends_with(seen.get(18..).unwrap_or_default())
            })?;
            socket.send_times(&frame, 10)?;
            settle();
            let seen = tap.stop()?;
            assert_eq!(seen, if arrive { 10 } else { 0 }, "{family:?}, {what}");
        }
    }
    let (after, sent_after) = stable(&cable, &foobar)?;
    assert_eq!(after.rule("vlan-10"), 40);
    assert_eq!(after.rule("vlan-20"), 40);
    assert_eq!(after.packets(&[("action", "drop"), ("reason", "vlan_depth")]), 20);
    check_all_counted(&before, &after, sent_before, sent_after);
    Ok(())
}

/// Every frame that the client sent is in the counters once, with its bytes.
fn check_all_counted(before: &Metrics, after: &Metrics, sent_before: Sent, sent_after: Sent) {
    let on_server = [("iface", SERVER)];
    let packets = sent_after.packets - sent_before.packets;
    let bytes = sent_after.bytes - sent_before.bytes;
    assert_eq!(after.packets(&on_server) - before.packets(&on_server), packets, "packets by verdict");
    assert_eq!(after.bytes(&on_server) - before.bytes(&on_server), bytes, "bytes by verdict");
    let of_incoming = [("iface", SERVER), ("direction", "in")];
    let traffic = |name: &str| after.count(name, &of_incoming) - before.count(name, &of_incoming);
    assert_eq!(traffic("foobar_packets_total"), packets, "packets by port");
    assert_eq!(traffic("foobar_bytes_total"), bytes, "bytes by port");
}

/// Frames that the client put on the cable.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sent {
    packets: u64,
    bytes: u64,
}

/// Counters, and what the client has sent, at a moment when nothing is under way.
fn stable(cable: &Tap, foobar: &Foobar) -> Result<(Metrics, Sent)> {
    let sent = || Sent { packets: cable.seen(), bytes: cable.bytes() };
    for _ in 0..50 {
        settle();
        let before = sent();
        let metrics = foobar.scrape()?;
        settle();
        if sent() == before {
            return Ok((metrics, before));
        }
    }
    Err(anyhow!("the client does not stop sending"))
}

fn check_mode(network: &Network, foobar: &Foobar, mode: &str) -> Result<()> {
    // XDP_ATTACHED_DRV and XDP_ATTACHED_SKB of include/uapi/linux/if_link.h.
    let kernel = if mode == "native" { 1 } else { 2 };
    assert_eq!(network.server_link()?["xdp"]["mode"], kernel, "mode that the kernel says");
    assert_eq!(foobar.status()?["interfaces"][0]["mode"], mode, "mode in the status");
    Ok(())
}

/// Sends [`STREAM`] bytes to a server that sends them back.
fn echo_stream(network: &Network, address: SocketAddr) -> Result<()> {
    let listener = network.server.enter(|| Ok(TcpListener::bind(address)?))?;
    let server = thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut data = vec![0; STREAM];
        stream.read_exact(&mut data)?;
        stream.write_all(&data)?;
        Ok(())
    });
    let mut stream = network
        .client
        .enter(|| Ok(TcpStream::connect_timeout(&address, Duration::from_secs(5))?))
        .with_context(|| format!("connect to the open port {address}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let data: Vec<u8> = (0..STREAM).map(|at| u8::try_from(at % 251).unwrap_or_default()).collect();
    stream.write_all(&data)?;
    let mut back = Vec::new();
    stream.read_to_end(&mut back).context("read the echo")?;
    ensure!(back == data, "the echo differs: {} bytes of {}", back.len(), data.len());
    server.join().map_err(|_payload| anyhow!("the echo server panicked"))?
}

/// Connects to a port that the filter keeps closed: nobody answers, not even with a reset.
fn refused_stream(client: &Arc<Namespace>, address: SocketAddr) -> Result<()> {
    let kind = client.enter(|| {
        Ok(TcpStream::connect_timeout(&address, Duration::from_millis(200)).err().map(|error| error.kind()))
    })?;
    assert_eq!(kind, Some(std::io::ErrorKind::TimedOut), "connecting to {address}");
    Ok(())
}

/// Sends [`DATAGRAMS`] to a port of the server and tells how many its socket got.
fn datagrams(network: &Network, server: IpAddr, port: u16, size: usize) -> Result<u64> {
    let address = SocketAddr::new(server, port);
    let receiver = network.server.enter(|| Ok(UdpSocket::bind(address)?))?;
    // Room for all of them, whoever else has the processor.
    setsockopt(&receiver, sockopt::RcvBufForce, &(64 << 20))?;
    receiver.set_read_timeout(Some(Duration::from_millis(300)))?;
    let sender = network.client.enter(|| {
        let any: IpAddr = if server.is_ipv4() { [0, 0, 0, 0].into() } else { [0; 16].into() };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.connect(address)?;
        Ok(socket)
    })?;
    let counter = thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        let mut datagrams = 0;
        while receiver.recv(&mut buffer).is_ok_and(|length| length == size) {
            datagrams += 1;
        }
        datagrams
    });
    let payload = vec![0x5a; size];
    for _ in 0..DATAGRAMS {
        sender.send(&payload)?;
    }
    counter.join().map_err(|_payload| anyhow!("the UDP receiver panicked"))
}

/// Sends [`PINGS`] and tells how many were answered.
fn pings(client: &Arc<Namespace>, server: IpAddr, size: u32) -> Result<u64> {
    let output = client
        .command("ping")
        .args(["-n", "-q", "-i", "0.01", "-W", "0.3", "-c", &PINGS.to_string(), "-s", &size.to_string()])
        .arg(server.to_string())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let received = text
        .split(", ")
        .find_map(|part| part.strip_suffix(" received"))
        .with_context(|| format!("no count in what ping said: {text}"))?;
    Ok(received.parse()?)
}
