//! A real name server, NSD.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{command::succeed, namespace::Namespace, wait};

/// An NSD that serves `foobar.com`; it ends when this is dropped.
#[derive(Debug)]
pub struct NameServer {
    child: Child,
    folder: TempDir,
}

impl NameServer {
    /// Starts one in this namespace that listens on these addresses.
    pub fn start(namespace: &Namespace, [v4, v6]: [IpAddr; 2]) -> Result<Self> {
        let folder = TempDir::new()?;
        let root = folder.path().display();
        let configuration = format!(
            "server:\n  server-count: 1\n  ip-address: {v4}\n  ip-address: {v6}\n  username: \"\"\n  \
             chroot: \"\"\n  zonesdir: {root}\n  pidfile: {root}/pid\n  zonelistfile: {root}/zone.list\n  \
             xfrdfile: {root}/xfrd.state\n  xfrdir: {root}\n  database: \"\"\n  logfile: {root}/log\n  \
             rrl-ratelimit: 0\n  ipv4-edns-size: 4096\n  ipv6-edns-size: 4096\n  tcp-query-count: 0\n\
             remote-control:\n  control-enable: yes\n  control-interface: {root}/control.sock\n\
             zone:\n  name: foobar.com\n  zonefile: foobar.com.zone\n"
        );
        let large = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]
            .map(|number| format!("large TXT \"{}{number}\"\n", "x".repeat(200)))
            .concat();
        let zone = format!(
            "$ORIGIN foobar.com.\n$TTL 60\n@ SOA ns hostmaster 1 3600 900 86400 60\n@ NS ns\n@ MX 10 mail\n\
             ns A 192.0.2.1\nwww A 192.0.2.1\nwww AAAA 2001:db8::1\nwww HTTPS 1 . alpn=h2\n{large}"
        );
        fs::write(folder.path().join("nsd.conf"), configuration)?;
        fs::write(folder.path().join("foobar.com.zone"), zone)?;
        // Of its processes, the first ends the others when it is asked to end.
        let mut command = namespace.command("setpriv");
        command.args(["--pdeathsig", "TERM", "--", "nsd", "-d", "-c"]).arg(folder.path().join("nsd.conf"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = Self { child: child.context("start nsd")?, folder };
        wait::until("nsd answers", Duration::from_secs(10), || Ok(server.statistics(namespace).is_ok()))?;
        Ok(server)
    }

    /// What it has counted.
    pub fn statistics(&self, namespace: &Namespace) -> Result<BTreeMap<String, u64>> {
        let mut command = namespace.command("nsd-control");
        command.arg("-c").arg(self.folder.path().join("nsd.conf")).arg("stats_noreset");
        let text = succeed(&mut command)?;
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Ok(pairs.filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?))).collect())
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It may have ended by itself.
            let _ended: nix::Result<()> = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        drop(self.child.wait());
    }
}
