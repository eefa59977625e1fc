//! What cargo builds of the workspace for testing.
//!
//! cargo gives a dependency the features that the packages which are built together ask for. If each command named what it
//! needs, the daemon would be compiled once for each of them, a minute each; so all of them ask for the same here.

use std::{path::PathBuf, process::Stdio};

use anyhow::{Context as _, Result, bail};

use crate::command::cargo;

/// All packages but those that run in the kernel only.
pub(crate) const PACKAGES: [&str; 5] =
    ["--workspace", "--exclude", "foobar-ebpf", "--exclude", "foobar-bench-programs"];

/// What a build made, as cargo told it: a line of JSON for each thing.
pub(crate) struct Built {
    messages: String,
}

/// A program that was built.
pub(crate) struct Program {
    /// Folder of the package and name of the target, such as `tests/reconcile`.
    pub(crate) name: String,
    /// The folder of the package, where cargo runs tests.
    pub(crate) folder: PathBuf,
    /// The program.
    pub(crate) path: PathBuf,
    /// Whether it is a target's tests rather than the target itself.
    pub(crate) is_test: bool,
}

impl Built {
    /// foobar and the guest of the matrix of kernels.
    pub(crate) fn programs() -> Result<Self> {
        Self::build(&[])
    }

    /// The same, and the tests of everything.
    pub(crate) fn tests() -> Result<Self> {
        Self::build(&["--tests"])
    }

    fn build(more: &[&str]) -> Result<Self> {
        let mut build = cargo(["build", "--message-format=json-render-diagnostics"]);
        build.args(PACKAGES).args(["--bin", "foobar", "--bin", "kernel-guest"]).args(more);
        let done = build.stderr(Stdio::inherit()).output().context("start cargo build")?;
        if !done.status.success() {
            bail!("cargo build failed ({})", done.status);
        }
        Ok(Self { messages: String::from_utf8_lossy(&done.stdout).into_owned() })
    }

    /// The programs, in the order of their names.
    pub(crate) fn list(&self) -> Vec<Program> {
        let mut programs: Vec<Program> = self.messages.lines().filter_map(program).collect();
        programs.sort_by(|one, other| one.name.cmp(&other.name));
        programs
    }

    /// A program by name.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf> {
        let found = self.list().into_iter().find(|program| !program.is_test && program.name == name);
        Ok(found.with_context(|| format!("cargo built no program {name}"))?.path)
    }

    /// The folder that a package's build script wrote to.
    pub(crate) fn script_folder(&self, package: &str) -> Result<PathBuf> {
        self.messages
            .lines()
            .filter(|line| field(line, "reason") == Some("build-script-executed"))
            .filter(|line| field(line, "package_id").is_some_and(|id| id.contains(package)))
            .find_map(|line| field(line, "out_dir"))
            .map(PathBuf::from)
            .with_context(|| format!("cargo names no folder of {package}'s build script"))
    }
}

fn program(line: &str) -> Option<Program> {
    let path = PathBuf::from(field(line, "executable")?);
    let folder = PathBuf::from(field(line, "manifest_path")?).parent()?.to_owned();
    let (target, profile) = line.split_once("\"profile\":")?;
    let name = field(target.split_once("\"target\":")?.1, "name")?;
    let name = format!("{}/{name}", folder.file_name()?.to_string_lossy());
    Some(Program { name, folder, path, is_test: profile.contains("\"test\":true") })
}

/// The first text of this name in a line of JSON. What cargo says has no escapes but in diagnostics, which are not here.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_once(&format!("\"{name}\":\""))?.1.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"reason":"compiler-artifact","package_id":"path+file:///w/tests#foobar-tests@0.1.0","manifest_path":"/w/tests/Cargo.toml","target":{"kind":["test"],"crate_types":["bin"],"name":"tls","src_path":"/w/tests/tls/main.rs","edition":"2024","doc":false,"doctest":false,"test":true},"profile":{"opt_level":"0","test":true},"features":[],"filenames":["/w/target/debug/deps/tls-15"],"executable":"/w/target/debug/deps/tls-15","fresh":true}"#;

    #[test]
    fn a_program_is_read() {
        let read = program(LINE).expect("a program");
        assert_eq!(read.name, "tests/tls");
        assert_eq!(read.folder, PathBuf::from("/w/tests"));
        assert_eq!(read.path, PathBuf::from("/w/target/debug/deps/tls-15"));
        assert!(read.is_test);
        let other =
            program(&LINE.replace(r#""opt_level":"0","test":true"#, r#""opt_level":"0","test":false"#));
        assert!(!other.expect("a program").is_test);
    }

    #[test]
    fn what_is_no_program_is_none() {
        let library = LINE.replace(r#""executable":"/w/target/debug/deps/tls-15""#, r#""executable":null"#);
        assert!(program(&library).is_none());
        assert!(program("").is_none());
    }

    #[test]
    fn the_folder_of_a_build_script_is_found() {
        let line = r#"{"reason":"build-script-executed","package_id":"path+file:///w/foobar-daemon#0.1.0","linked_libs":[],"out_dir":"/w/target/debug/build/foobar-daemon-1/out"}"#;
        let built = Built { messages: format!("{LINE}\n{line}\n") };
        let folder = built.script_folder("foobar-daemon").expect("a folder");
        assert_eq!(folder, PathBuf::from("/w/target/debug/build/foobar-daemon-1/out"));
        assert!(built.script_folder("foobar-common").is_err());
    }
}
