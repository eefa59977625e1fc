//! `foobar rules …`.

pub mod apply;
pub mod check;
pub mod confirm;
pub mod diff;
pub mod explain;
pub mod import;
pub mod rollback;
pub mod show;
mod words;

use clap::Subcommand;

use crate::{env::Env, outcome::Outcome};

/// What can be done with rules.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read rules and say what is wrong or useless in them; needs no kernel
    Check(check::Args),
    /// Say which rule a packet meets, and why; needs no kernel
    Explain(explain::Args),
    /// Say rules of iptables or nftables in the rule language; needs no kernel
    #[command(long_about = import::LONG_ABOUT)]
    Import(import::Args),
    /// Show the rules in force
    Show(show::Args),
    /// Show what applying rules would change
    #[command(long_about = diff::LONG_ABOUT)]
    Diff(diff::Args),
    /// Put rules in force
    #[command(long_about = apply::LONG_ABOUT)]
    Apply(apply::Args),
    /// Keep rules that were applied with --confirm-within
    Confirm(confirm::Args),
    /// Put the rules before the last ones back in force
    Rollback(rollback::Args),
}

/// Runs the command.
pub fn run(command: Command, env: &mut Env<'_>) -> anyhow::Result<Outcome> {
    match command {
        Command::Check(args) => check::run(&args, env),
        Command::Explain(args) => explain::run(&args, env),
        Command::Import(args) => import::run(&args, env),
        Command::Show(args) => show::run(&args, env),
        Command::Diff(args) => diff::run(&args, env),
        Command::Apply(args) => apply::run(&args, env),
        Command::Confirm(args) => confirm::run(&args, env),
        Command::Rollback(args) => rollback::run(&args, env),
    }
}
