//! Every command of `foobar`; each one's flags stand in its own file.

use std::{io, process::ExitCode, sync::LazyLock};

use clap::{Parser, Subcommand};

use crate::{commands, dataplane::object, env::Env, outcome};

/// Version of foobar, and where the BPF object that it carries comes from.
static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (BPF object: {})", env!("CARGO_PKG_VERSION"), object::ORIGIN));

/// Firewall and traffic meter on the network card.
#[derive(Debug, Parser)]
#[command(
    name = "foobar",
    version = VERSION.as_str(),
    max_term_width = 100,
    after_long_help = "A first look, which changes nothing and ends with Ctrl-C:\n  foobar run --interface eth0 \
                       --rules rules/default.toml --mode generic --ephemeral --summary\n\nExit codes: 0 done; 1 \
                       failed; 2 wrong usage or invalid input; 3 partly done."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Noun commands show, verb commands change.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Attach the filter, keep it in force and serve its counters
    #[command(long_about = commands::run::LONG_ABOUT)]
    Run(Box<commands::run::Args>),
    /// Show what is attached, loaded and counted
    #[command(long_about = commands::status::LONG_ABOUT)]
    Status(commands::status::Args),
    /// Show what passes, renewed every second
    #[command(long_about = commands::top::LONG_ABOUT)]
    Top(commands::top::Args),
    /// Show packets that were drawn as samples, as they come
    #[command(long_about = commands::watch::LONG_ABOUT)]
    Watch(commands::watch::Args),
    /// Check, show, compare, apply and explain rules
    #[command(subcommand)]
    Rules(commands::rules::Command),
    /// Show and change address sets while they are in force
    #[command(subcommand, long_about = commands::set::LONG_ABOUT)]
    Set(commands::set::Command),
    /// Drop all that comes from addresses, for a time
    #[command(long_about = commands::ban::LONG_ABOUT)]
    Ban(commands::ban::Args),
    /// Lift bans
    #[command(long_about = commands::unban::LONG_ABOUT)]
    Unban(commands::unban::Args),
    /// Show the bans in force
    Bans(commands::bans::Args),
    /// Show the servers that have their rules from etcd
    #[command(subcommand, long_about = commands::fleet::LONG_ABOUT)]
    Fleet(commands::fleet::Command),
    /// Check and try a push file: which services get the metrics
    #[command(subcommand, long_about = commands::push::LONG_ABOUT)]
    Push(commands::push::Command),
    /// Send a capture through the programs, attached to nothing
    Replay(commands::replay::Args),
    /// Take the filter away: remove links and pins
    #[command(long_about = commands::detach::LONG_ABOUT)]
    Detach(commands::detach::Args),
    /// Print a completion script for a shell
    Completions(commands::completions::Args),
    /// Print the manual pages
    Man(commands::man::Args),
    /// Print texts that the repository keeps
    #[command(hide = true)]
    GenerateDocs(commands::generate_docs::Args),
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let code = Env::with_process(|env| match run(cli, env) {
        Ok(outcome) => outcome.exit_code(),
        // The reader has seen enough, as `head` does.
        Err(error) if is_broken_pipe(&error) => 0,
        Err(error) => {
            // Nothing is left to do when stderr is closed.
            drop(writeln!(env.err, "foobar: {error:#}"));
            outcome::exit_code(&error)
        }
    });
    ExitCode::from(code)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Runs one command.
///
/// # Errors
/// Those of the command; [`outcome::exit_code`] tells which exit code each stands for.
pub fn run(cli: Cli, env: &mut Env<'_>) -> anyhow::Result<outcome::Outcome> {
    match cli.command {
        Command::Run(args) => commands::run::run(&args, env),
        Command::Status(args) => commands::status::run(&args, env),
        Command::Top(args) => commands::top::run(&args, env),
        Command::Watch(args) => commands::watch::run(&args, env),
        Command::Rules(command) => commands::rules::run(command, env),
        Command::Set(command) => commands::set::run(command, env),
        Command::Ban(args) => commands::ban::run(&args, env),
        Command::Unban(args) => commands::unban::run(&args, env),
        Command::Bans(args) => commands::bans::run(&args, env),
        Command::Fleet(command) => commands::fleet::run(command, env),
        Command::Push(command) => commands::push::run(command, env),
        Command::Replay(args) => commands::replay::run(&args, env),
        Command::Detach(args) => commands::detach::run(&args, env),
        Command::Completions(args) => commands::completions::run(&args, env),
        Command::Man(args) => commands::man::run(&args, env),
        Command::GenerateDocs(args) => commands::generate_docs::run(&args, env),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn commands_and_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn interfaces_can_be_named_in_every_usual_way() {
        for words in [
            vec!["--interface", "a", "b"],
            vec!["--interface", "a", "--interface", "b"],
            vec!["--interface", "a,b"],
        ] {
            let cli = Cli::try_parse_from(["foobar", "run"].into_iter().chain(words)).unwrap();
            let shown = format!("{:?}", cli.command);
            assert!(shown.contains(r#"interface: ["a", "b"]"#), "{shown}");
        }
    }

    #[test]
    fn the_version_tells_where_the_object_comes_from() {
        let version = Cli::command().render_version();
        assert!(version.contains(object::ORIGIN), "{version}");
    }
}
