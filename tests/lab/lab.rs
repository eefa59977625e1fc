//! One lab: where its files lie, what runs in it, and how that is started and stopped.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use foobar_tests::authority::Authority;
use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    hosts::{Host, Hosts},
    processes::{Processes, Running},
    say::say,
    services::Service,
};

/// How the servers know whom the balancer speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clients {
    /// By the PROXY header, version 2.
    Proxy,
    /// The balancer has the client's address as its own (haproxy's `usesrc clientip`).
    Transparent,
}

/// A lab that is up, or about to be.
#[derive(Debug)]
pub(crate) struct Lab {
    /// Its namespaces.
    pub(crate) hosts: Hosts,
    /// Its processes.
    pub(crate) processes: Processes,
    /// How the servers know whom the balancer speaks for.
    pub(crate) clients: Clients,
    name: String,
    folder: PathBuf,
    // One command at a time: what one starts another would not know of.
    _lock: Flock<fs::File>,
}

impl Lab {
    /// The lab of this name that is up.
    ///
    /// # Errors
    /// If it is not up, or another command is at work on it.
    pub(crate) fn find(name: &str) -> Result<Self> {
        let lab = Self::open(name)?;
        ensure!(lab.hosts.any(), "no lab is up: `cargo xtask lab up` starts it");
        Ok(lab)
    }

    /// The lab of this name, whether it is up or not.
    pub(crate) fn open(name: &str) -> Result<Self> {
        let folder = base()?.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let lock = fs::File::create(folder.join("lock"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|(_file, error)| error)
            .context("another command is at work on this lab; wait until it has ended")?;
        let transparent = folder.join(TRANSPARENT).exists();
        Ok(Self {
            hosts: Hosts::of(name),
            processes: Processes::new(&folder.join("processes"))?,
            clients: if transparent { Clients::Transparent } else { Clients::Proxy },
            name: name.to_owned(),
            folder,
            _lock: lock,
        })
    }

    /// Remembers how the servers are to know clients.
    pub(crate) fn set_clients(&mut self, clients: Clients) -> Result<()> {
        self.clients = clients;
        if clients == Clients::Transparent {
            fs::write(self.folder.join(TRANSPARENT), "")?;
        }
        Ok(())
    }

    /// The folder of all its files.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of a service, made if it is not there.
    pub(crate) fn folder_of(&self, service: Service) -> Result<PathBuf> {
        let folder = self.folder.join(service.name());
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(folder)
    }

    /// Where a service says what it has to say.
    pub(crate) fn log_of(&self, service: Service) -> PathBuf {
        self.folder.join("logs").join(service.name())
    }

    /// The folder of certificates.
    pub(crate) fn certificates(&self) -> PathBuf {
        self.folder.join("certificates")
    }

    /// Where the filter of a host has its pins.
    pub(crate) fn pins_of(&self, host: Host) -> PathBuf {
        self.pins().join(host.name())
    }

    fn pins(&self) -> PathBuf {
        PathBuf::from("/sys/fs/bpf").join(format!("foobar-{}", self.name))
    }

    /// Where the state of a database is that every lab begins with.
    pub(crate) fn seed() -> Result<PathBuf> {
        Ok(base()?.join("seed"))
    }

    /// Makes the authority and its certificates: the site's, each firewall's for its metrics, and that of Prometheus.
    pub(crate) fn make_certificates(&self) -> Result<()> {
        let folder = self.certificates();
        fs::create_dir_all(&folder)?;
        let authority = Authority::in_folder(&folder, "authority")?;
        authority.sign_named("site", SITE_NAMES, "90")?;
        authority.sign_named("monitoring", "DNS:monitoring.foobar.com", "90")?;
        for host in Host::FILTERED {
            authority.sign_named(&host.name(), &format!("IP:{}", host.address()), "90")?;
        }
        Ok(())
    }

    /// Replaces the certificate of the site by one that lives for so many days, has the web servers take it, and the firewall of the
    /// balancer look at it.
    pub(crate) fn renew_site_certificate(&self, days: &str) -> Result<()> {
        let authority = Authority::in_folder(&self.certificates(), "authority")?;
        authority.sign_named("site", SITE_NAMES, days)?;
        for number in 1..=3 {
            for service in [Service::Www(number), Service::Admin(number)] {
                self.signal(service, Signal::SIGHUP)?;
            }
        }
        // nginx goes on with the old one for a moment.
        std::thread::sleep(Duration::from_secs(1));
        self.look_at_certificate()
    }

    /// Has the firewall of the balancer look at the certificate of the site now, and not at the next full hour.
    pub(crate) fn look_at_certificate(&self) -> Result<()> {
        self.signal(Service::Firewall(Host::Balancer), Signal::SIGHUP)
    }

    /// Sends a signal to a service that runs, and to nothing that it has made.
    fn signal(&self, service: Service, signal: Signal) -> Result<()> {
        let Some(running) = self.running(service) else { return Ok(()) };
        kill(Pid::from_raw(running.id), signal)
            .with_context(|| format!("send {signal} to {}", service.name()))
    }

    /// Writes a file of a service from a template, where `@FOLDER@` is the service's folder, `@CERTIFICATES@` that of the
    /// certificates, `@NAME@` and `@ADDRESS@` those of its host; other words are given.
    pub(crate) fn write(
        &self,
        service: Service,
        name: &str,
        template: &str,
        further: &[(&str, &str)],
    ) -> Result<PathBuf> {
        let folder = self.folder_of(service)?;
        let host = service.host();
        let words = [
            ("@FOLDER@", folder.display().to_string()),
            ("@CERTIFICATES@", self.certificates().display().to_string()),
            ("@NAME@", host.name()),
            ("@ADDRESS@", host.address().to_string()),
        ];
        let mut text = template.to_owned();
        for (word, value) in
            words.iter().map(|(word, value)| (*word, value.as_str())).chain(further.iter().copied())
        {
            text = text.replace(word, value);
        }
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// Starts a service, unless it runs; waits for nothing.
    pub(crate) fn start(&self, service: Service) -> Result<()> {
        let name = service.name();
        if self.processes.find(&name).is_some() {
            return Ok(());
        }
        let words = service.prepare(self).with_context(|| format!("prepare {name}"))?;
        let namespace = self.hosts.namespace(service.host())?;
        let mut command = namespace.command("env");
        command.args(words);
        fs::create_dir_all(self.folder.join("logs"))?;
        self.processes.start(&name, &command, &self.log_of(service)).map(drop)
    }

    /// Ends a service as it wants to be ended.
    pub(crate) fn stop(&self, service: Service) -> Result<()> {
        self.stop_named(&service.name())
    }

    /// Ends the service of this name.
    pub(crate) fn stop_named(&self, name: &str) -> Result<()> {
        if !self.processes.stop(name, Signal::SIGTERM)? {
            say(&format!("{name} did not end in time and was killed"));
        }
        Ok(())
    }

    /// Ends a service as a crash would.
    pub(crate) fn kill(&self, service: Service) -> Result<()> {
        self.processes.stop(&service.name(), Signal::SIGKILL).map(drop)
    }

    /// The process of a service, if it runs.
    pub(crate) fn running(&self, service: Service) -> Option<Running> {
        self.processes.find(&service.name())
    }

    /// Waits until a service does what it is for, and says how long that took.
    ///
    /// # Errors
    /// If it does not, with the end of what the service said.
    pub(crate) fn wait_for(&self, service: Service, limit: Duration) -> Result<()> {
        let began = Instant::now();
        let mut last;
        loop {
            match service.check(self) {
                Ok(()) => break,
                Err(error) => last = error,
            }
            if self.running(service).is_none() || began.elapsed() > limit {
                let end = self.last_words(service);
                let what = if self.running(service).is_none() { "has ended" } else { "is not ready" };
                bail!("{} {what} after {:.1?}: {last:#}\n{end}", service.name(), began.elapsed());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        say(&format!("{:12} ready after {:.1} s", service.name(), began.elapsed().as_secs_f64()));
        Ok(())
    }

    /// The end of what a service has said.
    pub(crate) fn last_words(&self, service: Service) -> String {
        let log = fs::read_to_string(self.log_of(service)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }

    /// Ends everything and removes it, whatever of it is there; the seed of the databases stays.
    pub(crate) fn down(self) -> Result<()> {
        // Who asks before who answers, and the firewalls last.
        let mut names = self.processes.names()?;
        names.sort_by_key(|name| (name.starts_with("foobar"), name.starts_with("database"), name.clone()));
        for name in names {
            self.stop_named(&name)?;
        }
        for left in self.hosts.remove()? {
            say(&format!("was left over, and killed: {left}"));
        }
        let pins = self.pins();
        if pins.exists() {
            fs::remove_dir_all(&pins).with_context(|| format!("remove {}", pins.display()))?;
        }
        fs::remove_dir_all(&self.folder).with_context(|| format!("remove {}", self.folder.display()))
    }
}

/// A file that says that the lab is a transparent one.
const TRANSPARENT: &str = "transparent";
const SITE_NAMES: &str = "DNS:www.foobar.com";

/// Where all labs are: below `target`, beside the folder of this program's profile.
fn base() -> Result<PathBuf> {
    if let Some(path) = env::var_os("FOOBAR_LAB") {
        return Ok(PathBuf::from(path));
    }
    let program = env::current_exe()?;
    let target = program.ancestors().nth(2).context("this program is in no target folder")?;
    Ok(target.join("lab"))
}

/// The foobar that the firewalls run: what `FOOBAR_BIN` says, otherwise the one that was built beside this program.
pub(crate) fn foobar() -> Result<PathBuf> {
    let path = match env::var_os("FOOBAR_BIN") {
        Some(path) => PathBuf::from(path),
        None => env::current_exe()?.with_file_name("foobar"),
    };
    ensure!(path.is_file(), "there is no foobar at {}: `cargo build` makes one", path.display());
    Ok(path)
}
