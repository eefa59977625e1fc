//! A network namespace without a name.

use std::{
    ffi::OsStr,
    fs::File,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process::{self, Command},
    thread,
};

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};

use crate::command::{succeed, succeed_with_input};

/// A network namespace. Unless it has a file of its own, it is gone, with its interfaces, when this is dropped and nothing runs in
/// it any more.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    path: PathBuf,
}

impl Namespace {
    /// A namespace whose loopback interface is up.
    pub fn new() -> Result<Self> {
        let file = thread::spawn(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace: these tests need root")?;
            File::open("/proc/thread-self/ns/net").context("open the network namespace")
        })
        .join()
        .map_err(|_payload| anyhow!("the thread that makes a namespace panicked"))??;
        let path = PathBuf::from(format!("/proc/{}/fd/{}", process::id(), file.as_raw_fd()));
        let namespace = Self { file, path };
        succeed(namespace.command("ip").args(["link", "set", "lo", "up"]))?;
        Ok(namespace)
    }

    /// One that has a file of its own, as `ip netns add` makes them below `/run/netns`. It outlives this value.
    pub fn open(path: &Path) -> Result<Self> {
        let file =
            File::open(path).with_context(|| format!("open the network namespace {}", path.display()))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Where other programs find it: as long as this process lives, unless it has a file of its own.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command that runs in this namespace. Files, bpffs included, are those of everybody.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut net = OsStr::new("--net=").to_owned();
        net.push(&self.path);
        let mut command = Command::new("nsenter");
        command.arg(net).arg("--").arg(program);
        command
    }

    /// Runs lines of `ip -batch`, as `link set eth0 up`.
    pub fn ip(&self, lines: &str) -> Result<()> {
        let mut command = self.command("ip");
        command.args(["-batch", "-"]);
        succeed_with_input(&mut command, lines.as_bytes()).map(drop)
    }

    /// Calls `body` in a thread that is in this namespace. Sockets made there stay there.
    pub fn enter<T: Send>(&self, body: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    setns(&self.file, CloneFlags::CLONE_NEWNET).context("enter the network namespace")?;
                    body()
                })
                .join()
                .map_err(|_payload| anyhow!("a thread in a namespace panicked"))?
        })
    }

    /// Sets `net.…` variables of the kernel, by path below `/proc/sys/net`.
    pub fn set_variables(&self, values: &[(&str, &str)]) -> Result<()> {
        self.enter(|| {
            for (name, value) in values {
                let path = PathBuf::from("/proc/sys/net").join(name);
                std::fs::write(&path, value)
                    .with_context(|| format!("write {value} to {}", path.display()))?;
            }
            Ok(())
        })
    }
}
