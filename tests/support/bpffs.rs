//! Folders for pins, one for each test.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use foobar_common::LAYOUT_VERSION;
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

const ROOT: &str = "/sys/fs/bpf";
const PREFIX: &str = "foobar-test-";

/// A folder on bpffs; it goes, with all pins in it, when this is dropped.
#[derive(Debug)]
pub struct PinFolder {
    root: PathBuf,
    path: PathBuf,
}

impl PinFolder {
    /// A name of its own on the bpffs, which is mounted if it is not. The folder itself is not made: that is
    /// what foobar does.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        mount_bpffs()?;
        sweep().context("remove what killed tests left on the bpffs")?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = Path::new(ROOT).join(format!("{PREFIX}{}-{count}", process::id()));
        let path = root.join(format!("v{LAYOUT_VERSION}"));
        Ok(Self { root, path })
    }

    /// The folder for this layout version, to be named with `--pins`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder beside it, for pins of another layout version.
    pub fn of_layout(&self, version: u32) -> PathBuf {
        self.root.join(format!("v{version}"))
    }

    /// Every pin in it, and in those of other versions, by path.
    pub fn pins(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        collect(&self.root, &mut found)?;
        found.sort();
        Ok(found)
    }
}

impl Drop for PinFolder {
    fn drop(&mut self) {
        // A test that failed has more to say than this.
        drop(fs::remove_dir_all(&self.root));
    }
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("list {}", folder.display())),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), found)?;
        } else {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// Mounts the file system for pins if it is not mounted.
pub fn mount_bpffs() -> Result<()> {
    if statfs(ROOT).is_ok_and(|facts| facts.filesystem_type() == BPF_FS_MAGIC) {
        return Ok(());
    }
    mount(Some("bpf"), ROOT, Some("bpf"), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("mount bpffs on {ROOT}: these tests need root"))
}

/// Removes the folders of test processes that are no more, and of nobody else.
fn sweep() -> Result<()> {
    for entry in fs::read_dir(ROOT)? {
        let entry = entry?;
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            // Another test may be sweeping the same one.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
    Ok(())
}
