//! Processes that go on when the command that started them has ended. Each is known by its id and the time at which it began, so
//! that a later process with the same id is not taken for it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use foobar_tests::wait;
use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// How long a process has to end after it was asked to.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// The processes of one lab.
#[derive(Clone, Debug)]
pub(crate) struct Processes {
    folder: PathBuf,
}

/// One that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    /// Its id, which is that of its group, too.
    pub(crate) id: i32,
    /// When it began, in ticks since the machine did (proc(5), field 22 of `stat`).
    pub(crate) began: u64,
}

impl Processes {
    /// Those that are noted in this folder.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Starts a command under a name, in a session of its own; what it says goes into a file.
    ///
    /// # Errors
    /// If it cannot be started. Nothing is noted then.
    pub(crate) fn start(&self, name: &str, command: &Command, log: &Path) -> Result<Running> {
        let said = fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open {}", log.display()))?;
        let mut detached = Command::new("setsid");
        detached.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            detached.env(name, value.unwrap_or_default());
        }
        detached.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        let child = detached.spawn().with_context(|| format!("start {name}"))?;
        let id = i32::try_from(child.id()).context("an id of a process")?;
        let running = Running { id, began: began(id).with_context(|| format!("{name} ended at once"))? };
        fs::write(self.note(name), format!("{} {}\n", running.id, running.began))?;
        Ok(running)
    }

    /// The process of this name, if it runs.
    pub(crate) fn find(&self, name: &str) -> Option<Running> {
        let text = fs::read_to_string(self.note(name)).ok()?;
        let (id, began_then) = text.trim().split_once(' ')?;
        let running = Running { id: id.parse().ok()?, began: began_then.parse().ok()? };
        running.runs().then_some(running)
    }

    /// Every process that was started and not stopped, whether it runs or not.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    /// Ends a process and those that it has made; does nothing if it does not run. One that does not heed the signal in time is
    /// killed, and that is told by `false`.
    pub(crate) fn stop(&self, name: &str, signal: Signal) -> Result<bool> {
        let mut heeded = true;
        if let Some(running) = self.find(name) {
            // What the leader of a group leaves behind, as the workers of a killed nginx, would go on serving.
            let group = Pid::from_raw(running.id);
            send(group, signal)?;
            let ended = wait::until(name, ENDS_WITHIN, || Ok(!running.runs()));
            if ended.is_err() {
                heeded = false;
                send(group, Signal::SIGKILL)?;
                wait::until(name, ENDS_WITHIN, || Ok(!running.runs()))?;
            }
        }
        match fs::remove_file(self.note(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(heeded),
        }
    }

    fn note(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Running {
    /// Whether it still runs. One that has ended and that nobody has waited for does not.
    pub(crate) fn runs(self) -> bool {
        began(self.id) == Some(self.began)
    }

    /// Its memory: what is in RAM, in KiB.
    pub(crate) fn memory(self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    }
}

fn send(group: Pid, signal: Signal) -> Result<()> {
    match killpg(group, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("send {signal} to {group}")),
    }
}

/// When a process began, unless it has ended.
fn began(id: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name is in brackets and can hold anything; field 3 follows.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}
