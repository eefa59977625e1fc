//! Other programs, run to their end.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};

/// Runs a command to its end and gives what it wrote to stdout.
///
/// # Errors
/// Shows the command, its exit code and its stderr.
pub fn succeed(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    check(command, output)
}

/// Runs a command that reads `input` and gives what it wrote to stdout.
///
/// # Errors
/// Shows the command, its exit code and its stderr.
pub fn succeed_with_input(command: &mut Command, input: &[u8]) -> Result<String> {
    let output = with_input(command, input)?;
    check(command, output)
}

/// Runs a command that reads `input`, however it ends.
pub fn with_input(command: &mut Command, input: &[u8]) -> Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {command:?}"))?;
    // Dropped after the write, so that the command sees the end of its input.
    child.stdin.take().context("a child without stdin")?.write_all(input)?;
    child.wait_with_output().with_context(|| format!("run {command:?}"))
}

/// Stdout as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Stderr as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn check(command: &Command, output: Output) -> Result<String> {
    ensure!(
        output.status.success(),
        "{command:?} ended with {}\n{}{}",
        output.status,
        stdout(&output),
        stderr(&output)
    );
    String::from_utf8(output.stdout).context("output that is not UTF-8")
}
