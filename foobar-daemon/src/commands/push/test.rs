//! `foobar push test`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use tokio::runtime;

use super::read;
use crate::{
    env::Env,
    outcome::{InvalidInput, Outcome},
    push::trial,
};

/// What `--help` tells of it.
pub const LONG_ABOUT: &str = "Send one point to each target, foobar_build_info with the labels of the file, and say what it answers. \
     It is sent once, at once, and past the spool; the allow-list and the budget of the target do not matter.";

/// Flags of `foobar push test`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  foobar push test /etc/foobar/push.toml\n  foobar push test /etc/foobar/push.toml \
                             --target center\n\nExit codes: 0 each target took it; 1 some did not; 2 the file cannot be \
                             used."
)]
pub struct Args {
    /// The push file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only to this target
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    let config = read(&args.file, env)?;
    let is_wanted = |name: &str| args.target.as_ref().is_none_or(|wanted| wanted == name);
    let targets: Vec<_> = config.targets.iter().filter(|target| is_wanted(&target.name)).collect();
    if targets.is_empty() {
        let names: Vec<&str> = config.targets.iter().map(|target| target.name.as_str()).collect();
        return Err(InvalidInput(format!("no such target: the file has {}", names.join(", "))).into());
    }
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("start to send")?;
    let mut failed = 0;
    for target in &targets {
        let (name, endpoint) = (&target.name, &target.endpoint);
        match runtime.block_on(trial::send_one(target, &config.labels, (env.now)())) {
            Ok(words) => writeln!(env.out, "{name}  {endpoint} took it: {words}")?,
            Err(words) => {
                failed += 1;
                writeln!(env.out, "{name}  {endpoint} FAILED: {words}")?;
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of {} targets did not take it", targets.len());
    }
    Ok(Outcome::Done)
}
