//! The `foobar` under test.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context as _, Result, anyhow};

use crate::command::succeed;

/// Path of the binary: what `FOOBAR_BIN` says, otherwise the one beside this test, brought up to date first.
pub fn foobar() -> Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BINARY
        .get_or_init(|| find().map_err(|error| format!("{error:#}")))
        .as_deref()
        .map_err(|error| anyhow!("no foobar to test: {error}"))
}

fn find() -> Result<PathBuf> {
    if let Some(path) = env::var_os("FOOBAR_BIN") {
        return Path::new(&path).canonicalize().with_context(|| format!("FOOBAR_BIN={}", path.display()));
    }
    let test = env::current_exe()?;
    // target/PROFILE/deps/TEST, or target/PROFILE/bench
    let folder = test.parent().context("a test outside of a target folder")?;
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let mut build = Command::new(env!("CARGO"));
    build.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--package", "foobar-daemon"]);
    if folder.ends_with("release") {
        // As it is delivered.
        build.arg("--release");
    } else {
        // As a part of what the tests are built of: otherwise cargo compiles the daemon twice, since it gives dependencies
        // the features that the packages which are built together ask for.
        build.args(["--package", "foobar-tests", "--bin", "foobar", "--bin", "kernel-guest"]);
    }
    // What cargo tells a test of its package is not for others: build scripts that look at it run again whenever it changes,
    // and ring with all that depends on it is compiled anew.
    for (name, _) in env::vars_os() {
        let told = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|begin| told.starts_with(begin)) {
            build.env_remove(name);
        }
    }
    succeed(&mut build)?;
    let path = folder.join("foobar");
    path.canonicalize().with_context(|| format!("{} after building it", path.display()))
}
