//! A real foobar with everything of its own: state, socket, pins.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    binary,
    bpffs::PinFolder,
    command::{stderr, stdout, with_input},
    http::{self, Answer},
    metrics::Metrics,
    namespace::Namespace,
    wait,
};

/// Where a foobar under test serves its metrics, in its namespace.
pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9477);

/// Everything that belongs to one installation: it stays from one daemon to the next. Dropped, it ends the
/// daemon and removes pins and files.
#[derive(Debug)]
pub struct Foobar {
    namespace: Arc<Namespace>,
    interfaces: Vec<String>,
    options: Vec<String>,
    wrapper: Vec<String>,
    rules: Option<String>,
    listen: SocketAddr,
    pin_path: PathBuf,
    state_path: PathBuf,
    child: Option<Child>,
    // Removed after the daemon has ended, in this order.
    pins: PinFolder,
    folder: TempDir,
}

impl Foobar {
    /// An installation with these rules, to filter these interfaces; nothing runs yet.
    pub fn new(namespace: &Arc<Namespace>, interfaces: &[&str], rules: &str) -> Result<Self> {
        let pins = PinFolder::new()?;
        let folder = TempDir::new()?;
        let foobar = Self {
            namespace: Arc::clone(namespace),
            interfaces: interfaces.iter().map(|&name| name.to_owned()).collect(),
            options: Vec::new(),
            wrapper: Vec::new(),
            rules: None,
            listen: LISTEN,
            pin_path: pins.path().to_owned(),
            state_path: folder.path().join("state"),
            child: None,
            pins,
            folder,
        };
        foobar.write_rules(rules)?;
        Ok(foobar)
    }

    /// The same with further flags for `foobar run`.
    #[must_use]
    pub fn with_options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|&option| option.to_owned()));
        self
    }

    /// The same, started through another command, which runs the one that its arguments end in.
    #[must_use]
    pub fn with_wrapper(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The same with rules from elsewhere than its rule file.
    #[must_use]
    pub fn with_rules(mut self, place: &str) -> Self {
        self.rules = Some(place.to_owned());
        self
    }

    /// The same with another address for its metrics than [`LISTEN`].
    #[must_use]
    pub fn with_listen(mut self, listen: SocketAddr) -> Self {
        self.listen = listen;
        self
    }

    /// The same with a state folder that is not its own.
    #[must_use]
    pub fn with_state(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.state_path);
        self
    }

    /// The same with another folder for its pins.
    #[must_use]
    pub fn with_pins(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.pin_path);
        self
    }

    /// The rule file that the daemon reads at start and at SIGHUP.
    pub fn rules_path(&self) -> PathBuf {
        self.folder.path().join("rules.toml")
    }

    /// The folder of applied rulesets and counter slots.
    pub fn state_path(&self) -> &Path {
        &self.state_path
    }

    /// The control socket.
    pub fn control_path(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    /// Its pins.
    pub fn pins(&self) -> &PinFolder {
        &self.pins
    }

    /// A folder for a test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces the rule file. Nothing is read before the daemon is asked to.
    pub fn write_rules(&self, rules: &str) -> Result<()> {
        self.write("rules.toml", rules).map(drop)
    }

    /// Writes a file into [`Self::folder`].
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// `foobar run` as this installation would start it, to be run or changed.
    pub fn run_command(&self) -> Result<Command> {
        let mut command = self.namespace.command("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).args(&self.wrapper).arg(binary::foobar()?).arg("run");
        command.args(self.run_arguments());
        Ok(command)
    }

    /// The arguments of `foobar run`.
    pub fn run_arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        for interface in &self.interfaces {
            arguments.extend(["--interface".to_owned(), interface.clone()]);
        }
        for (flag, value) in [
            ("--rules", self.rules.clone().unwrap_or_else(|| self.rules_path().display().to_string())),
            ("--state", self.state_path.display().to_string()),
            ("--control", self.control_path().display().to_string()),
            ("--pins", self.pin_path.display().to_string()),
            ("--listen", self.listen.to_string()),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        arguments.extend(self.options.iter().cloned());
        arguments
    }

    /// Starts the daemon and waits until its rules are in force on every interface.
    ///
    /// # Errors
    /// Shows what the daemon said if it ends or is not ready in time.
    pub fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_until_ready()
    }

    /// Starts the daemon and waits until it serves, where `/readyz` is not for everybody.
    ///
    /// # Errors
    /// Shows what the daemon said if it ends or is not ready in time.
    pub fn start_guarded(&mut self) -> Result<()> {
        self.spawn()?;
        let waited = wait::until("foobar is ready", Duration::from_secs(30), || {
            ensure!(self.is_running()?, "foobar ended");
            Ok(self.status().is_ok_and(|status| status["ready"] == true)
                && self.log()?.contains("serving metrics"))
        });
        waited.with_context(|| format!("what foobar said:\n{}", self.log().unwrap_or_default()))
    }

    /// Starts the daemon and waits for nothing.
    pub fn spawn(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "this foobar runs already");
        let mut command = self.run_command()?;
        let log = File::options().create(true).append(true).open(self.log_path())?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().context("start foobar")?);
        Ok(())
    }

    /// Waits until `/readyz` says so.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        let mut last = String::new();
        let waited = wait::until("foobar is ready", Duration::from_secs(30), || {
            if let Some(status) = self.child.as_mut().context("no foobar runs")?.try_wait()? {
                self.child = None;
                bail!("foobar ended with {status}");
            }
            match self.get("/readyz") {
                Ok(answer) if answer.status == 200 => return Ok(true),
                Ok(answer) => last = format!("{} {}", answer.status, answer.body),
                Err(error) => last = format!("{error:#}"),
            }
            Ok(false)
        });
        waited.with_context(|| {
            format!("/readyz: {last}\nwhat foobar said:\n{}", self.log().unwrap_or_default())
        })
    }

    /// Runs the daemon until it ends by itself, within 30 seconds.
    pub fn run_to_end(&self) -> Result<Output> {
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", "30"]);
        let run = self.run_command()?;
        command.arg(run.get_program()).args(run.get_args());
        command.output().context("run foobar")
    }

    /// Process id of the daemon.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("no foobar runs")?.id())
    }

    /// KiB of memory of the daemon, as `/proc/PID/status` has it under a name (`proc_pid_status(5)`).
    pub fn memory(&self, name: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let line = line.with_context(|| format!("no {name}"))?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Whether the daemon is running still.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(match &mut self.child {
            Some(child) => child.try_wait()?.is_none(),
            None => false,
        })
    }

    /// Kills the daemon (SIGKILL).
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("no foobar runs")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Asks the daemon to end (SIGTERM) and waits until it has.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait()
    }

    /// Waits until the daemon has ended.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let mut child = self.child.take().context("no foobar runs")?;
        let mut status = None;
        let waited = wait::until("foobar ends", Duration::from_secs(15), || {
            status = child.try_wait()?;
            Ok(status.is_some())
        });
        if waited.is_err() {
            child.kill()?;
            child.wait()?;
        }
        waited.with_context(|| self.log().unwrap_or_default())?;
        status.context("no exit status")
    }

    /// Sends a signal to the daemon.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()?)?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("send {signal} to foobar"))
    }

    /// Everything that the daemons of this installation wrote to stdout and stderr.
    pub fn log(&self) -> Result<String> {
        let bytes = fs::read(self.log_path()).context("read the log")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Asks the daemon's web server for a path.
    pub fn get(&self, path: &str) -> Result<Answer> {
        http::get(&self.namespace, self.listen, path)
    }

    /// What `/metrics` says.
    pub fn scrape(&self) -> Result<Metrics> {
        let answer = self.get("/metrics")?;
        ensure!(answer.status == 200, "/metrics: {} {}", answer.status, answer.body);
        Metrics::parse(&answer.body)
    }

    /// Runs a command of foobar against this installation, however it ends.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.prepared(arguments)?;
        command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))
    }

    /// The same with this on its stdin.
    pub fn command_with_input(&self, arguments: &[&str], input: &[u8]) -> Result<Output> {
        with_input(&mut self.prepared(arguments)?, input)
    }

    /// Runs a command of foobar that asks no daemon, in the namespace of this installation.
    pub fn command_without_control(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.namespace.command(binary::foobar()?);
        command.args(arguments).stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))
    }

    /// A command of foobar against this installation, to be run.
    pub fn prepared(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.namespace.command(binary::foobar()?);
        command.args(arguments).arg("--control").arg(self.control_path());
        if matches!(arguments.first(), Some(&("detach" | "status"))) {
            command.arg("--pins").arg(&self.pin_path);
        }
        if arguments.first() == Some(&"detach") {
            command.arg("--state").arg(&self.state_path);
        }
        Ok(command)
    }

    /// Runs a command of foobar against this installation and gives its stdout.
    ///
    /// # Errors
    /// Shows what it said unless it ends with 0.
    pub fn succeed(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments)?;
        ensure!(
            output.status.success(),
            "foobar {} ended with {}\n{}{}",
            arguments.join(" "),
            output.status,
            stdout(&output),
            stderr(&output)
        );
        Ok(stdout(&output))
    }

    /// Puts rules in force with `rules apply`.
    pub fn apply(&self, rules: &str) -> Result<String> {
        let path = self.write("applied.toml", rules)?;
        self.succeed(&["rules", "apply", &path.display().to_string()])
    }

    /// What `status --json` says.
    pub fn status(&self) -> Result<Value> {
        serde_json::from_str(&self.succeed(&["status", "--json"])?).context("read status --json")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Foobar {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }
}
