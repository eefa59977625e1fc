//! The initial file system of a guest: one program, which is all of its user space, with its libraries and the
//! modules it loads. Format: cpio "newc", Documentation/driver-api/early-userspace/buffer-format.rst.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    built::Built,
    command::{find, output, program, say, succeed},
    kernels::debian::Kernel,
    workspace,
};

/// The initial file systems.
pub(crate) struct Images {
    /// The part that all kernels share.
    common: Vec<u8>,
}

impl Images {
    /// Builds the guest program and packs it.
    pub(crate) fn build() -> Result<Self> {
        say("kernels: building the guest");
        let built = Built::programs()?.program("tests/kernel-guest")?;
        let stripped = workspace::private("kernels")?.join("kernel-guest");
        succeed(program("strip").arg("-o").arg(&stripped).arg(&built))?;

        let mut archive = Archive::default();
        archive.file("init", &stripped)?;
        let ip = find("ip").context("there is no program `ip`: run `cargo xtask setup --tests`")?;
        archive.file("sbin/ip", &ip)?;
        for library in libraries(&[&stripped, &ip])? {
            let name = library.to_string_lossy();
            archive.file(name.trim_start_matches('/'), &library)?;
        }
        Ok(Self { common: archive.finish()? })
    }

    /// Writes the one for a kernel, and tells where it is.
    pub(crate) fn of(&self, kernel: &Kernel) -> Result<PathBuf> {
        let mut archive = Archive::default();
        for module in &kernel.modules {
            let name = module.file_name().context("a module without a name")?.to_string_lossy();
            archive.file(&format!("modules/{name}"), module)?;
        }
        let path = kernel.image.with_file_name("initramfs");
        // The kernel unpacks archives that follow each other into one tree.
        fs::write(&path, [self.common.as_slice(), &archive.finish()?].concat())
            .with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

/// The shared libraries of programs and the loader, by the paths where they are looked for.
fn libraries(binaries: &[&Path]) -> Result<BTreeSet<PathBuf>> {
    let mut paths = BTreeSet::new();
    for binary in binaries {
        let lines = output(program("ldd").arg(binary))?;
        paths.extend(lines.lines().filter_map(|line| {
            line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from)
        }));
    }
    if paths.is_empty() {
        bail!("ldd names no library of the guest");
    }
    Ok(paths)
}

/// A cpio archive in the making.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    folders: Vec<String>,
}

impl Archive {
    const FOLDER: u32 = 0o040_755;
    const FILE: u32 = 0o100_000;

    /// Adds a file of this machine under a path, and the folders that lead there.
    fn file(&mut self, path: &str, from: &Path) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        let mode =
            fs::metadata(from).with_context(|| format!("look at {}", from.display()))?.permissions().mode();
        for (end, _) in path.match_indices('/') {
            let folder = path.get(..end).unwrap_or_default().to_owned();
            if !self.folders.contains(&folder) {
                self.entry(&folder, Self::FOLDER, &[])?;
                self.folders.push(folder);
            }
        }
        self.entry(path, Self::FILE | (mode & 0o777), &content)
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let size = u32::try_from(content.len()).with_context(|| format!("{path} is too large for cpio"))?;
        let name_size = u32::try_from(path.len() + 1).context("a path too long for cpio")?;
        self.bytes.extend(b"070701");
        // Inode, mode, owner, group, links, time, size, device and its minor, special file and its minor, size of
        // the name, checksum.
        for number in [0, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
            self.bytes.extend(format!("{number:08x}").bytes());
        }
        self.bytes.extend(path.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, &[])?;
        Ok(self.bytes)
    }
}
