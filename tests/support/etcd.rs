//! Real members of etcd in a namespace, and its own client to ask them.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    command::{stderr, stdout, with_input},
    namespace::Namespace,
    wait,
};

/// What its members show and ask for by TLS.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority of all of them.
    pub ca: PathBuf,
    /// The members' certificate, for servers and clients both, as the gateway asks its own member.
    pub server: [PathBuf; 2],
    /// That of `etcdctl`.
    pub client: [PathBuf; 2],
}

/// A cluster. Its members end, and their data is gone, when this is dropped.
#[derive(Debug)]
pub struct Etcd {
    namespace: Arc<Namespace>,
    address: String,
    members: Vec<Option<Child>>,
    certificates: Option<Certificates>,
    /// User and password of `etcdctl`.
    user: Option<String>,
    folder: TempDir,
}

impl Etcd {
    /// Starts so many members at this address of a namespace, and waits until they have a leader.
    pub fn start(namespace: &Arc<Namespace>, address: &str, members: usize) -> Result<Self> {
        Self::with(namespace, address, members, None)
    }

    /// The same by TLS; clients need a certificate.
    pub fn start_tls(
        namespace: &Arc<Namespace>,
        address: &str,
        members: usize,
        certificates: Certificates,
    ) -> Result<Self> {
        Self::with(namespace, address, members, Some(certificates))
    }

    fn with(
        namespace: &Arc<Namespace>,
        address: &str,
        members: usize,
        certificates: Option<Certificates>,
    ) -> Result<Self> {
        let mut etcd = Self {
            namespace: Arc::clone(namespace),
            address: address.to_owned(),
            members: (0..members).map(|_| None).collect(),
            certificates,
            user: None,
            folder: TempDir::new()?,
        };
        for number in 0..members {
            etcd.revive(number)?;
        }
        etcd.wait_until_healthy()?;
        Ok(etcd)
    }

    /// Where its clients find it, as `--rules` takes it, with a prefix.
    pub fn place(&self, prefix: &str) -> String {
        let scheme = if self.certificates.is_some() { "etcds" } else { "etcd" };
        let endpoints: Vec<String> = (0..self.members.len()).map(|number| self.endpoint(number)).collect();
        format!("{scheme}://{}{prefix}", endpoints.join(","))
    }

    /// Address and port of a member for clients.
    pub fn endpoint(&self, number: usize) -> String {
        format!("{}:{}", self.address, 2379 + 10 * number)
    }

    /// Starts a member that does not run.
    pub fn revive(&mut self, number: usize) -> Result<()> {
        let scheme = if self.certificates.is_some() { "https" } else { "http" };
        let peer = |number: usize| format!("http://{}:{}", self.address, 2380 + 10 * number);
        let all: Vec<String> =
            (0..self.members.len()).map(|number| format!("m{number}={}", peer(number))).collect();
        let client = format!("{scheme}://{}", self.endpoint(number));
        let mut command = self.namespace.command("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "/usr/bin/etcd", "--name", &format!("m{number}")])
            .arg("--data-dir")
            .arg(self.folder.path().join(format!("m{number}")))
            .args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"])
            .args(["--listen-peer-urls", &peer(number), "--initial-advertise-peer-urls", &peer(number)])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--heartbeat-interval", "100", "--election-timeout", "1000", "--log-level", "error"]);
        if let Some(Certificates { ca, server: [certificate, key], client: _ }) = &self.certificates {
            command.arg("--trusted-ca-file").arg(ca).arg("--cert-file").arg(certificate);
            command.arg("--key-file").arg(key).arg("--client-cert-auth");
        }
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let slot = self.members.get_mut(number).context("no such member")?;
        ensure!(slot.is_none(), "the member {number} runs already");
        *slot = Some(command.spawn().context("start etcd")?);
        Ok(())
    }

    /// Kills a member (SIGKILL).
    pub fn kill(&mut self, number: usize) -> Result<()> {
        let mut child = self.members.get_mut(number).and_then(Option::take).context("no such member runs")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Waits until the members that run answer.
    pub fn wait_until_healthy(&self) -> Result<()> {
        let waited = wait::until("etcd has a leader", Duration::from_secs(30), || {
            Ok(self.run(&["endpoint", "health"], b"")?.status.success())
        });
        waited.with_context(|| std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default())
    }

    /// Number of the member that leads.
    pub fn leader(&self) -> Result<usize> {
        let status: Value = serde_json::from_str(&self.ctl(&["endpoint", "status", "-w", "json"])?)?;
        let members = status.as_array().context("a list of members")?;
        let leader = members
            .iter()
            .find(|member| member["Status"]["leader"] == member["Status"]["header"]["member_id"]);
        let endpoint = leader.and_then(|member| member["Endpoint"].as_str()).context("no leader")?;
        let is_it = |number: &usize| endpoint.ends_with(&self.endpoint(*number));
        (0..self.members.len()).find(is_it).context("a leader that is not known")
    }

    /// Has `etcdctl` log in from here on, as `user:password`.
    pub fn log_in(&mut self, user: &str) {
        self.user = Some(user.to_owned());
    }

    /// Runs `etcdctl` against the members that run.
    ///
    /// # Errors
    /// Shows what it said unless it ends with 0.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        self.ctl_with(arguments, b"")
    }

    /// Writes a key, and gives the revision.
    pub fn put(&self, key: &str, value: &[u8]) -> Result<i64> {
        // etcdctl takes an empty value as an argument alone.
        let arguments = ["put", "-w", "json", key, ""];
        let arguments = if value.is_empty() { &arguments[..] } else { &arguments[..4] };
        let answer: Value = serde_json::from_str(&self.ctl_with(arguments, value)?)?;
        answer["header"]["revision"].as_i64().context("no revision")
    }

    /// Does in one step what these lines say, as `etcdctl txn` takes them.
    pub fn transact(&self, lines: &str) -> Result<String> {
        // Conditions stand in front, and what is done without them behind.
        self.ctl_with(&["txn"], format!("\n{lines}\n\n").as_bytes())
    }

    fn ctl_with(&self, arguments: &[&str], input: &[u8]) -> Result<String> {
        let output = self.run(arguments, input)?;
        ensure!(output.status.success(), "etcdctl {arguments:?}: {}{}", stdout(&output), stderr(&output));
        Ok(stdout(&output))
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Result<Output> {
        let running = self.members.iter().enumerate().filter(|(_, child)| child.is_some());
        let endpoints: Vec<String> = running.map(|(number, _)| self.endpoint(number)).collect();
        let mut command: Command = self.namespace.command("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &endpoints.join(",")]);
        if let Some(Certificates { ca, server: _, client: [certificate, key] }) = &self.certificates {
            let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
            command.args([flag("cacert", ca), flag("cert", certificate), flag("key", key)]);
        }
        if let Some(user) = &self.user {
            command.args(["--user", user]);
        }
        with_input(command.args(arguments), input)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for child in self.members.iter_mut().flatten() {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }
}
