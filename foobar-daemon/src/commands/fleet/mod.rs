//! `foobar fleet …`.

pub mod status;

use clap::Subcommand;

use crate::{env::Env, outcome::Outcome};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Show the servers that have their rules from etcd.\n\nRules are put there by etcd's own client, one key for \
     each file: `etcdctl put /foobar/rules.toml < rules.toml`, with what `foobar run --rules \
     etcd://HOST:2379/foobar` reads. Set files are keys beside it, by the names that the rule file gives them. Keys that are \
     written within 0.3 s of each other are one change.";

/// What can be done with a fleet.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show which rules are in force on each member, and who refused which
    #[command(long_about = status::LONG_ABOUT)]
    Status(status::Args),
}

/// Runs the command.
pub fn run(command: Command, env: &mut Env<'_>) -> anyhow::Result<Outcome> {
    match command {
        Command::Status(args) => status::run(&args, env),
    }
}
