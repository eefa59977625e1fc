//! Real clients, real servers: who connects is told by name, whatever is spoken, and names come and go.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    process::Output,
};

use anyhow::{Result, ensure};
use foobar_tests::{
    command::{stderr, stdout},
    daemon::Foobar,
    frames::Family,
    metrics::{Highest, Metrics},
    namespace::Namespace,
    network::{CLIENT, Network, SERVER},
    tap::settle,
    web_server::{PAGE, SERVICES, WebServer},
};

/// Beside those of the web server.
const MORE_SERVICES: &str = r#"
[[service]]
name = "h2c"
port = "tcp/8081"
protocol = "h2c"
[[service]]
name = "echo"
port = "tcp/9000"
"#;

/// Each port, how it is asked, and what that is counted as.
const PORTS: [(u16, &str, &[&str], [&str; 2]); 5] = [
    (80, "http", &[], ["none", "http1"]),
    (443, "https", &["--insecure"], ["tls", "tls"]),
    (8081, "http", &["--http2-prior-knowledge"], ["none", "h2c"]),
    (8081, "http", &["--http1.1"], ["none", "http1"]),
    (9000, "http", &[], ["unknown", "unknown"]),
];

/// Addresses of the client, and how often each connects in a round.
const CLIENTS: [(&str, usize); 5] = [
    // Of the first group.
    ("192.0.2.9", 3),
    ("2001:db8::9", 2),
    // Inside of that, and of another one.
    ("192.0.2.10", 2),
    // Of neither.
    ("192.0.2.2", 1),
    ("2001:db8::2", 1),
];

struct Setup {
    network: Network,
    _server: WebServer,
    foobar: Foobar,
    highest: Highest,
}

impl Setup {
    /// Both sides, with these groups.
    fn new(groups: &str) -> Result<Self> {
        let network = Network::new()?;
        network.client.ip(&format!(
            "addr add 192.0.2.9/24 dev {CLIENT}\naddr add 192.0.2.10/24 dev {CLIENT}\naddr add 2001:db8::9/64 dev {CLIENT} nodad\n"
        ))?;
        let page = PAGE.escape_default();
        let lines = format!(
            "listen 80; listen [::]:80; listen 9000; listen [::]:9000; listen 8081 http2; listen [::]:8081 http2; \
             location / {{ return 200 \"{page}\"; }}"
        );
        let server = WebServer::serving_tls(&network.server, &[443], &lines, false)?;
        let foobar = Foobar::new(&network.server, &[SERVER], &rules(groups))?;
        let mut setup = Self { network, _server: server, foobar, highest: Highest::default() };
        setup.foobar.start()?;
        Ok(setup)
    }

    /// Every client connects to every port.
    fn round(&self) -> Result<()> {
        for (from, times) in CLIENTS {
            for _ in 0..times {
                for (port, scheme, options, _) in PORTS {
                    let output = ask(&self.network.client, from, port, scheme, options)?;
                    // nginx has no HTTP/1.x where it has HTTP/2, and says so in its way.
                    ensure!(
                        stdout(&output) == PAGE || options == ["--http1.1"],
                        "{from} to {port}: {}",
                        stderr(&output)
                    );
                }
            }
        }
        settle();
        Ok(())
    }

    /// No counter has gone back, and connections are those of these peers.
    fn check(&mut self, expected: &[(&str, u64)]) -> Result<()> {
        let metrics = self.foobar.scrape()?;
        self.highest.observe(
            &metrics,
            &[("peer", "lb"), ("peer", "balancer"), ("peer", "monitoring"), ("peer", "office")],
        )?;
        for (port, _, _, labels) in PORTS {
            let found = connections(&metrics, port, labels);
            let expected = expected.iter().map(|(peer, number)| ((*peer).to_owned(), *number)).collect();
            ensure!(found == expected, "port {port}, {labels:?}: {found:?}, expected {expected:?}");
        }
        Ok(())
    }
}

fn rules(groups: &str) -> String {
    format!("schema = 1\n{groups}{SERVICES}{MORE_SERVICES}")
}

/// Asks the server for its page, from this address of the client.
fn ask(client: &Namespace, from: &str, port: u16, scheme: &str, options: &[&str]) -> Result<Output> {
    let from: IpAddr = from.parse()?;
    let server = if from.is_ipv4() { Family::V4 } else { Family::V6 }.server();
    let mut curl = client.command("curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "10", "--interface"])
        .arg(from.to_string())
        .args(options)
        .arg(format!("{scheme}://{}/", SocketAddr::new(server, port)));
    Ok(curl.output()?)
}

/// Connections to a port that are this, by peer.
fn connections(metrics: &Metrics, port: u16, [encryption, app]: [&str; 2]) -> BTreeMap<String, u64> {
    let port = port.to_string();
    let labels = [("port", port.as_str()), ("encryption", encryption), ("app", app)];
    let peers =
        metrics.select("foobar_connections_total", &labels).map(|sample| sample.labels["peer"].clone());
    let count =
        |peer: &str| metrics.count("foobar_connections_total", &[&labels[..], &[("peer", peer)]].concat());
    peers.map(|peer| (peer.clone(), count(&peer))).collect()
}

const TWO: &str = "[peers]\nlb = [\"192.0.2.8/29\", \"2001:db8::8/125\"]\nmonitoring = \"192.0.2.10\"\n";
const RENAMED: &str = "[peers]\nbalancer = [\"192.0.2.8/29\", \"2001:db8::8/125\"]\nmonitoring = \"192.0.2.10\"\noffice = \"192.0.2.2\"\n";

#[test]
fn connections_are_told_by_name_and_names_keep_their_counts() -> Result<()> {
    let mut setup = Setup::new("")?;
    setup.round()?;
    setup.check(&[("other", 9)])?;
    // What was there before belongs to nobody in particular.
    setup.foobar.apply(&rules(TWO))?;
    setup.check(&[("other", 9), ("lb", 0), ("monitoring", 0)])?;
    setup.round()?;
    setup.check(&[("other", 11), ("lb", 5), ("monitoring", 2)])?;
    setup.foobar.apply(&rules(RENAMED))?;
    setup.check(&[("other", 11), ("balancer", 0), ("monitoring", 2), ("office", 0)])?;
    setup.round()?;
    setup.check(&[("other", 12), ("balancer", 5), ("monitoring", 4), ("office", 1)])?;
    // Without groups, and without a daemon.
    setup.foobar.apply(&rules(""))?;
    setup.round()?;
    setup.check(&[("other", 21)])?;
    setup.foobar.apply(&rules(TWO))?;
    setup.check(&[("other", 21), ("lb", 5), ("monitoring", 4)])?;
    setup.foobar.kill()?;
    setup.round()?;
    setup.foobar.write_rules(&rules(TWO))?;
    setup.foobar.start()?;
    setup.check(&[("other", 23), ("lb", 10), ("monitoring", 6)])?;
    // All of a port together are all that ever were, whoever has a name now.
    let total = &setup.foobar.status()?["services"][3];
    ensure!(total["port"] == "tcp/9000" && total["total"] == 45, "{total}");
    Ok(())
}

/// What the alert of plaintext behind the balancer is about.
#[test]
fn a_balancer_that_speaks_in_the_clear_to_a_port_of_tls_is_seen() -> Result<()> {
    let setup = Setup::new(TWO)?;
    for from in ["192.0.2.9", "192.0.2.2", "192.0.2.9"] {
        // nginx answers that this is the wrong port.
        ask(&setup.network.client, from, 443, "http", &[])?;
    }
    settle();
    let found = connections(&setup.foobar.scrape()?, 443, ["none", "http1"]);
    let expected = [("lb", 2), ("monitoring", 0), ("other", 1)];
    ensure!(found == expected.map(|(peer, number)| (peer.to_owned(), number)).into(), "{found:?}");
    Ok(())
}

/// More names than there are slots: the oldest is forgotten, and what it had stays in the sum.
#[test]
fn names_beyond_the_slots_take_the_oldest_and_sums_stay() -> Result<()> {
    let setup = Setup::new(TWO)?;
    setup.round()?;
    let opened = |setup: &Setup| -> Result<BTreeMap<String, u64>> {
        Ok(connections(&setup.foobar.scrape()?, 9000, ["unknown", "unknown"]))
    };
    let total = |setup: &Setup| -> Result<u64> {
        let services = setup.foobar.status()?;
        Ok(services["services"][3]["total"].as_u64().unwrap_or_default())
    };
    for number in 0..18 {
        setup.foobar.apply(&rules(&TWO.replace("lb", &format!("lb{number}"))))?;
        let name = format!("lb{number}");
        let expected =
            [("other", 2), ("monitoring", 2), (&name, 0)].map(|(peer, count)| (peer.to_owned(), count));
        let found = opened(&setup)?;
        ensure!(found == expected.into(), "{found:?}");
        ensure!(total(&setup)? == 9, "{} connections after {number} names", total(&setup)?);
    }
    setup.foobar.apply(&rules(TWO))?;
    let found = opened(&setup)?;
    ensure!(found["lb"] == 0, "its slot was given away: {found:?}");
    setup.round()?;
    ensure!(total(&setup)? == 18, "{} connections in all", total(&setup)?);
    Ok(())
}
