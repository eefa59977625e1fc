//! Somebody who watches.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{daemon::Foobar, wait};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// A running `foobar watch`.
pub(crate) struct Watching {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

/// What it said.
pub(crate) struct Said {
    pub(crate) events: Vec<Value>,
    pub(crate) err: String,
    pub(crate) status: ExitStatus,
}

impl Said {
    /// How many are lost, by what stderr says in the end.
    pub(crate) fn lost(&self) -> Result<u64> {
        let last = self.err.lines().find(|line| line.contains(" packets") && !line.starts_with("lost"));
        let last = last.with_context(|| format!("nothing is said at the end: {}", self.err))?;
        let Some((_, lost)) = last.split_once("lost: ") else { return Ok(0) };
        let numbers = lost.split(", ").filter_map(|part| part.split(' ').next()?.parse::<u64>().ok());
        Ok(numbers.sum())
    }
}

/// How many watch.
pub(crate) fn watchers(foobar: &Foobar) -> Result<u64> {
    foobar.status()?["events"]["watchers"].as_u64().context("no number of watchers")
}

impl Watching {
    /// Begins to watch as JSON, with these further flags, and waits until the daemon knows.
    pub(crate) fn start(foobar: &Foobar, name: &str, flags: &[&str]) -> Result<Self> {
        Self::start_with(foobar, name, &[&["watch", "--json"], flags].concat())
    }

    /// The same with all arguments.
    pub(crate) fn start_with(foobar: &Foobar, name: &str, arguments: &[&str]) -> Result<Self> {
        let before = watchers(foobar)?;
        let path = |kind: &str| foobar.folder().join(format!("{name}.{kind}"));
        let (out, err) = (path("out"), path("err"));
        let mut command = foobar.prepared(arguments)?;
        command.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&err)?);
        let mut watching = Self { child: command.spawn()?, out, err };
        wait::until("somebody watches", Duration::from_secs(10), || {
            let ended = watching.child.try_wait()?;
            ensure!(ended.is_none(), "watch ended: {}", fs::read_to_string(&watching.err)?);
            Ok(watchers(foobar)? > before)
        })?;
        Ok(watching)
    }

    /// How many lines it has written.
    pub(crate) fn lines(&self) -> Result<usize> {
        Ok(fs::read_to_string(&self.out)?.lines().count())
    }

    /// What it has told so far, if it does so as JSON.
    pub(crate) fn events(&self) -> Result<Vec<Value>> {
        let text = fs::read(&self.out)?;
        // The last line may not be there to its end.
        let whole = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        let lines = text[..whole].split(|byte| *byte == b'\n').filter(|line| line.first() == Some(&b'{'));
        lines.map(|line| serde_json::from_slice(line).context("read a line")).collect()
    }

    /// Waits until it has written so many lines.
    pub(crate) fn wait_for(&self, lines: usize) -> Result<()> {
        wait::until("all are told", Duration::from_secs(20), || Ok(self.lines()? >= lines))
            .with_context(|| format!("{:?} of {lines}", self.lines()))
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.child.id().try_into()?), signal).context("send a signal to watch")
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn interrupt(self) -> Result<Said> {
        self.signal(Signal::SIGINT)?;
        self.wait()
    }

    /// Waits until it has ended.
    pub(crate) fn wait(mut self) -> Result<Said> {
        let mut status = None;
        wait::until("watch ends", Duration::from_secs(15), || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })?;
        Ok(Said {
            events: self.events()?,
            err: fs::read_to_string(&self.err)?,
            status: status.context("no exit status")?,
        })
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
