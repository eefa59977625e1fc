//! `foobar completions`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{cli::Cli, env::Env, outcome::Outcome};

/// Flags of `foobar completions`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  foobar completions bash > /etc/bash_completion.d/foobar\n  \
                             foobar completions zsh > /usr/local/share/zsh/site-functions/_foobar\n  \
                             foobar completions fish > ~/.config/fish/completions/foobar.fish")]
pub struct Args {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "foobar", &mut script);
    env.out.write_all(&script)?;
    Ok(Outcome::Done)
}
