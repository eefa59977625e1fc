//! Debian packages that are fetched and unpacked, not installed: apt with sources and state of its own, so that
//! the machine's stay as they are. Signatures are verified as apt always does.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{output, program, say, succeed},
    workspace,
};

/// How old the lists of packages may be.
const FRESH: Duration = Duration::from_hours(24);

/// The keys of Debian's archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An apt of our own.
pub(crate) struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// With fresh lists of Debian 12, its updates and what is newer in backports.
    pub(crate) fn ready() -> Result<Self> {
        let apt = Self { folder: workspace::private("apt")? };
        for folder in ["lists/partial", "cache/archives/partial", "downloads"] {
            workspace::private(&format!("apt/{folder}"))?;
        }
        let stamp = apt.folder.join("updated");
        let age =
            fs::metadata(&stamp).and_then(|facts| facts.modified()).ok().and_then(|time| time.elapsed().ok());
        if age.is_none_or(|age| age > FRESH) {
            apt.write_sources()?;
            // As if nothing was installed: what is unpacked shall need nothing of this machine.
            fs::write(apt.folder.join("status"), "").context("write target/apt/status")?;
            match output(apt.get().arg("update").args(["--error-on=any"])) {
                Ok(_) => fs::write(&stamp, "").context("write target/apt/updated")?,
                Err(error) if age.is_some() => {
                    say(&format!("taking the lists of packages from last time, since: {error:#}"));
                }
                Err(error) => return Err(error.context("read Debian's lists of packages")),
            }
        }
        Ok(apt)
    }

    /// The names of all packages there are.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        Ok(output(self.cache().arg("pkgnames"))?.lines().map(str::to_owned).collect())
    }

    /// The versions of a package, newest first.
    pub(crate) fn versions(&self, package: &str) -> Result<Vec<String>> {
        let lines = output(self.cache().args(["madison", package]))?;
        Ok(lines.lines().filter_map(|line| Some(line.split('|').nth(1)?.trim().to_owned())).collect())
    }

    /// Fetches packages (`name` or `name=version`) and unpacks them into a folder.
    pub(crate) fn unpack(&self, packages: &[&str], into: &Path) -> Result<()> {
        let downloads = self.folder.join("downloads");
        clear(&downloads)?;
        output(self.get().current_dir(&downloads).arg("download").args(packages))?;
        unpack_all(&downloads, into)?;
        clear(&downloads)
    }

    /// Fetches a package (`name=version`) and unpacks one folder of it, given as `./path`, below a folder.
    pub(crate) fn unpack_part(&self, package: &str, part: &str, into: &Path) -> Result<()> {
        let downloads = self.folder.join("downloads");
        clear(&downloads)?;
        output(self.get().current_dir(&downloads).args(["download", package]))?;
        for archive in files(&downloads)? {
            let mut reader = program("dpkg-deb");
            reader.arg("--fsys-tarfile").arg(&archive).stdout(Stdio::piped());
            let mut reader = reader.spawn().context("start dpkg-deb")?;
            let content = reader.stdout.take().context("dpkg-deb has no output")?;
            let mut tar = program("tar");
            succeed(tar.args(["--extract", "--directory"]).arg(into).arg(part).stdin(content))?;
            let status = reader.wait().context("wait for dpkg-deb")?;
            if !status.success() {
                bail!("dpkg-deb cannot read {} ({status})", archive.display());
            }
        }
        clear(&downloads)
    }

    /// Fetches a package with all that it depends on, down to the C library, and unpacks that into a folder.
    pub(crate) fn unpack_with_dependencies(&self, package: &str, into: &Path) -> Result<()> {
        let archives = self.folder.join("cache/archives");
        output(self.get().args(["install", "--yes", "--download-only", "--no-install-recommends", package]))?;
        unpack_all(&archives, into)?;
        output(self.get().arg("clean")).map(drop)
    }

    fn get(&self) -> Command {
        self.with_options("apt-get")
    }

    fn cache(&self) -> Command {
        self.with_options("apt-cache")
    }

    fn with_options(&self, name: &str) -> Command {
        let folder = self.folder.display();
        let mut command = program(name);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        for option in [
            format!("Dir::Etc::SourceList={folder}/sources.list"),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::State={folder}"),
            format!("Dir::State::Lists={folder}/lists"),
            format!("Dir::State::status={folder}/status"),
            format!("Dir::Cache={folder}/cache"),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::Retries=3".to_owned(),
            "APT::Sandbox::User=".to_owned(),
            "Debug::NoLocking=true".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }

    fn write_sources(&self) -> Result<()> {
        let Mirror { main, security } = Mirror::of_this_machine()?;
        let signed =
            if Path::new(KEYRING).exists() { format!(" [signed-by={KEYRING}]") } else { String::new() };
        let sources = format!(
            "deb{signed} {main} bookworm main\n\
             deb{signed} {main} bookworm-backports main\n\
             deb{signed} {main} trixie-backports main\n\
             deb{signed} {security} bookworm-security main\n"
        );
        fs::write(self.folder.join("sources.list"), sources).context("write target/apt/sources.list")
    }
}

/// Where this machine gets Debian from.
struct Mirror {
    main: String,
    security: String,
}

impl Mirror {
    /// Asks the machine's apt what it would fetch.
    fn of_this_machine() -> Result<Self> {
        if crate::command::find("apt-get").is_none() {
            bail!("this machine has no apt-get: foobar's tools come from Debian");
        }
        let uris = output(program("apt-get").args(["update", "--print-uris"]))?;
        let releases: Vec<(&str, &str)> = uris
            .lines()
            .filter_map(|line| {
                let uri = line.strip_prefix('\'')?.split('\'').next()?;
                uri.strip_suffix("/InRelease")?.split_once("/dists/")
            })
            .collect();
        let find = |wanted: fn(&str) -> bool| {
            releases.iter().find(|(_, suite)| wanted(suite)).map(|(mirror, _)| (*mirror).to_owned())
        };
        let main = find(|suite| matches!(suite, "bookworm" | "trixie" | "stable" | "oldstable"))
            .context("the sources of this machine's apt name no Debian release (bookworm)")?;
        let security = find(|suite| suite.ends_with("-security") || suite.contains("-security/"))
            .unwrap_or_else(|| format!("{main}-security"));
        Ok(Self { main, security })
    }
}

fn unpack_all(archives: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("create {}", into.display()))?;
    for archive in files(archives)? {
        if archive.extension().is_some_and(|extension| extension == "deb") {
            succeed(program("dpkg").arg("--extract").arg(&archive).arg(into))?;
        }
    }
    Ok(())
}

/// Removes the files of a folder.
fn clear(folder: &Path) -> Result<()> {
    for path in files(folder)? {
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read the folder {}", folder.display()))?;
    let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    Ok(paths?.into_iter().filter(|path| path.is_file()).collect())
}
