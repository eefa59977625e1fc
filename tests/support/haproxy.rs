//! haproxy in a namespace.

use std::{
    fs,
    io::Read as _,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::{namespace::Namespace, wait};

/// A haproxy; it ends when this is dropped.
#[derive(Debug)]
pub struct Haproxy {
    child: Child,
    _folder: TempDir,
}

impl Haproxy {
    /// Starts one that does what these sections say, all in this mode (`tcp` or `http`), and waits until it listens on a port.
    pub fn start(namespace: &Namespace, mode: &str, sections: &str, port: u16) -> Result<Self> {
        let folder = TempDir::new()?;
        let path = folder.path().join("haproxy.cfg");
        let configuration = format!(
            "defaults\n mode {mode}\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n{sections}\n"
        );
        fs::write(&path, configuration)?;
        let log = folder.path().join("log");
        let mut command = namespace.command("setpriv");
        // Without other processes.
        command.args(["--pdeathsig", "KILL", "--", "haproxy", "-db", "-q", "-f"]).arg(&path);
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&log)?);
        let mut haproxy = Self { child: command.spawn().context("start haproxy")?, _folder: folder };
        wait_for_listener(namespace, port, &mut haproxy.child)
            .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        Ok(haproxy)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits until a server listens on a port of the namespace, without connecting to it.
pub fn wait_for_listener(namespace: &Namespace, port: u16, server: &mut Child) -> Result<()> {
    wait::until("the server listens", Duration::from_secs(20), || {
        if let Some(status) = server.try_wait()? {
            bail!("the server ended with {status}");
        }
        let mut tables = String::new();
        namespace.enter(|| {
            for table in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
                fs::File::open(table)?.read_to_string(&mut tables)?;
            }
            // State 0A is a listener.
            Ok(tables.lines().any(|line| line.contains(&format!(":{port:04X} ")) && line.contains(" 0A ")))
        })
    })
}
