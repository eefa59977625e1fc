//! Debian's kernels and qemu, unpacked below `target/kernels`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    apt::Apt,
    command::{output, program, say},
    workspace,
};

/// The series to test, and what the names of their versions begin with.
const SERIES: [(&str, &str); 3] = [("6.1", "6.1."), ("6.12", "6.12."), ("newest", "")];

/// Modules that the guest loads. The last two are for what goes out where there is no tcx.
const MODULES: [&str; 3] = ["veth", "sch_ingress", "cls_bpf"];

/// A kernel, unpacked.
pub(crate) struct Kernel {
    /// `6.1`, `6.12` or `newest`: what the table of expectations calls it.
    pub(crate) series: &'static str,
    /// The package that it comes from.
    pub(crate) package: String,
    /// The kernel itself.
    pub(crate) image: PathBuf,
    /// Modules to load, in order, uncompressed.
    pub(crate) modules: Vec<PathBuf>,
}

/// The newest kernel of each series that Debian has.
pub(crate) fn kernels(apt: &Apt) -> Result<Vec<Kernel>> {
    let names = apt.names()?;
    SERIES.iter().map(|(series, prefix)| kernel(apt, &names, series, prefix)).collect()
}

fn kernel(apt: &Apt, names: &[String], series: &'static str, prefix: &str) -> Result<Kernel> {
    let version = names
        .iter()
        .filter_map(|name| name.strip_prefix("linux-image-")?.strip_suffix("-cloud-amd64"))
        // The rest are packages such as `linux-image-cloud-amd64`, which name no version.
        .filter(|version| version.starts_with(|first: char| first.is_ascii_digit()))
        .filter(|version| version.starts_with(prefix))
        .max_by_key(|version| numbers(version))
        .with_context(|| format!("Debian has no kernel of series {series}"))?;
    let package = format!("linux-image-{version}-cloud-amd64");
    let folder = workspace::private("kernels")?.join(&package);
    let modules: Vec<PathBuf> = MODULES.iter().map(|name| folder.join(format!("{name}.ko"))).collect();
    if !folder.join("complete").exists() || !modules.iter().all(|module| module.exists()) {
        say(&format!("kernels: fetching {package}"));
        let unpacked = workspace::private("kernels/unpacked")?;
        // From 7.3 on the image package is empty and depends on these two.
        let parts = [
            package.clone(),
            format!("linux-binary-{version}-cloud-amd64"),
            format!("linux-modules-{version}-cloud-amd64"),
        ];
        let parts: Vec<&str> =
            parts.iter().map(String::as_str).filter(|part| names.iter().any(|name| name == part)).collect();
        apt.unpack(&parts, &unpacked)?;
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        keep(&unpacked, &folder).with_context(|| format!("take apart {package}"))?;
        fs::remove_dir_all(&unpacked).with_context(|| format!("remove {}", unpacked.display()))?;
        fs::write(folder.join("complete"), "").with_context(|| format!("write to {}", folder.display()))?;
    }
    Ok(Kernel { series, package, image: folder.join("vmlinuz"), modules })
}

/// The numbers in a version, for putting versions in order.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// Keeps of an unpacked kernel what the guest needs.
fn keep(unpacked: &Path, folder: &Path) -> Result<()> {
    let image = find(unpacked, &|name| name == "vmlinuz" || name.starts_with("vmlinuz-"))?
        .context("it holds no vmlinuz")?;
    fs::copy(&image, folder.join("vmlinuz")).with_context(|| format!("copy {}", image.display()))?;
    for module in MODULES {
        let plain = format!("{module}.ko");
        let found = find(unpacked, &|name| name == plain || name == format!("{plain}.xz"))?
            .with_context(|| format!("it holds no module {module}"))?;
        let to = folder.join(&plain);
        if found.extension().is_some_and(|extension| extension == "xz") {
            let unpacked = fs::File::create(&to).with_context(|| format!("create {}", to.display()))?;
            let mut xz = program("xz");
            crate::command::succeed(xz.args(["--decompress", "--stdout"]).arg(&found).stdout(unpacked))?;
        } else {
            fs::copy(&found, &to).with_context(|| format!("copy {}", found.display()))?;
        }
    }
    Ok(())
}

/// The first file below a folder whose name is wanted.
fn find(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Option<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read the folder {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if let Some(found) = find(&entry.path(), wanted)? {
                return Ok(Some(found));
            }
        } else if wanted(&entry.file_name().to_string_lossy()) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// qemu with all its libraries, down to the C library: an older or newer one on this machine does not matter.
pub(crate) struct Qemu {
    root: PathBuf,
}

impl Qemu {
    /// Starts an emulated machine.
    pub(crate) fn command(&self) -> Command {
        let root = self.root.display();
        let mut command = program(self.root.join("lib64/ld-linux-x86-64.so.2"));
        command
            .env("QEMU_MODULE_DIR", format!("{root}/usr/lib/x86_64-linux-gnu/qemu"))
            .arg("--library-path")
            .arg(format!("{root}/lib/x86_64-linux-gnu:{root}/usr/lib/x86_64-linux-gnu"))
            .arg(self.root.join("usr/bin/qemu-system-x86_64"))
            .args(["-L", &format!("{root}/usr/share/qemu"), "-L", &format!("{root}/usr/share/seabios")]);
        command
    }
}

/// Fetches qemu, unless it is there.
pub(crate) fn qemu(apt: &Apt) -> Result<Qemu> {
    let root = workspace::private("kernels/qemu")?;
    let qemu = Qemu { root };
    let complete = qemu.root.join("complete");
    if !complete.exists() {
        say("kernels: fetching qemu-system-x86 with its libraries into target/kernels/qemu (40 MB)");
        apt.unpack_with_dependencies("qemu-system-x86", &qemu.root)?;
        output(qemu.command().arg("--version"))?;
        fs::write(&complete, "").with_context(|| format!("write {}", complete.display()))?;
    }
    Ok(qemu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_put_in_order_by_their_numbers() {
        for (older, newer) in [
            ("6.1.0-9", "6.1.0-56"),
            ("6.12.95+deb12", "6.12.117+deb12"),
            ("6.12.90+deb12", "6.12.90+deb12.1"),
            ("6.18.15+deb13", "7.3.4+deb13"),
        ] {
            assert!(numbers(older) < numbers(newer), "{older} {newer}");
        }
    }
}
