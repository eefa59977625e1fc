//! Services that answer with SYN cookies: real clients come in by them, and nobody else does.

mod stage;

use std::{
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::AsRawFd as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use foobar_common::{
    flow::{Flow, UNTAGGED},
    frame::Frame,
    parse::{Headers, network, transport},
};
use foobar_tests::{
    figures::say,
    frames::{self, Family},
    http1_client::{ALL_KINDS, Kind, Scenario, Stream, load},
    metrics::Metrics,
    network::{CLIENT, CLIENT_MAC, CLIENT_V4, SERVER_MAC, SERVER_V4},
    packets::{flag, packet, tcp_header},
    random::Random,
    sender::{Flood, PacketSocket},
    syns::{self, LINUX_OPTIONS},
    tap::settle,
    wait,
};

use crate::stage::{PORT, Stage, ask, connect};

const ALWAYS: &str = "schema = 1\n[[service]]\nname = \"www\"\nport = \"tcp/8080\"\nprotocol = \"http1\"\n\
                      syn_cookies = \"always\"\n";
/// The kernel takes cookies back, and keeps options in timestamps.
const READY: &[(&str, &str)] = &[("ipv4/tcp_syncookies", "2"), ("ipv4/tcp_timestamps", "2")];
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn real_clients_come_in_by_either_family() -> Result<()> {
    for mode in ["native", "generic"] {
        let stage = Stage::new(ALWAYS, &["--mode", mode], READY)?;
        let servers = [Family::V4, Family::V6, Family::V4].map(Family::server);
        let mut streams: Vec<TcpStream> = Vec::new();
        for server in servers {
            let mut stream = stage
                .network
                .client
                .enter(|| connect(server, PATIENCE))
                .with_context(|| format!("{mode}: connect to {server}"))?;
            ask(&mut stream).with_context(|| format!("{mode}: ask {server}"))?;
            streams.push(stream);
        }
        settle();
        let sockets = stage.sockets()?;
        say(&format!("{mode}: {sockets}"));
        let infos: Vec<&str> = sockets.lines().filter(|line| line.contains("rto:")).collect();
        ensure!(infos.len() == servers.len(), "{mode}: {sockets}");
        for info in infos {
            let words: Vec<&str> = info.split_whitespace().collect();
            let scale = words.iter().find_map(|word| word.strip_prefix("wscale:"));
            let (theirs, ours) = scale.and_then(|scale| scale.split_once(',')).context("a window scale")?;
            ensure!(theirs == ours && theirs != "0", "both ends shift alike: {info}");
            ensure!(words.contains(&"ts") && words.contains(&"sack"), "{info}");
            // 1500 less IPv4 or IPv6, TCP and timestamps.
            ensure!(words.contains(&"mss:1448") || words.contains(&"mss:1428"), "{info}");
        }
        let clients = stage.network.client.command("ss").args(["-tinoH", "state", "established"]).output()?;
        let clients = String::from_utf8_lossy(&clients.stdout).into_owned();
        ensure!(clients.matches(" ts sack ").count() == servers.len(), "{clients}");
        let metrics = stage.foobar.scrape()?;
        let answered = metrics.count("foobar_syn_cookies_answered_total", &[("port", "8080")]);
        ensure!(answered == servers.len() as u64, "{mode}: {answered} answered");
        ensure!(metrics.count("foobar_syn_cookies_passed_total", &[]) == 0, "{mode}");
        let returned = metrics.count("foobar_syn_cookies_returned_total", &[("port", "8080")]);
        ensure!(returned == answered, "{mode}: {returned} cookies came back");
        let by_verdict =
            metrics.count("foobar_firewall_packets_total", &[("action", "answer"), ("reason", "syn_cookie")]);
        ensure!(by_verdict == answered, "{by_verdict} by verdict");
        counted(&metrics, servers.len() as u64)?;
    }
    Ok(())
}

/// Requests and responses of HTTP/1 are so many, and nothing was lost.
fn counted(metrics: &Metrics, requests: u64) -> Result<()> {
    let found = [
        metrics.count("foobar_http_requests_total", &[]),
        metrics.count("foobar_http_responses_total", &[]),
        metrics.count("foobar_l7_framing_lost_total", &[]),
        metrics.count("foobar_l7_bytes_total", &[("state", "lost")]),
    ];
    ensure!(found == [requests, requests, 0, 0], "{requests} requests: {found:?}");
    Ok(())
}

fn dial(number: usize) -> Result<Box<dyn Stream>> {
    let family = if number.is_multiple_of(2) { Family::V4 } else { Family::V6 };
    let stream = TcpStream::connect(SocketAddr::new(family.server(), PORT))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(Box::new(stream))
}

#[test]
fn requests_are_counted_as_on_other_connections() -> Result<()> {
    let scenarios = [
        Scenario {
            name: "keep-alive",
            connections: 20,
            requests: 50,
            pipelined: 4,
            piece: usize::MAX,
            kinds: ALL_KINDS,
        },
        Scenario {
            name: "a connection for each",
            connections: 300,
            requests: 1,
            pipelined: 1,
            piece: usize::MAX,
            kinds: ALL_KINDS,
        },
        Scenario {
            name: "large answers",
            connections: 2,
            requests: 2,
            pipelined: 1,
            piece: usize::MAX,
            kinds: &[Kind::Large],
        },
    ];
    let stage = Stage::new(ALWAYS, &[], READY)?;
    let mut sent = 0;
    for scenario in &scenarios {
        stage.network.client.enter(|| load(scenario, &dial))?;
        sent += scenario.sent();
        settle();
        let (metrics, served) = (stage.foobar.scrape()?, stage.server.requests(&stage.network.server)?);
        ensure!(served == sent, "{}: nginx served {served} of {sent}", scenario.name);
        counted(&metrics, sent).with_context(|| scenario.name)?;
        ensure!(metrics.count("foobar_syn_cookies_passed_total", &[("cause", "connection")]) == 0);
    }
    let metrics = stage.foobar.scrape()?;
    let connections = metrics.count("foobar_connections_total", &[]);
    ensure!(connections == 322, "{connections} connections");
    Ok(())
}

/// SYNs of clients that do not exist, of both families.
fn invented_syns(count: usize, seed: u64) -> Result<Vec<Vec<u8>>> {
    syns::invented(PORT, &[Family::V4, Family::V6], count, seed)
}

/// A segment of a client without data.
fn segment(client: (IpAddr, u16), flags: u8, numbers: (u32, u32), options: &[u8]) -> Result<Vec<u8>> {
    syns::segment(client, PORT, flags, numbers, options)
}

/// What a SYN-ACK on the cable says: its number, and the ports.
fn answer_to(socket: &PacketSocket, client: (IpAddr, u16)) -> Result<Option<(u32, Flow)>> {
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        let Some(frame) = socket.receive(Duration::from_millis(200))? else { continue };
        let mut headers = Headers::NONE;
        let window = Frame::from_slice(&frame);
        if network(&window, UNTAGGED, &mut headers).and_then(|()| transport(&window, &mut headers)).is_err() {
            continue;
        }
        let flow = headers.flow;
        if (flow.destination.ip(flow.family), flow.destination_port()) == client && flow.tcp_flags == 0x12 {
            let at = headers.transport as usize + 4;
            let number = frame.get(at..at + 4).context("a number")?.try_into()?;
            return Ok(Some((u32::from_be_bytes(number), flow)));
        }
    }
    Ok(None)
}

/// There are no VLAN devices everywhere, so the tags are on the cable alone; the kernel does not look at them for a cookie.
#[test]
fn tags_go_back_and_the_cookie_is_one() -> Result<()> {
    let stage = Stage::new(ALWAYS, &[], READY)?;
    let socket = PacketSocket::new(&stage.network.client, CLIENT)?;
    let mut answered = 0;
    for (client, number) in [("10.1.2.3", 0), ("2001:db8:77::5", 3)]
        .map(|(client, number)| (client.parse::<IpAddr>().unwrap(), number))
    {
        for tags in 0..3_u16 {
            let client = (client, 40_000 + number + tags);
            let syn = segment(client, flag::SYN, (7_000, 0), &LINUX_OPTIONS)?;
            let tagged = match tags {
                0 => syn,
                1 => frames::tagged(&syn, 10),
                _ => frames::tagged(&frames::tagged(&syn, 10), 20),
            };
            socket.send(&tagged)?;
            let (cookie, flow) =
                answer_to(&socket, client)?.with_context(|| format!("an answer to {client:?}"))?;
            ensure!(flow.vlan == if tags == 2 { 10 } else { UNTAGGED }, "the inner tag: {flow:?}");
            answered += 1;
            // A wrong one first.
            for acknowledged in [cookie.wrapping_add(0x1001), cookie.wrapping_add(1)] {
                socket.send(&segment(client, flag::ACK, (7_001, acknowledged), &[])?)?;
            }
        }
    }
    settle();
    let sockets = stage.sockets()?;
    ensure!(
        sockets.matches("10.1.2.3").count() == 3 && sockets.matches("2001:db8:77::5").count() == 3,
        "{sockets}"
    );
    let (metrics, taken) = (stage.foobar.scrape()?, stage.taker.scrape()?);
    ensure!(metrics.count("foobar_syn_cookies_answered_total", &[]) == answered);
    ensure!((taken.rule("single"), taken.rule("double")) == (2, 2), "tags on the way back");
    Ok(())
}

/// Everything that no rule lets in is dropped, so that each packet of a connection has to belong to one.
const TRACKED: &str = "schema = 1\n[policy]\nin = \"drop\"\n\
    [[rule]]\nid = \"new\"\naction = \"accept\"\nprotocol = [\"tcp\"]\ndestination_port = [8080]\nstate = [\"new\"]\n\
    [[rule]]\nid = \"known\"\naction = \"accept\"\nstate = [\"established\"]\n\
    [[rule]]\nid = \"stray\"\naction = \"drop\"\nprotocol = [\"tcp\"]\nstate = [\"invalid\"]\n\
    [[service]]\nname = \"www\"\nport = \"tcp/8080\"\nprotocol = \"http1\"\nsyn_cookies = \"always\"\n";

/// The flows with and without proof.
fn flows(stage: &Stage) -> Result<(u64, u64)> {
    let metrics = stage.foobar.scrape()?;
    let of = |kind| metrics.count("foobar_flows", &[("kind", kind)]);
    Ok((of("proved"), of("unproved")))
}

#[test]
fn a_connection_becomes_known_by_its_cookie_and_nothing_else_does() -> Result<()> {
    let stage = Stage::new(TRACKED, &[], READY)?;
    let clients = [Family::V4, Family::V6].map(|family| {
        stage.network.client.enter(|| {
            let mut stream = connect(family.server(), PATIENCE)?;
            ask(&mut stream)?;
            Ok(stream)
        })
    });
    let mut clients = clients.into_iter().collect::<Result<Vec<_>>>()?;
    ensure!(flows(&stage)? == (2, 0), "{:?}", flows(&stage)?);
    let socket = PacketSocket::new(&stage.network.client, CLIENT)?;
    // SYNs leave nothing behind, and ACKs without a cookie neither.
    for syn in invented_syns(2_000, 1)? {
        socket.send(&syn)?;
    }
    let mut random = Random::new(2);
    for _ in 0..2_000 {
        let [_, a, b, c, high, low, numbers @ ..] = random.number().to_be_bytes();
        let client = (IpAddr::from([10, a, b, c]), u16::from_be_bytes([high | 0x80, low]));
        let sequence = u32::from(u16::from_be_bytes(numbers)) << 8;
        let numbers = (sequence, u32::try_from(random.below(u64::from(u32::MAX)))?);
        socket.send(&segment(client, flag::ACK, numbers, &[])?)?;
    }
    settle();
    let metrics = stage.foobar.scrape()?;
    ensure!(metrics.count("foobar_syn_cookies_answered_total", &[]) == 2_002);
    ensure!(
        metrics.count("foobar_syn_cookies_returned_total", &[]) == 2,
        "ACKs without a cookie are counted"
    );
    ensure!(flows(&stage)? == (2, 0), "{:?}", flows(&stage)?);
    let stray = metrics.rule("stray");
    ensure!(stray == 2_000, "{stray} ACKs dropped");
    for client in &mut clients {
        ask(client)?;
    }
    settle();
    counted(&stage.foobar.scrape()?, 4)
}

/// The same ends open another connection: nothing of the one before is left.
#[test]
fn ends_that_were_in_use_before_are_new_ones() -> Result<()> {
    let stage = Stage::new(TRACKED, &[], READY)?;
    let client = || {
        let socket = nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Inet,
            nix::sys::socket::SockType::Stream,
            nix::sys::socket::SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::ReuseAddr, &true)?;
        // Closed by a RST, after which neither side waits.
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::Linger, &linger)?;
        let own: nix::sys::socket::SockaddrIn = std::net::SocketAddrV4::new(CLIENT_V4, 45_000).into();
        nix::sys::socket::bind(socket.as_raw_fd(), &own)?;
        let server: nix::sys::socket::SockaddrIn = std::net::SocketAddrV4::new(SERVER_V4, PORT).into();
        nix::sys::socket::connect(socket.as_raw_fd(), &server)?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        ask(&mut stream)?;
        ask(&mut stream)
    };
    for _ in 0..5 {
        stage.network.client.enter(client)?;
        settle();
    }
    counted(&stage.foobar.scrape()?, 10)
}

const AUTO: &str = "schema = 1\n[[service]]\nname = \"www\"\nport = \"tcp/8080\"\nprotocol = \"http1\"\n\
                    syn_cookies = \"auto\"\n";

/// How many of a hundred clients get a page, each within a second.
fn served(stage: &Stage) -> Result<(usize, Duration)> {
    let mut slowest = Duration::ZERO;
    let mut count = 0;
    stage.network.client.enter(|| {
        for number in 0..100 {
            let family = if number % 2 == 0 { Family::V4 } else { Family::V6 };
            let start = Instant::now();
            let is_served = connect(family.server(), Duration::from_secs(1))
                .and_then(|mut stream| ask(&mut stream))
                .is_ok();
            if is_served && start.elapsed() < Duration::from_secs(1) {
                count += 1;
                slowest = slowest.max(start.elapsed());
            } else if count == 0 && number == 9 {
                // It is clear by now.
                break;
            }
        }
        Ok(())
    })?;
    Ok((count, slowest))
}

#[test]
fn a_flood_is_answered_and_everybody_is_served() -> Result<()> {
    let stage = Stage::new(AUTO, &[], READY)?;
    let active = || -> Result<u64> { Ok(stage.foobar.scrape()?.count("foobar_syn_cookies_active", &[])) };
    // A few are the kernel's.
    ensure!(served(&stage)?.0 == 100);
    ensure!(active()? == 0);
    let before = stage.foobar.scrape()?;
    ensure!(before.count("foobar_syn_cookies_answered_total", &[]) == 0);
    ensure!(before.count("foobar_syn_cookies_passed_total", &[("cause", "inactive")]) == 100);
    let flood = Flood::start(&stage.network.client, CLIENT, invented_syns(20_000, 3)?, 50_000)?;
    thread::sleep(Duration::from_secs(1));
    let shown = rates_of_cookies(&stage)?;
    let (count, slowest) = served(&stage)?;
    let sent = flood.stop()?;
    settle();
    let metrics = stage.foobar.scrape()?;
    let answered = metrics.count("foobar_syn_cookies_answered_total", &[]);
    let passed = metrics.count("foobar_syn_cookies_passed_total", &[]);
    say(&format!(
        "{sent} SYNs sent, {answered} answered, {passed} to the kernel; {count} of 100 served, the slowest in {slowest:?}"
    ));
    ensure!(count == 100, "{count} of 100 were served");
    let returned = metrics.count("foobar_syn_cookies_returned_total", &[]);
    ensure!(returned == 103, "{returned} cookies came back");
    ensure!(shown <= answered, "{shown} were answered when somebody looked, and {answered} in the end");
    ensure!(active()? == 1 && passed < 1_200 && answered + passed == sent + 203, "{metrics:?}");
    counted(&metrics, 203)?;
    // It ends by itself.
    wait::until("no more cookies are sent", Duration::from_secs(15), || Ok(active()? == 0))?;
    ensure!(served(&stage)?.0 == 100);
    ensure!(stage.foobar.scrape()?.count("foobar_syn_cookies_answered_total", &[]) == answered);
    Ok(())
}

/// While three clients come in among many that do not: `foobar top` tells of all SYNs that are answered, and of three cookies
/// that came back. Gives how many were answered up to then.
fn rates_of_cookies(stage: &Stage) -> Result<u64> {
    let looks = thread::scope(|scope| {
        let looking = scope.spawn(|| stage.foobar.succeed(&["top", "--interval", "1s", "--once", "--json"]));
        thread::sleep(Duration::from_millis(300));
        stage.network.client.enter(|| {
            (0..3).try_for_each(|_| ask(&mut connect(Family::V4.server(), Duration::from_secs(1))?))
        })?;
        looking.join().map_err(|_payload| anyhow::anyhow!("the thread that looks panicked"))?
    })?;
    let view: serde_json::Value = serde_json::from_str(&looks)?;
    let [seen] = view["syn_cookies"].as_array().context("a list")?.as_slice() else {
        anyhow::bail!("one service: {view}")
    };
    let number = |name: &str| seen[name].as_f64().context("a number");
    let (answered, returned, seconds) = (
        number("answered_per_second")?,
        number("returned_per_second")?,
        view["seconds"].as_f64().context("a number")?,
    );
    say(&format!(
        "top: {answered:.0} SYNs answered and {returned:.1} cookies back per second, over {seconds:.2} s"
    ));
    ensure!(seen["service"] == "www" && seen["active"] == true && answered > 2_000.0, "{view}");
    ensure!((returned * seconds - 3.0).abs() < 0.01 && seen["returned"] == 3, "{view}");
    let table = stage.foobar.succeed(&["top", "--interval", "200ms", "--once"])?;
    ensure!(table.contains("\nSYN cookies ") && table.contains("\n  www tcp/8080 "), "{table}");
    seen["answered"].as_u64().context("a count")
}

/// What the test before is worth: the kernel alone, without cookies, serves hardly anybody.
#[test]
fn without_cookies_the_same_flood_lets_nobody_in() -> Result<()> {
    let stage = Stage::new(
        &AUTO.replace("auto", "off"),
        &[],
        &[("ipv4/tcp_syncookies", "0"), ("ipv4/tcp_max_syn_backlog", "512")],
    )?;
    ensure!(served(&stage)?.0 == 100);
    let flood = Flood::start(&stage.network.client, CLIENT, invented_syns(20_000, 3)?, 50_000)?;
    // The kernel gives up those that wait for longest a second later, all of the first moments at once.
    thread::sleep(Duration::from_millis(1_500));
    let (count, _) = served(&stage)?;
    let sent = flood.stop()?;
    say(&format!("{sent} SYNs sent, {count} of 100 served"));
    ensure!(count < 50, "{count} of 100 were served");
    Ok(())
}

/// SYNs that nobody sends in earnest.
#[test]
fn hostile_syns_break_nothing() -> Result<()> {
    let stage = Stage::new(ALWAYS, &[], READY)?;
    let socket = PacketSocket::new(&stage.network.client, CLIENT)?;
    let mut random = Random::new(5);
    let mut sent = 0;
    for number in 0..20_000_u32 {
        let client = if number % 2 == 0 { "10.9.8.7" } else { "2001:db8:5::9" };
        let server = if number % 2 == 0 { "192.0.2.1" } else { "2001:db8::1" };
        let mut header = tcp_header(40_000, PORT, flag::SYN);
        let words = random.below(11);
        header[12] = (5 + u8::try_from(words)?) << 4;
        for _ in 0..words * 4 {
            header.push(match random.below(4) {
                0 => u8::try_from(random.below(256))?,
                1 => random.pick(&[0, 1, 2, 3, 4, 5, 8, 10, 34, 254]),
                _ => u8::try_from(random.below(12))?,
            });
        }
        header.resize(header.len() + random.pick(&[0, 0, 0, 1, 100, 1_300]), 7);
        if random.percent(10) {
            header[12] = u8::try_from(random.below(16))? << 4;
        }
        let mut packet = packet(client, server, 6, header);
        if random.percent(10) && number % 2 == 0 {
            packet = packet.options(&[7, 4, 4, 0]);
        }
        if random.percent(10) && number % 2 == 1 {
            packet = packet.extension_of(60, 8 + 8 * usize::try_from(random.below(3))?);
        }
        let mut frame = packet.frame();
        if random.percent(5) {
            frame.truncate(20 + usize::try_from(random.below(60))?);
        }
        frame[..12].copy_from_slice(&[SERVER_MAC, CLIENT_MAC].concat());
        socket.send(&frame).with_context(|| format!("{frame:02x?}"))?;
        sent += 1;
    }
    settle();
    let metrics = stage.foobar.scrape()?;
    let answered = metrics.count("foobar_syn_cookies_answered_total", &[]);
    let passed = metrics.count("foobar_syn_cookies_passed_total", &[]);
    let header = metrics.count("foobar_syn_cookies_passed_total", &[("cause", "header")]);
    let malformed =
        metrics.count("foobar_firewall_packets_total", &[("direction", "in"), ("action", "drop")]);
    say(&format!(
        "{sent} sent: {answered} answered, {passed} passed, {header} of them for their headers, {malformed} dropped"
    ));
    ensure!(answered > sent / 2 && passed == header && header > sent / 20, "{metrics:?}");
    ensure!(answered + passed + malformed == sent, "every one is counted once");
    let mut stream = stage.network.client.enter(|| connect(Family::V4.server(), PATIENCE))?;
    ask(&mut stream)
}

#[test]
fn what_the_kernel_lacks_is_said_and_set_only_when_told() -> Result<()> {
    let lacking = [("ipv4/tcp_syncookies", "1"), ("ipv4/tcp_timestamps", "1")];
    let stage = Stage::new(ALWAYS, &[], &lacking)?;
    let mut stream = stage.network.client.enter(|| connect(Family::V4.server(), PATIENCE))?;
    ask(&mut stream)?;
    let metrics = stage.foobar.scrape()?;
    ensure!(metrics.count("foobar_syn_cookies_possible", &[]) == 0);
    ensure!(metrics.count("foobar_syn_cookies_passed_total", &[("cause", "refused")]) == 1, "{metrics:?}");
    let status = stage.foobar.succeed(&["status"])?;
    ensure!(status.contains("NO COOKIES: net.ipv4.tcp_syncookies has to be 2, and it is 1"), "{status}");
    ensure!(status.contains("to the kernel: refused 1"), "{status}");
    ensure!(stage.foobar.log()?.contains("no SYN cookies: net.ipv4.tcp_syncookies has to be 2"));
    // The kernel's settings change while the daemon runs.
    stage.network.server.set_variables(&[("ipv4/tcp_syncookies", "2")])?;
    let possible = || -> Result<u64> { Ok(stage.foobar.scrape()?.count("foobar_syn_cookies_possible", &[])) };
    wait::until("cookies are possible", Duration::from_secs(5), || Ok(possible()? == 1))?;
    let mut stream = stage.network.client.enter(|| connect(Family::V4.server(), PATIENCE))?;
    ask(&mut stream)?;
    ensure!(stage.foobar.scrape()?.count("foobar_syn_cookies_answered_total", &[]) == 1);
    let status = stage.foobar.succeed(&["status"])?;
    ensure!(status.contains("tcp_timestamps is 1, not 2"), "{status}");
    // Without them in the timestamp, options are not kept, and the connection works all the same.
    let sockets = stage.sockets()?;
    ensure!(sockets.lines().any(|line| line.contains("rto:") && !line.contains("wscale")), "{sockets}");
    drop(stage);

    let stage = Stage::new(ALWAYS, &["--set-sysctls"], &lacking)?;
    let log = stage.foobar.log()?;
    for said in ["net.ipv4.tcp_syncookies was 1 and is 2 now", "net.ipv4.tcp_timestamps was 1 and is 2 now"] {
        ensure!(log.contains(said), "{log}");
    }
    let mut stream = stage.network.client.enter(|| connect(Family::V4.server(), PATIENCE))?;
    ask(&mut stream)?;
    ensure!(stage.foobar.scrape()?.count("foobar_syn_cookies_answered_total", &[]) == 1);
    ensure!(stage.sockets()?.contains("wscale"));
    Ok(())
}
