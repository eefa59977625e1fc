//! How a command ends: the exit codes of foobar.

use std::fmt;

use crate::rules::file::FileErrors;

/// How a command that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was done: exit code 0.
    Done,
    /// Something was left out, and stderr says what: exit code 3.
    Partly,
}

impl Outcome {
    /// The exit code of the process.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Partly => 3,
        }
    }
}

/// Wrong usage or invalid input: exit code 2. Any other error of a command is exit code 1.
#[derive(Debug)]
pub struct InvalidInput(pub String);

impl fmt::Display for InvalidInput {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for InvalidInput {}

/// The exit code that an error stands for.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let invalid =
        |cause: &(dyn std::error::Error + 'static)| cause.is::<InvalidInput>() || cause.is::<FileErrors>();
    if error.chain().any(invalid) { 2 } else { 1 }
}
