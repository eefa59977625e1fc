//! `foobar fleet …`.

pub mod diff;
mod place;
pub mod push;
pub mod status;

use clap::Subcommand;

use crate::{env::Env, outcome::Outcome};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Give rules to all servers that have them from etcd, and show which of them have which.\n\nThe rules lie below the \
     prefix that `foobar run --rules etcd://HOST:2379/PREFIX` reads, a key for each file: rule files directly below it, set files by \
     the names that the rule files give them. `foobar fleet push` writes them in one change; etcd's own client does, too \
     (`etcdctl put PREFIX/rules.toml < rules.toml`). Keys that are written within 0.3 s of each other are one change.";

/// What can be done with a fleet.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Put rules into etcd, and wait until all members have them
    #[command(long_about = push::LONG_ABOUT)]
    Push(push::Args),
    /// Show what pushing rules would change
    #[command(long_about = diff::LONG_ABOUT)]
    Diff(diff::Args),
    /// Show which rules are in force on each member, and who refused which
    #[command(long_about = status::LONG_ABOUT)]
    Status(status::Args),
}

/// Runs the command.
pub fn run(command: Command, env: &mut Env<'_>) -> anyhow::Result<Outcome> {
    match command {
        Command::Push(args) => push::run(&args, env),
        Command::Diff(args) => diff::run(&args, env),
        Command::Status(args) => status::run(&args, env),
    }
}

/// What others wrote, for a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|one| if one.is_control() { '\u{fffd}' } else { one }).take(500).collect()
}
