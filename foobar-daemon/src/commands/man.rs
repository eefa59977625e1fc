//! `foobar man`.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_mangen::Man;

use crate::{cli::Cli, env::Env, outcome::Outcome};

/// Flags of `foobar man`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  foobar man | man -l -\n  foobar man --dir /usr/local/share/man/man1"
)]
pub struct Args {
    /// Write one page per command into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, env: &mut Env<'_>) -> Result<Outcome> {
    let pages = pages()?;
    match &args.dir {
        None => {
            for (_, page) in pages {
                env.out.write_all(&page)?;
            }
        }
        Some(folder) => {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
            for (name, page) in pages {
                let path = folder.join(name);
                fs::write(&path, page).with_context(|| format!("write {}", path.display()))?;
                writeln!(env.out, "{}", path.display())?;
            }
        }
    }
    Ok(Outcome::Done)
}

/// Every page with its file name, `foobar.1` first.
///
/// # Errors
/// None that writing to memory leads to.
pub fn pages() -> Result<Vec<(String, Vec<u8>)>> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add_pages(&command, "foobar", &mut pages)?;
    Ok(pages)
}

fn add_pages(command: &clap::Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let man = Man::new(command.clone()).title(name.to_uppercase()).source("foobar").manual("foobar");
    let mut page = Vec::new();
    man.render(&mut page)?;
    pages.push((format!("{name}.1"), page));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        add_pages(below, &format!("{name}-{}", below.get_name()), pages)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["foobar.1", "foobar-run.1", "foobar-rules.1", "foobar-rules-apply.1", "foobar-man.1"] {
            assert!(names.contains(&name), "{name} is missing in {names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("generate")), "{names:?}");
        let apply = pages.iter().find(|(name, _)| name == "foobar-rules-apply.1").unwrap();
        assert!(String::from_utf8_lossy(&apply.1).contains("confirm\\-within"));
    }
}
