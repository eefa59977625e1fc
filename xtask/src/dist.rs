//! `cargo xtask dist`: the release in one archive.

use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    command::{cargo, output, print, program, succeed},
    setup, workspace,
};

/// Shells to complete for, and what their files are called.
const COMPLETIONS: [(&str, &str); 3] = [("bash", "foobar.bash"), ("fish", "foobar.fish"), ("zsh", "_foobar")];

/// Runs the command and prints the path of the archive.
pub(crate) fn dist() -> Result<()> {
    setup::for_building_if_possible();
    succeed(&mut cargo(["build", "--release", "--package", "foobar-daemon", "--bin", "foobar"]))?;
    let built = workspace::target().join("release/foobar");

    let name = format!("foobar-{}-{ARCH}-linux", env!("CARGO_PKG_VERSION"));
    let dist = workspace::private("dist")?;
    let folder = dist.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    let put = |path: &str| -> Result<PathBuf> {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(&folder);
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        Ok(path)
    };
    succeed(program("strip").arg("-o").arg(put("bin/foobar")?).arg(&built))?;
    output(program(&built).args(["man", "--dir"]).arg(folder.join("share/man/man1")))?;
    for (shell, file) in COMPLETIONS {
        let script = output(program(&built).args(["completions", shell]))?;
        write(&put(&format!("share/completions/{file}"))?, &script)?;
    }
    write(&put("lib/systemd/system/foobar.service")?, include_str!("../../packaging/foobar.service"))?;
    write(&put("share/systemd/decrypt.conf")?, include_str!("../../packaging/decrypt.conf"))?;
    write(&put("share/web.yml")?, include_str!("../../packaging/web.yml"))?;
    write(&put("share/push.toml")?, include_str!("../../packaging/push.toml"))?;
    write(&put("share/fail2ban/foobar.conf")?, include_str!("../../packaging/fail2ban.conf"))?;
    for text in ["README.md", "CHANGELOG.md", "METRICS.md", "LICENSE-APACHE", "LICENSE-GPL"] {
        let from = workspace::root().join(text);
        fs::copy(&from, put(text)?).with_context(|| format!("copy {}", from.display()))?;
    }
    let rules = workspace::root().join("rules");
    succeed(program("cp").arg("--recursive").arg(&rules).arg(put("rules")?))?;

    let archive = dist.join(format!("{name}.tar.gz"));
    succeed(
        program("tar")
            .args(["--create", "--gzip", "--owner=0", "--group=0", "--sort=name", "--file"])
            .arg(&archive)
            .arg("--directory")
            .arg(&dist)
            .arg(&name),
    )?;
    print(&archive.display().to_string());
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
