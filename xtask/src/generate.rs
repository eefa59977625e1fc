//! `cargo xtask generate`: the files that are made from the code.

use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    built::Built,
    command::{output, program, say},
    setup, workspace,
};

/// Flags of `cargo xtask generate`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail if a file is not what the code makes
    #[arg(long)]
    check: bool,
}

/// One generated file.
struct Generated {
    path: PathBuf,
    content: Vec<u8>,
}

/// Runs the command.
pub(crate) fn generate(args: &Args) -> Result<()> {
    let built = Built::programs()?;
    let mut files = vec![metrics(&built)?];
    if setup::lacks_for_building()?.is_empty() {
        files.extend(kept_object(&built)?);
    } else if args.check {
        say(
            "generate: the kept object is not checked, for it takes bpf-linker and rust-src to build another",
        );
    } else {
        setup::for_building()?;
        files.extend(kept_object(&Built::programs()?)?);
    }

    let changed: Vec<&Generated> = files.iter().filter(|file| !file.is_current()).collect();
    if changed.is_empty() {
        say("generate: all current");
        return Ok(());
    }
    let names: Vec<String> = changed.iter().map(|file| file.name()).collect();
    if args.check {
        bail!(
            "not what the code makes: {}; run `cargo xtask generate` and commit what it changes",
            names.join(", ")
        );
    }
    for file in changed {
        file.write()?;
    }
    say(&format!("generate: renewed {}", names.join(", ")));
    Ok(())
}

/// METRICS.md, from the daemon's catalogue.
fn metrics(built: &Built) -> Result<Generated> {
    let text = output(program(built.program("foobar-daemon/foobar")?).args(["generate-docs", "metrics"]))?;
    Ok(Generated { path: workspace::root().join("METRICS.md"), content: text.into_bytes() })
}

/// The BPF object for machines that cannot build it, and its note.
fn kept_object(built: &Built) -> Result<[Generated; 2]> {
    let folder = built.script_folder("foobar-daemon")?;
    let kept = |suffix: &str| -> Result<Generated> {
        let path = folder.join(format!("foobar.{suffix}"));
        let content = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let name = format!("foobar-ebpf/kept/foobar-{ARCH}.{suffix}");
        Ok(Generated { path: workspace::root().join(name), content })
    };
    Ok([kept("o.zlib")?, kept("txt")?])
}

impl Generated {
    fn is_current(&self) -> bool {
        fs::read(&self.path).is_ok_and(|content| content == self.content)
    }

    fn write(&self) -> Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        fs::write(&self.path, &self.content).with_context(|| format!("write {}", self.path.display()))
    }

    fn name(&self) -> String {
        let root = workspace::root();
        let name: &Path = self.path.strip_prefix(&root).unwrap_or(&self.path);
        name.display().to_string()
    }
}
