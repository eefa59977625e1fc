//! Real servers and clients of HTTP/2 in the clear: nginx, nghttpd and nghttpx, h2load, nghttp and curl.

use std::{
    net::{SocketAddr, TcpStream},
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use foobar_tests::{
    command::succeed,
    daemon::Foobar,
    figures::say,
    frames::Family,
    metrics::Metrics,
    namespace::Namespace,
    network::{CLIENT, Network, SERVER},
    slow_ring::SlowRing,
    tap::settle,
    wait,
    web_server::WebServer,
    wire::{Disturbance, Wire},
};
use tempfile::TempDir;

const PORT: u16 = 8080;
const RULES: &str = "schema = 1\n[[service]]\nname = \"www\"\nport = [\"tcp/8080\"]\nprotocol = \"h2c\"\n";
/// What nginx does: pages that are there, are not, and have moved.
const LOCATIONS: &str = "location / { return 200 \"served\\n\"; } location /missing { return 404; } \
    location /moved { return 301 /; } location /large { }";

/// What h2load does.
struct Load {
    name: &'static str,
    requests: u64,
    connections: u64,
    /// How many streams each has at a time.
    streams: u64,
    path: &'static str,
    /// Bytes that each request carries.
    body: usize,
    options: &'static [&'static str],
}

const LOADS: [Load; 8] = [
    Load::of("one stream", 2_000, 20, 1, "/"),
    Load::of("10 streams", 4_000, 20, 10, "/"),
    Load::of("100 streams", 10_000, 10, 100, "/"),
    Load { body: 50_000, ..Load::of("bodies of 50 kB", 200, 4, 10, "/") },
    Load::of("answers of 10 MB", 8, 2, 2, "/large"),
    Load::of("not found", 1_000, 10, 10, "/missing"),
    Load::of("moved", 1_000, 10, 10, "/moved"),
    // The longer a header is, the likelier it goes over into another segment or frame.
    Load {
        options: &["-H", ":method: PUT", "-H", LONG_HEADER],
        ..Load::of("another method and long headers", 1_000, 10, 10, "/")
    },
];

const LONG_HEADER: &str = "x-long: 0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789abc\
    defghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789";

impl Load {
    const fn of(
        name: &'static str,
        requests: u64,
        connections: u64,
        streams: u64,
        path: &'static str,
    ) -> Self {
        Self { name, requests, connections, streams, path, body: 0, options: &[] }
    }

    fn run(&self, client: &Namespace, family: Family) -> Result<()> {
        let Self { name, requests, connections, streams, path, body, options } = self;
        let folder = TempDir::new()?;
        let data = folder.path().join("body");
        // It looks like frames.
        std::fs::write(&data, b"\0\0\x01\x01\x05\0\0\0\x7f\x82".repeat(body / 10))?;
        let mut command = client.command("h2load");
        command.args([
            "-n",
            &requests.to_string(),
            "-c",
            &connections.to_string(),
            "-m",
            &streams.to_string(),
        ]);
        command.args(*options);
        if *body > 0 {
            command.arg("-d").arg(&data);
        }
        command.arg(format!("http://{}{path}", SocketAddr::new(family.server(), PORT)));
        let output = command.output().context("run h2load")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let done = format!("requests: {requests} total, {requests} started, {requests} done");
        ensure!(output.status.success() && text.contains(&done), "{name}: {text}");
        Ok(())
    }
}

#[test]
fn native_without_offload() -> Result<()> {
    counts_what_nginx_counts("native", "off")
}

#[test]
fn native_with_offload() -> Result<()> {
    counts_what_nginx_counts("native", "on")
}

#[test]
fn generic_without_offload() -> Result<()> {
    counts_what_nginx_counts("generic", "off")
}

#[test]
fn generic_with_offload() -> Result<()> {
    counts_what_nginx_counts("generic", "on")
}

fn counts_what_nginx_counts(mode: &str, offload: &str) -> Result<()> {
    let network = Network::new()?;
    for (namespace, interface) in [(&network.server, SERVER), (&network.client, CLIENT)] {
        let words = ["-K", interface, "tx", offload, "tso", offload, "gso", offload, "gro", offload];
        succeed(namespace.command("ethtool").args(words))?;
    }
    let server = serve(&network)?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?.with_options(&["--mode", mode]);
    foobar.start()?;
    let mut posted = 0;
    for (number, load) in LOADS.iter().enumerate() {
        let (before, served_before) = (foobar.scrape()?, server.requests(&network.server)?);
        load.run(&network.client, if number.is_multiple_of(2) { Family::V4 } else { Family::V6 })?;
        settle();
        let (after, served_after) = (foobar.scrape()?, server.requests(&network.server)?);
        let grown = |metric: &str, labels: &[(&str, &str)]| {
            after.count(metric, labels) - before.count(metric, labels)
        };
        let (sent, served) = (load.requests, served_after - served_before);
        let counted = grown("foobar_http_requests_total", &[]);
        let responses = grown("foobar_http_responses_total", &[]);
        let timed = grown("foobar_http_request_duration_seconds_count", &[]);
        let connections = grown("foobar_connections_total", &[("app", "h2c")]);
        let unknown = grown("foobar_http_requests_total", &[("method", "unknown")])
            + grown("foobar_http_responses_total", &[("class", "unknown")]);
        let lost = grown("foobar_l7_framing_lost_total", &[]);
        let text = format!(
            "{mode}, offload {offload}, {}: {sent} sent, {served} served, {counted} counted, {responses} answered, {timed} \
             timed, {unknown} unknown, {connections} connections, {lost} lost",
            load.name
        );
        say(&text);
        ensure!((served, connections, unknown) == (sent, load.connections, 0), "{text}");
        let is_exact = [counted, responses, timed, lost] == [sent, sent, sent, 0];
        ensure!(is_exact, "{text}: {:?}", losses(&after));
        posted += if load.body > 0 { counted } else { 0 };
    }
    let after = foobar.scrape()?;
    let of_class = |class| after.count("foobar_http_responses_total", &[("class", class)]);
    ensure!(
        of_class("3xx") == 1_000 && of_class("4xx") == 1_000,
        "{} and {}",
        of_class("3xx"),
        of_class("4xx")
    );
    ensure!(after.count("foobar_http_requests_total", &[("method", "PUT")]) == 1_000);
    ensure!(after.count("foobar_http_requests_total", &[("method", "POST")]) == posted);
    let framed = after.count("foobar_l7_bytes_total", &[]);
    let carried = after.count("foobar_bytes_total", &[("port", "8080")]);
    ensure!(framed == carried, "{framed} bytes framed or lost of {carried}");
    Ok(())
}

/// A veth that gives frames to a native program has a ring for 256 of them, and drops what does not fit: hundreds of a few
/// connections. What comes behind such a hole waits for what is sent again.
#[test]
fn what_does_not_fit_a_ring_is_waited_for() -> Result<()> {
    let network = Network::new()?;
    let server = serve(&network)?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?.with_options(&["--mode", "native"]);
    foobar.start()?;
    let _slow = SlowRing::of(&network.server, SERVER)?;
    let load = Load { body: 50_000, ..Load::of("bodies of 50 kB", 200, 4, 10, "/") };
    let mut dropped_in_all = 0;
    for family in Family::BOTH.into_iter().cycle().take(30) {
        let (before, served_before) = (foobar.scrape()?, server.requests(&network.server)?);
        let dropped_before = dropped(&network.client, CLIENT)?;
        load.run(&network.client, family)?;
        settle();
        let (after, served_after) = (foobar.scrape()?, server.requests(&network.server)?);
        let grown = |metric: &str| after.count(metric, &[]) - before.count(metric, &[]);
        let (served, counted) = (served_after - served_before, grown("foobar_http_requests_total"));
        let lost = grown("foobar_l7_framing_lost_total");
        let dropped = dropped(&network.client, CLIENT)? - dropped_before;
        let text = format!("{served} served, {counted} counted, {lost} lost, {dropped} frames dropped");
        say(&text);
        ensure!((served, counted, lost) == (200, 200, 0), "{text}: {:?}", losses(&after));
        dropped_in_all += dropped;
        if dropped_in_all > 2_000 {
            return Ok(());
        }
    }
    bail!("only {dropped_in_all} frames were dropped")
}

/// How many frames did not go out of an interface.
fn dropped(namespace: &Namespace, interface: &str) -> Result<u64> {
    let told = succeed(namespace.command("ip").args(["-statistics", "-json", "link", "show", interface]))?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    told[0]["stats64"]["tx"]["dropped"].as_u64().context("a number of dropped frames")
}

/// Where bytes go missing or come in another order, nothing is counted that was not sent, and what is missing was declared
/// lost.
#[test]
fn what_a_bad_cable_hides_is_declared_lost() -> Result<()> {
    for (seed, mode) in [(3, "native"), (4, "generic")] {
        let network = Network::new()?;
        let disturbance = Disturbance { lost: 2, doubled: 2, delayed: 2, cut: 5, repeated: 5 };
        let wire = Wire::between(&network, disturbance, seed)?;
        let server = serve(&network)?;
        let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?.with_options(&["--mode", mode]);
        foobar.start()?;
        for load in [
            Load::of("one stream", 200, 20, 1, "/"),
            Load::of("20 streams", 1_000, 10, 20, "/"),
            Load { body: 20_000, ..Load::of("bodies", 40, 10, 4, "/") },
        ] {
            let (before, served_before) = (foobar.scrape()?, server.requests(&network.server)?);
            load.run(&network.client, Family::V4)?;
            settle();
            let (after, served_after) = (foobar.scrape()?, server.requests(&network.server)?);
            let grown = |metric: &str| after.count(metric, &[]) - before.count(metric, &[]);
            let sent = load.requests;
            let (requests, responses) =
                (grown("foobar_http_requests_total"), grown("foobar_http_responses_total"));
            let lost = grown("foobar_l7_framing_lost_total");
            let text = format!(
                "{mode}, {}: {sent} sent, {} served, {requests} requests and {responses} responses counted, {lost} times lost",
                load.name,
                served_after - served_before
            );
            say(&text);
            ensure!(served_after - served_before == sent, "{text}");
            ensure!(requests <= sent && responses <= sent, "more than there were: {text}");
            ensure!(
                (requests == sent && responses == sent) || lost > 0,
                "undeclared: {text}: {:?}",
                losses(&after)
            );
        }
        let metrics = foobar.scrape()?;
        let framed = metrics.count("foobar_l7_bytes_total", &[]);
        let carried = metrics.count("foobar_bytes_total", &[("port", "8080")]);
        ensure!(framed == carried, "{framed} bytes framed or lost of {carried}");
        ensure!(wire.stop()? > 50, "the cable disturbed hardly anything");
    }
    Ok(())
}

/// Clients that ask to go on in HTTP/2, that begin with it, and that stay with HTTP/1.1, at a server that takes all; and at
/// one that speaks first.
#[test]
fn clients_choose_how_they_begin() -> Result<()> {
    let network = Network::new()?;
    let pages: Vec<String> = (0..5)
        .map(|number| format!("http://{}/page?{number}", SocketAddr::new(Family::V4.server(), PORT)))
        .collect();
    let curl = |option: &str| -> Result<()> {
        let mut curl = network.client.command("curl");
        curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "10", option]);
        succeed(curl.args(pages.iter().flat_map(|page| [page.as_str(), "--output", "/dev/null"]))).map(drop)
    };
    let folder = TempDir::new()?;
    let body = folder.path().join("page");
    std::fs::write(&body, "served\n".repeat(3_000))?;
    let data = body.to_string_lossy();
    let nghttp = |options: &[&str]| -> Result<()> {
        succeed(network.client.command("nghttp").args(["--null-out"]).args(options).args(&pages)).map(drop)
    };
    let mut foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
    foobar.start()?;
    // How many 101s, and connections by what their clients begin with; each of five requests is answered.
    let check =
        |what: &str, switched: u64, [http1, h2c]: [u64; 2], method: &str, run: &dyn Fn() -> Result<()>| {
            let before = foobar.scrape()?;
            run().context(what.to_owned())?;
            settle();
            let after = foobar.scrape()?;
            let grown = |metric: &str, labels: &[(&str, &str)]| {
                after.count(metric, labels) - before.count(metric, labels)
            };
            let counted = [
                grown("foobar_http_requests_total", &[]),
                grown("foobar_http_requests_total", &[("method", method)]),
                grown("foobar_http_responses_total", &[("class", "2xx")]),
                grown("foobar_http_responses_total", &[]),
                grown("foobar_connections_total", &[("app", "http1")]),
                grown("foobar_connections_total", &[("app", "h2c")]),
                grown("foobar_l7_framing_lost_total", &[]),
            ];
            say(&format!("{what}: {counted:?}"));
            ensure!(
                counted == [5, 5, 5, 5 + switched, http1, h2c, 0],
                "{what}: {counted:?}: {:?}",
                losses(&after)
            );
            Ok(())
        };
    {
        let page = WebServer::start(&network.server, &[8081])?;
        let frontend = format!("--frontend=*,{PORT};no-tls");
        let options =
            ["nghttpx", "--single-process", "--conf=/dev/null", "--backend=127.0.0.1,8081", &frontend];
        let _server = Server::start(&network.server, &options)?;
        check("curl stays with HTTP/1.1", 0, [1, 0], "GET", &|| curl("--http1.1"))?;
        check("curl asks for HTTP/2", 1, [1, 1], "GET", &|| curl("--http2"))?;
        check("nghttp asks for HTTP/2", 1, [1, 1], "GET", &|| nghttp(&["--upgrade"]))?;
        check("nghttp begins with HTTP/2", 0, [0, 1], "DELETE", &|| {
            nghttp(&["--header", ":method: DELETE"])
        })?;
        drop(page);
    }
    let root = format!("--htdocs={}", folder.path().display());
    let _server = Server::start(&network.server, &["nghttpd", "--no-tls", &root, &PORT.to_string()])?;
    check("a server that speaks first", 0, [0, 1], "GET", &|| nghttp(&[]))?;
    let trailer = ["--data", &data, "--trailer", "check: sum"];
    check("a body and a trailer", 0, [0, 1], "POST", &|| nghttp(&trailer))?;
    let padded = ["--data", &data, "--continuation", "--padding", "200"];
    check("continuations and padding", 0, [0, 1], "POST", &|| nghttp(&padded))
}

fn serve(network: &Network) -> Result<WebServer> {
    let server = WebServer::serving_http2(&network.server, &[PORT], LOCATIONS)?;
    server.put_file("large", 10_000_000)?;
    Ok(server)
}

/// A server; it ends when this is dropped.
struct Server(Child);

impl Server {
    fn start(namespace: &Namespace, program: &[&str]) -> Result<Self> {
        let child = namespace
            .command("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(program)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {program:?}"))?;
        let server = Self(child);
        wait::until(&format!("{program:?} listens"), Duration::from_secs(10), || {
            let address = SocketAddr::from(([127, 0, 0, 1], PORT));
            namespace.enter(|| Ok(TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()))
        })?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The reasons that are not zero.
fn losses(metrics: &Metrics) -> Vec<String> {
    let lost = metrics.select("foobar_l7_framing_lost_total", &[]);
    lost.filter(|sample| sample.value > 0.0).map(|sample| format!("{sample:?}")).collect()
}
