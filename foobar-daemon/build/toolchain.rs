//! What it takes to build the BPF programs, and how that is done.

use std::{
    env,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

/// The series of bpf-linker that uses the LLVM of this Rust; later ones need one of the system.
const LINKER_SERIES: &str = "0.10.";

/// The toolchain that builds BPF programs from source.
pub(crate) struct Toolchain {
    /// What `rustc --version` says, without its first word.
    pub(crate) rustc: String,
    /// What `bpf-linker --version` says, without its first word.
    pub(crate) linker_version: String,
    linker_folder: PathBuf,
}

/// What is missing of it.
pub(crate) struct Lack(String);

impl fmt::Display for Lack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Toolchain {
    /// Looks for bpf-linker in `target/tools/bin` of the workspace and in `PATH`, and for rust-src in the
    /// folder of the Rust that is building.
    pub(crate) fn find(workspace: &Path) -> Result<Self, Lack> {
        let rustc_path = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
        let Some(rustc) = first_line(Command::new(&rustc_path).arg("--version"), "rustc ") else {
            return Err(Lack(format!("{} --version fails", rustc_path.display())));
        };
        let mut lacks = Vec::new();
        let sysroot = first_line(Command::new(&rustc_path).args(["--print", "sysroot"]), "");
        let core = "lib/rustlib/src/rust/library/core/src/lib.rs";
        if !sysroot.is_some_and(|sysroot| Path::new(&sysroot).join(core).is_file()) {
            lacks.push("rust-src is missing");
        }
        let linker = linker_folders(workspace).into_iter().find_map(|folder| {
            let version =
                first_line(Command::new(folder.join("bpf-linker")).arg("--version"), "bpf-linker ")?;
            version.starts_with(LINKER_SERIES).then_some((folder, version))
        });
        let Some((linker_folder, linker_version)) = linker else {
            lacks.push("bpf-linker 0.10 is missing");
            return Err(Lack(lacks.join(", ")));
        };
        if lacks.is_empty() {
            Ok(Self { rustc, linker_version, linker_folder })
        } else {
            Err(Lack(lacks.join(", ")))
        }
    }

    /// Distinguishes toolchains that may give different bytes; fit for a file name.
    pub(crate) fn fingerprint(&self) -> String {
        let text = format!("{}-{}", self.rustc, self.linker_version);
        text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect()
    }

    /// Builds the programs; the linked object is `OUT_DIR/foobar` then.
    ///
    /// Paths are taken out (trim-paths), because the line table in BTF would otherwise tell where it was built
    /// and no two machines would build the same bytes.
    #[expect(clippy::disallowed_methods, reason = "aya-build takes them from the environment alone")]
    pub(crate) fn build(&self) -> Result<()> {
        let path = env::var_os("PATH").unwrap_or_default();
        let path =
            env::join_paths(std::iter::once(self.linker_folder.clone()).chain(env::split_paths(&path)))?;
        // Whatever is set for other builds would change the profile that the programs have in the workspace.
        let profile = env::vars_os()
            .map(|(name, _)| name)
            .filter(|name| name.to_str().is_some_and(|name| name.starts_with("CARGO_PROFILE_")));
        for name in profile.collect::<Vec<_>>() {
            // SAFETY: a build script has one thread.
            unsafe { env::remove_var(name) };
        }
        for (name, value) in [
            ("PATH", path),
            // aya-build shows all that cargo says as warnings.
            ("CARGO_TERM_QUIET", "true".into()),
            // Cut into pieces by incremental compilation, the programs are others, which verifiers refuse.
            ("CARGO_INCREMENTAL", "0".into()),
            ("CARGO_UNSTABLE_TRIM_PATHS", "true".into()),
            ("CARGO_PROFILE_RELEASE_TRIM_PATHS", "all".into()),
            // Stable Rust builds `core` for a target that has none, and trims paths, only when told so.
            ("RUSTC_BOOTSTRAP", "1".into()),
        ] {
            // SAFETY: a build script has one thread.
            unsafe { env::set_var(name, value) };
        }
        let package = aya_build::Package {
            name: "foobar-ebpf",
            root_dir: "../foobar-ebpf",
            ..aya_build::Package::default()
        };
        // Set by rustup, and the toolchain of rust-toolchain.toml where something else calls cargo.
        let name = env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "1.95.0".to_owned());
        aya_build::build_ebpf([package], aya_build::Toolchain::Custom(&name))
    }
}

/// Where bpf-linker may lie, best first.
fn linker_folders(workspace: &Path) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    std::iter::once(workspace.join("target/tools/bin")).chain(env::split_paths(&path)).collect()
}

/// The first line that a command prints, after this prefix, if it succeeds.
fn first_line(command: &mut Command, prefix: &str) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.lines().next()?.strip_prefix(prefix)?.trim().to_owned())
}
