//! What the BPF object depends on, as one hash: the programs, what they share with the daemon, how they are
//! built, and the crates that they are built from. Nothing else, so that work on the daemon leaves it alone.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

/// Files and folders that go in whole. The workspace manifest and the lock file go in by parts.
const WHOLE: [&str; 8] = [
    "foobar-common/Cargo.toml",
    "foobar-common/src",
    "foobar-daemon/build/strip.rs",
    "foobar-daemon/build/toolchain.rs",
    "foobar-ebpf/Cargo.toml",
    "foobar-ebpf/build.rs",
    "foobar-ebpf/src",
    "rust-toolchain.toml",
];

/// Everything that the hash is taken over, for cargo to watch.
pub(crate) fn paths(workspace: &Path) -> Vec<PathBuf> {
    WHOLE.iter().chain(&["Cargo.toml", "Cargo.lock"]).map(|path| workspace.join(path)).collect()
}

/// The hash of everything that the object depends on, in hexadecimal.
pub(crate) fn hash(workspace: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    for path in WHOLE {
        for file in files(&workspace.join(path))? {
            let name = file.strip_prefix(workspace).unwrap_or(&file).to_string_lossy().into_owned();
            add(&mut hasher, &name, &read(&file)?);
        }
    }
    add(&mut hasher, "Cargo.toml", &build_sections(&read(&workspace.join("Cargo.toml"))?));
    add(&mut hasher, "Cargo.lock", &locked(&read(&workspace.join("Cargo.lock"))?, "foobar-ebpf"));
    Ok(hex(&hasher.finalize()))
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).flatten().collect()
}

fn add(hasher: &mut Sha256, name: &str, text: &str) {
    hasher.update(format!("{name} {}\n", text.len()));
    hasher.update(text);
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// The file itself, or the files below the folder in name order.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries = fs::read_dir(path)
        .and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
        })
        .with_context(|| format!("read the folder {}", path.display()))?;
    entries.sort();
    let nested = entries.iter().map(|entry| files(entry)).collect::<Result<Vec<_>>>()?;
    Ok(nested.concat())
}

/// The sections of the workspace manifest that reach the compiler: profiles, version and edition.
fn build_sections(manifest: &str) -> String {
    let mut wanted = false;
    let mut text = String::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            wanted = line.starts_with("[profile.") || line == "[workspace.package]";
        }
        if wanted && !line.is_empty() && !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// The entries of the lock file for this package and all that it depends on.
fn locked(lock: &str, package: &str) -> String {
    let entries: Vec<Entry<'_>> = lock.split("[[package]]").skip(1).map(Entry::parse).collect();
    let mut wanted = BTreeSet::new();
    let mut next = vec![package];
    while let Some(name) = next.pop() {
        for entry in entries.iter().filter(|entry| entry.name == name) {
            if wanted.insert(entry.text.trim()) {
                next.extend(&entry.dependencies);
            }
        }
    }
    wanted.into_iter().collect::<Vec<_>>().join("\n")
}

/// One `[[package]]` of the lock file.
struct Entry<'a> {
    name: &'a str,
    dependencies: Vec<&'a str>,
    text: &'a str,
}

impl<'a> Entry<'a> {
    fn parse(text: &'a str) -> Self {
        let mut name = "";
        let mut dependencies = Vec::new();
        for line in text.lines() {
            if let Some(quoted) = line.strip_prefix("name = ") {
                name = quoted.trim_matches('"');
            } else if let Some(quoted) = line.strip_prefix(" \"") {
                // A version follows the name where there are several versions; all of them are taken then.
                dependencies.extend(quoted.trim_end_matches("\",").split(' ').next());
            }
        }
        Self { name, dependencies, text }
    }
}
