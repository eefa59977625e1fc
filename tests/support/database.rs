//! MariaDB in a namespace.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::{command::succeed, namespace::Namespace, wait};

/// Where it listens.
pub const PORT: u16 = 3306;
/// Who may log in from everywhere.
pub const USER: &str = "web";
/// With which password.
pub const PASSWORD: &str = "secret";

/// A server of MariaDB; it ends when this is dropped.
#[derive(Debug)]
pub struct Database {
    child: Child,
    folder: TempDir,
}

impl Database {
    /// Starts one with the user [`USER`] and the database `shop`, which offers TLS. `id` is its number among servers
    /// that follow one another.
    pub fn start(namespace: &Namespace, id: u32) -> Result<Self> {
        Self::start_with(namespace, id, &[])
    }

    /// The same with these options.
    pub fn start_with(namespace: &Namespace, id: u32, options: &[&str]) -> Result<Self> {
        let folder = TempDir::new()?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (data, socket, log) = (path("data"), path("socket"), path("log"));
        let (certificate, key) = (path("certificate"), path("key"));
        // One that starts takes away what looks like a temporary table of a server that is gone, also if it is another's.
        let temporary = folder.path();
        succeed(
            Command::new("mariadb-install-db")
                .env("TMPDIR", temporary)
                .args(["--no-defaults", "--user=root", "--auth-root-authentication-method=normal"])
                .args(["--skip-test-db", "--innodb-log-file-size=8M"])
                .arg(format!("--datadir={data}")),
        )?;
        succeed(
            Command::new("openssl")
                .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=db"])
                .args(["-keyout", &key, "-out", &certificate]),
        )?;
        let child = namespace
            .command("setpriv")
            .env("TMPDIR", temporary)
            .args(["--pdeathsig", "KILL", "--", "mariadbd", "--no-defaults", "--user=root"])
            .args(["--bind-address=*", "--skip-name-resolve", "--local-infile=ON", "--log-bin=log"])
            .args(["--innodb-log-file-size=8M", "--innodb-buffer-pool-size=32M", "--performance-schema=OFF"])
            .args(["--innodb-flush-log-at-trx-commit=0", "--max-allowed-packet=64M", "--sync-binlog=0"])
            .args(options)
            .args([format!("--port={PORT}"), format!("--server-id={id}")])
            .args([format!("--datadir={data}"), format!("--socket={socket}")])
            .args([format!("--ssl-cert={certificate}"), format!("--ssl-key={key}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .context("start mariadbd")?;
        let mut database = Self { child, folder };
        wait::until("MariaDB listens", Duration::from_secs(30), || {
            if let Some(status) = database.child.try_wait()? {
                bail!("mariadbd ended with {status}: {}", fs::read_to_string(&log)?);
            }
            Ok(database.run("SELECT 1").is_ok())
        })?;
        database.run(&format!(
            "CREATE DATABASE shop; GRANT ALL ON *.* TO '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'"
        ))?;
        Ok(database)
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Executes statements over its socket, past every interface; what they print.
    pub fn run(&self, statements: &str) -> Result<String> {
        succeed(
            Command::new("mariadb")
                .args(["--no-defaults", "--batch", "--skip-column-names", "--user=root"])
                .arg(format!("--socket={}", self.socket().display()))
                .args(["--execute", statements]),
        )
    }

    /// How often it has executed each kind of statement (`Com_select`, …), and what else it counts.
    pub fn status(&self) -> Result<BTreeMap<String, u64>> {
        let text = self.run("SHOW GLOBAL STATUS")?;
        let lines = text.lines().filter_map(|line| line.split_once('\t'));
        Ok(lines.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
