//! A real Prometheus in a namespace.

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::{haproxy::wait_for_listener, http, namespace::Namespace, wait};

/// Where it answers, in its namespace.
pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9090);

/// A Prometheus that asks every two seconds; it ends when this is dropped.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one with these lines of `scrape_configs`.
    pub fn start(namespace: &Namespace, jobs: &str) -> Result<Self> {
        Self::start_with(namespace, jobs, &[])
    }

    /// One that asks nobody and is itself asked by TLS or with a password, as these flags say. It listens, and may not be
    /// ready for a moment yet.
    pub fn start_guarded(namespace: &Namespace, flags: &[&str]) -> Result<Self> {
        Self::spawn(namespace, "- job_name: none\n", flags, true)
    }

    /// The same with further flags.
    pub fn start_with(namespace: &Namespace, jobs: &str, flags: &[&str]) -> Result<Self> {
        Self::spawn(namespace, jobs, flags, false)
    }

    fn spawn(namespace: &Namespace, jobs: &str, flags: &[&str], is_guarded: bool) -> Result<Self> {
        let folder = TempDir::new()?;
        let configuration = folder.path().join("prometheus.yml");
        fs::write(
            &configuration,
            format!("global:\n  scrape_interval: 2s\n  scrape_timeout: 2s\nscrape_configs:\n{jobs}"),
        )?;
        let log = folder.path().join("log");
        let mut command = namespace.command("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "prometheus"])
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={LISTEN}"))
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?);
        let mut prometheus = Self { child: command.spawn().context("start prometheus")?, _folder: folder };
        wait_for_listener(namespace, LISTEN.port(), &mut prometheus.child)
            .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        if is_guarded {
            return Ok(prometheus);
        }
        wait::until("Prometheus is ready", Duration::from_secs(30), || {
            Ok(http::get(namespace, LISTEN, "/-/ready")?.status == 200)
        })?;
        Ok(prometheus)
    }

    /// Waits until the one that it asks in a job is `up` or `down`, whichever is expected, and gives why the last scrape failed.
    ///
    /// # Errors
    /// Tells what it is if that does not come.
    pub fn wait_until(&self, namespace: &Namespace, job: &str, health: &str) -> Result<String> {
        let mut error = String::new();
        let mut last = Value::Null;
        let waited = wait::until(&format!("{job} is {health}"), Duration::from_secs(30), || {
            let answer = ask(namespace, "/api/v1/targets?state=active")?;
            let targets = answer["data"]["activeTargets"].as_array().context("no list of targets")?;
            let target = targets.iter().find(|target| target["labels"]["job"] == job);
            last = target.cloned().unwrap_or_default();
            last["lastError"].as_str().unwrap_or_default().clone_into(&mut error);
            Ok(last["health"] == health)
        });
        waited.with_context(|| last.to_string())?;
        Ok(error)
    }

    /// The value of the one series that an expression gives.
    pub fn value(&self, namespace: &Namespace, expression: &str) -> Result<String> {
        let answer = ask(namespace, &format!("/api/v1/query?query={expression}"))?;
        let value = &answer["data"]["result"][0]["value"][1];
        Ok(value.as_str().with_context(|| format!("no value in {answer}"))?.to_owned())
    }
}

/// Asks a Prometheus of this namespace.
pub fn ask(namespace: &Namespace, path: &str) -> Result<Value> {
    let answer = http::get(namespace, LISTEN, path)?;
    serde_json::from_str(&answer.body).with_context(|| format!("{path}: {}", answer.body))
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
