//! What is answered, to whom, and with which headers.

use std::time::Duration;

use anyhow::{Result, ensure};
use foobar_tests::{
    authority::Authority,
    curl::{Curl, Fetched},
    daemon::Foobar,
    network::{Network, SERVER},
    wait,
};

use crate::site::{METRICS, Site};

#[test]
fn answers_are_for_this_moment_and_load_nothing() -> Result<()> {
    let site = Site::start()?;
    let ask = |arguments: &[&str], path: &str| {
        let curl = Curl::new(&site.network.client).with(&["--max-time", "3"]).with(arguments);
        curl.get(&format!("http://{METRICS}/{path}"))
    };
    let page = ask(&[], "")?;
    ensure!(page.status == 200 && page.text.contains("<!DOCTYPE html>"), "{page:?}");
    let events = ask(&[], "events")?;
    // Without end, until curl has had enough (28).
    ensure!(events.status == 200 && events.exit == 28 && events.text.contains("data: {"), "{events:?}");
    let of_all = [
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cross-origin-resource-policy: same-origin",
    ];
    let of_page = ["content-type: text/html; charset=utf-8", "content-security-policy: default-src 'none'; "];
    let of_events = ["content-type: text/event-stream"];
    for (path, answer, own) in [("", &page, &of_page[..]), ("events", &events, &of_events)] {
        let head = ask(&["--head"], path)?;
        ensure!(head.status == 200 && head.exit == 0, "{head:?}");
        ensure!(head.text.trim_end().lines().count() < 12, "no body: {head:?}");
        for header in of_all.iter().chain(own) {
            ensure!(answer.text.to_lowercase().contains(header), "{header} is missing: {}", answer.text);
            ensure!(head.text.to_lowercase().contains(header), "{header} is missing: {head:?}");
        }
        ensure!(!answer.text.to_lowercase().contains("access-control"), "{}", answer.text);
        // It shows, and changes nothing.
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let refused = ask(&["--request", method], path)?;
            ensure!(refused.status == 405, "{method}: {refused:?}");
            ensure!(refused.text.to_lowercase().contains("allow: get,head"), "{method}: {refused:?}");
        }
    }
    let policy =
        page.text.lines().find(|line| line.starts_with("content-security-policy")).unwrap_or_default();
    for word in [
        "script-src 'sha256-",
        "style-src 'sha256-",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ] {
        ensure!(policy.contains(word), "{policy}");
    }
    ensure!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    Ok(())
}

/// What is told within a second, since it never ends; on a busy machine it takes longer until something is.
fn events(curl: &Curl<'_>, url: &str) -> Result<Fetched> {
    let within = |seconds: &str| curl.clone().with(&["--max-time", seconds]).get(url);
    let soon = within("1")?;
    let is_cut_short = soon.exit == 28 && !soon.text.contains("data: {");
    if is_cut_short { within("10") } else { Ok(soon) }
}

/// Who may read the metrics may see the page, and nobody else.
#[test]
fn the_page_is_protected_as_the_metrics_are() -> Result<()> {
    let authority = Authority::new("authority")?;
    let server = authority.server(&["192.0.2.1"])?;
    let known = authority.client("DNS:grafana")?;
    let stranger = Authority::new("stranger")?.client("DNS:grafana")?;
    // "secret" at the lowest cost, by libxcrypt.
    let hash = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
    let users = format!("basic_auth_users:\n  alice: {hash}\n");
    let tls = format!(
        "tls_server_config:\n  cert_file: {}\n  key_file: {}\n",
        server.certificate.display(),
        server.key.display()
    );
    let clients = format!(
        "{tls}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: {}\n",
        authority.certificate.display()
    );
    let limited = "rate_limit:\n  interval: 1h\n  burst: 2\n";
    for (what, file, scheme) in [
        ("passwords", users.clone(), "http"),
        ("TLS", tls.clone(), "https"),
        ("TLS and passwords", format!("{tls}{users}"), "https"),
        ("client certificates", clients, "https"),
        ("a rate", format!("{users}{limited}"), "http"),
    ] {
        let network = Network::new()?;
        let mut foobar = Foobar::new(&network.server, &[SERVER], "schema = 1\n")?.with_listen(METRICS);
        let path = foobar.write("web.yml", &file)?.display().to_string();
        foobar = foobar.with_options(&["--web-config", &path]);
        foobar.start_guarded()?;
        let plain = Curl::new(&network.client).trusting(&authority.certificate);
        for (who, curl) in [
            ("nobody", plain.clone()),
            ("alice", plain.clone().logged_in("alice:secret")),
            ("alice with a wrong password", plain.clone().logged_in("alice:terces")),
            ("mallory", plain.clone().logged_in("mallory:secret")),
            ("a known client", plain.clone().identified(&known)),
            ("a stranger", plain.clone().identified(&stranger)),
        ] {
            // With a rate, the third and all later ones are too many.
            let [metrics, page] =
                ["metrics", ""].map(|path| curl.get(&format!("{scheme}://{METRICS}/{path}")));
            let (metrics, page) = (metrics?, page?);
            let events = events(&curl, &format!("{scheme}://{METRICS}/events"))?;
            for (path, answer) in [("page", &page), ("events", &events)] {
                let is_same = answer.status == metrics.status || what == "a rate" && answer.status == 429;
                ensure!(is_same, "{what}, {who}, {path}: {answer:?}, not as {}", metrics.status);
                let told = ["<!DOCTYPE", "data: {"].iter().any(|word| answer.text.contains(word));
                ensure!(told == (answer.status == 200), "{what}, {who}, {path}: {answer:?}");
            }
        }
        // What was sent away was no viewer.
        wait::until("nobody looks any more", Duration::from_secs(5), || {
            Ok(foobar.status()?["page_viewers"] == 0)
        })?;
    }
    Ok(())
}
