//! An interface that takes frames in so slowly that the ring in front of it runs over.

use std::{
    collections::BTreeSet,
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{command::succeed, namespace::Namespace, wait};

/// As long as this lives, frames of an interface wait for a thread that hardly gets to run.
pub struct SlowRing {
    /// What takes the thread's processor.
    busy: Child,
}

impl SlowRing {
    /// Of an end of a cable that frames are taken from for a native program already.
    pub fn of(namespace: &Namespace, interface: &str) -> Result<Self> {
        let before = threads()?;
        // No sysfs shows the namespace yet.
        let switch = format!("mount -t sysfs sysfs /mnt && echo 1 > /mnt/class/net/{interface}/threaded");
        succeed(namespace.command("unshare").args(["--mount", "sh", "-c", &switch]))?;
        let name = format!("napi/{interface}");
        let made = || -> Result<Vec<(String, String)>> {
            let is_new = |thread: &(String, String)| thread.1.starts_with(&name) && !before.contains(thread);
            Ok(threads()?.into_iter().filter(is_new).collect())
        };
        let what = format!("there is a thread for {interface}");
        wait::until(&what, Duration::from_secs(5), || Ok(!made()?.is_empty()))?;
        for (id, _) in made()? {
            succeed(Command::new("taskset").args(["--cpu-list", "--pid", "0", &id]))?;
            succeed(Command::new("renice").args(["--priority", "10", "--pid", &id]))?;
        }
        let busy = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "taskset", "--cpu-list", "0"])
            .args(["sh", "-c", "while :; do :; done"])
            .stdin(Stdio::null())
            .spawn()
            .context("keep a processor busy")?;
        Ok(Self { busy })
    }
}

impl Drop for SlowRing {
    fn drop(&mut self) {
        // The test is over.
        drop(self.busy.kill());
        drop(self.busy.wait());
    }
}

/// All processes of the machine, threads of the kernel among them, by id and name.
fn threads() -> Result<BTreeSet<(String, String)>> {
    let mut threads = BTreeSet::new();
    for entry in fs::read_dir("/proc").context("list processes")? {
        let path = entry?.path();
        // It may have ended since.
        if let (Some(id), Ok(name)) = (path.file_name(), fs::read_to_string(path.join("comm"))) {
            threads.insert((id.to_string_lossy().into_owned(), name.trim_end().to_owned()));
        }
    }
    Ok(threads)
}
