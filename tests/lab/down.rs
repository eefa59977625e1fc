//! `cargo xtask lab down`.

use std::{fs, time::Instant};

use anyhow::{Context as _, Result};

use crate::{lab::Lab, say::say};

/// Flags of `down`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also remove the databases' first state, which makes the next `up` take longer
    #[arg(long)]
    seed: bool,
}

/// Ends everything and removes it, also of a lab that did not come up whole.
pub(crate) fn run(lab: Lab, args: &Args) -> Result<()> {
    let began = Instant::now();
    lab.down()?;
    let seed = Lab::seed()?;
    if args.seed && seed.exists() {
        fs::remove_dir_all(&seed).with_context(|| format!("remove {}", seed.display()))?;
    }
    say(&format!("down in {:.1} s", began.elapsed().as_secs_f64()));
    Ok(())
}
