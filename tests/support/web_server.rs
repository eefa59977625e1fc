//! nginx in a namespace, and curl to ask it.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpStream},
    process::{Child, Output, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{http, namespace::Namespace, tls::Identity, wait};

/// Where the web server tells of itself.
pub const STATUS: u16 = 8099;
/// What the web server answers.
pub const PAGE: &str = "served\n";
/// What rules say of one that speaks TLS as well: requests and handshakes are counted.
pub const SERVICES: &str = r#"
[[service]]
name = "www"
port = "tcp/80"
protocol = "http1"

[[service]]
name = "https"
port = "tcp/443"
protocol = "tls"
"#;
/// The rule that lets everybody ask it.
pub const ACCEPTED: &str = r#"
[[rule]]
id = "web"
action = "accept"
protocol = "tcp"
destination_port = [80, 443]
"#;

/// An nginx; it ends when this is dropped.
#[derive(Debug)]
pub struct WebServer {
    child: Child,
    /// How often [`WebServer::requests`] was called.
    asked: AtomicU64,
    folder: TempDir,
    /// Its key, if it speaks TLS.
    identity: Option<Identity>,
}

impl WebServer {
    /// Starts one that answers [`PAGE`] to everything on these ports, IPv4 and IPv6.
    pub fn start(namespace: &Namespace, ports: &[u16]) -> Result<Self> {
        let page = PAGE.escape_default();
        Self::serving(namespace, ports, &format!("location / {{ return 200 \"{page}\"; }}"))
    }

    /// Starts one that does what these lines of `server` say on these ports. On port [`STATUS`] it tells how much it
    /// has done.
    pub fn serving(namespace: &Namespace, ports: &[u16], lines: &str) -> Result<Self> {
        // One process, so that it is gone with the one that is killed.
        Self::with(namespace, ports, lines, "master_process off;", "")
    }

    /// The same by TLS, with a process that makes two others, which answer. `http2` can be spoken as well, if wanted.
    pub fn serving_tls(namespace: &Namespace, ports: &[u16], lines: &str, http2: bool) -> Result<Self> {
        let identity = Identity::new()?;
        let lines = format!(
            "ssl_certificate {}; ssl_certificate_key {}; {lines}",
            identity.certificate.display(),
            identity.key.display()
        );
        let kind = if http2 { "ssl http2" } else { "ssl" };
        let mut server = Self::with(namespace, ports, &lines, "worker_processes 2; user root;", kind)?;
        server.identity = Some(identity);
        Ok(server)
    }

    /// The same in HTTP/2 in the clear, which clients have to begin with.
    pub fn serving_http2(namespace: &Namespace, ports: &[u16], lines: &str) -> Result<Self> {
        Self::with(namespace, ports, lines, "master_process off;", "http2")
    }

    fn with(namespace: &Namespace, ports: &[u16], lines: &str, processes: &str, kind: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let root = folder.path().display();
        let listen = ports.iter().fold(String::new(), |lines, port| {
            format!(
                "{lines}listen {port} {kind}; listen [::]:{port} {kind};
"
            )
        });
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {root}/{name};\n"))
            .concat();
        let configuration = format!(
            "daemon off; {processes} pid {root}/pid; error_log stderr;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; {temporary}\n\
             server {{ {listen} root {root}; keepalive_requests 1000000; {lines} }}\n\
             server {{ listen 127.0.0.1:{STATUS}; location / {{ stub_status; }} }} }}\n"
        );
        let path = folder.path().join("nginx.conf");
        fs::write(&path, configuration)?;
        let log = folder.path().join("log");
        let child = namespace
            .command("setpriv")
            .args(["--pdeathsig", "KILL", "--", "nginx", "-c"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .context("start nginx")?;
        let mut server = Self { child, asked: AtomicU64::new(0), folder, identity: None };
        wait::until("nginx listens", Duration::from_secs(10), || {
            if let Some(status) = server.child.try_wait()? {
                bail!("nginx ended with {status}: {}", fs::read_to_string(&log)?);
            }
            namespace.enter(|| {
                Ok(ports.iter().all(|port| {
                    TcpStream::connect_timeout(
                        &SocketAddr::from(([127, 0, 0, 1], *port)),
                        Duration::from_secs(1),
                    )
                    .is_ok()
                }))
            })
        })?;
        Ok(server)
    }

    /// Puts a file of this many bytes where it is served from.
    pub fn put_file(&self, name: &str, bytes: usize) -> Result<()> {
        fs::write(self.folder.path().join(name), "x".repeat(bytes)).with_context(|| format!("write {name}"))
    }

    /// Process id of the first of its processes.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it read its configuration anew, and waits until other processes than before answer.
    pub fn reload(&self) -> Result<()> {
        let before = self.workers()?;
        self.signal(Signal::SIGHUP)?;
        wait::until("the workers of nginx are new ones", Duration::from_secs(10), || {
            let now = self.workers()?;
            Ok(!now.is_empty() && now.iter().all(|worker| !before.contains(worker)))
        })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, signal).with_context(|| format!("send {signal} to nginx"))
    }

    /// Process ids of those that the first one has made.
    fn workers(&self) -> Result<Vec<String>> {
        let pid = self.child.id();
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
            .context("read nginx's children")?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    /// How many requests it has answered or refused, but for those that asked this.
    pub fn requests(&self, namespace: &Namespace) -> Result<u64> {
        let answer = http::get(namespace, SocketAddr::from(([127, 0, 0, 1], STATUS)), "/")?;
        let line = answer.body.lines().nth(2).context("three lines of stub_status")?;
        let requests: u64 = line.split_whitespace().nth(2).context("the third number")?.parse()?;
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(requests - asked)
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        // It may have ended by itself. With others that it has made, it has to end them first.
        drop(self.signal(Signal::SIGTERM));
        drop(self.child.wait());
    }
}

/// Asks a web server for its page with curl, which waits at most `seconds`.
pub fn curl(namespace: &Namespace, server: IpAddr, port: u16, seconds: &str) -> Result<Output> {
    namespace
        .command("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--max-time", seconds])
        .arg(format!("http://{}/", SocketAddr::new(server, port)))
        .output()
        .context("run curl")
}
