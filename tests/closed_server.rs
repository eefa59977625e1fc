//! A server that accepts nothing by itself (`in = "drop"`) and speaks with whom it wants, with real programs on both sides.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    command::succeed,
    daemon::Foobar,
    frames::Family,
    name_server::NameServer,
    namespace::Namespace,
    network::{CLIENT, CLIENT_V4, CLIENT_V6, Network, SERVER},
    packets::{self, flag},
    sender::PacketSocket,
    tap::settle,
    web_server::{WebServer, curl},
};

/// Nothing is accepted but what belongs to what the server began.
const CLOSED: &str = "schema = 1\n[policy]\nin = \"drop\"\n";
/// The host behind the router.
const FAR_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const FAR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);
const FAR_MAC: &str = "02:00:00:00:00:03";
const DOWNLOAD: usize = 5_000_000;

/// A server, and a host that it reaches through a router, which is the client of [`Network`]. The way from the router to
/// the host is narrower than either of them knows.
struct World {
    network: Network,
    far: Arc<Namespace>,
}

impl World {
    fn new() -> Result<Self> {
        let network = Network::new()?;
        let far = Arc::new(Namespace::new()?);
        network.client.ip(&format!(
            "link add out0 mtu 1500 type veth peer name far0 mtu 1500 address {FAR_MAC} netns {}\n\
             addr add 198.51.100.1/24 dev out0\naddr add 2001:db8:1::1/64 dev out0 nodad\nlink set out0 up\n",
            far.path().display()
        ))?;
        far.ip(&format!(
            "addr add {FAR_V4}/24 dev far0\naddr add {FAR_V6}/64 dev far0 nodad\nlink set far0 up\n\
             route add default via 198.51.100.1\nroute add default via 2001:db8:1::1\n"
        ))?;
        network.client.set_variables(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
        network
            .server
            .ip(&format!("route add default via {CLIENT_V4}\nroute add default via {CLIENT_V6}\n"))?;
        for (namespace, interface) in [(&network.client, "out0"), (&far, "far0")] {
            succeed(
                namespace.command("ethtool").args(["-K", interface, "tx", "off", "gso", "off", "gro", "off"]),
            )?;
        }
        // A route of its own width: neither end has an interface that would tell.
        network.client.ip(&format!(
            "route replace {FAR_V4}/32 dev out0 mtu 1300\nroute replace {FAR_V6}/128 dev out0 mtu 1300\n\
             neigh replace {FAR_V6} lladdr {FAR_MAC} dev out0 nud permanent\n"
        ))?;
        // Without a link-local address, a router cannot ask for a neighbour.
        network.introduce()?;
        Ok(Self { network, far })
    }

    fn server(&self) -> &Arc<Namespace> {
        &self.network.server
    }
}

fn far(family: Family) -> IpAddr {
    match family {
        Family::V4 => FAR_V4.into(),
        Family::V6 => FAR_V6.into(),
    }
}

#[test]
fn the_server_speaks_with_whom_it_wants() -> Result<()> {
    let world = World::new()?;
    let web = WebServer::serving(&world.far, &[80], "")?;
    web.put_file("large", DOWNLOAD)?;
    let _names = NameServer::start(&world.far, [FAR_V4.into(), FAR_V6.into()])?;
    let mut foobar = Foobar::new(world.server(), &[SERVER], CLOSED)?;
    foobar.start()?;
    for family in Family::BOTH {
        let host = far(family);
        let url = format!("http://{}/large", SocketAddr::new(host, 80));
        let mut download = world.server().command("curl");
        download.args([
            "--silent",
            "--show-error",
            "--fail",
            "--noproxy",
            "*",
            "--max-time",
            "20",
            "--output",
        ]);
        let got = succeed(download.arg("/dev/null").args(["--write-out", "%{size_download}", &url]))?;
        ensure!(got == DOWNLOAD.to_string(), "{family:?}: {got} bytes of {DOWNLOAD}");

        let server = format!("@{host}");
        let mut dig = world.server().command("dig");
        let answer = succeed(dig.args(["+tries=1", "+time=5", "+short", &server, "www.foobar.com", "A"]))?;
        ensure!(answer.trim() == "192.0.2.1", "{family:?}: {answer}");

        let host = host.to_string();
        succeed(world.server().command("ping").args(["-n", "-c", "2", "-i", "0.1", "-W", "3", &host]))?;
        let router = if family == Family::V4 { CLIENT_V4.to_string() } else { CLIENT_V6.to_string() };
        for kind in
            [&["-n", "-q", "1", "-w", "3", "-m", "4"][..], &["-I", "-n", "-q", "1", "-w", "3", "-m", "4"]]
        {
            let mut traceroute = world.server().command("traceroute");
            let way = succeed(traceroute.args(kind).arg(&host))?;
            let hops: Vec<&str> =
                way.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
            ensure!(hops == [router.as_str(), host.as_str()], "{family:?} {kind:?}: {way}");
        }
    }
    let metrics = foobar.scrape()?;
    ensure!(metrics.packets(&[("action", "accept"), ("reason", "replies")]) > 1_000, "{metrics:?}");
    Ok(())
}

/// Datagrams that are longer than any packet go out and come back in fragments, which have no ports but for the first.
#[test]
fn long_datagrams_are_answered() -> Result<()> {
    const LONG: usize = 20_000;
    let world = World::new()?;
    let mut foobar = Foobar::new(world.server(), &[SERVER], CLOSED)?;
    foobar.start()?;
    for family in Family::BOTH {
        let echo = world.far.enter(|| Ok(UdpSocket::bind(SocketAddr::new(far(family), 7))?))?;
        echo.set_read_timeout(Some(Duration::from_secs(10)))?;
        let echoes = thread::spawn(move || -> Result<()> {
            let mut bytes = vec![0; LONG];
            loop {
                let (length, peer) = echo.recv_from(&mut bytes)?;
                if length == 0 {
                    return Ok(());
                }
                echo.send_to(&bytes[..length], peer)?;
            }
        });
        let socket = world.server().enter(|| {
            let any: IpAddr = match family {
                Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
                Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
            };
            Ok(UdpSocket::bind(SocketAddr::new(any, 0))?)
        })?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        let said: Vec<u8> = (0..=250).cycle().take(LONG).collect();
        let ask = || -> Result<Vec<u8>> {
            socket.send_to(&said, SocketAddr::new(far(family), 7))?;
            let mut heard = vec![0; LONG];
            let length = socket.recv(&mut heard)?;
            heard.truncate(length);
            Ok(heard)
        };
        // What the server sends first is too large for the way of IPv6, which the router tells it, of each fragment: errors
        // about later ones are about no known flow.
        if family == Family::V6 {
            ensure!(ask().is_err(), "the way takes more than the test says");
        }
        let dropped =
            || -> Result<u64> { Ok(foobar.scrape()?.packets(&[("action", "drop"), ("reason", "policy")])) };
        let before = dropped()?;
        for number in 0..3 {
            let heard = ask().with_context(|| format!("{family:?}: no answer to {number}"))?;
            ensure!(heard == said, "{family:?}: {} bytes come back, or others", heard.len());
        }
        socket.send_to(&[], SocketAddr::new(far(family), 7))?;
        echoes.join().ok().context("the thread that echoes panicked")??;
        let dropped = dropped()? - before;
        ensure!(dropped == 0, "{family:?}: {dropped} packets are dropped");
    }
    Ok(())
}

/// What the server sends is too large for the way, which a router tells: the error is about a connection that the server
/// knows.
#[test]
fn the_path_mtu_is_found() -> Result<()> {
    let world = World::new()?;
    let mut foobar = Foobar::new(world.server(), &[SERVER], CLOSED)?;
    foobar.start()?;
    for family in Family::BOTH {
        let listener = world.far.enter(|| Ok(TcpListener::bind(SocketAddr::new(far(family), 7_000))?))?;
        let received = thread::spawn(move || -> Result<usize> {
            let (mut stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            let mut bytes = Vec::new();
            Ok(stream.read_to_end(&mut bytes)?)
        });
        world.server().enter(|| {
            let mut stream = TcpStream::connect(SocketAddr::new(far(family), 7_000))?;
            stream.set_write_timeout(Some(Duration::from_secs(20)))?;
            Ok(stream.write_all(&vec![7; DOWNLOAD])?)
        })?;
        let received = received.join().ok().context("the thread that receives panicked")??;
        ensure!(received == DOWNLOAD, "{family:?}: {received} bytes of {DOWNLOAD}");
        // The server has been told, or it would not know.
        let host = far(family).to_string();
        let route = succeed(world.server().command("ip").args(["route", "get", &host]))?;
        ensure!(route.contains("mtu 1300"), "{family:?}: {route}");
    }
    Ok(())
}

#[test]
fn nothing_enters_that_nobody_asked_for() -> Result<()> {
    let world = World::new()?;
    let _web = WebServer::start(world.server(), &[80])?;
    let mut foobar = Foobar::new(world.server(), &[SERVER], CLOSED)?;
    foobar.start()?;
    for (family, server, client) in
        [(Family::V4, "192.0.2.1", "192.0.2.2"), (Family::V6, "2001:db8::1", "2001:db8::2")]
    {
        let address: IpAddr = server.parse()?;
        let client_namespace = &world.network.client;
        ensure!(!curl(client_namespace, address, 80, "1")?.status.success(), "{family:?}: an open port");
        ensure!(!curl(client_namespace, address, 81, "1")?.status.success(), "{family:?}: a closed port");
        let ping = client_namespace.command("ping").args(["-n", "-c", "1", "-W", "1", server]).output()?;
        ensure!(!ping.status.success(), "{family:?}: a ping");
        let socket = world.server().enter(|| Ok(UdpSocket::bind(SocketAddr::new(address, 5_000))?))?;
        socket.set_read_timeout(Some(Duration::from_millis(300)))?;
        client_namespace.enter(|| {
            let sender = UdpSocket::bind(SocketAddr::new(client.parse()?, 0))?;
            Ok(sender.send_to(b"hello", SocketAddr::new(address, 5_000))?)
        })?;
        ensure!(socket.recv(&mut [0; 16]).is_err(), "{family:?}: a datagram");

        settle();
        let dropped = |foobar: &Foobar| -> Result<u64> {
            Ok(foobar.scrape()?.packets(&[("action", "drop"), ("reason", "policy")]))
        };
        let before = dropped(&foobar)?;
        let sender = PacketSocket::new(client_namespace, CLIENT)?;
        let quoted = packets::tcp((server, 40_000), (client, 443), flag::SYN).frame();
        let header = if family == Family::V4 { 20 } else { 40 };
        let (protocol, kind) = if family == Family::V4 { (1, 3) } else { (58, 1) };
        let error = [&[kind, 0, 0, 0, 0, 0, 0, 0], &quoted[14..14 + header + 8]].concat();
        let flags = [flag::SYN, flag::ACK, flag::RST, flag::SYN | flag::ACK, flag::FIN | flag::ACK];
        for flags in flags {
            sender.send(&packets::tcp((client, 443), (server, 40_000), flags).frame())?;
        }
        sender.send(&packets::packet(client, server, protocol, error).frame())?;
        settle();
        let after = dropped(&foobar)?;
        ensure!(after - before == 6, "{family:?}: {} of 6 are dropped", after - before);
    }
    Ok(())
}

#[test]
fn connections_outlive_swaps_and_daemons() -> Result<()> {
    let world = World::new()?;
    let mut foobar = Foobar::new(world.server(), &[SERVER], CLOSED)?;
    foobar.start()?;
    let mut connections = Vec::new();
    for family in Family::BOTH {
        let listener = world.far.enter(|| Ok(TcpListener::bind(SocketAddr::new(far(family), 7_000))?))?;
        let ours = world.server().enter(|| Ok(TcpStream::connect(SocketAddr::new(far(family), 7_000))?))?;
        let (theirs, _) = listener.accept()?;
        connections.push((ours, theirs));
    }
    let speak = |when: &str| -> Result<()> {
        for (ours, theirs) in &connections {
            // The other end speaks first: nothing that the server sends helps it.
            say(theirs, ours).with_context(|| format!("to the server {when}"))?;
            say(ours, theirs).with_context(|| format!("from the server {when}"))?;
        }
        Ok(())
    };
    speak("at first")?;
    foobar.apply(&format!("{CLOSED}[[rule]]\nid = \"ssh\"\naction = \"accept\"\ndestination_port = 22\n"))?;
    speak("after a swap")?;
    foobar.kill()?;
    speak("without a daemon")?;
    foobar.start()?;
    speak("with another daemon")?;
    ensure!(!curl(&world.network.client, "192.0.2.1".parse()?, 80, "1")?.status.success(), "and nobody else");
    Ok(())
}

/// Connections of each kind: begun by the server, and by others to a port that is accepted.
const OLD: usize = 50;

#[test]
fn connections_that_are_older_than_the_filter_go_on() -> Result<()> {
    let rules = format!("{CLOSED}[[rule]]\nid = \"web\"\naction = \"accept\"\ndestination_port = 7001\n");
    for begins_with in [rules.as_str(), "schema = 1\n"] {
        let world = World::new()?;
        let mut connections = Vec::new();
        for family in Family::BOTH {
            let server: IpAddr = family.server();
            let there = world.far.enter(|| Ok(TcpListener::bind(SocketAddr::new(far(family), 7_000))?))?;
            let here = world.server().enter(|| Ok(TcpListener::bind(SocketAddr::new(server, 7_001))?))?;
            for _ in 0..OLD {
                let ours =
                    world.server().enter(|| Ok(TcpStream::connect(SocketAddr::new(far(family), 7_000))?))?;
                connections.push((ours, there.accept()?.0));
                let theirs = world.far.enter(|| Ok(TcpStream::connect(SocketAddr::new(server, 7_001))?))?;
                connections.push((here.accept()?.0, theirs));
            }
        }
        let mut foobar = Foobar::new(world.server(), &[SERVER], begins_with)?;
        foobar.start()?;
        if begins_with != rules {
            foobar.apply(&rules)?;
        }
        for (number, (ours, theirs)) in connections.iter().enumerate() {
            // Half of them hear of the other end first.
            let (first, second) = if number % 4 < 2 { (theirs, ours) } else { (ours, theirs) };
            for (from, to) in [(first, second), (second, first)] {
                say(from, to).with_context(|| format!("connection {number} of {begins_with}"))?;
            }
        }
        let stray = !curl(&world.network.client, "192.0.2.1".parse()?, 80, "1")?.status.success();
        ensure!(stray, "and nobody else comes in");
    }
    Ok(())
}

/// Says something on a connection, which has to arrive.
/// The table of flows is as large as the settings say; what is in it stays when they say something else.
#[test]
fn flows_outlive_another_size_of_their_table() -> Result<()> {
    let world = World::new()?;
    let mut foobar = Foobar::new(world.server(), &[SERVER], CLOSED)?;
    let settings = foobar.write("foobar.toml", "flows = 1024\n")?.display().to_string();
    foobar = foobar.with_options(&["--config", &settings]);
    foobar.start()?;
    let listener = world.far.enter(|| Ok(TcpListener::bind((FAR_V4, 7_000))?))?;
    let ours = world.server().enter(|| Ok(TcpStream::connect((FAR_V4, 7_000))?))?;
    let (theirs, _) = listener.accept()?;
    // Of UDP, the kernel has no list that would tell what is open.
    let other = world.far.enter(|| Ok(UdpSocket::bind((FAR_V4, 7_001))?))?;
    let asking = world.server().enter(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
    asking.set_read_timeout(Some(Duration::from_secs(5)))?;
    asking.send_to(b"a query", (FAR_V4, 7_001))?;
    let (_, asked_from) = other.recv_from(&mut [0; 16])?;
    let heard = |when: &str| -> Result<()> {
        other.send_to(b"an answer", asked_from)?;
        asking.recv(&mut [0; 16]).with_context(|| format!("an answer {when}"))?;
        say(&theirs, &ours).with_context(|| format!("to the server {when}"))?;
        say(&ours, &theirs).with_context(|| format!("from the server {when}"))
    };
    heard("at first")?;
    let room = |foobar: &Foobar| -> Result<u64> {
        Ok(foobar.scrape()?.count("foobar_map_max_entries", &[("map", "FLOWS_V4")]))
    };
    ensure!(room(&foobar)? == 1_024, "{} at first", room(&foobar)?);
    for (size, ends) in [(4_096, false), (2_048, true)] {
        if ends {
            ensure!(foobar.terminate()?.success());
        } else {
            foobar.kill()?;
        }
        foobar.write("foobar.toml", &format!("flows = {size}\n"))?;
        foobar.start()?;
        ensure!(room(&foobar)? == size, "{} in place of {size}", room(&foobar)?);
        heard(&format!("with room for {size}"))?;
        foobar.apply(&format!("{CLOSED}[[rule]]\nid = \"r{size}\"\naction = \"drop\"\n"))?;
        heard(&format!("after a swap, with room for {size}"))?;
        ensure!(room(&foobar)? == size, "{} in place of {size} after a swap", room(&foobar)?);
    }
    Ok(())
}

fn say(mut from: &TcpStream, mut to: &TcpStream) -> Result<()> {
    to.set_read_timeout(Some(Duration::from_secs(5)))?;
    from.write_all(b"x")?;
    Ok(to.read_exact(&mut [0])?)
}
