//! Transcripts of commands that need neither a kernel nor a daemon: what they say, where, and the exit code.
//!
//! `INSTA_UPDATE=always cargo test -p foobar-tests --test cli` renews the ones in `snapshots/`.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    binary,
    command::{stderr, stdout, succeed_with_input},
    refusal,
};
use insta::assert_snapshot;
use serde_json::{Value, json};
use tempfile::TempDir;

const SOUND: &str = r#"schema = 1

[policy]
in = "drop"

[failsafe]
ports = ["tcp/22"]

[sets.offices]
entries = ["198.51.100.0/24", "2001:db8:40::/48"]

[[service]]
name = "www"
port = "tcp/443"
protocol = "raw"

[[rule]]
id = "offices-only"
action = "accept"
source = ["@offices", "!198.51.100.9"]
protocol = "tcp"
destination_port = [8443]

[[rule]]
id = "web"
action = "accept"
protocol = "tcp"
destination_port = [80, 443]
"#;

const QUESTIONABLE: &str = r#"schema = 1

[policy]
in = "drop"

[[service]]
name = "db"
port = "tcp/3306"
protocol = "raw"

[[rule]]
id = "web"
action = "accept"
protocol = "tcp"
destination_port = ["1-1000"]

[[rule]]
id = "http"
action = "drop"
protocol = "tcp"
destination_port = [80]

[[rule]]
id = "https-too"
action = "accept"
protocol = "tcp"
destination_port = [443]
"#;

const WRONG: &str = r#"schema = 1

[policy]
in = "dorp"

[[rule]]
id = "a"
action = "accept"
source = ["192.0.2.1/24"]
destination_port = ["90-80"]

[[rule]]
id = "a"
action = "accept"
source = ["@unknown"]

[[rule]]
id = "b"
action = "drop"
state = ["new"]
protocol = "icmp"
destination_port = [1]
"#;

const IPTABLES: &str = r"*filter
:INPUT DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p tcp -m multiport --dports 80,443 -m comment --comment web -j ACCEPT
-A INPUT -j REJECT --reject-with icmp-port-unreachable
-A OUTPUT -p tcp --dport 25 -j DROP
COMMIT
";

const NFTABLES: &str = r#"table inet filter {
    chain input {
        type filter hook input priority filter; policy accept;
        tcp dport { 22, 8000-8099 } ip saddr != 198.51.100.0/24 drop comment "offices-only"
    }
}
"#;

/// A folder with rule files to call foobar in.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        for (name, text) in
            [("sound.toml", SOUND), ("questionable.toml", QUESTIONABLE), ("wrong.toml", WRONG)]
        {
            fs::write(folder.path().join(name), text)?;
        }
        fs::create_dir(folder.path().join("empty"))?;
        Ok(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn foobar(&self, arguments: &[&str]) -> Result<Output> {
        Command::new(binary::foobar()?)
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("run foobar {arguments:?}"))
    }

    /// What one would see in a terminal, with the streams apart.
    fn transcript(&self, arguments: &[&str]) -> Result<String> {
        let output = self.foobar(arguments)?;
        ensure!(!stdout(&output).contains('\u{1b}'), "colours in a file");
        let words: Vec<String> = arguments
            .iter()
            .map(|word| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() })
            .collect();
        let code = output.status.code().context("ended by a signal")?;
        let mut text = format!("$ foobar {}\nexit code {code}\n", words.join(" "));
        for (name, stream) in [("stdout", stdout(&output)), ("stderr", stderr(&output))] {
            if !stream.is_empty() {
                writeln!(text, "--- {name}")?;
                text.push_str(&stream);
            }
        }
        Ok(text)
    }

    fn json(&self, arguments: &[&str], code: i32) -> Result<Value> {
        let output = self.foobar(arguments)?;
        ensure!(
            output.status.code() == Some(code),
            "{}: {}{}",
            output.status,
            stdout(&output),
            stderr(&output)
        );
        serde_json::from_slice(&output.stdout).with_context(|| format!("no JSON: {}", stdout(&output)))
    }
}

#[test]
fn rules_check_says_what_is_wrong_and_what_is_useless() -> Result<()> {
    let desk = Desk::new()?;
    assert_snapshot!("check_sound", desk.transcript(&["rules", "check", "sound.toml"])?);
    assert_snapshot!("check_questionable", desk.transcript(&["rules", "check", "questionable.toml"])?);
    assert_snapshot!("check_wrong", desk.transcript(&["rules", "check", "wrong.toml"])?);
    assert_snapshot!("check_missing", desk.transcript(&["rules", "check", "missing.toml"])?);
    assert_snapshot!("check_empty_folder", desk.transcript(&["rules", "check", "empty"])?);
    Ok(())
}

#[test]
fn rules_explain_names_the_rule_and_why() -> Result<()> {
    let desk = Desk::new()?;
    for (name, packet) in [
        ("explain_office", "tcp 198.51.100.7:5555 > 192.0.2.10:8443 syn"),
        ("explain_excluded", "tcp 198.51.100.9:5555 > 192.0.2.10:8443 syn"),
        ("explain_v6", "tcp [2001:db8:40::7]:5555 > [2001:db8::10]:8443 syn"),
        ("explain_failsafe", "tcp 203.0.113.7:5555 > 192.0.2.10:22 syn"),
        ("explain_policy", "udp 203.0.113.7:5555 > 192.0.2.10:53"),
        ("explain_fragment", "udp 203.0.113.7 > 192.0.2.10 fragment"),
        ("explain_malformed", "ip_length"),
        ("explain_wrong_packet", "tcp 203.0.113.7 192.0.2.10"),
    ] {
        assert_snapshot!(name, desk.transcript(&["rules", "explain", "sound.toml", "--packet", packet])?);
    }
    Ok(())
}

#[test]
fn rules_import_says_what_becomes_of_each_line() -> Result<()> {
    let desk = Desk::new()?;
    fs::write(desk.path().join("rules.v4"), IPTABLES)?;
    fs::write(desk.path().join("rules.nft"), NFTABLES)?;
    let import = |from: &'static str, file: &'static str| ["rules", "import", "--from", from, file];
    assert_snapshot!("import_iptables", desk.transcript(&import("iptables", "rules.v4"))?);
    assert_snapshot!("import_nftables", desk.transcript(&import("nftables", "rules.nft"))?);
    assert_snapshot!("import_wrong_format", desk.transcript(&import("iptables", "rules.nft"))?);
    Ok(())
}

#[test]
fn json_holds_the_same() -> Result<()> {
    let desk = Desk::new()?;
    let pretty = |value: Value| serde_json::to_string_pretty(&value);
    assert_snapshot!("json_check_sound", pretty(desk.json(&["rules", "check", "sound.toml", "--json"], 0)?)?);
    assert_snapshot!(
        "json_check_questionable",
        pretty(desk.json(&["rules", "check", "questionable.toml", "--json"], 0)?)?
    );
    assert_snapshot!("json_check_wrong", pretty(desk.json(&["rules", "check", "wrong.toml", "--json"], 2)?)?);
    let packet = "tcp 203.0.113.7:5555 > 192.0.2.10:443 syn";
    let explained = desk.json(&["rules", "explain", "sound.toml", "--packet", packet, "--json"], 0)?;
    assert_snapshot!("json_explain", pretty(explained)?);
    Ok(())
}

#[test]
fn wrong_usage_is_exit_code_2_and_goes_to_stderr() -> Result<()> {
    let desk = Desk::new()?;
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["rules"],
        &["rules", "check"],
        &["rules", "check", "sound.toml", "--no-such-flag"],
        &["rules", "explain", "sound.toml"],
        &["rules", "import", "rules.v4"],
        &["rules", "import", "--from", "pf", "rules.v4"],
        &["rules", "import", "--from", "nftables", "sound.toml"],
        &["rules", "import", "--from", "iptables", "missing.v4"],
        &["rules", "apply", "sound.toml", "--confirm-within", "soon"],
        &["run", "--mode", "fast", "--interface", "lo"],
        &["run", "--listen", "nowhere", "--interface", "lo"],
        &["run"],
        &["completions", "basic"],
    ] {
        let output = desk.foobar(arguments)?;
        ensure!(output.status.code() == Some(2), "{arguments:?}: {}", output.status);
        ensure!(output.stdout.is_empty(), "{arguments:?}: {}", stdout(&output));
        ensure!(!output.stderr.is_empty(), "{arguments:?}: nothing said");
    }
    Ok(())
}

#[test]
fn commands_for_a_daemon_say_that_there_is_none() -> Result<()> {
    let desk = Desk::new()?;
    for arguments in [
        &["rules", "show"][..],
        &["rules", "diff", "sound.toml"],
        &["rules", "apply", "sound.toml"],
        &["rules", "confirm"],
        &["rules", "rollback"],
        &["top"],
    ] {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--control", "none.sock"]);
        let output = desk.foobar(&arguments)?;
        refusal::check(&output, 1, &["none.sock", "foobar run"])?;
        ensure!(stderr(&output).lines().count() == 1, "{arguments:?}: {}", stderr(&output));
        ensure!(output.stdout.is_empty(), "{arguments:?}: {}", stdout(&output));
    }
    // This one can say more: what an earlier daemon left.
    let output = desk.foobar(&["status", "--control", "none.sock", "--pins", "none"])?;
    refusal::check(&output, 1, &["none.sock", "foobar run"])?;
    ensure!(stdout(&output).contains("no filter is pinned in none"), "{}", stdout(&output));
    let arguments = ["status", "--json", "--control", "none.sock", "--pins", "none"];
    let status = desk.json(&arguments, 1)?;
    assert_eq!(status, json!({ "running": false, "pins": "none", "pinned": [] }));
    Ok(())
}

#[test]
fn help_names_every_command_and_every_flag() -> Result<()> {
    let desk = Desk::new()?;
    for (arguments, words) in [
        (&["--help"][..], &["run", "status", "rules", "replay", "detach", "completions", "man"][..]),
        (
            &["rules", "--help"],
            &["check", "explain", "import", "show", "diff", "apply", "confirm", "rollback"],
        ),
        (
            &["run", "--help"],
            &[
                "--interface",
                "--rules",
                "--config",
                "--mode",
                "--listen",
                "--web-config",
                "--push",
                "--no-host-metrics",
                "--certificate",
                "--insecure-listen",
                "--control",
                "--ephemeral",
            ],
        ),
        (&["rules", "apply", "--help"], &["--confirm-within", "--control"]),
        (&["push", "--help"], &["check", "test"]),
        (&["push", "check", "--help"], &["--json", "foobar push check /etc"]),
        (&["push", "test", "--help"], &["--target", "foobar_build_info"]),
        (&["rules", "show", "--help"], &["--counters", "--json"]),
        (&["rules", "diff", "--help"], &["--json"]),
        (&["rules", "check", "--help"], &["--json"]),
        (&["rules", "explain", "--help"], &["--packet", "--json"]),
        (&["rules", "import", "--help"], &["--from", "--partial", "--json", "nft list ruleset |"]),
        (&["status", "--help"], &["--json"]),
        (&["replay", "--help"], &["--rules", "--local", "--json"]),
    ] {
        let output = desk.foobar(arguments)?;
        ensure!(output.status.code() == Some(0), "{arguments:?}: {}", output.status);
        let said = stdout(&output);
        for word in words {
            ensure!(said.contains(word), "{arguments:?} does not say {word}:\n{said}");
        }
        ensure!(
            said.lines().all(|line| line.chars().count() <= 100),
            "{arguments:?}: lines too long:\n{said}"
        );
    }
    Ok(())
}

#[test]
fn completions_are_scripts_that_their_shells_read() -> Result<()> {
    let desk = Desk::new()?;
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = desk.foobar(&["completions", shell])?;
        ensure!(output.status.code() == Some(0), "{shell}: {}", stderr(&output));
        ensure!(stdout(&output).contains("rollback"), "{shell}: {}", stdout(&output));
        if shell == "bash" {
            succeed_with_input(Command::new("bash").arg("-n"), &output.stdout)?;
        }
    }
    Ok(())
}

#[test]
fn the_manual_page_is_one() -> Result<()> {
    let output = Desk::new()?.foobar(&["man"])?;
    let page = stdout(&output);
    ensure!(output.status.code() == Some(0), "{}", stderr(&output));
    ensure!(page.contains(".TH FOOBAR 1"), "{page}");
    for word in ["rollback", "ephemeral", "completions"] {
        ensure!(page.contains(word), "the manual page does not say {word}");
    }
    Ok(())
}

#[test]
fn the_version_tells_where_the_programs_come_from() -> Result<()> {
    let output = Desk::new()?.foobar(&["--version"])?;
    let said = stdout(&output);
    ensure!(output.status.code() == Some(0));
    ensure!(said.contains(env!("CARGO_PKG_VERSION")), "{said}");
    ensure!(said.contains("source") || said.contains("kept"), "{said}");
    Ok(())
}

#[test]
fn a_closed_pipe_is_no_panic() -> Result<()> {
    let desk = Desk::new()?;
    let command = format!("{} man | true", binary::foobar()?.display());
    let output = Command::new("sh").args(["-c", &command]).current_dir(desk.path()).output()?;
    ensure!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    Ok(())
}
