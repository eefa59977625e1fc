//! Real connections: counted as they were made and ended, and open as long as the kernel has them.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use etherparse::PacketBuilder;
use foobar_daemon::open_connections::{self, OpenConnection};
use foobar_tests::{
    daemon::Foobar,
    frames::{Family, tcp_syn},
    metrics::Metrics,
    network::{CLIENT, CLIENT_MAC, CLIENT_V4, Network, SERVER, SERVER_MAC, SERVER_V4},
    sender::PacketSocket,
    tap::{Tap, is_tcp_to, settle},
    wait,
};
use nix::{
    libc::linger,
    sys::socket::{setsockopt, sockopt},
};

const PORT: u16 = 9000;
/// Where nobody listens.
const CLOSED: u16 = 9001;
const RULES: &str =
    "schema = 1\n[[service]]\nname = \"echo\"\nport = [\"tcp/9000\", \"tcp/9001\", \"udp/9000\"]\n";
const LIMIT: Duration = Duration::from_secs(10);

/// A server of both families on one socket, and a foobar in front of it.
struct Setup {
    network: Network,
    listener: TcpListener,
    foobar: Foobar,
}

/// A connection, from both ends.
struct Pair {
    client: TcpStream,
    server: TcpStream,
}

impl Setup {
    fn new(mode: &str) -> Result<Self> {
        let network = Network::new()?;
        let listener = network
            .server
            .enter(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)).context("listen for both families"))?;
        let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?.with_options(&["--mode", mode]);
        foobar.start()?;
        Ok(Self { network, listener, foobar })
    }

    /// Connections in turn by IPv4 and IPv6.
    fn connect(&self, number: usize) -> Result<Vec<Pair>> {
        Family::BOTH
            .into_iter()
            .cycle()
            .take(number)
            .map(|family| {
                let server = SocketAddr::new(family.server(), PORT);
                let client = self.network.client.enter(|| Ok(TcpStream::connect(server)?))?;
                let (server, _) = self.listener.accept()?;
                Ok(Pair { client, server })
            })
            .collect()
    }

    fn open(&self) -> Result<u64> {
        Ok(self.foobar.scrape()?.count("foobar_connections_active", &[("port", "9000")]))
    }

    fn wait_for_open(&self, expected: u64) -> Result<()> {
        wait::until(&format!("{expected} connections are open"), LIMIT, || Ok(self.open()? == expected))
    }
}

impl Pair {
    /// Says something in both directions, and ends it as agreed.
    fn end(self) -> Result<()> {
        let Self { mut client, mut server } = self;
        client.write_all(b"hello")?;
        client.shutdown(Shutdown::Write)?;
        let mut said = String::new();
        server.read_to_string(&mut said)?;
        server.write_all(said.as_bytes())?;
        drop(server);
        said.clear();
        client.read_to_string(&mut said)?;
        ensure!(said == "hello", "{said}");
        Ok(())
    }
}

/// Ends a connection without a word, so that the system of this end sends a RST.
fn abort(end: TcpStream) -> Result<()> {
    setsockopt(&end, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 }).context("set SO_LINGER")?;
    drop(end);
    Ok(())
}

/// Connections, those that were reset from outside, by the server, and those that were refused.
fn counted(metrics: &Metrics) -> [u64; 4] {
    let resets = |direction| {
        metrics.count("foobar_connection_resets_total", &[("port", "9000"), ("direction", direction)])
    };
    [
        metrics.count("foobar_connections_total", &[("port", "9000"), ("app", "unknown")]),
        resets("in"),
        resets("out"),
        metrics.count("foobar_connections_refused_total", &[("port", "9001")]),
    ]
}

#[test]
fn counts_what_was_done_natively() -> Result<()> {
    counts_what_was_done("native")
}

#[test]
fn counts_what_was_done_generically() -> Result<()> {
    counts_what_was_done("generic")
}

fn counts_what_was_done(mode: &str) -> Result<()> {
    let setup = Setup::new(mode)?;
    for pair in setup.connect(40)? {
        pair.end()?;
    }
    for pair in setup.connect(7)? {
        abort(pair.client)?;
    }
    for pair in setup.connect(5)? {
        abort(pair.server)?;
    }
    // A server that ends a connection without having read what came resets it, and what comes after that is answered by
    // more of the same.
    for Pair { mut client, server } in setup.connect(2)? {
        client.write_all(b"hello")?;
        settle();
        drop(server);
        settle();
        drop(client.write_all(b"hello"));
    }
    for family in [Family::V4, Family::V6, Family::V4] {
        let refused = setup.network.client.enter(|| {
            Ok(TcpStream::connect(SocketAddr::new(family.server(), CLOSED)).map_err(|error| error.kind()))
        })?;
        ensure!(matches!(refused, Err(std::io::ErrorKind::ConnectionRefused)), "{refused:?}");
    }
    settle();
    let metrics = setup.foobar.scrape()?;
    let found = counted(&metrics);
    ensure!(found == [54, 7, 7, 3], "{mode}: connections, resets in and out, refused: {found:?}");
    let followed = metrics.select("foobar_l7_bytes_total", &[]).count();
    ensure!(followed == 0, "nothing of a service of raw is followed");
    setup.wait_for_open(0)?;
    // Over a swap, and a daemon that is killed.
    let Setup { network, listener, mut foobar } = setup;
    foobar.apply(&RULES.replace("echo", "other"))?;
    foobar.kill()?;
    let away = Setup { network, listener, foobar };
    away.connect(3)?.into_iter().try_for_each(Pair::end)?;
    let Setup { network, listener, mut foobar } = away;
    foobar.start()?;
    let back = Setup { network, listener, foobar };
    let found = counted(&back.foobar.scrape()?);
    ensure!(found == [57, 7, 7, 3], "{mode}: after a restart: {found:?}");
    let service = &back.foobar.status()?["services"][0];
    let told = [&service["port"], &service["what"], &service["total"], &service["connections_active"]];
    ensure!(told == ["tcp/9000", "connections", "57", "0"].map(value).each_ref(), "{service}");
    ensure!(service["resets"]["in"] == 7 && service["resets"]["out"] == 7, "{service}");
    let text = back.foobar.succeed(&["status"])?;
    let line = "    0 connections open; 7 were reset by clients, 7 by the server, 0 refused";
    ensure!(text.contains(line), "{text}");
    Ok(())
}

/// A number or a word.
fn value(word: &str) -> serde_json::Value {
    word.parse::<u64>().map_or_else(|_| word.into(), Into::into)
}

/// The kernel sends its SYN-ACK again as long as nobody answers.
#[test]
fn a_syn_ack_that_is_sent_again_counts_once() -> Result<()> {
    let setup = Setup::new("native")?;
    let network = &setup.network;
    network.introduce()?;
    // The client's kernel knows of nothing.
    network.client.ip(&format!("addr flush dev {CLIENT}\n"))?;
    let socket = PacketSocket::new(&network.client, CLIENT)?;
    let answers = Tap::start(&network.client, CLIENT, |frame| is_tcp_to(frame, 40_000))?;
    for family in Family::BOTH {
        socket.send(&tcp_syn(family, PORT)?)?;
    }
    wait::until("both SYN-ACKs are sent again", LIMIT, || Ok(answers.seen() >= 4))?;
    let found = counted(&setup.foobar.scrape()?);
    ensure!(found == [2, 0, 0, 0], "{found:?}");
    // A handshake that has not ended is no connection yet.
    ensure!(setup.open()? == 0, "half a handshake is told as open");
    let mut reset = Vec::new();
    PacketBuilder::ethernet2(CLIENT_MAC, SERVER_MAC)
        .ipv4(CLIENT_V4.octets(), SERVER_V4.octets(), 64)
        .tcp(40_000, PORT, 2, 1024)
        .rst()
        .write(&mut reset, &[])?;
    socket.send_times(&reset, 3)?;
    settle();
    let found = counted(&setup.foobar.scrape()?);
    ensure!(found == [2, 1, 0, 0], "after a RST that is sent three times: {found:?}");
    Ok(())
}

#[test]
fn connections_are_open_as_long_as_the_kernel_has_them() -> Result<()> {
    let setup = Setup::new("native")?;
    ensure!(setup.open()? == 0, "nothing is open yet");
    // Over IPv4 half of them, on a socket of IPv6.
    let pairs = setup.connect(10)?;
    ensure!(setup.open()? == 10, "{} of 10 connections are open", setup.open()?);
    // Each is listed by its true ends, and nobody waits for ever.
    let ports = BTreeSet::from([PORT]);
    let list =
        |deadline: Instant| setup.network.server.enter(|| Ok(open_connections::list(&ports, deadline)));
    let listed = list(Instant::now() + LIMIT)??;
    for Pair { client, .. } in &pairs {
        let ends = OpenConnection { local: client.peer_addr()?, remote: client.local_addr()? };
        ensure!(listed.contains(&ends), "{ends:?} is not among {listed:?}");
    }
    ensure!(list(Instant::now())?.is_err(), "there was no time for any");
    // Half closed ones are open, by whomever.
    pairs[0].client.shutdown(Shutdown::Write)?;
    pairs[1].client.shutdown(Shutdown::Write)?;
    pairs[2].server.shutdown(Shutdown::Write)?;
    settle();
    ensure!(setup.open()? == 10, "{} of 10 connections are open", setup.open()?);
    let mut pairs = pairs.into_iter();
    for pair in pairs.by_ref().take(4) {
        drop(pair.client);
        drop(pair.server);
    }
    setup.wait_for_open(6)?;
    for pair in pairs.by_ref().take(1) {
        abort(pair.client)?;
    }
    setup.wait_for_open(5)?;
    // The client vanishes: no packet tells so.
    let mut rest: Vec<Pair> = pairs.collect();
    setup.network.client.ip(&format!("link set {CLIENT} down\n"))?;
    thread::sleep(Duration::from_millis(300));
    ensure!(setup.open()? == 5, "{} of 5 connections are open", setup.open()?);
    // The kernel finds out when it waits in vain for an answer.
    for Pair { server, .. } in &mut rest {
        setsockopt(&*server, sockopt::TcpUserTimeout, &500)?;
        server.write_all(b"is there anybody")?;
    }
    setup.wait_for_open(0)?;
    let found = counted(&setup.foobar.scrape()?);
    ensure!(found == [10, 1, 0, 0], "{found:?}");
    Ok(())
}
