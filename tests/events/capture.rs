//! What is written is a capture that others read.

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    command::{stdout, succeed, with_input},
    daemon::Foobar,
    frames::{self, Family},
    network::{CLIENT, Network, SERVER},
    sender::PacketSocket,
};
use nix::sys::signal::Signal;

use crate::{DROPS, watching::Watching};

#[test]
fn tshark_reads_packets_with_their_comments() -> Result<()> {
    let network = Network::new()?;
    network.introduce()?;
    let rules = format!(
        "{DROPS}[[rule]]\nid = \"seven\"\naction = \"accept\"\nprotocol = \"udp\"\ndestination_port = 7\nlog = \"1/1\"\n"
    );
    let mut foobar = Foobar::new(&network.server, &[SERVER], &rules)?;
    foobar.start()?;
    foobar.succeed(&["ban", "2001:db8::2"])?;
    // What was there before is replaced.
    let path = foobar.write("told.pcapng", &"old".repeat(1_000))?.display().to_string();
    let watching = Watching::start_with(&foobar, "capture", &["watch", "--write", &path])?;
    let counted = Watching::start(&foobar, "counted", &[])?;
    let frames = [
        frames::udp(Family::V4, 7, &[1; 500])?,
        frames::udp(Family::V6, 7, b"banned")?,
        frames::udp(Family::V4, 9, b"x")?,
    ];
    let socket = PacketSocket::new(&network.client, CLIENT)?;
    for frame in &frames {
        socket.send(frame)?;
    }
    counted.wait_for(3)?;
    foobar_tests::tap::settle();
    let events = counted.interrupt()?.events;
    watching.signal(Signal::SIGTERM)?;
    let said = watching.wait()?;
    ensure!(said.status.success() && said.err.contains("3 packets"), "{}", said.err);

    let fields = |filter: &str| -> Result<String> {
        let mut tshark = network.server.command("tshark");
        tshark.args(["-r", &path, "-Y", filter, "-T", "fields", "-E", "separator=|", "-t", "r"]);
        for field in [
            "frame.comment",
            "frame.interface_name",
            "frame.len",
            "frame.cap_len",
            "udp.dstport",
            "frame.packet_flags_direction",
            "frame.time_epoch",
        ] {
            tshark.args(["-e", field]);
        }
        succeed(&mut tshark)
    };
    let shown = fields("frame")?;
    let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split('|').collect()).collect();
    let expected = [
        ["verdict accept, reason rule, rule seven, drawn 1/1", SERVER, "542", "256", "7"],
        ["verdict drop, reason ban, drawn 1/1", SERVER, "68", "68", "7"],
        ["verdict drop, reason policy, drawn 1/1", SERVER, "43", "43", "9"],
    ];
    ensure!(lines.len() == 3, "{shown}");
    for ((line, expected), event) in lines.iter().zip(expected).zip(&events) {
        ensure!(line[..5] == expected && line[5].ends_with('1'), "{line:?}");
        // To the nanosecond.
        let (seconds, nanoseconds) = line[6].split_once('.').context("no time")?;
        let time = humantime::parse_rfc3339(event["time"].as_str().context("no time")?)?;
        let since = time.duration_since(std::time::UNIX_EPOCH)?;
        ensure!(
            seconds.parse::<u64>()? == since.as_secs() && nanoseconds.parse::<u32>()? == since.subsec_nanos(),
            "{line:?} {event}"
        );
    }
    let bans = fields("frame.comment contains \"reason ban\"")?;
    ensure!(bans.lines().count() == 1 && bans.contains("|68|"), "{bans}");

    // To stdout; and a capture without packets is one.
    let output = foobar.prepared(&["watch", "--write", "-", "--for", "300ms"])?.output()?;
    ensure!(output.status.success() && output.stdout.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]));
    let mut tshark = network.server.command("tshark");
    let read = with_input(tshark.args(["-r", "-"]), &output.stdout)?;
    ensure!(read.status.success() && stdout(&read).is_empty(), "{}", stdout(&read));
    Ok(())
}
