//! haproxy between real clients and real servers.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    os::fd::AsRawFd as _,
    process::Output,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    command::{stderr, stdout},
    daemon::Foobar,
    database::{Database, PASSWORD, USER},
    foreign::ForeignProgram,
    haproxy::Haproxy,
    network::{CLIENT, CLIENT_V4, Network, SERVER, SERVER_V4, SERVER_V6},
    web_server::{PAGE, WebServer},
};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
use serde_json::Value;

/// Where haproxy listens, and who speaks to it from where.
const PROXY: &str = "198.51.100.1";
const PROXY_V6: &str = "[2001:db8:9::1]";
pub(crate) const CLIENTS: [&str; 2] = ["198.51.100.7", "198.51.100.8"];
const CLIENTS_V6: [&str; 2] = ["2001:db8:9::7", "2001:db8:9:1::8"];
/// Ports of haproxy, and of the servers behind it.
pub(crate) const WEB: u16 = 8080;
const TLS: u16 = 8443;
const DATABASE: u16 = 3306;
/// Sooner than a segment is given up.
const AT_ONCE: Duration = Duration::from_secs(2);

pub(crate) const RULES: &str = r#"
schema = 1
[[service]]
name = "web"
port = "tcp/8080"
protocol = "http1"
proxy_protocol = true
[[service]]
name = "secure"
port = "tcp/8443"
protocol = "tls"
proxy_protocol = true
[[service]]
name = "db"
port = "tcp/3306"
protocol = "mysql"
proxy_protocol = true
"#;

/// Clients and haproxy on one machine, which is the balancer of the server.
pub(crate) struct Fleet {
    network: Network,
    pub(crate) foobar: Foobar,
    _proxy: Haproxy,
    _program: ForeignProgram,
}

impl Fleet {
    /// haproxy speaks to this address of the server, with this option.
    pub(crate) fn new(rules: &str, mode: &str, server: &str, option: &str) -> Result<Self> {
        let network = Network::new()?;
        network.introduce()?;
        network.server.set_variables(&[("ipv4/tcp_syncookies", "2"), ("ipv4/tcp_timestamps", "2")])?;
        let program = ForeignProgram::attach(&network.client, CLIENT)?;
        network.client.ip("link set lo up\n")?;
        for address in [PROXY, "2001:db8:9::1"].into_iter().chain(CLIENTS).chain(CLIENTS_V6) {
            let kind = if address.contains(':') { "/128 dev lo nodad" } else { "/32 dev lo" };
            network.client.ip(&format!("addr add {address}{kind}\n"))?;
        }
        let mut foobar = Foobar::new(&network.server, &[SERVER], rules)?.with_options(&["--mode", mode]);
        foobar.start()?;
        // It would try again for three seconds.
        let sections: String = [WEB, TLS, DATABASE]
            .map(|port| {
                format!(
                    "listen on{port}\n bind :::{port} v4v6\n retries 0\n \
                     server one {server}:{port} {option}\n"
                )
            })
            .concat();
        let proxy = Haproxy::start(&network.client, "tcp", &sections, DATABASE)?;
        Ok(Self { network, foobar, _proxy: proxy, _program: program })
    }

    pub(crate) fn web_server(&self) -> Result<WebServer> {
        let listen = format!("listen {WEB} proxy_protocol; listen [::]:{WEB} proxy_protocol;");
        let secure = format!("listen {TLS} ssl proxy_protocol; listen [::]:{TLS} ssl proxy_protocol;");
        let lines = format!("{listen} {secure} location / {{ return 200 \"{}\"; }}", PAGE.escape_default());
        WebServer::serving_tls(&self.network.server, &[8081], &lines, false)
    }

    /// Asks for the page from this address, by HTTP or HTTPS.
    fn curl(&self, client: &str, port: u16) -> Result<Output> {
        let (scheme, proxy) = (if port == TLS { "https" } else { "http" }, proxy_of(client));
        self.network
            .client
            .command("curl")
            .args(["--silent", "--show-error", "--noproxy", "*", "--insecure", "--max-time", "10"])
            .args(["--interface", client, &format!("{scheme}://{proxy}:{port}/")])
            .output()
            .context("run curl")
    }

    /// Whether a client gets the page, or its connection ends at once.
    pub(crate) fn is_served(&self, client: &str, port: u16) -> Result<bool> {
        let begun = Instant::now();
        let output = self.curl(client, port)?;
        if output.status.success() {
            ensure!(stdout(&output) == PAGE, "{}", stdout(&output));
            return Ok(true);
        }
        ensure!(begun.elapsed() < AT_ONCE, "{client} waited {:?}: {}", begun.elapsed(), stderr(&output));
        // Nothing came, it was reset, or it ended while TLS began.
        let codes = [Some(52), Some(56), Some(35)];
        ensure!(codes.contains(&output.status.code()), "{client}: {} {}", output.status, stderr(&output));
        Ok(false)
    }

    /// The addresses that are banned, and whether by a rule.
    pub(crate) fn bans(&self) -> Result<Vec<(String, bool)>> {
        let bans: Vec<Value> = serde_json::from_str(&self.foobar.succeed(&["bans", "--json"])?)?;
        let of =
            |ban: &Value| (ban["address"].as_str().unwrap_or_default().to_owned(), ban["by"] == "opened");
        Ok(bans.iter().map(of).collect())
    }
}

/// Where haproxy listens for clients of this family.
fn proxy_of(client: &str) -> &'static str {
    if client.contains(':') { PROXY_V6 } else { PROXY }
}

/// A connection to haproxy from this address.
fn connect_from(client: Ipv4Addr, port: u16) -> Result<TcpStream> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(client, 0)))?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(PROXY.parse()?, port)))?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(AT_ONCE))?;
    Ok(stream)
}

#[test]
fn bans_reach_clients_of_the_web_servers() -> Result<()> {
    for (mode, server, option) in [
        ("native", SERVER_V4.to_string(), "send-proxy"),
        ("native", format!("[{SERVER_V6}]"), "send-proxy-v2"),
        ("generic", SERVER_V4.to_string(), "send-proxy-v2-ssl-cn"),
        ("generic", format!("[{SERVER_V6}]"), "send-proxy"),
    ] {
        let fleet = Fleet::new(RULES, mode, &server, option)?;
        let _web = fleet.web_server()?;
        for [banned, other] in [CLIENTS, CLIENTS_V6] {
            let prefix = if banned.contains(':') { "2001:db8:9::/64" } else { banned };
            for port in [WEB, TLS] {
                let served = || {
                    Ok::<_, anyhow::Error>([fleet.is_served(banned, port)?, fleet.is_served(other, port)?])
                };
                assert_eq!(served()?, [true, true], "{mode} {server} {option} {port}");
                fleet.foobar.succeed(&["ban", prefix, "--for", "10m"])?;
                assert_eq!(served()?, [false, true], "{mode} {server} {option} {port}: banned");
                assert_eq!(served()?, [false, true], "{mode} {server} {option} {port}: banned");
                fleet.foobar.succeed(&["unban", prefix])?;
                assert_eq!(served()?, [true, true], "{mode} {server} {option} {port}: not banned any more");
            }
        }
        let metrics = fleet.foobar.scrape()?;
        let labels = [("action", "reject"), ("reason", "ban"), ("direction", "in")];
        let rejected = metrics.count("foobar_firewall_packets_total", &labels);
        // Each of the connections that were refused at once, by one segment at least.
        ensure!(rejected >= 8, "{rejected} packets of banned clients");
        let reset = metrics.count("foobar_reject_answers_total", &[("answer", "tcp_reset")]);
        ensure!(reset >= 8, "{reset} answers");
    }
    Ok(())
}

#[test]
fn a_ban_ends_an_open_connection() -> Result<()> {
    let fleet = Fleet::new(RULES, "native", &SERVER_V4.to_string(), "send-proxy-v2")?;
    let _web = fleet.web_server()?;
    let streams = fleet.network.client.enter(|| {
        CLIENTS.into_iter().map(|client| connect_from(client.parse()?, WEB)).collect::<Result<Vec<_>>>()
    })?;
    let ask = |mut stream: &TcpStream| -> Result<bool> {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes) {
            Ok(0) => Ok(false),
            Ok(length) => Ok(String::from_utf8_lossy(&bytes[..length]).contains(PAGE)),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error).context("it neither goes on nor ends"),
        }
    };
    for _ in 0..3 {
        for stream in &streams {
            ensure!(ask(stream)?, "nobody is banned");
        }
    }
    let [banned, _] = CLIENTS;
    fleet.foobar.succeed(&["ban", banned])?;
    let [first, second] = &streams[..] else { unreachable!("two clients") };
    ensure!(!ask(first)?, "it goes on");
    ensure!(ask(second)?, "the other one is banned, too");
    Ok(())
}

#[test]
fn who_opens_too_many_connections_is_banned_and_not_the_balancer() -> Result<()> {
    let rule = "[[rule]]\nid = \"opened\"\naction = \"accept\"\nstate = \"new\"\nprotocol = \"tcp\"\n\
                limit = { rate = \"1/d\", burst = 6, per = \"client\" }\nover = { ban = \"10m\" }\n";
    for mode in ["native", "generic"] {
        let fleet = Fleet::new(&format!("{RULES}{rule}"), mode, &SERVER_V4.to_string(), "send-proxy")?;
        let _web = fleet.web_server()?;
        for [many, few] in [CLIENTS, CLIENTS_V6] {
            for (number, port) in [WEB, TLS, WEB, TLS, WEB, TLS, WEB, TLS, TLS, WEB].into_iter().enumerate() {
                let served = fleet.is_served(many, port)?;
                ensure!(served == (number < 6), "{mode}: connection {number} of {many}: {served}");
                ensure!(number >= 6 || fleet.is_served(few, port)?, "{mode}: connection {number} of {few}");
            }
            // Its seventh connection.
            ensure!(!fleet.is_served(few, WEB)?, "{mode}: {few}");
        }
        let mut bans = fleet.bans()?;
        bans.sort();
        let expected = ["198.51.100.7", "198.51.100.8", "2001:db8:9:1::/64", "2001:db8:9::/64"];
        assert_eq!(bans, expected.map(|address| (address.to_owned(), true)), "{mode}");
        ensure!(!bans.iter().any(|(address, _)| *address == CLIENT_V4.to_string()), "{mode}: {bans:?}");
    }
    Ok(())
}

/// No program sees the SYN-ACK of such a connection: it goes out by itself.
#[test]
fn clients_are_known_in_connections_by_cookies() -> Result<()> {
    let rule = "[[rule]]\nid = \"opened\"\naction = \"accept\"\nstate = \"new\"\nprotocol = \"tcp\"\n\
                limit = { rate = \"1/d\", burst = 6, per = \"client\" }\nover = \"reject\"\n";
    let rules = RULES.replace("proxy_protocol = true\n", "proxy_protocol = true\nsyn_cookies = \"always\"\n");
    let fleet = Fleet::new(&format!("{rules}{rule}"), "native", &SERVER_V4.to_string(), "send-proxy-v2")?;
    let _web = fleet.web_server()?;
    let [first, second] = CLIENTS;
    for (number, port) in [WEB, TLS, WEB, TLS, WEB, TLS, WEB, TLS].into_iter().enumerate() {
        let served = fleet.is_served(first, port)?;
        ensure!(served == (number < 6), "connection {number} of {first}: {served}");
    }
    ensure!(fleet.is_served(second, WEB)?, "{second} before it is banned");
    fleet.foobar.succeed(&["ban", second])?;
    ensure!(!fleet.is_served(second, TLS)?, "{second} while it is banned");
    fleet.foobar.succeed(&["unban", second])?;
    ensure!(fleet.is_served(second, TLS)?, "{second} when it is banned no more");
    let answered = fleet.foobar.scrape()?.count("foobar_syn_cookies_answered_total", &[]);
    ensure!(answered == 11, "{answered} SYNs were answered with cookies");
    Ok(())
}

#[test]
fn a_database_is_closed_to_banned_clients() -> Result<()> {
    let fleet = Fleet::new(RULES, "native", &SERVER_V4.to_string(), "send-proxy-v2")?;
    let _database =
        Database::start_with(&fleet.network.server, 1, &["--proxy-protocol-networks=192.0.2.0/24"])?;
    let ask = |client: &str| -> Result<(bool, Duration)> {
        let begun = Instant::now();
        let output = fleet
            .network
            .client
            .command("mariadb")
            .args(["--no-defaults", "--batch", "--skip-column-names", "--connect-timeout=10"])
            // From the address that it asks, which this machine has.
            .args([&format!("--user={USER}"), &format!("--password={PASSWORD}"), &format!("--host={client}")])
            .args(["--execute", "SELECT SUBSTRING_INDEX(USER(), '@', -1)"])
            .output()?;
        let said = format!("{} {}", stdout(&output).trim(), stderr(&output));
        ensure!(!output.status.success() || said.starts_with(client), "{said}");
        Ok((output.status.success(), begun.elapsed()))
    };
    let [banned, other] = CLIENTS;
    ensure!(ask(banned)?.0 && ask(other)?.0, "nobody is banned");
    fleet.foobar.succeed(&["ban", banned])?;
    let (is_served, waited) = ask(banned)?;
    ensure!(!is_served && waited < AT_ONCE, "{is_served} after {waited:?}");
    ensure!(ask(other)?.0, "the other one is banned, too");
    fleet.foobar.succeed(&["unban", banned])?;
    ensure!(ask(banned)?.0, "nobody is banned any more");
    Ok(())
}
