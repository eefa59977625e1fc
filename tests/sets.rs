//! Sets that are changed while they are in force: what that does to packets, and how long it lasts.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    command::{stderr, stdout},
    daemon::Foobar,
    figures::say,
    network::{CLIENT, Network, SERVER},
    packets::udp,
    refusal,
    sender::{Flood, PacketSocket},
    tap::{Tap, settle},
    wait,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// A set of the file, one of a set file, one that overlaps with neither; and a rule for each.
const RULES: &str = r#"
schema = 1
[sets.friends]
entries = ["198.51.100.1", "2001:db8:1::/48"]
[sets.blocked]
file = "blocked.txt"
[sets.unused]
entries = []
[[rule]]
id = "blocked"
action = "drop"
source = ["@blocked"]
protocol = "udp"
[[rule]]
id = "friends"
action = "drop"
source = ["@friends", "!@blocked"]
protocol = "udp"
"#;
const BLOCKED: &str = "203.0.113.0/24\n2001:db8:bad::/48\n";

/// A filter with [`RULES`], and who sends to it.
struct Site {
    foobar: Foobar,
    sender: PacketSocket,
    network: Network,
}

impl Site {
    fn new() -> Result<Self> {
        let network = Network::new()?;
        network.introduce()?;
        let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
        foobar.write("blocked.txt", BLOCKED)?;
        foobar.start()?;
        let sender = PacketSocket::new(&network.client, CLIENT)?;
        Ok(Self { foobar, sender, network })
    }

    /// How many of five packets from this address each rule drops.
    fn dropped(&self, source: &str) -> Result<[u64; 2]> {
        let counted = || -> Result<[u64; 2]> {
            let metrics = self.foobar.scrape()?;
            Ok([metrics.rule("blocked"), metrics.rule("friends")])
        };
        let before = counted()?;
        self.sender.send_times(&from(source), 5)?;
        let sent = || -> Result<u64> { Ok(self.foobar.scrape()?.packets(&[("iface", SERVER)])) };
        let mut last = sent()?;
        wait::until("the packets are counted", Duration::from_secs(5), || {
            let now = sent()?;
            Ok(std::mem::replace(&mut last, now) == now)
        })?;
        let after = counted()?;
        Ok([after[0] - before[0], after[1] - before[1]])
    }

    fn assert_dropped(&self, what: &str, expected: &[(&str, [u64; 2])]) -> Result<()> {
        for (source, dropped) in expected {
            assert_eq!(self.dropped(source)?, *dropped, "{what}: {source}");
        }
        Ok(())
    }

    /// What a command says on stdout and stderr, which must end with this code.
    fn says(&self, arguments: &[&str], code: i32) -> Result<[String; 2]> {
        let output = self.foobar.command(arguments)?;
        let said = [stdout(&output), stderr(&output)];
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said:?}");
        Ok(said)
    }

    fn set(&self, name: &str) -> Result<Value> {
        serde_json::from_str(&self.foobar.succeed(&["set", "show", name, "--json"])?).context("read JSON")
    }

    fn addresses(&self, name: &str) -> Result<Value> {
        Ok(self.set(name)?["addresses"].clone())
    }

    fn generation(&self) -> Result<u64> {
        self.foobar.status()?["ruleset"]["generation"].as_u64().context("no generation in the status")
    }

    fn reload(&self) -> Result<()> {
        let before = self.generation()?;
        self.foobar.signal(Signal::SIGHUP)?;
        wait::until("the daemon reloads", Duration::from_secs(10), || Ok(self.generation()? > before))
    }
}

/// A datagram to the server.
fn from(source: &str) -> Vec<u8> {
    let server = if source.contains(':') { "2001:db8::1" } else { "192.0.2.1" };
    udp((source, 40_000), (server, 9), 8).frame()
}

#[test]
fn a_change_takes_effect_at_once_and_leaves_the_rules_alone() -> Result<()> {
    let site = Site::new()?;
    let program = site.network.xdp_program()?;
    let (none, blocked, friend) = ([0, 0], [5, 0], [0, 5]);
    site.assert_dropped(
        "at first",
        &[
            ("203.0.113.7", blocked),
            ("198.51.100.1", friend),
            ("192.0.2.2", none),
            ("2001:db8:bad::1", blocked),
        ],
    )?;

    let [out, err] = site.says(&["set", "add", "blocked", "192.0.2.2", "2001:db8::2", "203.0.113.9"], 0)?;
    assert_eq!(out, "set blocked: 3 added, 0 removed; 5 entries in all\n");
    assert_eq!(err, "foobar: note: 203.0.113.9 is inside the entry 203.0.113.0/24\n");
    site.assert_dropped(
        "added",
        &[("192.0.2.2", blocked), ("2001:db8::2", blocked), ("203.0.113.7", blocked), ("192.0.2.3", none)],
    )?;
    let [out, err] = site.says(&["set", "add", "blocked", "192.0.2.2"], 0)?;
    assert_eq!(out, "set blocked: 0 added, 0 removed; 5 entries in all\n");
    assert_eq!(err, "foobar: note: 192.0.2.2 was an entry already\n");

    let [out, err] = site.says(&["set", "remove", "blocked", "203.0.113.0/24", "192.0.2.77"], 3)?;
    assert_eq!(out, "set blocked: 0 added, 1 removed; 4 entries in all\n");
    assert_eq!(err, "foobar: note: 192.0.2.77 was no entry\n");
    site.assert_dropped(
        "removed",
        &[("203.0.113.7", none), ("203.0.113.9", blocked), ("192.0.2.2", blocked)],
    )?;

    let file = site.foobar.write("new.txt", "203.0.113.0/24 # all\n203.0.113.9\n\n192.0.2.3\n192.0.2.3\n")?;
    let [out, err] = site.says(&["set", "replace", "blocked", &file.display().to_string()], 0)?;
    assert_eq!(out, "set blocked: 2 added, 3 removed; 4 entries in all\n");
    assert_eq!(err, "foobar: note: entries given once more: 1\nfoobar: note: entries inside another: 1\n");
    site.assert_dropped(
        "replaced",
        &[("203.0.113.7", blocked), ("192.0.2.3", blocked), ("192.0.2.2", none), ("2001:db8:bad::1", none)],
    )?;
    assert_eq!(site.network.xdp_program()?, program, "the program stays");
    assert_eq!(site.generation()?, 1, "no rules were put in force");
    Ok(())
}

#[test]
fn sets_that_overlap_in_a_new_way_swap_the_rules_underneath() -> Result<()> {
    let site = Site::new()?;
    let program = site.network.xdp_program()?;
    site.assert_dropped("apart", &[("198.51.100.1", [0, 5])])?;
    site.says(&["set", "add", "blocked", "198.51.100.0/24"], 0)?;
    assert_ne!(site.network.xdp_program()?, program);
    site.assert_dropped("in both sets", &[("198.51.100.1", [5, 0]), ("198.51.100.2", [5, 0])])?;
    site.says(&["set", "remove", "blocked", "198.51.100.0/24"], 0)?;
    site.assert_dropped("apart again", &[("198.51.100.1", [0, 5]), ("198.51.100.2", [0, 0])])?;
    assert_eq!(site.generation()?, 1);
    Ok(())
}

/// Rules are compiled again from what the state folder has of them. Without that, everything stays as it is.
#[test]
fn without_its_texts_the_rules_in_force_stay() -> Result<()> {
    let site = Site::new()?;
    let texts = site.foobar.state_path().join("rulesets");
    let aside = site.foobar.folder().join("aside");
    fs::rename(&texts, &aside)?;
    let [_, why] = site.says(&["set", "add", "friends", "203.0.113.9"], 1)?;
    ensure!(why.contains("the set stays as it is") && why.contains("the file is missing"), "{why}");
    ensure!(site.addresses("friends")? == json!(["198.51.100.1", "2001:db8:1::/48"]), "{why}");
    let [_, why] = site.says(&["rules", "show"], 1)?;
    ensure!(why.contains("read the applied ruleset") && why.contains("rulesets/"), "{why}");
    site.assert_dropped("without texts", &[("203.0.113.9", [5, 0]), ("198.51.100.1", [0, 5])])?;
    // What needs no rules still is as it was, and so is all when the texts are back.
    site.foobar.succeed(&["set", "add", "friends", "192.0.2.9"])?;
    site.assert_dropped("of a set alone", &[("192.0.2.9", [0, 5])])?;
    fs::rename(&aside, &texts)?;
    site.foobar.succeed(&["set", "add", "friends", "203.0.113.9"])?;
    site.assert_dropped("with texts again", &[("203.0.113.9", [5, 0])])
}

#[test]
fn changes_outlive_the_daemon() -> Result<()> {
    let mut site = Site::new()?;
    let file = site.foobar.write("new.txt", "192.0.2.3\n192.0.2.4\n")?.display().to_string();
    site.says(&["set", "add", "friends", "192.0.2.2"], 0)?;
    site.says(&["set", "remove", "friends", "198.51.100.1"], 0)?;
    site.says(&["set", "replace", "blocked", &file], 0)?;
    site.says(&["set", "add", "blocked", "192.0.2.5"], 0)?;
    site.says(&["set", "remove", "blocked", "192.0.2.4"], 0)?;
    site.says(&["set", "add", "unused", "192.0.2.5"], 0)?;
    let expected = [
        ("192.0.2.2", [0, 5]),
        ("198.51.100.1", [0, 0]),
        ("192.0.2.3", [5, 0]),
        ("192.0.2.4", [0, 0]),
        ("192.0.2.5", [5, 0]),
    ];
    for what in ["changed", "killed", "ended", "reloaded", "applied"] {
        match what {
            "killed" => {
                site.foobar.kill()?;
                site.assert_kept()?;
                site.foobar.start()?;
            }
            "ended" => {
                site.foobar.terminate()?;
                site.foobar.start()?;
            }
            "reloaded" => site.reload()?,
            "applied" => {
                // Other rules with the same sets, in another order.
                site.foobar.apply(&format!("{RULES}[[rule]]\nid = \"more\"\naction = \"accept\"\n"))?;
            }
            _ => {}
        }
        site.assert_dropped(what, &expected)?;
        assert_eq!(site.addresses("blocked")?, json!(["192.0.2.3", "192.0.2.5"]), "{what}");
        assert_eq!(site.addresses("unused")?, json!(["192.0.2.5"]), "{what}");
        let edits = site.set("blocked")?["edits"].clone();
        assert_eq!(
            (&edits["replaced"], &edits["added"], &edits["removed"]),
            (&json!(true), &json!(1), &json!(1))
        );
        ensure!(edits["by"].as_str().is_some_and(|by| by.starts_with("root")), "{edits}");
        let status = site.foobar.status()?;
        assert_eq!(status["ruleset"]["edited_sets"], json!(["blocked", "friends", "unused"]), "{what}");
    }
    let shown = site.foobar.succeed(&["rules", "show"])?;
    ensure!(
        shown.contains("\nset blocked was changed at runtime: replaced, then 1 added, 1 removed; "),
        "{shown}"
    );
    Ok(())
}

impl Site {
    /// The filter without a daemon.
    fn assert_kept(&self) -> Result<()> {
        let tap = Tap::start(&self.network.server, SERVER, |frame| is_from(frame, [192, 0, 2, 3]))?;
        self.sender.send_times(&from("192.0.2.3"), 5)?;
        settle();
        assert_eq!(tap.stop()?, 0, "what was blocked stays so without the daemon");
        Ok(())
    }
}

fn is_from(frame: &[u8], source: [u8; 4]) -> bool {
    frame.get(12..14) == Some(&[8, 0]) && frame.get(26..30) == Some(&source)
}

#[test]
fn rules_that_give_a_set_other_entries_win() -> Result<()> {
    let mut site = Site::new()?;
    let dropped = "what was changed of the set blocked at runtime is dropped";
    for (what, restart) in [("reload", false), ("restart", true)] {
        site.foobar.write("blocked.txt", BLOCKED)?;
        site.reload()?;
        site.says(&["set", "add", "blocked", "192.0.2.2"], 0)?;
        site.says(&["set", "add", "friends", "192.0.2.2"], 0)?;
        site.assert_dropped(what, &[("192.0.2.2", [5, 0])])?;
        site.foobar.write("blocked.txt", &format!("{BLOCKED}192.0.2.3\n"))?;
        let path = site.foobar.rules_path().display().to_string();
        let difference = site.foobar.succeed(&["rules", "diff", &path])?;
        assert_eq!(
            difference,
            "~ set blocked: 1 entries more, 1 less\n~ set blocked: what was changed at runtime is dropped\n",
            "{what}"
        );
        if restart {
            site.foobar.kill()?;
            site.foobar.start()?;
        } else {
            site.reload()?;
        }
        site.assert_dropped(what, &[("192.0.2.2", [0, 5]), ("192.0.2.3", [5, 0]), ("203.0.113.7", [5, 0])])?;
        assert_eq!(site.foobar.status()?["ruleset"]["edited_sets"], json!(["friends"]), "{what}");
        ensure!(site.foobar.log()?.contains(dropped), "{what}");
        let files: Vec<_> = fs::read_dir(site.foobar.state_path().join("sets"))?.collect::<Result<_, _>>()?;
        assert_eq!(files.len(), 1, "{what}: {files:?}");
        fs::write(site.foobar.folder().join("log"), "")?;
    }
    let answer = site.foobar.apply("schema = 1\n")?;
    ensure!(
        answer.contains("set friends at runtime is dropped, as the rules no longer have this set"),
        "{answer}"
    );
    let answer = site.foobar.succeed(&["rules", "rollback"])?;
    ensure!(!answer.contains("dropped"), "{answer}");
    assert_eq!(site.addresses("friends")?, json!(["198.51.100.1", "2001:db8:1::/48"]));
    Ok(())
}

#[test]
fn bad_input_changes_nothing() -> Result<()> {
    let site = Site::new()?;
    let before = site.set("blocked")?;
    let file =
        |text: &str| -> Result<String> { Ok(site.foobar.write("bad.txt", text)?.display().to_string()) };
    let bad = file("# list\n  192.0.2.0/24\n  192.0.2.1/24 ; host bits\nnonsense\n")?;
    let empty = site.foobar.write("empty.txt", "\n")?.display().to_string();
    for (arguments, parts) in [
        (
            vec!["replace", "blocked", &bad],
            vec!["bad.txt:3:3: \"192.0.2.1/24\" has bits set", "bad.txt:4:1: \"nonsense\""],
        ),
        (
            vec!["replace", "blocked", &bad, "--lenient"],
            vec!["bad.txt:4:1: \"nonsense\" is no address or prefix"],
        ),
        (vec!["replace", "blocked", &empty], vec!["empty.txt says nothing", "a comment"]),
        (vec!["replace", "blocked", "/none.txt"], vec!["read set file /none.txt: No such file"]),
        (vec!["add", "blocked", "192.0.2.9", "192.0.2.1/24"], vec!["bits set behind", "write 192.0.2.0/24"]),
        (vec!["remove", "blocked", "203.0.113.0/24", "x"], vec!["\"x\" is no address or prefix"]),
        (
            vec!["add", "bloked", "192.0.2.9"],
            vec!["no set \"bloked\"", "did you mean blocked?", "blocked, friends, unused"],
        ),
        (vec!["show", "a b/ü"], vec!["there is no set \"a b/ü\"", "there are: blocked, friends, unused"]),
    ] {
        let output = site.foobar.command(&[vec!["set"], arguments].concat())?;
        refusal::check(&output, 2, &parts)?;
    }
    assert_eq!(site.set("blocked")?, before);
    ensure!(fs::read_dir(site.foobar.state_path().join("sets"))?.next().is_none());

    let text: Vec<u8> =
        (0..2_000_001u32).flat_map(|n| format!("{}\n", std::net::Ipv4Addr::from(n)).into_bytes()).collect();
    let output = site.foobar.command_with_input(&["set", "replace", "unused", "-"], &text)?;
    refusal::check(&output, 2, &["2000005 entries", "room for 2000000", "the set stays as it is"])?;

    let output = site
        .foobar
        .command_with_input(&["set", "replace", "unused", "-", "--lenient"], b"192.0.2.1/24\n::1\n")?;
    assert_eq!(stdout(&output), "set unused: 2 added, 0 removed; 2 entries in all\n");
    assert_eq!(
        stderr(&output),
        "foobar: note: entries with bits behind the prefix, which are set to zero: 1\n"
    );
    assert_eq!(site.addresses("unused")?, json!(["192.0.2.0/24", "::1"]));
    let report: Value =
        serde_json::from_str(&site.foobar.succeed(&["set", "add", "unused", "::2", "::1", "--json"])?)?;
    assert_eq!((&report["added"], &report["present"]), (&json!(1), &json!(["::1"])));
    Ok(())
}

#[test]
fn set_files_are_read_leniently_when_asked() -> Result<()> {
    let mut site = Site::new()?;
    site.foobar.write("blocked.txt", "192.0.2.7/24\n198.51.100.9/28\n::1\n")?;
    let path = site.foobar.rules_path().display().to_string();
    let note = "set blocked: 2 entries of blocked.txt had bits behind the prefix, which are set to zero";
    for command in ["check", "apply"] {
        site.says(&["rules", command, &path], 2)?;
    }
    // The daemon was not told to be lenient, so its reload stays strict.
    let answer = site.says(&["rules", "apply", &path, "--lenient"], 0)?;
    ensure!(answer[1].contains(note), "{answer:?}");
    assert_eq!(site.addresses("blocked")?, json!(["192.0.2.0/24", "198.51.100.0/28", "::1"]));
    site.foobar.kill()?;
    site.foobar.start()?;
    assert_eq!(site.addresses("blocked")?, json!(["192.0.2.0/24", "198.51.100.0/28", "::1"]), "remembered");

    let mut foobar = Foobar::new(&site.network.client, &[CLIENT], RULES)?.with_options(&["--lenient"]);
    foobar.write("blocked.txt", "192.0.2.7/24\n198.51.100.9/28\n::1\n")?;
    foobar.start()?;
    ensure!(foobar.log()?.contains(note), "{}", foobar.log()?);
    Ok(())
}

/// Packets per second.
const RATE: u64 = 20_000;

#[test]
fn no_packet_is_judged_by_half_a_replaced_set() -> Result<()> {
    const TIMES: usize = 200;
    let rules = r#"
        schema = 1
        [policy]
        in = "drop"
        [sets.known]
        entries = ["192.0.2.2"]
        [[rule]]
        id = "known"
        action = "accept"
        source = ["@known"]
    "#;
    let network = Network::new()?;
    network.introduce()?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], rules)?;
    foobar.start()?;
    // Enough around the addresses that writing a table takes its time.
    let around = |third: u8| -> String {
        let entries: Vec<String> =
            (0..20_000u32).map(|n| format!("10.{third}.{}.{}", n >> 8, n & 255)).collect();
        entries.join("\n")
    };
    let one =
        foobar.write("one.txt", &format!("192.0.2.2\n198.51.100.1\n{}", around(1)))?.display().to_string();
    let other = foobar
        .write("other.txt", &format!("{}\n198.51.100.2\n192.0.2.2\n", around(2)))?
        .display()
        .to_string();
    foobar.succeed(&["set", "replace", "known", &one])?;
    let sources = [[192, 0, 2, 2], [198, 51, 100, 1], [198, 51, 100, 2]];
    let tap = |source| Tap::start(&network.server, SERVER, move |frame| is_from(frame, source));
    let taps = [tap(sources[0])?, tap(sources[1])?, tap(sources[2])?];
    let frames = ["192.0.2.2", "198.51.100.1", "198.51.100.2"].map(from);
    let flood = Flood::start(&network.client, CLIENT, frames.to_vec(), RATE)?;
    for number in 1..=TIMES {
        let before = flood.sent();
        let file = if number % 2 == 0 { &one } else { &other };
        foobar.succeed(&["set", "replace", "known", file])?;
        wait::until("packets meet the set", Duration::from_secs(5), || Ok(flood.sent() > before + 50))?;
    }
    let sent = flood.stop()?;
    settle();
    let metrics = foobar.scrape()?;
    let [both, first, second] = taps;
    let [both, first, second] = [both.stop()?, first.stop()?, second.stop()?];
    say(&format!(
        "{TIMES} replacements, {sent} packets sent; got through: {both} of both, {first}, {second} of one"
    ));
    assert_eq!(both, sent.div_ceil(3), "of an address that is in both");
    for got_through in [first, second] {
        ensure!(got_through > 100 && got_through < sent / 3 - 100, "{got_through} of {}", sent / 3);
    }
    assert_eq!(metrics.rule("known"), both + first + second);
    assert_eq!(metrics.packets(&[("iface", SERVER)]), sent, "every packet is counted");
    // The last one is in force.
    let sender = PacketSocket::new(&network.client, CLIENT)?;
    let taps = [tap(sources[0])?, tap(sources[1])?, tap(sources[2])?];
    for frame in &frames {
        sender.send_times(frame, 10)?;
    }
    settle();
    let [both, first, second] = taps;
    assert_eq!([both.stop()?, first.stop()?, second.stop()?], [10, 10, 0]);
    Ok(())
}
