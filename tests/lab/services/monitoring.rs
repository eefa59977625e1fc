//! Prometheus with the rules of `rules/prometheus`, and alertmanager.

use std::fs;

use anyhow::{Context as _, Result};

use super::{Service, words};
use crate::{lab::Lab, monitoring::CENTER_PORT, pace::hurried};

const RULES: [(&str, &str); 3] = [
    ("recording.yml", include_str!("../../../rules/prometheus/recording.yml")),
    ("alerts.yml", include_str!("../../../rules/prometheus/alerts.yml")),
    ("fleet.yml", include_str!("../../../rules/prometheus/fleet.yml")),
];

/// What Debian's Prometheus brings along for console pages.
const LIBRARIES: &str = "/usr/share/doc/prometheus/examples/console_libraries";

pub(super) fn prepare_prometheus(lab: &Lab, service: Service) -> Result<Vec<String>> {
    for (name, text) in RULES {
        // The recording rules are as they are: they are looked at, and nobody waits for them.
        let text = if name == "recording.yml" { text.to_owned() } else { hurried(text) };
        let path = lab.folder_of(service)?.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    let consoles = lab.folder_of(service)?.join("consoles");
    fs::create_dir_all(&consoles)?;
    fs::write(consoles.join("foobar.html"), include_str!("../../../rules/prometheus/consoles/foobar.html"))?;
    let path = lab.write(service, "prometheus.yml", include_str!("../files/prometheus.yml"), &[])?;
    let folder = lab.folder_of(service)?.display().to_string();
    Ok(words([
        "prometheus",
        &format!("--config.file={}", path.display()),
        &format!("--storage.tsdb.path={folder}/data"),
        &format!("--web.listen-address={}:9090", service.host().address()),
        &format!("--web.console.templates={}", consoles.display()),
        &format!("--web.console.libraries={LIBRARIES}"),
    ]))
}

/// A Prometheus that is written to. It asks nobody and has no rules, so that no alert is told twice.
pub(super) fn prepare_center(lab: &Lab, service: Service) -> Result<Vec<String>> {
    let path = lab.write(service, "prometheus.yml", include_str!("../files/center.yml"), &[])?;
    let folder = lab.folder_of(service)?.display().to_string();
    Ok(words([
        "prometheus",
        &format!("--config.file={}", path.display()),
        &format!("--storage.tsdb.path={folder}/data"),
        &format!("--web.listen-address={}:{CENTER_PORT}", service.host().address()),
        "--web.enable-remote-write-receiver",
    ]))
}

pub(super) fn prepare_alertmanager(lab: &Lab, service: Service) -> Result<Vec<String>> {
    let path = lab.write(service, "alertmanager.yml", include_str!("../files/alertmanager.yml"), &[])?;
    let folder = lab.folder_of(service)?.display().to_string();
    Ok(words([
        "prometheus-alertmanager",
        &format!("--config.file={}", path.display()),
        &format!("--storage.path={folder}/data"),
        &format!("--web.listen-address={}:9093", service.host().address()),
        "--cluster.listen-address=",
    ]))
}
