//! Real clients that are rejected.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use foobar_tests::{
    daemon::Foobar,
    foreign::ForeignProgram,
    frames::{Family, tagged},
    namespace::Namespace,
    network::{CLIENT, CLIENT_MAC, Network, SERVER, SERVER_MAC},
    packets::{self, flag},
    sender::PacketSocket,
    tap::{Tap, settle},
    wait,
};
use nix::libc;

/// Ports of the server, or of the client for what goes out: rejected, and served.
const REJECTED: u16 = 81;
const SERVED: u16 = 80;

/// What comes in to a port and goes out to it is rejected.
const RULES: &str = r#"
schema = 1
[policy]
in = "accept"
[[rule]]
id = "in"
action = "reject"
destination_port = 81
[[rule]]
id = "out"
action = "reject"
direction = "out"
destination_port = 81
[[rule]]
id = "pings"
action = "reject"
protocol = "icmp"
icmp = ["echo-request"]
[[rule]]
id = "pings6"
action = "reject"
protocol = "icmpv6"
icmp = ["echo-request"]
"#;

/// Sooner than any packet is sent again.
const AT_ONCE: Duration = Duration::from_millis(500);
/// Long enough for what should have come.
const PATIENCE: Duration = Duration::from_secs(3);

const MODES: [&str; 2] = ["native", "generic"];

/// A network whose client takes what the server's card sends back: a veth gives that on only to a program.
struct Lab {
    network: Network,
    foobar: Foobar,
    _program: ForeignProgram,
}

impl Lab {
    fn new(mode: &str, rules: &str) -> Result<Self> {
        let network = Network::new()?;
        network.introduce()?;
        let program = ForeignProgram::attach(&network.client, CLIENT)?;
        let mut foobar = Foobar::new(&network.server, &[SERVER], rules)?.with_options(&["--mode", mode]);
        foobar.start()?;
        Ok(Self { network, foobar, _program: program })
    }

    /// How many rejected packets of a direction were answered in a way, or not, by metric and its second label.
    fn counted(&self, direction: &str, word: &str) -> Result<u64> {
        let metrics = self.foobar.scrape()?;
        let of = |name: &str, label| metrics.count(name, &[("direction", direction), (label, word)]);
        Ok(of("foobar_reject_answers_total", "answer") + of("foobar_reject_unanswered_total", "cause"))
    }
}

/// Tries to connect, and says how that ended and whether it was at once.
fn connect(from: &Namespace, to: IpAddr, port: u16) -> Result<(ErrorKind, bool)> {
    from.enter(|| {
        let started = Instant::now();
        let error = TcpStream::connect_timeout(&SocketAddr::new(to, port), PATIENCE)
            .err()
            .with_context(|| format!("{to} is connected to"))?;
        Ok((error.kind(), started.elapsed() < AT_ONCE))
    })
}

/// Sends a datagram from a connected socket, and gives the error that it then has.
fn ask(from: &Namespace, to: IpAddr, length: usize) -> Result<Option<i32>> {
    from.enter(|| {
        let unspecified =
            if to.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((unspecified, 0))?;
        socket.connect((to, REJECTED))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send(&vec![7; length])?;
        Ok(socket.recv(&mut [0; 8]).err().context("a datagram came")?.raw_os_error())
    })
}

/// What the kernel makes of "administratively prohibited": `icmp_err_convert` of `net/ipv4/icmp.c`, and `tab_unreach` of
/// `net/ipv6/icmp.c`.
fn prohibited(to: IpAddr) -> i32 {
    if to.is_ipv4() { libc::EHOSTUNREACH } else { libc::EACCES }
}

/// Messages with wrong checksums that a namespace has received, and how many messages in all.
fn checksum_errors(namespace: &Namespace) -> Result<(u64, u64)> {
    namespace.enter(|| {
        let (mut errors, mut received) = (0, 0);
        let snmp = std::fs::read_to_string("/proc/thread-self/net/snmp")?;
        let lines: Vec<&str> = snmp.lines().collect();
        for pair in lines.chunks_exact(2) {
            let values = pair[0].split_whitespace().zip(pair[1].split_whitespace()).skip(1);
            for (name, value) in values {
                match name {
                    "InCsumErrors" | "InHdrErrors" | "InErrs" => errors += value.parse::<u64>()?,
                    "InSegs" | "InMsgs" => received += value.parse::<u64>()?,
                    _ => {}
                }
            }
        }
        for line in std::fs::read_to_string("/proc/thread-self/net/snmp6")?.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("Icmp6InCsumErrors" | "Ip6InHdrErrors"), Some(value)) => {
                    errors += value.parse::<u64>()?;
                }
                (Some("Icmp6InMsgs"), Some(value)) => received += value.parse::<u64>()?,
                _ => {}
            }
        }
        Ok((errors, received))
    })
}

#[test]
fn clients_are_refused_at_once() -> Result<()> {
    for mode in MODES {
        let lab = Lab::new(mode, RULES)?;
        let servers = Family::BOTH.map(Family::server);
        let client = &lab.network.client;
        for server in servers {
            assert_eq!(
                connect(client, server, REJECTED)?,
                (ErrorKind::ConnectionRefused, true),
                "{mode}: {server}"
            );
            for length in [0, 1, 100, 1_400] {
                let error = ask(client, server, length)?;
                assert_eq!(error, Some(prohibited(server)), "{mode}: {length} bytes to {server}");
            }
            // A ping says what it was told.
            let mut ping = client.command("ping");
            let output = ping.args(["-n", "-c", "1", "-W", "2", &server.to_string()]).output()?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let words = if server.is_ipv4() { "Packet filtered" } else { "Administratively prohibited" };
            assert!(said.contains(words), "{mode}: {said}");
        }
        let (errors, received) = checksum_errors(client)?;
        assert_eq!(errors, 0, "{mode}: answers with wrong checksums");
        assert!(received >= 2 * 6, "{mode}: {received} messages");
        assert_eq!(lab.counted("in", "tcp_reset")?, 2, "{mode}");
        assert_eq!((lab.counted("in", "icmp")?, lab.counted("in", "icmpv6")?), (5, 5), "{mode}");
        let metrics = lab.foobar.scrape()?;
        assert_eq!(metrics.rule("in"), 2 * 5, "{mode}");
        assert_eq!(metrics.packets(&[("action", "reject"), ("reason", "rule")]), 2 * 6, "{mode}");
    }
    Ok(())
}

#[test]
fn this_server_is_refused_at_once() -> Result<()> {
    // Also where all that comes in is dropped, but what is an answer.
    for (mode, rules) in MODES.iter().flat_map(|mode| {
        [(mode, RULES.to_owned()), (mode, RULES.replace("in = \"accept\"", "in = \"drop\""))]
    }) {
        let lab = Lab::new(mode, &rules)?;
        let server = &lab.network.server;
        for client in Family::BOTH.map(Family::client) {
            assert_eq!(
                connect(server, client, REJECTED)?,
                (ErrorKind::ConnectionRefused, true),
                "{mode}: {client}"
            );
            for length in [0, 1, 100, 1_400] {
                let error = ask(server, client, length)?;
                assert_eq!(error, Some(prohibited(client)), "{mode}: {length} bytes to {client}");
            }
        }
        let (errors, received) = checksum_errors(server)?;
        assert_eq!(errors, 0, "{mode}: answers with wrong checksums");
        assert!(received >= 2 * 5, "{mode}: {received} messages");
        assert_eq!(lab.counted("out", "tcp_reset")?, 2, "{mode}");
        assert_eq!(lab.foobar.scrape()?.rule("out"), 2 * 5, "{mode}");
    }
    Ok(())
}

/// A connection from one namespace to a port of another one: both ends.
fn connection(from: &Namespace, to: &Namespace, address: IpAddr) -> Result<(TcpStream, TcpStream)> {
    let listener = to.enter(|| Ok(TcpListener::bind((address, REJECTED))?))?;
    let client = from.enter(|| Ok(TcpStream::connect((address, REJECTED))?))?;
    let (server, _) = listener.accept()?;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE))?;
    }
    Ok((client, server))
}

#[test]
fn an_open_connection_that_is_rejected_is_reset() -> Result<()> {
    let open = "schema = 1\n[policy]\nreplies = \"rules\"\n";
    let closed = RULES.replace("in = \"accept\"", "replies = \"rules\"");
    for mode in MODES {
        for inward in [true, false] {
            for family in Family::BOTH {
                let lab = Lab::new(mode, open)?;
                let Network { server, client, .. } = &lab.network;
                let (mut near, mut far) = if inward {
                    connection(client, server, family.server())?
                } else {
                    connection(server, client, family.client())?
                };
                near.write_all(b"before")?;
                far.read_exact(&mut [0; 6])?;
                lab.foobar.apply(&closed)?;
                let started = Instant::now();
                // Many segments, or one that is to be cut into many.
                let large = vec![7; 60_000];
                let _sent_or_reset = near.write_all(&large);
                let ended = near.read(&mut [0; 8]).map_err(|error| error.kind());
                let case = format!("{mode} {family:?}, {}", if inward { "in" } else { "out" });
                assert_eq!(ended, Err(ErrorKind::ConnectionReset), "{case}");
                assert!(started.elapsed() < AT_ONCE, "{case}: after {:?}", started.elapsed());
            }
        }
    }
    Ok(())
}

#[test]
fn what_must_not_be_answered_is_not() -> Result<()> {
    let lab = Lab::new("native", "schema = 1\n[policy]\nin = \"reject\"\n")?;
    let answers = Tap::start(&lab.network.client, CLIENT, |frame| frame.get(6..12) == Some(&SERVER_MAC))?;
    let socket = PacketSocket::new(&lab.network.client, CLIENT)?;
    settle();
    let before = answers.seen();
    let own = |mut frame: Vec<u8>| {
        if frame[0] & 1 == 0 {
            frame[..6].copy_from_slice(&SERVER_MAC);
        }
        frame[6..12].copy_from_slice(&CLIENT_MAC);
        frame
    };
    let mut sent = 0;
    for frame in super::unanswerable() {
        // ARP is accepted.
        if frame[12..14] != [0x08, 0x06] {
            socket.send(&own(frame))?;
            sent += 1;
        }
    }
    // A frame that a switch gave to everybody: for another card.
    let mut foreign = own(packets::tcp(("192.0.2.2", 1), ("192.0.2.1", 2), flag::SYN).frame());
    foreign[5] = 0x77;
    let foreign = foreign;
    socket.send(&foreign)?;
    wait::until("all of them are judged", PATIENCE, || Ok(lab.counted("in", "not_allowed")? == sent + 1))?;
    settle();
    assert_eq!(answers.seen() - before, 0, "answers");
    // The same is answered to this card.
    socket.send(&own(foreign))?;
    wait::until("there is an answer", PATIENCE, || Ok(answers.seen() - before == 1))?;
    // So is one with a tag, which the kernel takes off the answer before the tap sees it.
    socket.send(&tagged(&own(packets::tcp(("192.0.2.2", 1), ("192.0.2.1", 4), flag::SYN).frame()), 10))?;
    wait::until("there is an answer with a tag", PATIENCE, || Ok(answers.seen() - before == 2))?;
    // The card gets another address while it is filtered.
    lab.network.server.ip(&format!("link set {SERVER} address 02:00:00:00:00:77\n"))?;
    let mut moved = own(packets::tcp(("192.0.2.2", 1), ("192.0.2.1", 3), flag::SYN).frame());
    moved[5] = 0x77;
    wait::until("frames for the new address are answered", Duration::from_secs(10), || {
        socket.send(&moved)?;
        Ok(lab.counted("in", "tcp_reset")? > 2)
    })
}

#[test]
fn a_flood_gets_as_many_answers_as_the_rate_allows() -> Result<()> {
    const RATE: u64 = 200;
    let lab =
        Lab::new("native", &format!("schema = 1\n[policy]\nin = \"reject\"\nreject_rate = \"{RATE}/s\"\n"))?;
    let answers = Tap::start(&lab.network.client, CLIENT, |frame| frame.get(6..12) == Some(&SERVER_MAC))?;
    let socket = PacketSocket::new(&lab.network.client, CLIENT)?;
    let mut frame = packets::tcp(("192.0.2.2", 1), ("192.0.2.1", 2), flag::SYN).frame();
    frame[..6].copy_from_slice(&SERVER_MAC);
    frame[6..12].copy_from_slice(&CLIENT_MAC);
    let started = Instant::now();
    let mut sent = 0_u64;
    while started.elapsed() < Duration::from_secs(2) {
        socket.send_times(&frame, 50)?;
        sent += 50;
        thread::sleep(Duration::from_millis(1));
    }
    let took = started.elapsed().as_secs_f64();
    settle();
    let seen = answers.stop()?;
    let (answered, withheld) = (lab.counted("in", "tcp_reset")?, lab.counted("in", "rate")?);
    ensure!(sent > 20 * RATE, "only {sent} frames were sent");
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let allowed = RATE as f64 * (1.0 + took);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let share = answered as f64 / allowed;
    foobar_tests::figures::say(&format!(
        "{sent} sent in {took:.2} s, {answered} answered, {share:.3} of what may be"
    ));
    ensure!((0.95..=1.02).contains(&share), "{answered} answers, where {allowed:.0} may be: {share:.3}");
    ensure!(answered + withheld >= sent * 9 / 10, "{answered} answered and {withheld} withheld of {sent}");
    ensure!(seen == answered, "{seen} answers arrived of {answered}");
    Ok(())
}

#[test]
fn answers_go_on_over_swaps_and_kills() -> Result<()> {
    let mut lab = Lab::new("native", RULES)?;
    let refused = |lab: &Lab| {
        let found = connect(&lab.network.client, Family::V4.server(), REJECTED)?;
        ensure!(found == (ErrorKind::ConnectionRefused, true), "{found:?}");
        Ok::<_, anyhow::Error>(())
    };
    refused(&lab)?;
    lab.foobar.apply(&format!("{RULES}\n[[rule]]\nid = \"more\"\naction = \"reject\"\nprotocol = 47\n"))?;
    refused(&lab)?;
    lab.foobar.kill()?;
    refused(&lab)?;
    lab.foobar.start()?;
    refused(&lab)?;
    ensure!(lab.counted("in", "tcp_reset")? == 4, "counted on");
    lab.foobar.apply("schema = 1\n")?;
    let listener = lab.network.server.enter(|| Ok(TcpListener::bind((Family::V4.server(), SERVED))?))?;
    let served = lab.network.client.enter(|| Ok(TcpStream::connect((Family::V4.server(), SERVED))?));
    drop((served.map_err(|error| anyhow!("without rules: {error:#}"))?, listener));
    lab.foobar.apply(RULES)?;
    refused(&lab)?;
    ensure!(lab.counted("in", "tcp_reset")? == 5, "and after rules that reject nothing");
    Ok(())
}
