//! What goes out is judged and counted as what comes in is, with offloads and without.

use std::{
    ffi::CString,
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    },
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use foobar_tests::{
    command::succeed,
    daemon::Foobar,
    frames::Family,
    metrics::Metrics,
    network::{CLIENT, CLIENT_V4, CLIENT_V6, Network, SERVER, SERVER_MAC},
    tap::{Tap, is_tcp_to, is_udp_to, settle},
    wait,
};
use nix::{errno::Errno, libc};

/// Ports that the server sends to: one that is open, one that a rule closes.
const OPEN: u16 = 6001;
const CLOSED: u16 = 6002;
/// Datagrams of each kind.
const DATAGRAMS: u64 = 200;
/// Bytes that a TCP connection carries to the client.
const STREAM: usize = 3_000_000;
/// The service that sends them.
const SERVICE: u16 = 5001;

const RULES: &str = r#"
schema = 1

[[service]]
name = "files"
port = "tcp/5001"
protocol = "raw"

[[rule]]
id = "closed"
action = "drop"
direction = "out"
protocol = "udp"
destination_port = 6002

[[rule]]
id = "in-only"
action = "drop"
protocol = "udp"
destination_port = 6001
"#;

#[test]
fn rules_for_what_goes_out_meet_that_alone_and_all_of_it_is_counted() -> Result<()> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    foobar.start()?;
    assert_eq!(foobar.status()?["interfaces"][0]["egress"], "tcx");
    let cable = Tap::start(&network.client, CLIENT, |frame| frame.get(6..12) == Some(&SERVER_MAC))?;
    let (before, packets_before, bytes_before) = stable(&cable, &foobar)?;
    for family in Family::BOTH {
        for (port, arrive) in [(OPEN, DATAGRAMS), (CLOSED, 0)] {
            assert_eq!(sent_to(&network, family, port)?, arrive, "{family:?}: datagrams to port {port}");
        }
    }
    let (after, packets_after, bytes_after) = stable(&cable, &foobar)?;
    assert_eq!(after.rule("closed"), 2 * DATAGRAMS, "hits of the rule for what goes out");
    assert_eq!(after.rule("in-only"), 0, "hits of the rule for what comes in");
    let of = |labels: &[(&str, &str)]| after.packets_out(labels) - before.packets_out(labels);
    assert_eq!(of(&[("action", "drop")]), 2 * DATAGRAMS);
    // What was not dropped was on the cable, byte by byte.
    assert_eq!(of(&[("action", "accept")]), packets_after - packets_before);
    let bytes = |metrics: &Metrics| {
        let labels = [("iface", SERVER), ("direction", "out"), ("action", "accept")];
        metrics.count("foobar_firewall_bytes_total", &labels)
    };
    assert_eq!(bytes(&after) - bytes(&before), bytes_after - bytes_before);
    Ok(())
}

#[test]
fn with_out_closed_failsafe_ports_answer_and_neighbours_are_found() -> Result<()> {
    let rules = r#"
        schema = 1
        [policy]
        out = "drop"
        [failsafe]
        ports = ["tcp/5001"]
        peers = ["2001:db8::2"]
    "#;
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], rules)?;
    foobar.start()?;
    // No neighbour is known yet: the server has to ask for the client, and to answer it.
    for family in Family::BOTH {
        assert_eq!(stream(&network, family, 5001, 1_000)?, 1_000, "{family:?}: from a failsafe port");
    }
    assert_eq!(sent_to(&network, Family::V4, OPEN)?, 0, "datagrams to somebody");
    assert_eq!(sent_to(&network, Family::V6, OPEN)?, DATAGRAMS, "datagrams to a failsafe peer");
    let metrics = foobar.scrape()?;
    assert_eq!(metrics.packets_out(&[("action", "drop"), ("reason", "policy")]), DATAGRAMS);
    assert!(metrics.packets_out(&[("action", "accept"), ("reason", "failsafe")]) > DATAGRAMS);
    assert!(metrics.packets_out(&[("action", "accept"), ("reason", "infrastructure")]) > 0, "ARP");
    Ok(())
}

/// With segmentation offload the stack gives 64 KiB at a time to the card; what is counted is what the cable would
/// carry: every segment, with headers of its own.
#[test]
fn segments_are_counted_as_on_the_wire_whoever_cuts_them() -> Result<()> {
    for (offload, largest) in [("off", 65_536), ("on", 65_536), ("on", 190_000)] {
        let network = Network::new()?;
        // More than 65,536 is BIG TCP, which IPv6 has by this alone.
        network.server.ip(&format!("link set dev {SERVER} gso_max_size {largest}\n"))?;
        succeed(
            network
                .server
                .command("ethtool")
                .args(["-K", SERVER, "tx", offload, "tso", offload, "gso", offload]),
        )?;
        let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
        foobar.start()?;
        for family in Family::BOTH {
            let Segments { packets, bytes, pieces, jumbograms } = undisturbed(&network, &foobar, family)?;
            let about =
                format!("{family:?}, offload {offload}, {largest}: {packets} packets in {pieces} pieces");
            // Ethernet, IP and TCP with time stamps; of the first, the SYN-ACK, with eight bytes more of options.
            let headers = if family == Family::V4 { 14 + 20 + 32 } else { 14 + 40 + 32 };
            assert_eq!(bytes, STREAM as u64 + packets * headers + 8, "{about}");
            assert!(packets > STREAM as u64 / (1514 - headers), "{about}: fewer than carry the data");
            assert_eq!(
                jumbograms > 0,
                largest > 65_536 && family == Family::V6,
                "{about}, {jumbograms} jumbograms"
            );
            if offload == "on" {
                assert!(pieces * 4 < packets, "{about}: no offload was seen");
            } else {
                assert_eq!(pieces, packets, "{about}");
            }
        }
    }
    Ok(())
}

/// What a stream of [`STREAM`] bytes was: as counted, and as a tap on the server's side saw it.
struct Segments {
    packets: u64,
    bytes: u64,
    pieces: u64,
    jumbograms: u64,
}

/// Has the service send a stream of which nothing is sent twice. On a busy machine an answer may come so late that TCP
/// takes its segment for lost.
fn undisturbed(network: &Network, foobar: &Foobar, family: Family) -> Result<Segments> {
    let labels = [("direction", "out"), ("port", "5001")];
    for _ in 0..50 {
        let (before, sent_twice) = (foobar.scrape()?, retransmitted(network)?);
        let pieces = Tap::start(&network.server, SERVER, is_from_service)?;
        // A tap reads no more than 64 KiB of a frame.
        let jumbograms = Tap::start(&network.server, SERVER, |frame| frame.len() >= 1 << 16)?;
        assert_eq!(stream(network, family, SERVICE, STREAM)?, STREAM);
        settle();
        let (pieces, jumbograms) = (pieces.stop()?, jumbograms.stop()?);
        let after = foobar.scrape()?;
        if retransmitted(network)? == sent_twice {
            let counted = |name: &str| after.count(name, &labels) - before.count(name, &labels);
            let (packets, bytes) = (counted("foobar_packets_total"), counted("foobar_bytes_total"));
            return Ok(Segments { packets, bytes, pieces, jumbograms });
        }
    }
    Err(anyhow!("TCP sends something twice each time"))
}

/// How many segments TCP of the server has sent once more (`RetransSegs` of RFC 4022).
fn retransmitted(network: &Network) -> Result<u64> {
    let text = network.server.enter(|| Ok(fs::read_to_string("/proc/thread-self/net/snmp")?))?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let pairs = names.split_whitespace().zip(values.split_whitespace());
    let found = pairs.into_iter().find(|(name, _)| *name == "RetransSegs");
    Ok(found.context("the kernel tells no RetransSegs")?.1.parse()?)
}

#[test]
fn rules_for_what_goes_out_are_swapped_and_outlive_the_daemon() -> Result<()> {
    let network = Network::new()?;
    network.introduce()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    foobar.start()?;
    let closed = Tap::start(&network.client, CLIENT, |frame| is_udp_to(frame, CLOSED))?;
    let flood = Flood::start(&network)?;
    for round in 0..10 {
        foobar.apply(&format!("{RULES}[[rule]]\nid = \"more-{round}\"\naction = \"accept\"\n"))?;
    }
    foobar.kill()?;
    thread::sleep(Duration::from_millis(300));
    foobar.start()?;
    for round in 0..10 {
        foobar.apply(&format!("{RULES}[[rule]]\nid = \"later-{round}\"\naction = \"accept\"\n"))?;
    }
    let sent = flood.stop()?;
    settle();
    ensure!(sent > 1_000, "only {sent} datagrams were sent");
    assert_eq!(foobar.scrape()?.rule("closed"), sent, "every datagram met the rule");
    assert_eq!(closed.stop()?, 0, "of {sent} datagrams none was on the cable");

    // Without the filter they are: the test can fail.
    foobar.succeed(&["detach"])?;
    let open = Tap::start(&network.client, CLIENT, |frame| is_udp_to(frame, CLOSED))?;
    let flood = Flood::start(&network)?;
    thread::sleep(Duration::from_millis(200));
    let sent = flood.stop()?;
    settle();
    assert_eq!(open.stop()?, sent);
    Ok(())
}

/// Somebody takes the program for what goes out away: it comes back, and the one for what comes in has never gone.
#[test]
fn a_link_that_somebody_detached_is_put_back_alone() -> Result<()> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    foobar.start()?;
    // A link that was made anew would be pinned anew.
    let ingress_pin = foobar.pins().path().join("ingress").join(SERVER);
    let before = fs::metadata(&ingress_pin)?.ino();
    assert_eq!(sent_to(&network, Family::V4, CLOSED)?, 0, "before");
    detach(&foobar.pins().path().join("egress").join(SERVER))?;
    wait::until("the program for what goes out is back", Duration::from_secs(10), || {
        Ok(foobar.status()?["ready"] == true && sent_to(&network, Family::V4, CLOSED)? == 0)
    })?;
    assert_eq!(fs::metadata(&ingress_pin)?.ino(), before, "the link for what comes in");
    Ok(())
}

/// Takes the program of a pinned link off its interface, as `bpftool link detach` does (`BPF_LINK_DETACH`, Linux 5.9).
fn detach(pin: &Path) -> Result<()> {
    // Commands of include/uapi/linux/bpf.h, and what they read of `union bpf_attr`.
    const BPF_OBJ_GET: libc::c_long = 7;
    const BPF_LINK_DETACH: libc::c_long = 34;
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let get = [path.as_ptr() as u64, 0];
    // SAFETY: bpf(2) reads as many bytes as there are, and the path that they point to.
    let number = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, get.as_ptr(), size_of_val(&get)) };
    let number = i32::try_from(Errno::result(number).context("open the link")?)?;
    // SAFETY: the kernel has just given it, to nobody else.
    let link = unsafe { OwnedFd::from_raw_fd(number) };
    let detach = [link.as_raw_fd(), 0];
    // SAFETY: as above.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_DETACH, detach.as_ptr(), size_of_val(&detach)) };
    Errno::result(done).context("detach the link")?;
    Ok(())
}

/// Datagrams from the server to the closed port, one after the other.
struct Flood {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: thread::JoinHandle<Result<u64>>,
}

impl Flood {
    fn start(network: &Network) -> Result<Self> {
        let socket = network.server.enter(|| Ok(UdpSocket::bind("0.0.0.0:0")?))?;
        socket.connect((CLIENT_V4, CLOSED))?;
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let end = std::sync::Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut sent = 0;
            while !end.load(std::sync::atomic::Ordering::Relaxed) {
                // Nobody listens there: where it arrives, the client says so, and that is the error of a later one.
                if socket.send(b"closed").is_ok() {
                    sent += 1;
                }
                thread::sleep(Duration::from_micros(100));
            }
            Ok(sent)
        });
        Ok(Self { stop, thread })
    }

    fn stop(self) -> Result<u64> {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        self.thread.join().map_err(|_payload| anyhow!("the flood panicked"))?
    }
}

/// Counters, and packets and bytes that were seen on the cable, at a moment when nothing is under way.
fn stable(cable: &Tap, foobar: &Foobar) -> Result<(Metrics, u64, u64)> {
    for _ in 0..50 {
        settle();
        let before = (cable.seen(), cable.bytes());
        let metrics = foobar.scrape()?;
        settle();
        if (cable.seen(), cable.bytes()) == before {
            return Ok((metrics, before.0, before.1));
        }
    }
    Err(anyhow!("the server does not stop sending"))
}

fn client(family: Family) -> IpAddr {
    match family {
        Family::V4 => CLIENT_V4.into(),
        Family::V6 => CLIENT_V6.into(),
    }
}

/// Sends [`DATAGRAMS`] from the server to a port of the client, and tells how many got there.
fn sent_to(network: &Network, family: Family, port: u16) -> Result<u64> {
    let receiver = network.client.enter(|| Ok(UdpSocket::bind((client(family), port))?))?;
    receiver.set_read_timeout(Some(Duration::from_millis(300)))?;
    let any: IpAddr = if family == Family::V4 { [0, 0, 0, 0].into() } else { [0; 16].into() };
    let sender = network.server.enter(|| Ok(UdpSocket::bind((any, 0))?))?;
    for _ in 0..DATAGRAMS {
        sender.send_to(&[0x5a; 100], (client(family), port))?;
        thread::sleep(Duration::from_micros(50));
    }
    let mut buffer = [0; 200];
    let mut received = 0;
    while receiver.recv(&mut buffer).is_ok() {
        received += 1;
    }
    Ok(received)
}

/// Has the server send so many bytes from a port to the client that connects, and tells how many got there.
fn stream(network: &Network, family: Family, port: u16, bytes: usize) -> Result<usize> {
    let address = SocketAddr::new(family.server(), port);
    let listener = network.server.enter(|| Ok(TcpListener::bind(address)?))?;
    let server = thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        Ok(stream.write_all(&vec![0x5a; bytes])?)
    });
    let mut stream = network
        .client
        .enter(|| Ok(TcpStream::connect_timeout(&address, Duration::from_secs(5))?))
        .with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received)?;
    server.join().map_err(|_payload| anyhow!("the server panicked"))??;
    Ok(received.len())
}

/// Whether a frame comes from [`SERVICE`]: seen from the other side, it goes there.
fn is_from_service(frame: &[u8]) -> bool {
    let mut turned = frame.to_vec();
    let transport = if frame.get(12..14) == Some(&[0x08, 0x00]) { 34 } else { 54 };
    let Some(ports) = turned.get_mut(transport..transport + 4) else { return false };
    ports.rotate_left(2);
    is_tcp_to(&turned, SERVICE)
}
