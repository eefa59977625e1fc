//! Keys for servers of TLS, and a client of it that is OpenSSL's.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::{command::succeed, namespace::Namespace};

/// A key and a certificate that is signed with it. The files are gone when this is dropped.
#[derive(Debug)]
pub struct Identity {
    /// Path of the key.
    pub key: PathBuf,
    /// Path of the certificate.
    pub certificate: PathBuf,
    /// Path of a file with both, as haproxy wants it.
    pub both: PathBuf,
    _folder: TempDir,
}

impl Identity {
    /// Makes one.
    pub fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        let [key, certificate, both] =
            ["key.pem", "certificate.pem", "both.pem"].map(|name| folder.path().join(name));
        let mut make = Command::new("openssl");
        make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
            .args(["-days", "2", "-subj", "/CN=www.foobar.com", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate);
        succeed(&mut make).context("make a certificate")?;
        std::fs::write(&both, [std::fs::read(&certificate)?, std::fs::read(&key)?].concat())?;
        Ok(Self { key, certificate, both, _folder: folder })
    }
}

/// A connection by `openssl s_client`, which uses the same library as the server does.
#[derive(Debug)]
pub struct TlsStream {
    child: Child,
    // Taken at the end: that is what ends the client.
    input: Option<ChildStdin>,
    output: ChildStdout,
}

impl TlsStream {
    /// Connects to a server; the bytes that follow are those inside.
    pub fn connect(namespace: &Namespace, server: SocketAddr) -> Result<Self> {
        let mut command = namespace.command("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "openssl", "s_client", "-quiet", "-nocommands", "-connect"])
            .arg(server.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().context("start openssl s_client")?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("no output")?;
        Ok(Self { child, input, output })
    }
}

impl Read for TlsStream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.output.read(bytes)
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.input.as_mut().map_or(Ok(0), |input| input.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.input.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        drop(self.input.take());
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
