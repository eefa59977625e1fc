//! curl, asking for what foobar serves.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::{
    authority::Signed,
    command::{stderr, stdout},
    namespace::Namespace,
};

/// A curl to be run in a namespace.
#[derive(Clone, Debug)]
pub struct Curl<'n> {
    namespace: &'n Namespace,
    arguments: Vec<String>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The exit code of curl.
    pub exit: i32,
    /// The status of the answer, if there was one.
    pub status: u16,
    /// Head and body.
    pub text: String,
    /// What curl said is wrong.
    pub error: String,
}

impl<'n> Curl<'n> {
    /// One that waits for ten seconds at most.
    pub fn new(namespace: &'n Namespace) -> Self {
        Self { namespace, arguments: Vec::new() }.with(&[
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            "--max-time",
            "10",
            "--include",
        ])
    }

    /// The same with further arguments.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// The same, trusting this authority.
    #[must_use]
    pub fn trusting(self, authority: &Path) -> Self {
        self.with(&["--cacert", &authority.display().to_string()])
    }

    /// The same with a certificate of its own.
    #[must_use]
    pub fn identified(self, Signed { certificate, key }: &Signed) -> Self {
        self.with(&["--cert", &certificate.display().to_string(), "--key", &key.display().to_string()])
    }

    /// The same with a name and a password, as `alice:secret`.
    #[must_use]
    pub fn logged_in(self, login: &str) -> Self {
        self.with(&["--user", login])
    }

    /// Asks for this.
    pub fn get(&self, url: &str) -> Result<Fetched> {
        let mut command = self.namespace.command("curl");
        command.args(&self.arguments).args(["--write-out", "\n%{http_code}", url]);
        let output = command.output().context("run curl")?;
        let said = stdout(&output);
        let (text, status) = said.rsplit_once('\n').with_context(|| format!("no status: {said}"))?;
        Ok(Fetched {
            exit: output.status.code().context("curl was killed")?,
            status: status.parse().with_context(|| format!("status {status}"))?,
            text: text.to_owned(),
            error: stderr(&output),
        })
    }
}
