//! Servers that use OpenSSL's library.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Stdio},
};

use anyhow::{Context as _, Result};
use foobar_tests::{
    haproxy::{Haproxy, wait_for_listener},
    namespace::Namespace,
    tls::Identity,
};

use super::PORT;

/// A server by Python's `ssl`; it ends when this is dropped.
pub(crate) struct Python {
    pub(crate) child: Child,
    _identity: Identity,
}

/// It is killed for the system call by which probed functions return, as sandboxes do that do not know it, unless the
/// kernel keeps that from them.
const PYTHON: &str = "
import ctypes, http.server, socketserver, ssl, struct, sys
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, 335), (0x06, 0, 0, 0x80000000), (0x06, 0, 0, 0x7fff0000)]
steps = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *step) for step in steps))
sandbox = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', 4, ctypes.addressof(steps)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, sandbox) == 0
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', '7')
        self.end_headers()
        self.wfile.write(b'served\\n')
    def log_message(self, *words):
        pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
server = Server(('0.0.0.0', int(sys.argv[1])), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
";

impl Python {
    pub(crate) fn start(namespace: &Namespace, port: u16) -> Result<Self> {
        let identity = Identity::new()?;
        let mut command = namespace.command("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "/usr/bin/python3", "-c", PYTHON, &port.to_string()])
            .arg(&identity.both)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let mut child = command.spawn().context("start python3")?;
        wait_for_listener(namespace, port, &mut child)?;
        Ok(Self { child, _identity: identity })
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A control group as systemd makes one for a unit; it is gone with its processes when this is dropped.
pub(crate) struct Unit {
    pub(crate) name: String,
    folder: PathBuf,
}

impl Unit {
    pub(crate) fn new() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let mut groups = mounts.lines().filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            words.next().filter(|_| words.next() == Some("cgroup2"))
        });
        let root = groups.next().context("no control groups (cgroup2) are mounted")?;
        let name = format!("foobar-test-{}.service", std::process::id());
        let folder = PathBuf::from(root).join(&name);
        fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(Self { name, folder })
    }

    pub(crate) fn add(&self, process: u32) -> Result<()> {
        let path = self.folder.join("cgroup.procs");
        fs::write(&path, process.to_string()).with_context(|| format!("write {}", path.display()))
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let processes = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        for process in processes.lines() {
            // Back to where everybody is: a group with processes cannot be removed.
            drop(fs::write(self.folder.with_file_name("cgroup.procs"), process));
        }
        drop(fs::remove_dir(&self.folder));
    }
}

/// A haproxy that ends TLS and asks port 8080; it ends when this is dropped.
pub(crate) struct TlsProxy {
    pub(crate) haproxy: Haproxy,
    _identity: Identity,
}

impl TlsProxy {
    pub(crate) fn start(namespace: &Namespace) -> Result<Self> {
        let identity = Identity::new()?;
        let sections = format!(
            "frontend www\n bind :::443 v4v6 ssl crt {}\n default_backend pages\n\
             backend pages\n server one 127.0.0.1:8080",
            identity.both.display()
        );
        let haproxy = Haproxy::start(namespace, "http", &sections, PORT)?;
        Ok(Self { haproxy, _identity: identity })
    }
}
