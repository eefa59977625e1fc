//! What cargo builds of the workspace for testing.
//!
//! cargo gives a dependency the features that the packages which are built together ask for. If each command named what it
//! needs, the daemon would be compiled once for each of them, a minute each; so all of them ask for the same here.

use std::{path::PathBuf, process::Stdio};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::command::cargo;

/// All packages but those that run in the kernel only.
pub(crate) const PACKAGES: [&str; 5] =
    ["--workspace", "--exclude", "foobar-ebpf", "--exclude", "foobar-bench-programs"];

/// What a build made.
pub(crate) struct Built(Vec<Message>);

/// What cargo tells of one thing, as far as it matters here (The Cargo Book, "External tools", "JSON messages").
#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact {
        manifest_path: PathBuf,
        target: Target,
        profile: Profile,
        executable: Option<PathBuf>,
    },
    BuildScriptExecuted {
        package_id: String,
        out_dir: PathBuf,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// A program that was built.
#[derive(Debug, PartialEq, Eq)]
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
        Self::read(&done.stdout)
    }

    /// Reads lines of JSON.
    fn read(lines: &[u8]) -> Result<Self> {
        let messages = serde_json::Deserializer::from_slice(lines).into_iter().collect::<Result<_, _>>();
        messages.map(Self).context("read what cargo tells of a build")
    }

    /// The programs, in the order of their names.
    pub(crate) fn list(&self) -> Vec<Program> {
        let mut programs: Vec<Program> = self.0.iter().filter_map(Message::program).collect();
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
        let folder = self.0.iter().find_map(|message| match message {
            Message::BuildScriptExecuted { package_id, out_dir } if package_id.contains(package) => {
                Some(out_dir.clone())
            }
            Message::BuildScriptExecuted { .. } | Message::CompilerArtifact { .. } | Message::Other => None,
        });
        folder.with_context(|| format!("cargo names no folder of {package}'s build script"))
    }
}

impl Message {
    fn program(&self) -> Option<Program> {
        let Self::CompilerArtifact { manifest_path, target, profile, executable: Some(path) } = self else {
            return None;
        };
        let folder = manifest_path.parent()?.to_owned();
        let name = format!("{}/{}", folder.file_name()?.to_string_lossy(), target.name);
        Some(Program { name, folder, path: path.clone(), is_test: profile.test })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"reason":"compiler-artifact","package_id":"path+file:///w/tests#foobar-tests@0.1.0","manifest_path":"/w/tests/Cargo.toml","target":{"kind":["test"],"crate_types":["bin"],"name":"tls","src_path":"/w/tests/tls/main.rs","edition":"2024","doc":false,"doctest":false,"test":true},"profile":{"opt_level":"0","test":true},"features":[],"filenames":["/w/target/debug/deps/tls-15"],"executable":"/w/target/debug/deps/tls-15","fresh":true}"#;
    const SCRIPT: &str = r#"{"reason":"build-script-executed","package_id":"path+file:///w/foobar-daemon#0.1.0","linked_libs":[],"out_dir":"/w/target/debug/build/foobar-daemon-1/out"}"#;

    #[test]
    fn programs_are_told_from_their_tests_and_from_libraries() {
        let other = LINE.replace(r#""opt_level":"0","test":true"#, r#""opt_level":"0","test":false"#);
        let library = LINE.replace(r#""executable":"/w/target/debug/deps/tls-15""#, r#""executable":null"#);
        let end = r#"{"reason":"build-finished","success":true}"#;
        let built = [LINE, &other, &library, SCRIPT, end].join("\n");
        let built = Built::read(built.as_bytes()).expect("what cargo says");
        let program = |is_test| Program {
            name: "tests/tls".to_owned(),
            folder: "/w/tests".into(),
            path: "/w/target/debug/deps/tls-15".into(),
            is_test,
        };
        assert_eq!(built.list(), [program(true), program(false)]);
        assert_eq!(built.program("tests/tls").expect("a program"), program(false).path);
        assert!(built.program("tests/dns").is_err());
        let folder = built.script_folder("foobar-daemon").expect("a folder");
        assert_eq!(folder, PathBuf::from("/w/target/debug/build/foobar-daemon-1/out"));
        assert!(built.script_folder("foobar-common").is_err());
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        assert!(Built::read(b"{\"reason\":").is_err());
        assert!(Built::read(b"").expect("nothing was built").list().is_empty());
    }
}
