//! What Prometheus and alertmanager know of the lab.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    command::succeed,
    http::{self, Answer},
    metrics::Metrics,
};
use serde_json::Value;

use crate::{hosts::Host, lab::Lab};

/// Where the Prometheus listens that servers write to.
pub(crate) const CENTER_PORT: u16 = 9091;

/// An alert that fires.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Alert {
    /// Its name.
    pub(crate) name: String,
    /// What it says in one line.
    pub(crate) summary: String,
}

/// Asks a host over HTTP, from monitoring.
///
/// # Errors
/// If there is no answer, or one that is not 200.
pub(crate) fn ask(lab: &Lab, host: Host, port: u16, path: &str) -> Result<String> {
    let namespace = lab.hosts.namespace(Host::Monitoring)?;
    let server = SocketAddr::new(host.address().into(), port);
    let Answer { status, body, .. } = http::get(&namespace, server, path)?;
    ensure!(status == 200, "{server}{path}: {status}: {body}");
    Ok(body)
}

fn ask_json(lab: &Lab, port: u16, path: &str) -> Result<Value> {
    let text = ask(lab, Host::Monitoring, port, path)?;
    serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))
}

/// The alerts that alertmanager has, each once.
pub(crate) fn alerts(lab: &Lab) -> Result<BTreeSet<Alert>> {
    let list = ask_json(lab, 9093, "/api/v2/alerts?active=true")?;
    let list = list.as_array().context("no list of alerts")?;
    let alert = |value: &Value| {
        let word = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        Alert { name: word("/labels/alertname"), summary: word("/annotations/summary") }
    };
    Ok(list.iter().map(alert).collect())
}

/// Whom Prometheus asks, and whether it gets an answer.
pub(crate) fn targets(lab: &Lab) -> Result<Vec<(String, bool)>> {
    let answer = ask_json(lab, 9090, "/api/v1/targets?state=active")?;
    let targets = answer["data"]["activeTargets"].as_array().context("no list of targets")?;
    let target = |target: &Value| {
        let label = |name: &str| target["labels"][name].as_str().unwrap_or_default().to_owned();
        (format!("{} of {}", label("job"), label("instance")), target["health"] == "up")
    };
    Ok(targets.iter().map(target).collect())
}

/// The value of an expression that gives one number, in Prometheus's eyes; zero if it gives none.
pub(crate) fn value(lab: &Lab, expression: &str) -> Result<f64> {
    let answer = query(lab, 9090, expression)?;
    let value = answer.pointer("/data/result/0/value/1").and_then(Value::as_str).unwrap_or("0");
    value.parse().with_context(|| format!("{expression} is {value}"))
}

/// What the Prometheus that is written to answers to an expression.
pub(crate) fn ask_center(lab: &Lab, expression: &str) -> Result<Value> {
    query(lab, CENTER_PORT, expression)
}

fn query(lab: &Lab, port: u16, expression: &str) -> Result<Value> {
    let escaped: String =
        expression
            .bytes()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            })
            .collect();
    let answer = ask_json(lab, port, &format!("/api/v1/query?query={escaped}"))?;
    ensure!(answer["status"] == "success", "{expression}: {answer}");
    Ok(answer)
}

/// What the foobar of a host serves, fetched as Prometheus fetches it.
pub(crate) fn scrape(lab: &Lab, host: Host) -> Result<Metrics> {
    let namespace = lab.hosts.namespace(Host::Monitoring)?;
    let file = |name: &str| lab.certificates().join(name).display().to_string();
    let text = succeed(
        namespace
            .command("curl")
            .args(["--silent", "--show-error", "--fail", "--max-time", "5"])
            .args(["--cacert", &file("authority.pem")])
            .args(["--cert", &file("monitoring.pem"), "--key", &file("monitoring.key")])
            .arg(format!("https://{}:9477/metrics", host.address())),
    )?;
    Metrics::parse(&text)
}

/// Waits until alertmanager has the alerts that are expected, and none but those that may accompany them; gives how long that took.
///
/// # Errors
/// If it does not come to that in time, with what it has instead.
pub(crate) fn wait_for_alerts(
    lab: &Lab,
    limit: Duration,
    expected: &BTreeSet<&str>,
    accompanied_by: &[&str],
) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let firing = alerts(lab)?;
        let names: BTreeSet<&str> = firing.iter().map(|alert| alert.name.as_str()).collect();
        let is_explained = |name: &&str| expected.contains(name) || accompanied_by.contains(name);
        if names.is_superset(expected) && names.iter().all(is_explained) {
            return Ok(began.elapsed());
        }
        ensure!(
            began.elapsed() < limit,
            "after {:.0?} alertmanager has {firing:?}, and not {expected:?}",
            began.elapsed()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}
