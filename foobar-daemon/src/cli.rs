//! Every command of `foobar`; each one's flags stand in its own file.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{commands, env::Env, outcome};

/// Firewall and traffic meter on the network card.
#[derive(Debug, Parser)]
#[command(name = "foobar", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Noun commands show, verb commands change.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Attach the filter, keep it in force and serve its counters
    Run(commands::run::Args),
    /// Show what is attached, loaded and counted
    Status(commands::status::Args),
    /// Check, show, compare, apply and explain rules
    #[command(subcommand)]
    Rules(commands::rules::Command),
    /// Send a capture through the programs, attached to nothing
    Replay(commands::replay::Args),
    /// Take the filter away: remove links and pins
    Detach(commands::detach::Args),
    /// Print a completion script for a shell
    Completions(commands::completions::Args),
    /// Print the manual page
    Man,
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let code = Env::with_process(|env| match run(cli, env) {
        Ok(outcome) => outcome.exit_code(),
        Err(error) => {
            // Nothing is left to do when stderr is closed.
            drop(writeln!(env.err, "foobar: {error:#}"));
            outcome::exit_code(&error)
        }
    });
    ExitCode::from(code)
}

/// Runs one command.
///
/// # Errors
/// Those of the command; [`outcome::exit_code`] tells which exit code each stands for.
pub fn run(cli: Cli, env: &mut Env<'_>) -> anyhow::Result<outcome::Outcome> {
    match cli.command {
        Command::Run(args) => commands::run::run(&args, env),
        Command::Status(args) => commands::status::run(&args, env),
        Command::Rules(command) => commands::rules::run(command, env),
        Command::Replay(args) => commands::replay::run(&args, env),
        Command::Detach(args) => commands::detach::run(&args, env),
        Command::Completions(args) => commands::completions::run(&args, env),
        Command::Man => commands::man::run(env),
    }
}
