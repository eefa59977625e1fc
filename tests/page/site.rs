//! A web server with its filter, and clients that ask it at a known rate.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use foobar_tests::{
    daemon::Foobar,
    namespace::Namespace,
    network::{Network, SERVER, SERVER_V4},
    tls::Identity,
    web_server::{ACCEPTED, SERVICES, WebServer},
};

/// Name of the server: whatever machine the tests run on has another one.
pub(crate) const HOST: &str = "web1.foobar.com";

/// What runs a daemon on a host of that name.
const ON_HOST: [&str; 6] =
    ["unshare", "--uts", "sh", "-c", "echo web1.foobar.com > /proc/sys/kernel/hostname && exec \"$@\"", "sh"];

/// What is dropped where no rule accepts it.
const CLOSED: &str = r#"schema = 1

[policy]
in = "drop"
malformed = "drop"

[failsafe]
ports = ["tcp/22"]
"#;

/// The rules beside that of the web server.
const OTHERS: &str = r#"
[[rule]]
id = "ping"
action = "accept"
icmp = ["echo-request"]

[[rule]]
id = "metrics"
action = "accept"
protocol = "tcp"
destination_port = 9477

[[rule]]
id = "no-telnet"
action = "drop"
protocol = "tcp"
destination_port = 23
"#;

/// Rules of a web server.
pub(crate) fn rules() -> String {
    [CLOSED, SERVICES, ACCEPTED, OTHERS].concat()
}

/// Where the daemon serves, for the client.
pub(crate) const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(SERVER_V4), 9477);

/// A web server behind its filter, in namespaces of their own.
pub(crate) struct Site {
    pub(crate) network: Network,
    pub(crate) foobar: Foobar,
    _web_server: WebServer,
    _identity: Identity,
}

impl Site {
    /// One with these rules that serves its page to the network; nothing filters yet.
    pub(crate) fn prepare(rules: &str) -> Result<Self> {
        let network = Network::new()?;
        let identity = Identity::new()?;
        let lines = format!(
            "listen 443 ssl; ssl_certificate {}; ssl_certificate_key {}; location / {{ return 200 \"served\\n\"; }} \
             location /missing {{ return 404; }} location /broken {{ return 503; }} \
             location /foobar/ {{ proxy_pass http://{METRICS}/; }} location /large {{ }} \
             location /slow {{ limit_rate_after 8k; limit_rate 20k; }}",
            identity.certificate.display(),
            identity.key.display()
        );
        let web_server = WebServer::serving(&network.server, &[80], &lines)?;
        web_server.put_file("large", 20_000)?;
        // nginx sends what it may within the first second at once.
        web_server.put_file("slow", 40_000)?;
        let foobar = Foobar::new(&network.server, &[SERVER], rules)?
            .with_listen(METRICS)
            .with_options(&["--insecure-listen"])
            .with_wrapper(&ON_HOST);
        Ok(Self { network, foobar, _web_server: web_server, _identity: identity })
    }

    /// The same with [`rules`], running.
    pub(crate) fn start() -> Result<Self> {
        let mut site = Self::prepare(&rules())?;
        site.foobar.start()?;
        Ok(site)
    }

    /// Has clients ask for these paths in turn, so many times a second.
    pub(crate) fn load(&self, paths: &'static [&'static str], per_second: u32) -> Load {
        let mut web = Web { client: Arc::clone(&self.network.client), stream: None, paths, asked: 0 };
        Load::start(per_second, move || web.ask())
    }
}

/// Something that is done again and again, until this is dropped.
pub(crate) struct Load {
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Load {
    /// Begins to do it so many times a second.
    pub(crate) fn start(per_second: u32, mut act: impl FnMut() -> Result<()> + Send + 'static) -> Self {
        let (done, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (count, end) = (Arc::clone(&done), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let (begun, every) = (Instant::now(), Duration::from_secs(1) / per_second);
            for number in 1.. {
                if end.load(Ordering::Relaxed) {
                    break;
                }
                act()?;
                count.fetch_add(1, Ordering::Relaxed);
                thread::sleep((every * number).saturating_sub(begun.elapsed()));
            }
            Ok(())
        });
        Self { done, stop, thread: Some(thread) }
    }

    /// How many times it was done up to now.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Ends it, and tells how many times it was done.
    pub(crate) fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_payload| anyhow!("a load panicked"))??;
        }
        Ok(self.done())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// A client of the web server, on one connection.
struct Web {
    client: Arc<Namespace>,
    stream: Option<TcpStream>,
    paths: &'static [&'static str],
    asked: usize,
}

impl Web {
    fn ask(&mut self) -> Result<()> {
        let path = self.paths.get(self.asked % self.paths.len()).context("a path")?;
        self.asked += 1;
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let server = SocketAddr::new(SERVER_V4.into(), 80);
                let stream =
                    self.client.enter(|| Ok(TcpStream::connect_timeout(&server, Duration::from_secs(5))?))?;
                stream.set_read_timeout(Some(Duration::from_secs(10)))?;
                stream.set_nodelay(true)?;
                none.insert(stream)
            }
        };
        write!(stream, "GET {path} HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n")?;
        let mut answer = Vec::new();
        let mut bytes = [0; 16_384];
        loop {
            let length = stream.read(&mut bytes)?;
            ensure!(length > 0, "the web server ended the connection");
            answer.extend_from_slice(bytes.get(..length).unwrap_or_default());
            if is_whole(&answer)? {
                return Ok(());
            }
        }
    }
}

/// Whether an answer with `Content-Length` is there to its end.
fn is_whole(answer: &[u8]) -> Result<bool> {
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(false) };
    let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default()).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.with_context(|| format!("no length: {head}"))?.parse()?;
    Ok(answer.len() >= end + 4 + length)
}

/// A client of a name server that asks for one name.
pub(crate) struct Names {
    socket: UdpSocket,
    id: u16,
}

impl Names {
    /// One that asks from this namespace.
    pub(crate) fn new(client: &Namespace) -> Result<Self> {
        let socket = client.enter(|| {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect((SERVER_V4, 53))?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            Ok(socket)
        })?;
        Ok(Self { socket, id: 0 })
    }

    /// Asks once (RFC 1035, section 4); every tenth name is one that there is not.
    pub(crate) fn ask(&mut self) -> Result<()> {
        self.id = self.id.wrapping_add(1);
        let name: &[u8] = if self.id.is_multiple_of(10) { b"\x03ftp" } else { b"\x03www" };
        let mut query = [self.id, 1 << 8, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
        query.extend([name, b"\x06foobar\x03com\0\0\x01\0\x01"].concat());
        self.socket.send(&query)?;
        let length = self.socket.recv(&mut [0; 512]).context("an answer of the name server")?;
        ensure!(length > 12, "an answer of {length} bytes");
        Ok(())
    }
}
