//! `foobar set …`.

pub mod add;
mod edit;
pub mod list;
pub mod remove;
pub mod replace;
pub mod show;
mod words;

pub(in crate::commands) use words::edits as edits_words;

use clap::Subcommand;

use crate::{env::Env, outcome::Outcome};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Show and change address sets while they are in force.\n\nA change acts at once and on every interface, \
     without touching the rules: each packet is judged by the set before the change or by the set after \
     it. Bad input changes nothing.\n\nChanges are remembered: they stay over a restart of the daemon, and \
     over rules that give the set the same entries as before. When the rules give it other entries - \
     because its file was changed and read again, for example - the rules win, the changes are dropped, \
     and log and answer say so.";

/// What can be done with sets.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the sets in force: entries, where from, which rules use them
    List(list::Args),
    /// Show the entries of a set, as a set file
    #[command(long_about = show::LONG_ABOUT)]
    Show(show::Args),
    /// Add addresses and prefixes to a set
    #[command(long_about = add::LONG_ABOUT)]
    Add(add::Args),
    /// Remove addresses and prefixes from a set
    #[command(long_about = remove::LONG_ABOUT)]
    Remove(remove::Args),
    /// Put the entries of a file in the place of those that a set has
    #[command(long_about = replace::LONG_ABOUT)]
    Replace(replace::Args),
}

/// Runs the command.
pub fn run(command: Command, env: &mut Env<'_>) -> anyhow::Result<Outcome> {
    match command {
        Command::List(args) => list::run(&args, env),
        Command::Show(args) => show::run(&args, env),
        Command::Add(args) => add::run(&args, env),
        Command::Remove(args) => remove::run(&args, env),
        Command::Replace(args) => replace::run(&args, env),
    }
}
