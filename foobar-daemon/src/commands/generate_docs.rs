//! `foobar generate-docs`: texts that the repository keeps; hidden, for `cargo xtask generate`.

use clap::ValueEnum;

use crate::{env::Env, metrics::markdown, outcome::Outcome};

/// Flags of `foobar generate-docs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which text
    #[arg(value_enum)]
    text: Text,
}

/// What can be generated.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Text {
    /// METRICS.md.
    Metrics,
    /// All manual pages, one after the other.
    Man,
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> anyhow::Result<Outcome> {
    match args.text {
        Text::Metrics => env.out.write_all(markdown::markdown().as_bytes())?,
        Text::Man => {
            for (_, page) in super::man::pages()? {
                env.out.write_all(&page)?;
            }
        }
    }
    Ok(Outcome::Done)
}
