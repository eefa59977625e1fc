//! nginx in a namespace, and curl to ask it.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpStream},
    process::{Child, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::{namespace::Namespace, wait};

/// What the web server answers.
pub const PAGE: &str = "served\n";

/// An nginx; it ends when this is dropped.
#[derive(Debug)]
pub struct WebServer {
    child: Child,
    _folder: TempDir,
}

impl WebServer {
    /// Starts one that answers [`PAGE`] to everything on these ports, IPv4 and IPv6.
    pub fn start(namespace: &Namespace, ports: &[u16]) -> Result<Self> {
        let folder = TempDir::new()?;
        let root = folder.path().display();
        let listen = ports.iter().fold(String::new(), |lines, port| {
            format!(
                "{lines}listen {port}; listen [::]:{port};
"
            )
        });
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {root}/{name};\n"))
            .concat();
        let page = PAGE.escape_default();
        // One process, so that it is gone with the one that is killed.
        let configuration = format!(
            "daemon off; master_process off; pid {root}/pid; error_log stderr;\n\
             events {{ }}\n\
             http {{ access_log off; {temporary}\n\
             server {{ {listen} location / {{ return 200 \"{page}\"; }} }} }}\n"
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
        let mut server = Self { child, _folder: folder };
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
}

impl Drop for WebServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
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
