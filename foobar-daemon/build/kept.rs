//! A BPF object and the note of what it was made from.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, Result, bail};
use miniz_oxide::{deflate::compress_to_vec_zlib, inflate::decompress_to_vec_zlib_with_limit};
use sha2::{Digest as _, Sha256};

use crate::{sources::hex, toolchain::Toolchain};

/// How packed objects end.
const PACKED: &str = "o.zlib";
/// As small as it gets, however long it takes.
const SMALLEST: u8 = 10;
/// No object is longer, in bytes.
const OBJECT_MAX: usize = 16 << 20;

/// An object without DWARF, and its note.
pub(crate) struct Kept {
    object: Vec<u8>,
    note: String,
}

impl Kept {
    /// An object that was just built.
    pub(crate) fn new(object: Vec<u8>, sources: &str, toolchain: &Toolchain) -> Self {
        let note = format!(
            "# What the object beside this file was made from; `cargo xtask generate` renews both.\n\
             sources {sources}\n\
             object {}\n\
             rustc {}\n\
             bpf-linker {}\n",
            hex(&Sha256::digest(&object)),
            toolchain.rustc,
            toolchain.linker_version,
        );
        Self { object, note }
    }

    /// Where the repository keeps its objects.
    pub(crate) fn folder(workspace: &Path) -> PathBuf {
        workspace.join("foobar-ebpf/kept")
    }

    /// The object that the repository keeps, if it was made from sources with this hash.
    pub(crate) fn read_for(workspace: &Path, sources: &str) -> Result<Self> {
        let architecture = std::env::var("CARGO_CFG_TARGET_ARCH").context("cargo names no architecture")?;
        let Some(kept) = Self::unpack(&Self::folder(workspace), &format!("foobar-{architecture}")) else {
            bail!("foobar-ebpf/kept has no whole object for {architecture}")
        };
        match kept.noted("sources") {
            Some(noted) if noted == sources => Ok(kept),
            _ => bail!("the kept object in foobar-ebpf/kept was made from other sources than this tree's"),
        }
    }

    /// The object called `name` in a folder, if it is there and is the one that its note tells of.
    pub(crate) fn read(folder: &Path, name: &str) -> Option<Self> {
        Self::with_note(fs::read(folder.join(format!("{name}.o"))).ok()?, folder, name)
    }

    /// The same of one that is packed.
    fn unpack(folder: &Path, name: &str) -> Option<Self> {
        let packed = fs::read(folder.join(format!("{name}.{PACKED}"))).ok()?;
        Self::with_note(decompress_to_vec_zlib_with_limit(&packed, OBJECT_MAX).ok()?, folder, name)
    }

    fn with_note(object: Vec<u8>, folder: &Path, name: &str) -> Option<Self> {
        let note = fs::read_to_string(folder.join(format!("{name}.txt"))).ok()?;
        let kept = Self { object, note };
        (kept.noted("object") == Some(hex(&Sha256::digest(&kept.object)).as_str())).then_some(kept)
    }

    /// Writes the object and its note, and the object packed as the repository keeps it; each file wholly or not at all.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> Result<()> {
        let packed = compress_to_vec_zlib(&self.object, SMALLEST);
        for (suffix, bytes) in [("o", &*self.object), (PACKED, &*packed), ("txt", self.note.as_bytes())] {
            let path = folder.join(format!("{name}.{suffix}"));
            let beside = folder.join(format!("{name}.{suffix}.{}", process::id()));
            fs::write(&beside, bytes).with_context(|| format!("write {}", beside.display()))?;
            fs::rename(&beside, &path).with_context(|| format!("rename to {}", path.display()))?;
        }
        Ok(())
    }

    fn noted(&self, key: &str) -> Option<&str> {
        self.note.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
    }
}
