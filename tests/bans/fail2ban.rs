//! fail2ban reads a log of sshd and bans by foobar, as packaging/fail2ban.conf has it.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail, ensure};
use foobar_tests::{
    binary,
    command::succeed,
    network::{CLIENT_V4, CLIENT_V6},
    wait,
};

use crate::Site;

/// A server of fail2ban with everything of its own; it ends when this is dropped.
struct Fail2ban {
    child: Child,
    folder: PathBuf,
}

impl Fail2ban {
    /// One that bans after three failures for so many seconds.
    fn start(site: &Site, seconds: u32) -> Result<Self> {
        let folder = site.foobar.folder().join("fail2ban");
        for part in ["action.d", "filter.d"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let action = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/fail2ban.conf");
        fs::copy(action, folder.join("action.d/foobar.conf"))?;
        for filter in ["common.conf", "sshd.conf"] {
            fs::copy(Path::new("/etc/fail2ban/filter.d").join(filter), folder.join("filter.d").join(filter))
                .with_context(|| format!("copy the filter {filter} of the package"))?;
        }
        let shown = folder.display();
        fs::write(
            folder.join("fail2ban.conf"),
            format!(
                "[Definition]\nloglevel = DEBUG\nlogtarget = {shown}/log\nsyslogsocket = auto\nsocket = {shown}/socket\n\
                 pidfile = {shown}/pid\ndbfile = {shown}/database\ndbmaxmatches = 10\ndbpurgeage = 1d\n"
            ),
        )?;
        let (foobar, control) = (binary::foobar()?, site.foobar.control_path());
        fs::write(
            folder.join("jail.conf"),
            format!(
                "[sshd]\nenabled = true\nfilter = sshd\nlogpath = {shown}/auth.log\nbackend = polling\nmaxretry = 3\n\
                 findtime = 600\nbantime = {seconds}\nignoreself = false\nusedns = no\n\
                 action = foobar[foobar=\"{}\", options=\"--control {}\"]\n",
                foobar.display(),
                control.display()
            ),
        )?;
        File::create(folder.join("auth.log"))?;
        let child = site
            .network
            .server
            .command("setpriv")
            .args(["--pdeathsig", "KILL", "--", "fail2ban-server", "-f"])
            .args(["-c", &shown.to_string()])
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start fail2ban-server")?;
        let mut server = Self { child, folder };
        wait::until("fail2ban watches the log", Duration::from_secs(30), || {
            if let Some(status) = server.child.try_wait()? {
                bail!("fail2ban-server ended with {status}: {}", server.log());
            }
            Ok(server.client(&["status", "sshd"]).is_ok())
        })?;
        Ok(server)
    }

    fn client(&self, arguments: &[&str]) -> Result<String> {
        let socket = self.folder.join("socket").display().to_string();
        succeed(
            Command::new("fail2ban-client")
                .args(["-c", &self.folder.display().to_string(), "-s", &socket])
                .args(arguments),
        )
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// As sshd writes it when somebody has given a wrong password. fail2ban takes what one process writes for one client.
    fn wrong_password(&self, from: &str) -> Result<()> {
        let now = humantime::format_rfc3339_seconds(SystemTime::now());
        let mut log = File::options().append(true).open(self.folder.join("auth.log"))?;
        let process = if from.contains(':') { 4712 } else { 4711 };
        writeln!(log, "{now} server sshd[{process}]: Failed password for root from {from} port 40000 ssh2")?;
        Ok(())
    }
}

impl Drop for Fail2ban {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn who_guesses_passwords_is_banned_by_fail2ban() -> Result<()> {
    let site = Site::new()?;
    let fail2ban = Fail2ban::start(&site, 8)?;
    let [v4, v6] = [CLIENT_V4.to_string(), CLIENT_V6.to_string()];
    let until_banned = |expected: &[&String]| {
        wait::until("fail2ban has banned", Duration::from_secs(20), || {
            Ok(site.addresses()?.iter().eq(expected.iter().copied()))
        })
        .with_context(|| fail2ban.log())
    };
    fail2ban.wrong_password(&v4)?;
    fail2ban.wrong_password(&v4)?;
    site.assert_banned("two failures", &[(&v4, false)])?;
    fail2ban.wrong_password(&v4)?;
    until_banned(&[&v4])?;
    let ban = site.bans()?[0].clone();
    assert_eq!(ban["reason"], "fail2ban: sshd");
    ensure!((1..=8_000).contains(&ban["left_ms"].as_u64().unwrap_or_default()), "{ban}");
    site.assert_banned("three failures", &[(&v4, true), (&v6, false)])?;

    for _ in 0..3 {
        fail2ban.wrong_password(&v6)?;
    }
    wait::until("fail2ban has banned", Duration::from_secs(20), || Ok(site.addresses()?.contains(&v6)))
        .with_context(|| fail2ban.log())?;
    fail2ban.client(&["set", "sshd", "unbanip", &v6])?;
    site.assert_banned("lifted", &[(&v6, false)])?;

    // Its time is over for both of them; fail2ban lifts what has ended already, and that is no error.
    until_banned(&[])?;
    wait::until("fail2ban has lifted it, too", Duration::from_secs(30), || {
        Ok(fail2ban.log().contains(&format!("[sshd] Unban {v4}")))
    })
    .with_context(|| fail2ban.log())?;
    site.assert_banned("over", &[(&v4, false)])?;
    ensure!(!fail2ban.log().contains("ERROR"), "{}", fail2ban.log());
    Ok(())
}
