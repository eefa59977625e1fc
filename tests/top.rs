//! `foobar top`, on a terminal and without one.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    command::stderr,
    daemon::Foobar,
    frames::{Family, tcp_syn, udp},
    network::{CLIENT, Network, SERVER},
    packets, refusal,
    sender::{Flood, PacketSocket},
    terminal::Terminal,
    wait,
};
use nix::sys::signal::Signal;
use serde_json::Value;

const RULES: &str = r#"schema = 1
[[service]]
name = "www"
port = "tcp/8080"
protocol = "http1"
[[rule]]
id = "no-noise"
action = "drop"
protocol = "udp"
destination_port = 9
[[rule]]
id = "no-telnet"
action = "drop"
protocol = "tcp"
destination_port = 23
"#;

/// A way to leave.
type Leave = fn(&mut Terminal) -> Result<()>;

/// Starts a daemon on a network of its own.
fn started() -> Result<(Network, Foobar)> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    foobar.start()?;
    Ok((network, foobar))
}

/// Sends what the rules drop: a hundred of one kind, and ten of the other.
fn send(network: &Network) -> Result<()> {
    let socket = PacketSocket::new(&network.client, CLIENT)?;
    socket.send_times(&udp(Family::V4, 9, b"noise")?, 100)?;
    socket.send_times(&tcp_syn(Family::V4, 23)?, 10)
}

fn top(foobar: &Foobar, arguments: &[&str]) -> Result<std::process::Command> {
    foobar.prepared(&[&["top"], arguments].concat())
}

#[test]
fn a_terminal_shows_what_passes_at_any_size_and_comes_back_as_it_was() -> Result<()> {
    let (network, mut foobar) = started()?;
    let mut terminal = Terminal::run(&top(&foobar, &["--interval", "300ms"])?, 100, 40)?;
    terminal.wait_for("foobar ready, ruleset ")?;
    ensure!(!terminal.is_as_before()?, "the terminal still shows keys");
    send(&network)?;
    for what in
        ["  srv0 in", "  srv0 out", "  www tcp/8080 http1 requests", "  rule in", "  no-noise", "  no-telnet"]
    {
        terminal.wait_for(what)?;
    }
    let last_number = |row: &String| row.split_whitespace().last().and_then(|word| word.parse::<u64>().ok());
    terminal.wait_until("all that was dropped", |rows| {
        let of = |name: &str| rows.iter().find(|row| row.starts_with(name)).and_then(last_number);
        of("  rule in") == Some(110) && of("  no-noise") == Some(100) && of("  no-telnet") == Some(10)
    })?;
    let rows = terminal.rows();
    let place = |name: &str| rows.iter().position(|row| row.starts_with(name)).context("a row");
    ensure!(place("  no-noise")? < place("  no-telnet")?, "the busiest rule is not the first: {rows:?}");

    // Smaller: nothing of the old table is left, and nothing wraps.
    terminal.resize(60, 16)?;
    let services =
        format!("{:<36}{:>12}{:>10}{:>10}{:>10}", "services", "in all", "over 1 s", "10 s", "60 s");
    terminal
        .wait_until("a narrower table", |rows| rows.iter().any(|row| row == services[..60].trim_end()))?;
    ensure!(!terminal.rows().iter().any(|row| row.contains("60 s")), "{:?}", terminal.rows());
    terminal.resize(60, 5)?;
    terminal.wait_until("a lower table", |rows| rows[4].starts_with("  srv0 out"))?;
    terminal.resize(100, 40)?;
    terminal.wait_for(&services)?;
    terminal.wait_for("  no-telnet")?;

    // The daemon goes and comes back.
    foobar.kill()?;
    terminal.wait_for("no daemon answers on")?;
    terminal.wait_for("waiting for it; q leaves")?;
    foobar.start()?;
    terminal.wait_for("foobar ready, ruleset ")?;
    ensure!(!terminal.rows().iter().any(|row| row.contains("no daemon")), "{:?}", terminal.rows());

    terminal.press("q")?;
    let status = terminal.wait()?;
    ensure!(status.success(), "{status}");
    ensure!(terminal.is_as_before()?, "modes of the terminal");
    assert_given_back(&terminal)?;
    let written = terminal.written();
    ensure!(written.contains("\x1b[?1049h") && written.contains("\x1b[?25l"), "{written:?}");
    Ok(())
}

/// The last that was written gives the terminal back. It may still be on its way when the program has ended.
fn assert_given_back(terminal: &Terminal) -> Result<()> {
    wait::until("the terminal is given back", Duration::from_secs(5), || {
        Ok(terminal.written().ends_with("\x1b[?1049l\x1b[?25h"))
    })
    .with_context(|| format!("{:?}", terminal.written()))
}

#[test]
fn every_way_to_leave_gives_the_terminal_back() -> Result<()> {
    let (_network, foobar) = started()?;
    let ways: [(&str, Leave); 6] = [
        ("Q", |terminal| terminal.press("Q")),
        ("Esc", |terminal| terminal.press("\x1b")),
        ("Ctrl-C", |terminal| terminal.press("\x03")),
        ("SIGTERM", |terminal| terminal.signal(Signal::SIGTERM)),
        ("SIGHUP", |terminal| terminal.signal(Signal::SIGHUP)),
        ("SIGQUIT", |terminal| terminal.signal(Signal::SIGQUIT)),
    ];
    for (name, leave) in ways {
        let mut terminal = Terminal::run(&top(&foobar, &["--interval", "100ms"])?, 80, 24)?;
        terminal.wait_for("foobar ready")?;
        leave(&mut terminal)?;
        let status = terminal.wait()?;
        ensure!(status.success(), "{name}: {status}");
        ensure!(terminal.is_as_before()?, "{name}: modes of the terminal");
        assert_given_back(&terminal).context(name)?;
    }
    Ok(())
}

#[test]
fn without_a_terminal_there_is_one_table_or_an_object_for_each_interval() -> Result<()> {
    let (network, mut foobar) = started()?;
    send(&network)?;
    for arguments in [&["top", "--interval", "200ms"][..], &["top", "--interval", "200ms", "--once"]] {
        let text = foobar.succeed(arguments)?;
        ensure!(!text.contains('\x1b'), "{text:?}");
        for what in ["foobar ready", "  srv0 in ", "  www tcp/8080 http1 requests ", "  no-noise "] {
            ensure!(text.matches(what).count() == 1, "{what}: {text}");
        }
    }
    let once: Value =
        serde_json::from_str(&foobar.succeed(&["top", "--interval", "200ms", "--once", "--json"])?)?;
    ensure!(once["rules"][0]["rule"] == "no-noise" && once["rules"][0]["packets"] == 100, "{once}");
    ensure!(once["drops"][0]["reason"] == "rule" && once["drops"][0]["packets"] == 110, "{once}");
    ensure!(once["services"][0]["service"] == "www" && once["running"] == true, "{once}");

    let mut command = top(&foobar, &["--json", "--interval", "200ms"])?;
    let mut child = Ended(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
    let mut lines = BufReader::new(child.0.stdout.take().context("a pipe")?).lines();
    let mut next = || -> Result<Value> { Ok(serde_json::from_str(&lines.next().context("a line")??)?) };
    for _look in 0..2 {
        let view = next()?;
        ensure!(view["running"] == true && view["interfaces"][0]["interface"] == SERVER, "{view}");
        let seconds = view["seconds"].as_f64().context("seconds")?;
        ensure!((0.15..5.0).contains(&seconds), "{view}");
    }
    foobar.kill()?;
    let mut last = next()?;
    while last["running"] == true {
        last = next()?;
    }
    ensure!(last["why"].as_str().is_some_and(|why| why.contains("no daemon answers")), "{last}");
    foobar.start()?;
    while last["running"] == false {
        last = next()?;
    }
    // Who no longer listens is no reason to complain.
    drop(lines);
    wait::until("it ends", Duration::from_secs(10), || Ok(child.0.try_wait()?.is_some()))?;
    ensure!(child.0.wait()?.success(), "it failed");
    Ok(())
}

/// Who is banned and goes on sending is there, and gone when it stops; who made the ban, and why, stands beside.
#[test]
fn bans_that_stop_most_are_shown_while_they_do() -> Result<()> {
    let network = Network::new()?;
    network.introduce()?;
    let limited = "[[rule]]\nid = \"few\"\naction = \"accept\"\nprotocol = \"udp\"\ndestination_port = 7\n\
                   limit = { rate = \"1/h\", burst = 1, per = \"source\" }\nover = { ban = \"10m\" }\n";
    let mut foobar = Foobar::new(&network.server, &[SERVER], &format!("{RULES}{limited}"))?;
    foobar.start()?;
    foobar.succeed(&["ban", "203.0.113.7", "2001:db8:bad::/48", "198.51.100.1", "--reason", "too loud"])?;
    let from =
        |source: &str, server: &str, port: u16| packets::udp((source, 40_000), (server, port), 8).frame();
    let loud = from("203.0.113.7", "192.0.2.1", 9);
    let frames = vec![loud.clone(), loud, from("2001:db8:bad::1", "2001:db8::1", 9)];
    let limited = from("203.0.113.99", "192.0.2.1", 7);

    let mut terminal = Terminal::run(&top(&foobar, &["--interval", "300ms"])?, 120, 50)?;
    terminal.wait_for("foobar ready, ruleset ")?;
    ensure!(!terminal.rows().iter().any(|row| row.starts_with("busiest bans")), "{:?}", terminal.rows());
    let flood = Flood::start(&network.client, CLIENT, frames, 3_000)?;
    terminal.wait_for("busiest bans ")?;
    PacketSocket::new(&network.client, CLIENT)?.send_times(&limited, 20)?;
    terminal.wait_until("the ban of a rule", |rows| {
        rows.iter().any(|row| row.starts_with("  203.0.113.99") && row.ends_with(" the limit of rule few"))
    })?;
    terminal.wait_until("rates of both", |rows| {
        let row = |address: &str| rows.iter().position(|row| row.starts_with(&format!("  {address} ")));
        let rate =
            |place: usize| rows[place].split_whitespace().nth(1).and_then(|word| word.parse::<f64>().ok());
        let Some([loud, wide]) = row("203.0.113.7").zip(row("2001:db8:bad::/48")).map(<[usize; 2]>::from)
        else {
            return false;
        };
        let (Some(first), Some(second)) = (rate(loud), rate(wide)) else { return false };
        // On a machine that others use the flood may be slower than it is to be.
        loud < wide
            && rows[loud].ends_with(": too loud")
            && (200.0..2_600.0).contains(&first)
            && (1.7..2.3).contains(&(first / second))
    })?;
    ensure!(!terminal.rows().iter().any(|row| row.contains("198.51.100.1 ")), "{:?}", terminal.rows());

    let view: Value =
        serde_json::from_str(&foobar.succeed(&["top", "--interval", "500ms", "--once", "--json"])?)?;
    let [first, second] = [&view["bans"][0], &view["bans"][1]];
    ensure!(first["address"] == "203.0.113.7" && first["reason"] == "too loud", "{view}");
    ensure!(second["address"] == "2001:db8:bad::/48" && view["bans"][2].is_null(), "{view}");
    let (rate, all) = (first["packets_per_second"].as_f64(), first["packets"].as_u64());
    ensure!(rate.is_some_and(|rate| rate > 200.0) && all.is_some_and(|all| all > 100), "{view}");
    flood.stop()?;
    terminal.wait_until("nobody is stopped any more", |rows| {
        !rows.iter().any(|row| row.starts_with("busiest bans"))
            && rows.iter().any(|row| row.starts_with("drops"))
    })?;
    terminal.press("q")?;
    ensure!(terminal.wait()?.success(), "it failed");
    Ok(())
}

/// A program that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn without_a_daemon_or_with_a_wrong_interval_it_says_so() -> Result<()> {
    let network = Network::new()?;
    let foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    refusal::check(&foobar.command(&["top"])?, 1, &["no daemon answers", "foobar run"])?;
    refusal::check(&foobar.command(&["top", "--interval", "1ms"])?, 2, &["100ms to 1h"])?;
    let output = foobar.command(&["top", "--interval", "soon"])?;
    ensure!(output.status.code() == Some(2) && stderr(&output).contains("'soon'"), "{}", stderr(&output));
    Ok(())
}
