//! How foobar refuses: an exit code, and one clear message.

use std::process::Output;

use anyhow::{Result, ensure};

use crate::command::stderr;

/// Checks that a command ended with `code` and gave one message that holds all of `words`.
///
/// # Errors
/// Shows what the command said.
pub fn check(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let said = stderr(output);
    ensure!(output.status.code() == Some(code), "exit code {code} expected, {}:\n{said}", output.status);
    check_message(&said, words)
}

/// Checks the message alone.
///
/// # Errors
/// Shows what was said.
pub fn check_message(said: &str, words: &[&str]) -> Result<()> {
    let messages = said.lines().filter(|line| line.starts_with("foobar: ")).count();
    ensure!(messages == 1, "one line that begins with 'foobar: ' expected, not {messages}:\n{said}");
    for word in words {
        ensure!(said.contains(word), "{word:?} expected in:\n{said}");
    }
    ensure!(!said.contains("panicked"), "{said}");
    ensure!(
        said.len() < 4_096,
        "a message of {} bytes:\n{}",
        said.len(),
        said.chars().take(500).collect::<String>()
    );
    Ok(())
}
