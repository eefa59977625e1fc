//! A web server behind `rules/web-server.toml`: its ports work over IPv4 and IPv6, everything else is dropped,
//! and the drops show in the metrics, each of them.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    command::{stderr, stdout},
    daemon::Foobar,
    figures::say,
    frames::{Family, tcp_syn, udp},
    network::{CLIENT, Network, SERVER},
    sender::PacketSocket,
    tap::settle,
    web_server::{PAGE, WebServer, curl},
};

/// Ports that the rules open, and one that they do not though the server listens there.
const OPEN: [u16; 2] = [80, 443];
const CLOSED: u16 = 8080;

#[test]
fn its_ports_work_and_everything_else_is_dropped_and_counted() -> Result<()> {
    let network = Network::new()?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/web-server.toml");
    let rules = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let _server = WebServer::start(&network.server, &[OPEN[0], OPEN[1], CLOSED])?;
    // Without the filter, all of them answer.
    for family in Family::BOTH {
        let output = curl(&network.client, family.server(), CLOSED, "2")?;
        assert_eq!(stdout(&output), PAGE, "{}", stderr(&output));
    }

    let mut foobar = Foobar::new(&network.server, &[SERVER], &rules)?;
    foobar.start()?;
    for family in Family::BOTH {
        for port in OPEN {
            let output = curl(&network.client, family.server(), port, "5")?;
            assert_eq!(stdout(&output), PAGE, "{family:?}, port {port}: {}", stderr(&output));
        }
        let output = curl(&network.client, family.server(), CLOSED, "0.5")?;
        // curl's exit code 28 is a timeout: no answer, not even a refusal.
        assert_eq!(output.status.code(), Some(28), "{family:?}: {}", stderr(&output));
    }
    settle();

    let before = foobar.scrape()?;
    let dropped = |metrics: &foobar_tests::metrics::Metrics, reason| {
        metrics.packets(&[("iface", SERVER), ("action", "drop"), ("reason", reason)])
    };
    ensure!(dropped(&before, "policy") >= 2, "the first segments to the closed port are dropped");
    let socket = PacketSocket::new(&network.client, CLIENT)?;
    let mut sent = 0;
    for family in Family::BOTH {
        for frame in [
            tcp_syn(family, CLOSED)?,
            tcp_syn(family, 3306)?,
            udp(family, 53, b"a question")?,
            udp(family, 12_345, b"noise")?,
        ] {
            socket.send_times(&frame, 250)?;
            sent += 250;
        }
    }
    settle();
    let after = foobar.scrape()?;
    let counted = dropped(&after, "policy") - dropped(&before, "policy");
    say(&format!("sent {sent} packets to closed ports, dropped and counted {counted}"));
    assert_eq!(counted, sent, "drops by policy");
    let all = [("iface", SERVER), ("action", "drop")];
    assert_eq!(after.packets(&all) - before.packets(&all), sent, "all drops");
    for family in Family::BOTH {
        let output = curl(&network.client, family.server(), OPEN[0], "5")?;
        assert_eq!(stdout(&output), PAGE, "{family:?}: {}", stderr(&output));
    }
    Ok(())
}
