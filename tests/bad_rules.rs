//! Rules that cannot be read: at the start, at SIGHUP and with `rules apply`. One clear message, an exit code,
//! and the old rules stay in force.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use foobar_tests::{
    command::stderr,
    daemon::Foobar,
    network::{Network, SERVER},
    refusal, wait,
};
use nix::sys::signal::Signal;

const GOOD: &str = r#"
schema = 1
[[rule]]
id = "closed"
action = "drop"
protocol = "udp"
destination_port = [9]
"#;
const BETTER: &str = r#"
schema = 1
[[rule]]
id = "closed"
action = "drop"
protocol = "udp"
destination_port = [9, 10]
"#;

/// One way in which a rule file is wrong.
struct Bad {
    what: &'static str,
    text: Vec<u8>,
    /// What the message must hold, besides the name of the file.
    words: &'static [&'static str],
}

fn bad_files() -> Vec<Bad> {
    let text = |what, text: &str, words| Bad { what, text: text.as_bytes().to_vec(), words };
    vec![
        text("broken TOML", "schema = 1\n[[rule\n", &[":2:"]),
        text("an unknown key", "schema = 1\n[[rule]]\nid = \"a\"\naktion = \"drop\"\n", &[":4:1", "action"]),
        text(
            "host bits",
            "schema = 1\n[[rule]]\nid = \"a\"\naction = \"drop\"\nsource = [\"192.0.2.1/24\"]\n",
            &[":5:", "192.0.2.0/24"],
        ),
        text(
            "what is not enforced yet",
            "schema = 1\n[[rule]]\nid = \"a\"\naction = \"drop\"\nshadow = true\n",
            &[":5:", "not yet"],
        ),
        text("an empty file", "", &["schema = 1"]),
        Bad { what: "10 MB of noise", text: noise(10 << 20, |byte| byte), words: &["UTF-8"] },
        Bad {
            what: "10 MB of printable noise",
            text: noise(10 << 20, |byte| b' ' + byte % 95),
            words: &[":1:"],
        },
        Bad {
            what: "a hundred thousand lines that are each wrong",
            text: b"x = [1]\n".repeat(100_000),
            words: &[":1:"],
        },
    ]
}

/// Bytes that look like chance and are the same every time (xorshift, G. Marsaglia, 2003).
fn noise(length: usize, shape: fn(u8) -> u8) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let [byte, ..] = state.to_be_bytes();
            shape(byte)
        })
        .collect()
}

#[test]
fn at_a_first_start_nothing_is_attached() -> Result<()> {
    let network = Network::new()?;
    let foobar = Foobar::new(&network.server, &[SERVER], GOOD)?;
    for bad in bad_files() {
        fs::write(foobar.rules_path(), &bad.text)?;
        check_refused(&foobar.run_to_end()?, &bad)?;
        assert_eq!(network.xdp_program()?, None, "{}", bad.what);
        ensure!(foobar.pins().pins()?.is_empty(), "{}: pins are left", bad.what);
    }
    Ok(())
}

#[test]
fn at_a_later_start_the_rules_in_force_stay() -> Result<()> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], GOOD)?;
    foobar.start()?;
    let hash = hash(&foobar)?;
    for bad in bad_files() {
        foobar.kill()?;
        fs::write(foobar.rules_path(), &bad.text)?;
        foobar.start()?;
        assert_eq!(self::hash(&foobar)?, hash, "{}", bad.what);
        ensure!(foobar.log()?.contains("rules.toml"), "{}: nothing said:\n{}", bad.what, foobar.log()?);
    }
    Ok(())
}

#[test]
fn at_sighup_the_old_rules_stay_in_force() -> Result<()> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], GOOD)?;
    foobar.start()?;
    let (good, program) = (hash(&foobar)?, network.xdp_program()?);
    for bad in bad_files() {
        fs::write(foobar.rules_path(), &bad.text)?;
        reload(&foobar)?;
        let status = foobar.status()?;
        assert_eq!(status["last_reload"]["success"], false, "{}: {status}", bad.what);
        let error = status["last_reload"]["error"].as_str().unwrap_or_default();
        ensure!(error.contains("rules.toml"), "{}: {error}", bad.what);
        assert_eq!(hash(&foobar)?, good, "{}", bad.what);
        assert_eq!(network.xdp_program()?, program, "{}", bad.what);
        let metrics = foobar.scrape()?;
        assert_eq!(metrics.count("foobar_config_reload_success", &[]), 0, "{}", bad.what);
        assert_eq!(foobar.get("/readyz")?.status, 200, "{}", bad.what);
    }
    ensure!(foobar.log()?.len() < 100_000, "a log of {} bytes", foobar.log()?.len());

    foobar.write_rules(BETTER)?;
    reload(&foobar)?;
    assert_eq!(foobar.status()?["last_reload"]["success"], true);
    assert_ne!(hash(&foobar)?, good);
    assert_eq!(foobar.scrape()?.count("foobar_config_reload_success", &[]), 1);
    Ok(())
}

#[test]
fn with_apply_the_old_rules_stay_in_force() -> Result<()> {
    let network = Network::new()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], GOOD)?;
    foobar.start()?;
    let (good, program) = (hash(&foobar)?, network.xdp_program()?);
    let path = foobar.folder().join("bad-rules.toml");
    for bad in bad_files() {
        fs::write(&path, &bad.text)?;
        check_refused(&foobar.command(&["rules", "apply", &path.display().to_string()])?, &bad)?;
        assert_eq!(hash(&foobar)?, good, "{}", bad.what);
        assert_eq!(network.xdp_program()?, program, "{}", bad.what);
    }
    foobar.apply(BETTER)?;
    assert_ne!(hash(&foobar)?, good);
    Ok(())
}

#[test]
fn files_that_cannot_be_read_are_named() -> Result<()> {
    let network = Network::new()?;
    // Without the capabilities that let root read everything.
    let mut foobar = Foobar::new(&network.server, &[SERVER], GOOD)?.with_wrapper(&[
        "setpriv",
        "--bounding-set=-dac_override,-dac_read_search",
        "--inh-caps=-dac_override,-dac_read_search",
        "--",
    ]);
    let unreadable = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    fs::set_permissions(foobar.rules_path(), unreadable)?;
    refusal::check(&foobar.run_to_end()?, 2, &["rules.toml", "ermission denied"])?;

    fs::remove_file(foobar.rules_path())?;
    refusal::check(&foobar.run_to_end()?, 2, &["rules.toml", "o such file"])?;

    fs::create_dir(foobar.rules_path())?;
    refusal::check(&foobar.run_to_end()?, 2, &["rules.toml", "no "])?;
    assert_eq!(network.xdp_program()?, None);

    fs::write(foobar.rules_path().join("10.toml"), GOOD)?;
    foobar.start()?;
    let missing = foobar.command(&["rules", "apply", "none/such.toml"])?;
    refusal::check(&missing, 2, &["none/such.toml", "o such file"])
}

#[test]
fn settings_that_cannot_be_read_are_named() -> Result<()> {
    let network = Network::new()?;
    for (text, words) in [
        ("interfaces = [\"srv0\"]\n", &["settings.toml", "line 1", "interface"][..]),
        ("mode = \"fast\"\n", &["settings.toml", "line 1", "native"]),
        ("mode = ", &["settings.toml", "line 1"]),
    ] {
        let foobar = Foobar::new(&network.server, &[SERVER], GOOD)?;
        let path = foobar.write("settings.toml", text)?.display().to_string();
        let foobar = foobar.with_options(&["--config", &path]);
        refusal::check(&foobar.run_to_end()?, 2, words)?;
    }
    let foobar = Foobar::new(&network.server, &[SERVER], GOOD)?.with_options(&["--config", "/none/such"]);
    refusal::check(&foobar.run_to_end()?, 2, &["/none/such"])?;
    assert_eq!(network.xdp_program()?, None);
    Ok(())
}

/// Sends SIGHUP and waits until the daemon has tried to put rules in force.
fn reload(foobar: &Foobar) -> Result<()> {
    let before = foobar.status()?["last_reload"]["unix_ms"].clone();
    foobar.signal(Signal::SIGHUP)?;
    wait::until("the daemon reloads", Duration::from_secs(30), || {
        // While it reads 10 MB it may be too busy to answer.
        Ok(foobar.status().is_ok_and(|status| status["last_reload"]["unix_ms"] != before))
    })
}

fn hash(foobar: &Foobar) -> Result<String> {
    Ok(foobar.status()?["ruleset"]["hash"].as_str().unwrap_or_default().to_owned())
}

fn check_refused(output: &std::process::Output, bad: &Bad) -> Result<()> {
    let mut words = vec!["rules.toml"];
    words.extend(bad.words);
    refusal::check(output, 2, &words)
        .map_err(|error| error.context(format!("{}: {}", bad.what, stderr(output).len())))
}
