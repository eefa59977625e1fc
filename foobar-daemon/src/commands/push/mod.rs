//! `foobar push …`.

pub mod check;
pub mod test;

use std::path::Path;

use clap::Subcommand;

use crate::{
    env::Env,
    outcome::{InvalidInput, Outcome},
    push::file::Config,
    watched_files::Files,
};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Check and try a push file, which says to which services `foobar run --push FILE` sends its metrics: OTLP \
     over HTTP, Prometheus remote write, HTTP sources of Sumo Logic.\n\nNeither needs root, a kernel or a daemon.";

/// What can be done with a push file.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read a push file and those that it names, and say what is wrong in them
    Check(check::Args),
    /// Send one point to each target, and say what it answers
    #[command(long_about = test::LONG_ABOUT)]
    Test(test::Args),
}

/// Runs the command.
pub fn run(command: Command, env: &mut Env<'_>) -> anyhow::Result<Outcome> {
    match command {
        Command::Check(args) => check::run(&args, env),
        Command::Test(args) => test::run(&args, env),
    }
}

/// Reads a push file, and says what somebody may not have meant.
fn read(path: &Path, env: &mut Env<'_>) -> anyhow::Result<Config> {
    let config = Config::load(path, &mut Files::default()).map_err(InvalidInput)?;
    for warning in &config.warnings {
        writeln!(env.err, "foobar: warning: {warning}")?;
    }
    Ok(config)
}
