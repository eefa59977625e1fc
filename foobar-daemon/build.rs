//! Puts the BPF programs into `OUT_DIR/foobar`, where `dataplane/object.rs` embeds them.
//!
//! They are built from source where bpf-linker and rust-src are there. A machine that has neither takes the
//! object that is kept in the repository, if it was made from the very sources of this tree. Either way the
//! bytes are the same. `OUT_DIR/foobar.txt` is the note that belongs to the object.

#[path = "build/kept.rs"]
mod kept;
#[path = "build/sources.rs"]
mod sources;
#[path = "build/strip.rs"]
mod strip;
#[path = "build/toolchain.rs"]
mod toolchain;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{kept::Kept, toolchain::Toolchain};

/// Forces one of the two ways, for tests: `source` (and nothing from the cache) or `kept`.
const FORCE: &str = "FOOBAR_BPF";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!(":error={error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let manifest = folder("CARGO_MANIFEST_DIR")?;
    let workspace = manifest.parent().context("foobar-daemon lies in no workspace")?;
    let out = folder("OUT_DIR")?;

    let sources = sources::hash(workspace)?;
    let forced = env::var(FORCE).ok();
    let (kept, origin) = match forced.as_deref() {
        Some("source") => {
            let toolchain = Toolchain::find(workspace).map_err(|lack| anyhow!("{lack}; {MEND}"))?;
            (compile(&toolchain, &sources, &out)?, SOURCE)
        }
        Some("kept") => {
            (Kept::read_for(workspace, &sources).map_err(|why| anyhow!("{why:#}; {MEND}"))?, KEPT)
        }
        Some(other) => bail!("{FORCE}={other}: it is `source` or `kept`, or not set"),
        None => match Toolchain::find(workspace) {
            Ok(toolchain) => (cached_or_compiled(workspace, &toolchain, &sources, &out)?, SOURCE),
            Err(lack) => {
                let kept = Kept::read_for(workspace, &sources).map_err(|why| {
                    anyhow!("the BPF programs cannot be built from source ({lack}), and {why:#}; {MEND}")
                })?;
                say(&format!("warning={lack}: taking the kept object of the BPF programs"));
                (kept, KEPT)
            }
        },
    };

    // Only at the end, since cargo shows all of it when a build script fails.
    say(&format!("rerun-if-env-changed={FORCE}"));
    say("rerun-if-changed=build.rs");
    say("rerun-if-changed=build");
    for path in sources::paths(workspace) {
        watch(&path);
    }
    if origin == KEPT {
        watch(&Kept::folder(workspace));
    }
    kept.write(&out, "foobar")?;
    say(&format!("rustc-env=FOOBAR_BPF_ORIGIN={origin}"));
    Ok(())
}

/// The two values of `dataplane::object::ORIGIN`.
const SOURCE: &str = "built from source";
const KEPT: &str = "kept object";

/// What to do about a missing BPF toolchain.
const MEND: &str = "run `cargo xtask setup`, which gets bpf-linker and rust-src, and build again";

/// The object from an earlier build of the same sources with the same tools, by whatever profile, or a new one.
fn cached_or_compiled(workspace: &Path, toolchain: &Toolchain, sources: &str, out: &Path) -> Result<Kept> {
    let cache = workspace.join("target/bpf");
    let name = format!("{sources}-{}", toolchain.fingerprint());
    if let Some(kept) = Kept::read(&cache, &name) {
        return Ok(kept);
    }
    let kept = compile(toolchain, sources, out)?;
    fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
    kept.write(&cache, &name)?;
    Ok(kept)
}

/// Builds the object, without DWARF.
fn compile(toolchain: &Toolchain, sources: &str, out: &Path) -> Result<Kept> {
    toolchain.build().context("build the BPF programs")?;
    let path = out.join("foobar");
    let linked = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let object = strip::strip(&linked).context("strip DWARF from the BPF programs")?;
    Ok(Kept::new(object, sources, toolchain))
}

/// The folder that cargo names in this variable.
fn folder(variable: &str) -> Result<PathBuf> {
    Ok(PathBuf::from(env::var_os(variable).with_context(|| format!("cargo sets no {variable}"))?))
}

/// Has cargo look at a file or folder for changes.
fn watch(path: &Path) {
    say(&format!("rerun-if-changed={}", path.display()));
}

/// Tells cargo something.
fn say(instruction: &str) {
    println!("cargo:{instruction}");
}
