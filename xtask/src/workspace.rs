//! Where things lie in the workspace.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&manifest).parent().map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |path| root().join(path))
}

/// A folder below the workspace's own `target`, made if it is not there. Tools and downloads live there.
pub(crate) fn private(path: &str) -> Result<PathBuf> {
    let folder = root().join("target").join(path);
    fs::create_dir_all(&folder).with_context(|| format!("create the folder {}", folder.display()))?;
    Ok(folder)
}

/// The Rust that `rust-toolchain.toml` asks for, such as `1.95.0`.
pub(crate) fn rust_version() -> Result<String> {
    let path = root().join("rust-toolchain.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let channel = text.lines().find_map(|line| line.strip_prefix("channel = "));
    Ok(channel.context("rust-toolchain.toml names no channel")?.trim_matches('"').to_owned())
}
