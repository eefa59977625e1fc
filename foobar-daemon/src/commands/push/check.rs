//! `foobar push check`.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::read;
use crate::{env::Env, outcome::Outcome, push::file::Target};

/// Flags of `foobar push check`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  foobar push check /etc/foobar/push.toml\n\nExit codes: 0 it can be used; 2 it \
                             cannot, and stderr says where and why."
)]
pub struct Args {
    /// The push file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    let config = read(&args.file, env)?;
    if args.json {
        let targets: Vec<_> = config
            .targets
            .iter()
            .map(|target| {
                json!({
                    "name": target.name,
                    "kind": target.kind.label(),
                    "endpoint": target.endpoint.to_string(),
                    "interval_seconds": target.interval.as_secs_f64(),
                    "points_per_minute": target.points_per_minute,
                })
            })
            .collect();
        let words = json!({ "labels": config.labels, "targets": targets, "warnings": config.warnings });
        writeln!(env.out, "{}", serde_json::to_string_pretty(&words)?)?;
        return Ok(Outcome::Done);
    }
    let labels: Vec<String> = config.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    writeln!(env.out, "labels of all series: {}", labels.join(", "))?;
    if config.targets.is_empty() {
        writeln!(env.out, "no targets: nothing is sent")?;
    }
    for target in &config.targets {
        let Target { name, kind, endpoint, interval, .. } = &**target;
        let interval = humantime::format_duration(*interval);
        writeln!(env.out, "{name}  {endpoint} ({}), every {interval}", kind.label())?;
    }
    Ok(Outcome::Done)
}
