//! No packet gets past the filter while it is reloaded, replaced, killed, started again or left alone; and no
//! counter goes back.
//!
//! The ordinary run is short; with `FOOBAR_LONG=1` it is 1,000 reloads and 20 kills.

use std::{
    env, fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    command::{stderr, stdout},
    daemon::Foobar,
    figures::say,
    frames::{Family, udp},
    links,
    metrics::Highest,
    network::{CLIENT, Network, SERVER},
    refusal,
    sender::Flood,
    tap::{Tap, is_udp_to, settle},
    wait,
};
use nix::sys::signal::Signal;

/// What must never get through: [`BY_RULE`] is dropped by a rule, [`BY_POLICY`] by the policy.
const BY_RULE: u16 = 9;
const BY_POLICY: u16 = 10;
/// Packets per second.
const RATE: u64 = 20_000;

/// Two rulesets that drop the same and differ in everything else: order, tables, a rule that comes and goes.
const ONE: &str = r#"
schema = 1
[policy]
in = "drop"
[[rule]]
id = "flood"
action = "drop"
protocol = "udp"
destination_port = [9]
[[rule]]
id = "ssh"
action = "accept"
protocol = "tcp"
destination_port = [22]
"#;
const OTHER: &str = r#"
schema = 1
[policy]
in = "drop"
[sets.friends]
entries = ["198.51.100.0/24", "2001:db8:40::/48"]
[[service]]
name = "web"
port = "tcp/443"
protocol = "raw"
[[rule]]
id = "friends"
action = "accept"
source = ["@friends"]
[[rule]]
id = "ssh"
action = "accept"
protocol = "tcp"
destination_port = [22]
[[rule]]
id = "flood"
action = "drop"
protocol = "udp"
destination_port = [9]
source = ["192.0.2.0/24", "2001:db8::/64"]
"#;

/// What only [`OTHER`] has.
const PASSING: &[(&str, &str)] =
    &[("rule", "friends"), ("port", "443"), ("program", "raw_inbound"), ("program", "raw_outbound")];

#[test]
fn nothing_gets_through_while_rules_are_reloaded() -> Result<()> {
    let reloads = if long() { 1_000 } else { 50 };
    let mut test = UnderFlood::start()?;
    let start = Instant::now();
    for number in 1..=reloads {
        let rules = if number % 2 == 0 { ONE } else { OTHER };
        if number % 4 < 2 {
            test.foobar.apply(rules)?;
        } else {
            let before = test.generation()?;
            test.foobar.write_rules(rules)?;
            test.foobar.signal(Signal::SIGHUP)?;
            wait::until("the daemon reloads after SIGHUP", Duration::from_secs(10), || {
                Ok(test.generation()? > before)
            })?;
        }
        test.observe()?;
    }
    say(&format!("{reloads} reloads in {:?}", start.elapsed()));
    test.finish()
}

#[test]
fn nothing_gets_through_while_the_daemon_is_killed_and_started() -> Result<()> {
    let kills = if long() { 20 } else { 3 };
    let mut test = UnderFlood::start()?;
    for number in 0..kills {
        let program = test.network.xdp_program()?.context("no program on the interface")?;
        let link = links::of_program(program)?;
        test.observe()?;
        test.foobar.kill()?;
        assert_eq!(test.network.xdp_program()?, Some(program), "the program stays without the daemon");
        thread::sleep(Duration::from_millis(100));
        // Sometimes with other rules than those it was killed with.
        test.foobar.write_rules(if number % 2 == 0 { OTHER } else { ONE })?;
        test.foobar.start()?;
        let adopted = test.network.xdp_program()?.context("no program on the interface")?;
        assert_eq!(links::of_program(adopted)?, link, "the link is adopted, not made again");
        assert_ne!(adopted, program, "the program on it is the new daemon's");
        test.observe()?;
    }
    say(&format!("{kills} kills"));
    test.finish()
}

#[test]
fn nothing_gets_through_after_sigterm_until_the_next_start() -> Result<()> {
    let mut test = UnderFlood::start()?;
    let program = test.network.xdp_program()?;
    let link = links::of_program(program.context("no program on the interface")?)?;
    let start = Instant::now();
    let status = test.foobar.terminate()?;
    ensure!(start.elapsed() < Duration::from_secs(2), "ended {:?} after SIGTERM", start.elapsed());
    assert_eq!(status.code(), Some(0), "exit code after SIGTERM: {}", test.foobar.log()?);
    assert_eq!(test.network.xdp_program()?, program, "the filter stays in force");
    assert!(!test.foobar.pins().pins()?.is_empty(), "pins stay");
    thread::sleep(Duration::from_millis(200));
    test.foobar.start()?;
    let adopted = test.network.xdp_program()?.context("no program on the interface")?;
    assert_eq!(links::of_program(adopted)?, link, "the link is adopted, not made again");
    test.observe()?;
    test.finish()
}

#[test]
fn an_ephemeral_filter_goes_with_the_daemon() -> Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGKILL] {
        let network = Network::new()?;
        let mut foobar = Foobar::new(&network.server, &[SERVER], ONE)?.with_options(&["--ephemeral"]);
        foobar.start()?;
        assert!(network.xdp_program()?.is_some());
        foobar.signal(signal)?;
        let status = foobar.wait()?;
        if signal != Signal::SIGKILL {
            assert_eq!(status.code(), Some(0), "after {signal}: {}", foobar.log()?);
        }
        wait::until("the program is gone", Duration::from_secs(5), || Ok(network.xdp_program()?.is_none()))?;
        assert_eq!(foobar.pins().pins()?, Vec::<std::path::PathBuf>::new(), "after {signal}");
    }
    Ok(())
}

#[test]
fn detach_takes_everything_away_while_the_daemon_runs() -> Result<()> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], ONE)?;
    foobar.start()?;
    foobar.succeed(&["detach"])?;
    check_nothing_left(&network, &foobar)
}

#[test]
fn detach_takes_away_what_a_daemon_left() -> Result<()> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], ONE)?;
    foobar.start()?;
    foobar.kill()?;
    assert!(network.xdp_program()?.is_some());
    let status = foobar.command(&["status"])?;
    refusal::check(&status, 1, &["control.sock"])?;
    ensure!(stdout(&status).contains(&format!("in force on {SERVER}")), "{}", stdout(&status));
    foobar.succeed(&["detach"])?;
    check_nothing_left(&network, &foobar)?;
    // Again is no error, or a clear one: nothing is there to take away.
    let again = foobar.command(&["detach"])?;
    assert!(matches!(again.status.code(), Some(0 | 1)), "{again:?}");
    assert!(!stderr(&again).contains("panicked"), "{again:?}");
    // And a new start begins anew.
    foobar.start()?;
    assert_eq!(foobar.scrape()?.rule("flood"), 0);
    Ok(())
}

fn check_nothing_left(network: &Network, foobar: &Foobar) -> Result<()> {
    wait::until("the program is gone", Duration::from_secs(5), || Ok(network.xdp_program()?.is_none()))?;
    assert_eq!(foobar.pins().pins()?, Vec::<std::path::PathBuf>::new());
    assert!(!foobar.pins().path().exists(), "the pin folder is left, empty");
    Ok(())
}

/// A filter in a flood of packets that it must drop, and a receiver behind it that must see none.
struct UnderFlood {
    foobar: Foobar,
    flood: Flood,
    tap: Tap,
    highest: Highest,
    network: Network,
}

impl UnderFlood {
    fn start() -> Result<Self> {
        let network = Network::new()?;
        let mut foobar = Foobar::new(&network.server, &[SERVER], ONE)?;
        foobar.start()?;
        let tap = Tap::start(&network.server, SERVER, |frame| {
            is_udp_to(frame, BY_RULE) || is_udp_to(frame, BY_POLICY)
        })?;
        let mut frames = Vec::new();
        for family in Family::BOTH {
            for port in [BY_RULE, BY_POLICY] {
                frames.push(udp(family, port, b"must not get through")?);
            }
        }
        let flood = Flood::start(&network.client, CLIENT, frames, RATE)?;
        Ok(Self { foobar, flood, tap, highest: Highest::default(), network })
    }

    fn generation(&self) -> Result<u64> {
        self.foobar.status()?["ruleset"]["generation"].as_u64().context("no generation in the status")
    }

    fn observe(&mut self) -> Result<()> {
        let metrics = self.foobar.scrape()?;
        self.highest.observe(&metrics, PASSING)
    }

    /// Ends the flood and checks: nothing got through, and every packet of it is in the counters.
    fn finish(mut self) -> Result<()> {
        let sent = self.flood.stop()?;
        settle();
        let got_through = self.tap.stop()?;
        let metrics = self.foobar.scrape()?;
        self.highest.observe(&metrics, PASSING)?;
        let by_rule = metrics.rule("flood");
        let dropped = metrics.packets(&[("iface", SERVER), ("action", "drop")]);
        say(&format!(
            "sent {sent}, dropped {dropped}, of them by the rule {by_rule}, got through {got_through}, {} scrapes",
            self.highest.scrapes()
        ));
        ensure!(sent > 1_000, "a flood of only {sent} packets");
        assert_eq!(got_through, 0, "packets that got through, of {sent}");
        assert_eq!(dropped, sent, "dropped packets");
        assert_eq!(by_rule, sent / 2, "packets dropped by the rule");
        let errors = fs::read_to_string(self.foobar.folder().join("log"))?;
        ensure!(!errors.contains("panicked"), "{errors}");
        Ok(())
    }
}

fn long() -> bool {
    env::var_os("FOOBAR_LONG").is_some_and(|value| value == "1")
}
