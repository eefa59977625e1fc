//! bpf-linker, and the source of Rust's `core`, which the BPF programs are built with.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    apt::Apt,
    command::{cargo, find, output, program, say, succeed},
    setup::tools,
    workspace,
};

/// The last one that uses the LLVM which comes with Rust; later ones need one of the system.
const LINKER_VERSION: &str = "0.10.3";

/// What is not there.
pub(crate) fn lacks() -> Result<Vec<&'static str>> {
    let linker = output(program(tools().join("bin/bpf-linker")).arg("--version"));
    let linker_is_there =
        linker.is_ok_and(|version| version.trim() == format!("bpf-linker {LINKER_VERSION}"));
    Ok([("bpf-linker", linker_is_there), ("rust-src", source_folder()?.join("core/src/lib.rs").is_file())]
        .into_iter()
        .filter(|(_, there)| !there)
        .map(|(name, _)| name)
        .collect())
}

/// Gets what is not there.
pub(crate) fn ensure() -> Result<()> {
    let lacks = lacks()?;
    if lacks.contains(&"rust-src") {
        rust_src()?;
    }
    if lacks.contains(&"bpf-linker") {
        bpf_linker()?;
    }
    if !lacks.is_empty() {
        // Cargo looks again, should the last build have taken the kept object.
        let script = workspace::root().join("foobar-daemon/build.rs");
        let file = fs::File::options().append(true).open(&script);
        file.and_then(|file| file.set_modified(std::time::SystemTime::now()))
            .with_context(|| format!("touch {}", script.display()))?;
    }
    Ok(())
}

fn bpf_linker() -> Result<()> {
    say(&format!(
        "setup: installing bpf-linker {LINKER_VERSION} into target/tools (cargo install, a minute or two)"
    ));
    succeed(
        cargo([
            "install",
            "--quiet",
            "bpf-linker",
            "--version",
            LINKER_VERSION,
            "--locked",
            "--force",
            "--root",
        ])
        .arg(tools()),
    )
}

fn rust_src() -> Result<()> {
    let version = workspace::rust_version()?;
    if find("rustup").is_some() {
        say(&format!("setup: installing rust-src of Rust {version} (rustup component add rust-src)"));
        // A rustup behind a wall would try for a long time.
        let mut rustup = program("timeout");
        rustup.args(["120", "rustup", "component", "add", "rust-src"]);
        match output(&mut rustup) {
            Ok(_) if source_folder()?.join("core/src/lib.rs").is_file() => return Ok(()),
            Ok(_) => say("setup: rustup added it to another Rust than the one that builds"),
            Err(error) => say(&format!("setup: rustup cannot: {}", first_lines(&format!("{error:#}")))),
        }
    }
    from_debian(&version)
}

/// Takes Debian's package of the same Rust.
fn from_debian(version: &str) -> Result<()> {
    let apt = Apt::ready()?;
    let versions = apt.versions("rust-src")?;
    let Some(package) = versions.iter().find(|candidate| candidate.starts_with(&format!("{version}+")))
    else {
        bail!("Debian has no rust-src {version}, only {}", versions.join(", "));
    };
    let into = source_folder()?;
    say(&format!("setup: installing the library of Debian's rust-src {package} as {}", into.display()));
    let unpacked = workspace::private("rust-src")?;
    let part = format!("usr/src/rustc-{version}/library");
    apt.unpack_part(&format!("rust-src={package}"), &format!("./{part}"), &unpacked)?;
    copy(&unpacked.join(part), &into)?;
    fs::remove_dir_all(&unpacked).with_context(|| format!("remove {}", unpacked.display()))
}

/// Where cargo looks for the source of Rust's libraries.
fn source_folder() -> Result<PathBuf> {
    let sysroot = output(program("rustc").args(["--print", "sysroot"]))?;
    Ok(Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library"))
}

/// Copies a folder with all that is in it; links become what they lead to.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    succeed(program("cp").args(["--recursive", "--dereference", "--no-target-directory"]).arg(from).arg(to))
}

fn first_lines(text: &str) -> String {
    text.lines().take(3).collect::<Vec<_>>().join(" ")
}
