//! A real OpenSSL on both sides.

use std::{
    net::SocketAddr,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    command::{stderr, stdout, succeed},
    daemon::Foobar,
    figures::say,
    frames::Family,
    metrics::Metrics,
    namespace::Namespace,
    network::{Network, SERVER},
    tap::settle,
    wait,
    web_server::{PAGE, WebServer, curl},
};
use tempfile::TempDir;

const PORT: u16 = 443;

/// What a client asks for and what is to be counted: its arguments, the version, the protocol inside.
const HANDSHAKES: [(&[&str], &str, &str); 5] = [
    (&["-tls1_3", "-alpn", "h2,http/1.1", "-servername", "www.foobar.com"], "tls1.3", "h2"),
    // The server asks for another hello.
    (&["-tls1_3", "-groups", "P-521:P-256"], "tls1.3", "none"),
    (&["-tls1_2", "-alpn", "http/1.1"], "tls1.2", "http/1.1"),
    (&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "tls1.1", "none"),
    (&["-tls1", "-cipher", "ALL:@SECLEVEL=0"], "tls1.0", "none"),
];

#[test]
fn versions_and_protocols_are_right() -> Result<()> {
    // In the second network hellos take several segments.
    for mtu in [1500, 300] {
        let network = if mtu == 300 { narrow(mtu)? } else { Network::new()? };
        let _server = TlsServer::start(&network.server)?;
        let mut foobar = Foobar::new(&network.server, &[SERVER], super::RULES)?;
        foobar.start()?;
        for (arguments, version, alpn) in HANDSHAKES {
            let before = handshakes(&foobar.scrape()?, version, alpn);
            let shaken = shake_hands(&network.client, arguments)?;
            ensure!(shaken, "{arguments:?}: no handshake");
            settle();
            let after = handshakes(&foobar.scrape()?, version, alpn);
            say(&format!("MTU {mtu}, {}: {version} and {alpn}", arguments.join(" ")));
            ensure!(
                after == before + 1,
                "{arguments:?}: {before} and then {after} with {version} and {alpn}"
            );
        }
        let metrics = foobar.scrape()?;
        let all = metrics.count("foobar_tls_handshakes_total", &[]);
        ensure!(all == HANDSHAKES.len() as u64, "{all} handshakes in all");
        ensure!(metrics.count("foobar_l7_framing_lost_total", &[]) == 0, "something was lost");
        ensure!(metrics.count("foobar_tls_handshake_failures_total", &[]) == 0, "a handshake failed");
        // The client asks for what the server has not.
        ensure!(!shake_hands(&network.client, &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"])?);
        settle();
        let metrics = foobar.scrape()?;
        let failed = metrics.count("foobar_tls_handshake_failures_total", &[("version", "tls1.2")]);
        ensure!(failed == 1, "{failed} failures");
    }
    Ok(())
}

#[test]
fn turns_are_about_the_requests() -> Result<()> {
    const CONNECTIONS: u64 = 5;
    const REQUESTS: usize = 40;
    let network = Network::new()?;
    let page = PAGE.escape_default();
    let lines = format!("ssl_protocols TLSv1.2 TLSv1.3; location / {{ return 200 \"{page}\"; }}");
    let _server = WebServer::serving_tls(&network.server, &[PORT], &lines, false)?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], super::RULES)?;
    foobar.start()?;
    // In TLS 1.3 what the server says to the end of the handshake may come before the first request, or with its answer.
    for (options, more) in
        [(["--tlsv1.2", "--tls-max", "1.2"], 0), (["--tlsv1.3", "--tls-max", "1.3"], CONNECTIONS)]
    {
        let before = foobar.scrape()?;
        for _ in 0..CONNECTIONS {
            let urls = vec![format!("https://{}/", Family::V4.server()); REQUESTS];
            let output = network
                .client
                .command("curl")
                .args(["--silent", "--show-error", "--insecure", "--http1.1", "--noproxy", "*"])
                .args(options)
                .args(urls)
                .output()?;
            ensure!(stdout(&output) == PAGE.repeat(REQUESTS), "{}", stderr(&output));
        }
        settle();
        let after = foobar.scrape()?;
        let grown = |metric: &str| after.count(metric, &[]) - before.count(metric, &[]);
        let turns = grown("foobar_tls_turns_total");
        let sent = CONNECTIONS * REQUESTS as u64;
        say(&format!("{}: {sent} requests, {turns} turns", options[2]));
        ensure!((sent..=sent + more).contains(&turns), "{options:?}: {turns} turns, {sent} requests");
        ensure!(grown("foobar_tls_turn_duration_seconds_count") == turns, "{options:?}: not all are timed");
    }
    Ok(())
}

#[test]
fn old_versions_and_plain_text_do_not_get_through() -> Result<()> {
    let network = Network::new()?;
    let _server = TlsServer::start(&network.server)?;
    let rules = format!("{}require_tls = true\nmin_tls = \"1.2\"\n", super::RULES);
    let mut foobar = Foobar::new(&network.server, &[SERVER], &rules)?;
    foobar.start()?;
    for (arguments, version, _) in HANDSHAKES {
        let is_new = matches!(version, "tls1.2" | "tls1.3");
        ensure!(shake_hands(&network.client, arguments)? == is_new, "{version}");
    }
    let answer = curl(&network.client, Family::V6.server(), PORT, "0.5")?;
    // curl's exit code 28 is a timeout: no answer, not even that this is no HTTP.
    ensure!(answer.status.code() == Some(28), "{:?} {}", answer.status, stdout(&answer));
    settle();
    let metrics = foobar.scrape()?;
    for reason in ["old_tls", "not_tls"] {
        let dropped = metrics.packets(&[("action", "drop"), ("reason", reason)]);
        ensure!(dropped > 0, "nothing was dropped for {reason}");
    }
    let plain = metrics.count("foobar_connections_total", &[("encryption", "none"), ("app", "http1")]);
    ensure!(plain == 1, "{plain} connections in the clear");
    Ok(())
}

/// A network whose segments are short.
fn narrow(mtu: u32) -> Result<Network> {
    let network = Network::new()?;
    for (namespace, interface) in
        [(&network.server, SERVER), (&network.client, foobar_tests::network::CLIENT)]
    {
        // IPv6 asks for 1,280, so there is none of it.
        namespace.ip(&format!("link set {interface} mtu {mtu}\n"))?;
    }
    Ok(network)
}

fn handshakes(metrics: &Metrics, version: &str, alpn: &str) -> u64 {
    metrics.count("foobar_tls_handshakes_total", &[("version", version), ("alpn", alpn)])
}

/// Whether a handshake with the server succeeds.
fn shake_hands(client: &Namespace, arguments: &[&str]) -> Result<bool> {
    let server = SocketAddr::new(Family::V4.server(), PORT).to_string();
    let mut command = client.command("timeout");
    command.args(["5", "openssl", "s_client", "-connect", &server]).args(arguments);
    let output = command.stdin(Stdio::null()).output().context("run openssl s_client")?;
    // Without one it shows no session, or one of no version.
    Ok(stdout(&output).contains("New, TLSv1") || stdout(&output).contains("Reused, TLSv1"))
}

/// An `openssl s_server`; it ends when this is dropped.
struct TlsServer {
    child: Child,
    _folder: TempDir,
}

impl TlsServer {
    fn start(namespace: &Namespace) -> Result<Self> {
        let folder = TempDir::new()?;
        let (key, certificate) = (folder.path().join("key.pem"), folder.path().join("certificate.pem"));
        let mut make = namespace.command("openssl");
        make.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj"])
            .args(["/CN=www.foobar.com", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate);
        succeed(&mut make).context("make a certificate")?;
        let mut command = namespace.command("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "openssl", "s_server", "-accept", "443", "-www"])
            .args(["-alpn", "h2,http/1.1", "-cipher", "ALL:@SECLEVEL=0", "-groups", "P-256"])
            .arg("-key")
            .arg(&key)
            .arg("-cert")
            .arg(&certificate);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = Self { child: child.context("start openssl s_server")?, _folder: folder };
        wait::until("openssl s_server listens", Duration::from_secs(10), || {
            let listeners = succeed(namespace.command("cat").arg("/proc/thread-self/net/tcp6"))?
                + &succeed(namespace.command("cat").arg("/proc/thread-self/net/tcp"))?;
            // State 0A is a listener.
            Ok(listeners.lines().any(|line| line.contains(":01BB") && line.contains(" 0A ")))
        })?;
        Ok(server)
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
