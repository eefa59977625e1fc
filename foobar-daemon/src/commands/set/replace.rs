//! `foobar set replace`.

use std::{fs::File, io, path::PathBuf};

use anyhow::Result;

use super::edit::{EditArgs, edit};
use crate::{
    control::protocol::SetEditRequest,
    env::Env,
    outcome::{InvalidInput, Outcome},
    rules::bundle::{SourceFile, read_set},
};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Put the entries of a file in the place of those that a set has, in one step.\n\nThe file has an address or \
     prefix on each line; # and ; start comments. Every error is told with its line and column, and then \
     nothing changes. A file that says nothing at all is an error: it is mostly a download that failed.";

/// Flags of `foobar set replace`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  foobar set replace blocked blocked.txt\n  curl -sSf \
                             https://www.example.org/drop.txt | foobar set replace spamhaus - --lenient\n\nExit codes: \
                             0 done; 1 failed, and the set is as it was; 2 wrong usage, unknown set or errors in the \
                             file, and the set is as it was.")]
pub struct Args {
    /// The set
    name: String,
    /// The file, or - for stdin
    file: PathBuf,
    #[command(flatten)]
    edit: EditArgs,
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    let source = if args.file.as_os_str() == "-" {
        SourceFile { name: "stdin".to_owned(), text: read_set(io::stdin().lock(), "stdin".as_ref())? }
    } else {
        let file = File::open(&args.file)
            .map_err(|error| InvalidInput(format!("read set file {}: {error}", args.file.display())))?;
        SourceFile { name: args.file.display().to_string(), text: read_set(file, &args.file)? }
    };
    edit(&args.name, SetEditRequest::Replace(source), &args.edit, env)
}
