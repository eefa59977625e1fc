//! What the daemon writes to systemd's journal.

mod journald;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use foobar_daemon::log::{journal::Journal, record::LogRecord};
use foobar_tests::{
    command::stderr,
    daemon::Foobar,
    frames::{Family, udp},
    network::{CLIENT, Network, SERVER},
    rulesets::DRAWN,
    sender::PacketSocket,
    wait,
};
use nix::sys::signal::Signal;
use tracing::Level;

use self::journald::Journald;

/// Runs what follows as systemd would: its output leads to the journal, and it is told so.
const AS_A_SERVICE: &str = r#"exec systemd-cat -t lines sh -c 'JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec "$@"' sh "$@""#;

type Record = BTreeMap<String, String>;

fn field<'r>(record: &'r Record, name: &str) -> &'r str {
    record.get(name).map_or("", String::as_str)
}

/// A foobar that finds this journal, with these options.
fn foobar(network: &Network, journald: &Journald, wrapper: &[&str], options: &[&str]) -> Result<Foobar> {
    let mut words = journald.entry();
    words.extend(wrapper.iter().map(|&word| word.to_owned()));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(Foobar::new(&network.server, &[SERVER], DRAWN)?.with_wrapper(&words).with_options(options))
}

/// Waits for records that are as they should be, one for each of these, and gives them.
fn wait_for(journald: &Journald, wanted: &[&dyn Fn(&Record) -> bool]) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    let waited = wait::until("the journal has it", Duration::from_secs(20), || {
        records = journald.records()?;
        Ok(wanted.iter().all(|is| records.iter().any(is)))
    });
    waited.with_context(|| format!("{records:#?}"))?;
    wanted.iter().map(|is| records.iter().find(|record| is(record)).cloned().context("gone")).collect()
}

#[test]
fn bans_rules_and_drawn_packets_are_records_with_fields() -> Result<()> {
    let network = Network::new()?;
    let journald = Journald::start()?;
    let mut foobar = foobar(&network, &journald, &[], &["--journal", "daemon,packets"])?;
    foobar.start()?;
    network.introduce()?;
    wait::until("somebody watches", Duration::from_secs(20), || {
        Ok(foobar.status()?["events"]["watchers"] == 1)
    })?;
    PacketSocket::new(&network.client, CLIENT)?.send_times(&udp(Family::V4, 1000, b"noise")?, 3)?;
    foobar.succeed(&["ban", "198.51.100.7", "--for", "1h"])?;
    foobar.succeed(&["unban", "198.51.100.7"])?;
    foobar.apply("schema = 1\n")?;
    let records = wait_for(
        &journald,
        &[
            &|record| field(record, "FOOBAR_RULE") == "noise",
            &|record| field(record, "FOOBAR_EVENT") == "ban",
            &|record| field(record, "FOOBAR_EVENT") == "unban",
            &|record| field(record, "FOOBAR_EVENT") == "rules" && field(record, "FOOBAR_GENERATION") == "1",
            &|record| field(record, "FOOBAR_EVENT") == "apply" && field(record, "FOOBAR_GENERATION") == "2",
        ],
    )?;
    let [packet, ban, unban, rules, apply] = &records[..] else { anyhow::bail!("{} records", records.len()) };
    let expected: [(&Record, &[(&str, &str)]); 5] = [
        (
            packet,
            &[
                ("FOOBAR_SOURCE", "packets"),
                ("FOOBAR_VERDICT", "drop"),
                ("FOOBAR_INTERFACE", SERVER),
                ("FOOBAR_DIRECTION", "in"),
                ("FOOBAR_ONE_IN", "1"),
                ("PRIORITY", "6"),
                ("_COMM", "foobar"),
                ("_TRANSPORT", "journal"),
            ],
        ),
        (ban, &[("FOOBAR_SOURCE", "daemon"), ("FOOBAR_ADDRESSES", "198.51.100.7")]),
        (unban, &[("FOOBAR_ADDRESSES", "198.51.100.7"), ("PRIORITY", "6")]),
        (rules, &[("FOOBAR_SOURCE", "daemon"), ("PRIORITY", "6"), ("SYSLOG_IDENTIFIER", "foobar")]),
        (apply, &[("FOOBAR_SOURCE", "daemon")]),
    ];
    for (record, fields) in expected {
        for (name, value) in fields {
            ensure!(field(record, name) == *value, "{name} is not {value}: {record:#?}");
        }
    }
    ensure!(field(packet, "MESSAGE").contains("192.0.2.2"), "{packet:#?}");
    for record in [ban, unban, apply] {
        ensure!(field(record, "FOOBAR_BY").starts_with("root (uid 0, pid "), "{record:#?}");
    }
    ensure!(field(ban, "MESSAGE").starts_with("ban of 198.51.100.7 by root (uid 0, pid "), "{ban:#?}");
    ensure!(field(rules, "FOOBAR_RULESET").len() == 64, "{rules:#?}");
    let packets =
        journald.records()?.iter().filter(|record| field(record, "FOOBAR_SOURCE") == "packets").count();
    assert_eq!(packets, 3);
    // stderr is a file here, and has the same as lines; their text says what fields say.
    let log = foobar.log()?;
    ensure!(log.contains("ban of 198.51.100.7 by root (") && !log.contains("addresses="), "{log}");
    Ok(())
}

#[test]
fn a_service_writes_each_record_once() -> Result<()> {
    let network = Network::new()?;
    let journald = Journald::start()?;
    let mut foobar = foobar(&network, &journald, &["sh", "-c", AS_A_SERVICE, "sh"], &[])?;
    foobar.start()?;
    foobar.succeed(&["ban", "198.51.100.7"])?;
    let records = wait_for(&journald, &[&|record| field(record, "FOOBAR_EVENT") == "ban"])?;
    assert_eq!(field(&records[0], "_TRANSPORT"), "journal");
    let lines = journald.of("lines")?;
    ensure!(lines.is_empty(), "lines beside records: {lines:#?}");
    // Nobody wants packets unless they are asked for.
    assert_eq!(foobar.status()?["events"]["watchers"], 0);
    Ok(())
}

#[test]
fn a_text_of_several_lines_is_one_record_and_makes_no_field() -> Result<()> {
    let network = Network::new()?;
    let journald = Journald::start()?;
    let mut foobar = foobar(&network, &journald, &[], &["--journal", "daemon"])?;
    foobar.start()?;
    // What is wrong with rules is told with their lines.
    foobar.write_rules("schema = 1\n[[rule]]\nid = \"a\"\naction = \"drop\"\n[[rule]]\nid = \"a\"\nFOOBAR_EVENT=\"forged\"\n")?;
    foobar.signal(Signal::SIGHUP)?;
    let records = wait_for(&journald, &[&|record| field(record, "FOOBAR_EVENT") == "reload"])?;
    assert_eq!(field(&records[0], "PRIORITY"), "3");
    let text = field(&records[0], "MESSAGE");
    ensure!(
        text.contains("failed, the rules in force stay")
            && text.contains('\n')
            && text.contains("FOOBAR_EVENT="),
        "{text}"
    );

    // The same from whoever may write anything, in a text, a value, and more than a datagram has room for.
    let journal = Journal::at(&journald.socket())?;
    let forged = "one\nPRIORITY=0\nFOOBAR_EVENT=forged\n\nMESSAGE=two\n";
    let long = forged.repeat(20_000);
    for (number, text) in [forged, &long].into_iter().enumerate() {
        let attributes = vec![("source", number.to_string()), ("rule", text.to_owned())];
        journal.send(&LogRecord { unix_ns: 0, level: Level::WARN, text: text.to_owned(), attributes })?;
    }
    let records = wait_for(
        &journald,
        &[&|record| field(record, "FOOBAR_SOURCE") == "0", &|record| field(record, "FOOBAR_SOURCE") == "1"],
    )?;
    for (record, text) in records.iter().zip([forged, &long]) {
        assert_eq!(field(record, "MESSAGE").len(), text.len());
        ensure!(field(record, "MESSAGE") == text && field(record, "FOOBAR_RULE") == text);
        assert_eq!(field(record, "PRIORITY"), "4");
    }
    for record in journald.records()? {
        ensure!(
            field(&record, "PRIORITY") != "0" && field(&record, "FOOBAR_EVENT") != "forged",
            "{record:?}"
        );
    }
    Ok(())
}

#[test]
fn without_a_journal_the_filter_runs_and_says_so() -> Result<()> {
    let network = Network::new()?;
    let nowhere = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "--",
        "sh",
        "-c",
        "mount -t tmpfs tmpfs /run/systemd && exec \"$@\"",
        "sh",
    ];
    let mut foobar = Foobar::new(&network.server, &[SERVER], DRAWN)?
        .with_wrapper(&nowhere)
        .with_options(&["--journal", "daemon,packets"]);
    foobar.start()?;
    let log = foobar.log()?;
    for said in [
        "is not there; systemd-journald makes it; the log goes to stderr alone",
        "packets that rules draw are not written",
    ] {
        ensure!(log.contains(said), "{log}");
    }
    let output = foobar.command_without_control(&["run", "--journal", "kernel", "--interface", SERVER])?;
    ensure!(
        stderr(&output).contains("no logs \"kernel\": write daemon or packets, or none"),
        "{}",
        stderr(&output)
    );
    Ok(())
}
