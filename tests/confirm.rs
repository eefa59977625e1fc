//! Rules that lock their author out come back by themselves, whatever happens to the daemon meanwhile.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use foobar_tests::{
    command::stderr,
    daemon::Foobar,
    figures::say,
    frames::Family,
    network::{Network, SERVER},
    wait,
};

const OPEN: &str = r#"
schema = 1
[policy]
in = "drop"
[[rule]]
id = "ssh"
action = "accept"
protocol = "tcp"
destination_port = [22]
"#;
const LOCKED: &str = r#"
schema = 1
[policy]
in = "drop"
[[rule]]
id = "ssh"
action = "drop"
protocol = "tcp"
destination_port = [22]
"#;

#[test]
fn the_old_rules_come_back_after_the_time() -> Result<()> {
    let mut admin = Admin::new()?;
    admin.lock_out("5s")?;
    admin.check_back_after(Duration::from_secs(5))
}

#[test]
fn the_old_rules_come_back_after_the_time_though_the_daemon_was_killed_and_started() -> Result<()> {
    let mut admin = Admin::new()?;
    // A clock that began anew with the daemon would be late by seven seconds.
    admin.lock_out("15s")?;
    admin.sleep_until(Duration::from_secs(7));
    admin.foobar.kill()?;
    ensure!(!admin.reaches(), "reachable while the daemon is dead: the filter is gone");
    admin.foobar.start()?;
    ensure!(!admin.reaches(), "reachable before the time is over");
    let status = admin.foobar.status()?;
    ensure!(status["pending"].is_object(), "nothing pending after the restart: {status}");
    admin.check_back_after(Duration::from_secs(15))
}

#[test]
fn the_old_rules_are_back_at_a_start_after_the_time() -> Result<()> {
    let mut admin = Admin::new()?;
    admin.lock_out("1s")?;
    admin.foobar.kill()?;
    admin.sleep_until(Duration::from_millis(1_500));
    ensure!(!admin.reaches(), "reachable while the daemon is dead: the filter is gone");
    admin.foobar.start()?;
    ensure!(admin.reaches(), "still locked out after the start: {}", admin.foobar.log()?);
    Ok(())
}

#[test]
fn confirmed_rules_stay() -> Result<()> {
    let mut admin = Admin::new()?;
    admin.lock_out("2s")?;
    admin.foobar.succeed(&["rules", "confirm"])?;
    admin.sleep_until(Duration::from_millis(2_500));
    ensure!(!admin.reaches(), "the confirmed rules are gone");
    ensure!(admin.foobar.status()?["pending"].is_null());
    // Also over a restart with the rule file as it was.
    admin.foobar.kill()?;
    admin.foobar.start()?;
    ensure!(!admin.reaches(), "the confirmed rules are gone after a restart");
    let again = admin.foobar.command(&["rules", "confirm"])?;
    assert_eq!(again.status.code(), Some(1), "confirm with nothing to confirm: {}", stderr(&again));
    Ok(())
}

#[test]
fn rollback_brings_the_old_rules_back_at_once() -> Result<()> {
    for within in [Some("60s"), None] {
        let mut admin = Admin::new()?;
        match within {
            Some(within) => admin.lock_out(within)?,
            None => drop(admin.foobar.apply(LOCKED)?),
        }
        ensure!(!admin.reaches());
        admin.foobar.succeed(&["rules", "rollback"])?;
        ensure!(admin.reaches(), "still locked out after the rollback");
        ensure!(admin.foobar.status()?["pending"].is_null());
        let again = admin.foobar.command(&["rules", "rollback"])?;
        assert_eq!(again.status.code(), Some(1), "rollback with nothing to go back to: {}", stderr(&again));
        ensure!(admin.reaches());
    }
    Ok(())
}

#[test]
fn nothing_else_is_applied_while_rules_wait_for_their_confirmation() -> Result<()> {
    let mut admin = Admin::new()?;
    admin.lock_out("3s")?;
    let path = admin.foobar.write("second.toml", OPEN)?;
    let second = admin.foobar.command(&["rules", "apply", &path.display().to_string()])?;
    assert_eq!(second.status.code(), Some(1), "{}", stderr(&second));
    let said = stderr(&second);
    assert!(said.contains("confirm") && said.contains("rollback"), "{said}");
    ensure!(!admin.reaches(), "the second rules were put in force");
    admin.check_back_after(Duration::from_secs(3))
}

/// Somebody at the client who works on the server over TCP port 22.
struct Admin {
    foobar: Foobar,
    listener: TcpListener,
    applied: Instant,
    network: Network,
}

impl Admin {
    fn new() -> Result<Self> {
        let network = Network::new()?;
        let listener =
            network.server.enter(|| Ok(TcpListener::bind(SocketAddr::new(Family::V4.server(), 22))?))?;
        listener.set_nonblocking(true)?;
        let mut foobar = Foobar::new(&network.server, &[SERVER], OPEN)?;
        foobar.start()?;
        let admin = Self { foobar, listener, applied: Instant::now(), network };
        ensure!(admin.reaches(), "locked out from the beginning");
        Ok(admin)
    }

    /// Applies rules that drop the way of the admin.
    fn lock_out(&mut self, within: &str) -> Result<()> {
        let path = self.foobar.write("locked.toml", LOCKED)?;
        self.foobar.succeed(&["rules", "apply", &path.display().to_string(), "--confirm-within", within])?;
        self.applied = Instant::now();
        ensure!(!self.reaches(), "the rules that lock out are not in force");
        ensure!(self.foobar.status()?["pending"].is_object(), "nothing is pending");
        Ok(())
    }

    fn reaches(&self) -> bool {
        while self.listener.accept().is_ok() {}
        let address = SocketAddr::new(Family::V4.server(), 22);
        self.network
            .client
            .enter(|| Ok(TcpStream::connect_timeout(&address, Duration::from_millis(150))?))
            .is_ok()
    }

    fn sleep_until(&self, since_applied: Duration) {
        thread::sleep(since_applied.saturating_sub(self.applied.elapsed()));
    }

    /// Waits until the server is reachable and checks that it was not long before or after `due`.
    fn check_back_after(&self, due: Duration) -> Result<()> {
        wait::until("the server is reachable again", Duration::from_secs(30), || Ok(self.reaches()))?;
        let took = self.applied.elapsed();
        say(&format!("reachable again after {took:?}"));
        ensure!(
            took > due.saturating_sub(Duration::from_millis(300)) && took < due + Duration::from_secs(5),
            "reachable again after {took:?}, where {due:?} was asked for"
        );
        ensure!(self.foobar.status()?["pending"].is_null(), "still pending");
        Ok(())
    }
}
