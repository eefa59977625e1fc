//! Debian's systemd-journald with a `/run/systemd` and a `/run/log` of its own, in a mount namespace.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use foobar_tests::{command::succeed, wait};
use serde_json::Value;
use tempfile::TempDir;

/// What it is told: everything in memory, nothing of the machine's, and no limit of records.
const SETTINGS: &str =
    "[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nRateLimitBurst=0\nForwardToWall=no\n";
const SCRIPT: &str = r#"
set -e
mount -t tmpfs tmpfs /run/systemd
mount -t tmpfs tmpfs /run/log
mkdir -p /run/systemd/journal /run/log/journal
mount --bind "$1" /etc/systemd/journald.conf
exec /usr/lib/systemd/systemd-journald
"#;

/// A journald. It ends, and all that it has kept with it, when this is dropped.
pub(crate) struct Journald {
    child: Child,
    _folder: TempDir,
}

impl Drop for Journald {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Journald {
    pub(crate) fn start() -> Result<Self> {
        fs::create_dir_all("/run/log")?;
        let folder = TempDir::new()?;
        let settings = folder.path().join("journald.conf");
        fs::write(&settings, SETTINGS)?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--", "setpriv", "--pdeathsig", "KILL", "--"]);
        command.args(["sh", "-c", SCRIPT, "sh"]).arg(&settings);
        let child = command.stderr(Stdio::null()).spawn().context("start systemd-journald")?;
        let journald = Self { child, _folder: folder };
        wait::until("the journal listens", Duration::from_secs(20), || Ok(fs::exists(journald.socket())?))?;
        Ok(journald)
    }

    /// Where it listens, as seen from outside.
    pub(crate) fn socket(&self) -> PathBuf {
        format!("/proc/{}/root/run/systemd/journal/socket", self.child.id()).into()
    }

    /// What a command begins with that is to find this journal.
    pub(crate) fn entry(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--mount=/proc/{}/ns/mnt", self.child.id()), "--".to_owned()]
    }

    /// The records of foobar in their order, each with its fields.
    pub(crate) fn records(&self) -> Result<Vec<BTreeMap<String, String>>> {
        self.of("foobar")
    }

    /// The records of whoever names itself so.
    pub(crate) fn of(&self, identifier: &str) -> Result<Vec<BTreeMap<String, String>>> {
        let entry = self.entry();
        let (program, arguments) = entry.split_first().context("no entry")?;
        let mut command = Command::new(program);
        command.args(arguments);
        // The folder has the name of the machine.
        command.args([
            "sh",
            "-c",
            "journalctl --directory /run/log/journal/* --all --output json SYSLOG_IDENTIFIER=$1",
            "sh",
        ]);
        command.arg(identifier);
        let text = succeed(&mut command)?;
        text.lines().map(|line| of_line(line).with_context(|| line.to_owned())).collect()
    }
}

fn of_line(line: &str) -> Result<BTreeMap<String, String>> {
    let record: BTreeMap<String, Value> = serde_json::from_str(line)?;
    record
        .into_iter()
        .map(|(name, value)| {
            let text = match value {
                Value::String(text) => text,
                // What has control characters is written as bytes.
                Value::Array(bytes) => {
                    let bytes =
                        bytes.iter().map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()));
                    String::from_utf8(bytes.collect::<Option<Vec<u8>>>().context("no bytes")?)?
                }
                other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
                    anyhow::bail!("{name} is {other}")
                }
            };
            Ok((name, text))
        })
        .collect()
}
