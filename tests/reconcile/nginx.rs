//! nginx, with requests that foobar sees and others that it does not.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use foobar_daemon::reconcile::Reason;
use foobar_tests::{
    command::succeed,
    daemon::Foobar,
    figures::say,
    http,
    http1_client::{self, ALL_KINDS, Scenario, load},
    network::{Network, SERVER, SERVER_V4},
    wait,
    web_server::{STATUS, WebServer},
};

use super::{after, compared, next, published};

const PORT: u16 = 8080;
/// On each connection several at a time, cut anywhere.
const TRAFFIC: Scenario =
    Scenario { name: "traffic", connections: 8, requests: 100, pipelined: 4, piece: 700, kinds: ALL_KINDS };
/// How many requests foobar does not see.
const UNSEEN: i64 = 37;

fn rules(comment: &str) -> String {
    format!(
        "schema = 1\n# {comment}\n[[service]]\nname = \"www\"\nport = \"tcp/{PORT}\"\nprotocol = \"http1\"\n\
         reconcile = {{ nginx_status = \"http://127.0.0.1:{STATUS}/\", every = \"3s\" }}\n"
    )
}

fn serve(network: &Network) -> Result<WebServer> {
    let server = WebServer::serving(&network.server, &[PORT], &http1_client::locations())?;
    http1_client::put_files(&server)?;
    Ok(server)
}

/// Asks nginx without a pause while `meanwhile` goes on. How many requests that were.
fn with_traffic(network: &Network, meanwhile: impl FnOnce() -> Result<()>) -> Result<u64> {
    let (is_over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let connect = |_| -> Result<Box<dyn http1_client::Stream>> {
        let stream = network.client.enter(|| Ok(TcpStream::connect((SERVER_V4, PORT))?))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Box::new(stream))
    };
    thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let ask = || -> Result<()> {
                load(&TRAFFIC, &connect)?;
                sent.fetch_add(TRAFFIC.sent(), Ordering::Relaxed);
                Ok(())
            };
            while !is_over.load(Ordering::Relaxed) {
                ask()?;
            }
            anyhow::Ok(())
        });
        let done = meanwhile();
        is_over.store(true, Ordering::Relaxed);
        traffic.join().map_err(|_payload| anyhow!("the traffic panicked"))??;
        done
    })?;
    Ok(sent.into_inner())
}

#[test]
fn the_difference_is_what_foobar_does_not_see() -> Result<()> {
    let network = Network::new()?;
    let server = serve(&network)?;
    let mut foobar = Foobar::new(&network.server, &[SERVER], &rules("one"))?;
    foobar.start()?;
    let first = after(&foobar, &compared(&foobar)?)?;
    ensure!((first.difference, first.uncertainty, first.baselines) == (Some(0), Some(0), 1), "{first:?}");

    // Traffic, and a swap of the rules meanwhile: no difference at any moment.
    let sent = with_traffic(&network, || {
        for rules in [rules("one"), rules("two")] {
            foobar.apply(&rules)?;
            let now = next(&foobar)?;
            ensure!(now.difference == Some(0) && now.baselines == 1, "in traffic: {now:?}");
            ensure!(published(&foobar, "nginx")? == Some(0.0), "published in traffic");
        }
        Ok(())
    })?;
    let quiet = next(&foobar)?;
    say(&format!("{sent} requests: {quiet:?}"));
    ensure!(sent > 1_000, "only {sent} requests");
    ensure!((quiet.difference, quiet.uncertainty) == (Some(0), Some(0)), "{quiet:?}");
    ensure!(foobar.scrape()?.count("foobar_http_requests_total", &[]) == sent, "requests");

    // Over the loopback interface.
    for _request in 0..UNSEEN {
        let answer = http::get(&network.server, SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)), "/")?;
        ensure!(answer.status == 200, "{answer:?}");
    }
    let less = next(&foobar)?;
    ensure!((less.difference, less.uncertainty) == (Some(-UNSEEN), Some(0)), "{less:?}");
    ensure!(published(&foobar, "nginx")? == Some(-37.0), "published");
    with_traffic(&network, || {
        let now = next(&foobar)?;
        ensure!(now.difference == Some(-UNSEEN), "in traffic, which tells less: {now:?}");
        Ok(())
    })?;
    let text = foobar.succeed(&["status"])?;
    ensure!(text.contains("nginx www  difference -37\n    compared "), "{text}");

    // nginx goes away and comes back.
    drop(server);
    wait::until("nginx is missed", Duration::from_secs(15), || Ok(compared(&foobar)?.problem.is_some()))?;
    let away = compared(&foobar)?;
    ensure!(away.failures.get(&Reason::Connect).is_some_and(|count| *count > 0), "{away:?}");
    ensure!(away.difference.is_none() && published(&foobar, "nginx")?.is_none(), "an old value: {away:?}");
    let text = foobar.succeed(&["status"])?;
    ensure!(text.contains("NOT COMPARED: connect to 127.0.0.1:8099"), "{text}");
    let server = serve(&network)?;
    let back = after(&foobar, &away)?;
    ensure!((back.difference, back.baselines) == (Some(0), 2), "{back:?}");
    let failures = foobar.scrape()?.count("foobar_reconcile_failures_total", &[("reason", "connect")]);
    ensure!(failures > 0, "no failure is published");
    let log = foobar.log()?;
    ensure!(log.matches("does nginx run").count() == 1, "a warning for each attempt: {log}");
    ensure!(log.contains("tells its count again"), "{log}");
    ensure!(log.contains("37 less counted"), "{log}");

    // A reload of rules that no longer ask for it ends it.
    foobar.apply("schema = 1\n")?;
    ensure!(foobar.status()?["reconcile"].as_array().context("a list")?.is_empty(), "it goes on");
    drop(server);
    Ok(())
}

/// With `--interface lo`, the requests for a status page on the service's own port are counted by both.
#[test]
fn a_status_page_on_the_port_of_the_service_is_counted_once() -> Result<()> {
    let network = Network::new()?;
    let lines = "location = /status { stub_status; } location / { return 200 \"x\"; }";
    let _server = WebServer::serving(&network.server, &[PORT], lines)?;
    let rules = rules("own port").replace(&format!("{STATUS}/"), &format!("{PORT}/status"));
    // The request is known to have come while both were read, and no closer.
    for (interfaces, uncertainty) in [(&[SERVER][..], 0), (&[SERVER, "lo"], 1)] {
        let mut foobar =
            Foobar::new(&network.server, interfaces, &rules)?.with_options(&["--mode", "generic"]);
        foobar.start()?;
        let mut now = compared(&foobar)?;
        for _comparison in 0..2 {
            now = after(&foobar, &now)?;
            let expected = (Some(0), Some(uncertainty));
            ensure!((now.difference, now.uncertainty) == expected, "{interfaces:?}: {now:?}");
        }
        foobar.succeed(&["detach"])?;
        foobar.wait()?;
    }
    Ok(())
}

/// Of an nginx that serves both, the status page counts both, so the services are compared together.
#[test]
fn what_is_inside_of_tls_and_what_is_not_are_compared_together() -> Result<()> {
    const TLS_PORT: u16 = 8443;
    let network = Network::new()?;
    let lines = format!("listen {PORT}; location / {{ return 200 \"x\"; }}");
    let _server = WebServer::serving_tls(&network.server, &[TLS_PORT], &lines, false)?;
    let rules = rules("plain")
        + &rules("TLS")
            .replace("schema = 1", "")
            .replace("www", "https")
            .replace(&format!("tcp/{PORT}"), &format!("tcp/{TLS_PORT}"))
            .replace("\"http1\"", "\"tls\"\ndecrypt_by = \"uprobe\"");
    let mut foobar = Foobar::new(&network.server, &[SERVER], &rules)?;
    foobar.start()?;
    wait::until("nginx and its two workers are watched", Duration::from_secs(20), || {
        let processes = foobar.status()?["decryption"][0]["processes"].clone();
        Ok(processes.as_array().is_some_and(|processes| processes.len() >= 3))
    })?;
    let first = next(&foobar)?;
    ensure!(first.services == ["www", "https"] && first.difference == Some(0), "{first:?}");
    for url in [format!("http://{SERVER_V4}:{PORT}/[1-30]"), format!("https://{SERVER_V4}:{TLS_PORT}/[1-50]")]
    {
        let mut curl = network.client.command("curl");
        succeed(curl.args(["--silent", "--show-error", "--insecure", "--noproxy", "*", "--http1.1", &url]))?;
    }
    // Probes see what comes over any interface.
    let url = format!("https://127.0.0.1:{TLS_PORT}/[1-20]");
    let mut curl = network.server.command("curl");
    succeed(curl.args(["--silent", "--show-error", "--insecure", "--noproxy", "*", "--http1.1", &url]))?;
    let same = next(&foobar)?;
    let counted = foobar.scrape()?.count("foobar_http_requests_total", &[]);
    ensure!(counted == 100, "{counted} requests counted");
    ensure!((same.difference, same.uncertainty) == (Some(0), Some(0)), "{same:?}");
    Ok(())
}
