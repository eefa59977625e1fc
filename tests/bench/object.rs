//! The programs of the benchmark, built from source.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use foobar_tests::command::succeed;

/// What to do where they cannot be built.
const MEND: &str = "the programs of the benchmark are always built from source, which takes bpf-linker and rust-src: \
                    run `cargo xtask setup`";

/// Builds them, as aya-build builds the product's, and reads the object. Costs nothing when nothing changed.
pub(crate) fn build() -> Result<Vec<u8>> {
    let workspace = workspace();
    // Of its own, since a cargo may be waiting for this very process.
    let target = workspace.join("target/bench/bpf");
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(workspace.join("target/tools/bin")).chain(env::split_paths(&path));
    let architecture = env::consts::ARCH;
    let flags = [
        &format!("--cfg=bpf_target_arch=\"{architecture}\""),
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        // As in `build.rs` of the product.
        "-Clink-arg=--cpu-features=+allows-misaligned-mem-access",
    ]
    .join("\u{1f}");
    let endian = if cfg!(target_endian = "big") { "bpfeb" } else { "bpfel" };
    let triple = format!("{endian}-unknown-none");

    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(&workspace)
        .args(["build", "--quiet", "--package", "foobar-bench-programs", "--bins", "--release"])
        .args(["--target", &triple, "-Z", "build-std=core", "--target-dir"])
        .arg(&target)
        .env("PATH", env::join_paths(folders)?)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        // More than one breaks the 512 byte stack, as in the workspace's profile of the product.
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_INCREMENTAL", "0");
    for name in ["RUSTC", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS"] {
        cargo.env_remove(name);
    }
    succeed(&mut cargo).context(MEND)?;
    let object = target.join(triple).join("release/bench");
    fs::read(&object).with_context(|| format!("read {}", object.display()))
}

/// The folder of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// Stops whoever is not root before anything is built.
pub(crate) fn check_root() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "the benchmark loads BPF programs and makes network namespaces, which takes root: run it with sudo"
        );
    }
    Ok(())
}
