//! foobar on a host, with the rules for it as they are in `rules/fleet`.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{bpffs, command::succeed};

use super::Service;
use crate::{
    hosts::{Host, INTERFACE},
    lab::{Clients, Lab, foobar},
};

const BALANCER: &str = include_str!("../../../rules/fleet/balancer.toml");
const SERVER: &str = include_str!("../../../rules/fleet/server.toml");

pub(super) fn prepare(lab: &Lab, service: Service, host: Host) -> Result<Vec<String>> {
    bpffs::mount_bpffs()?;
    let text = match (host, lab.clients) {
        (Host::Balancer, Clients::Proxy) => BALANCER.to_owned(),
        (Host::Balancer, Clients::Transparent) => transparent_balancer(),
        (_, Clients::Proxy) => SERVER.to_owned(),
        (_, Clients::Transparent) => transparent_server(),
    };
    let rules = lab.write(service, "rules.toml", &text, &[])?;
    let web = lab.write(service, "web.yml", include_str!("../files/web.yml"), &[])?;
    let folder = lab.folder_of(service)?;
    let path = |name: &str| folder.join(name).display().to_string();
    // On a virtual cable the other end takes what a card sends back by itself, as answers to SYNs, only in generic mode.
    let mode = if host == Host::Balancer { "generic" } else { "native" };
    Ok([
        &foobar()?.display().to_string(),
        "run",
        "--interface",
        INTERFACE,
        "--mode",
        mode,
        "--rules",
        &rules.display().to_string(),
        "--listen",
        &format!("{}:9477", host.address()),
        "--web-config",
        &web.display().to_string(),
        "--control",
        &path("control.sock"),
        "--state",
        &path("state"),
        "--pins",
        &lab.pins_of(host).display().to_string(),
        "--set-sysctls",
    ]
    .map(ToOwned::to_owned)
    .to_vec())
}

pub(super) fn check(lab: &Lab, host: Host) -> Result<()> {
    let text = ask(lab, host, &["status", "--json"])?;
    let status: serde_json::Value = serde_json::from_str(&text)?;
    ensure!(status["ready"] == true, "the rules are not in force yet");
    Ok(())
}

/// Runs a command of foobar against the daemon of a host.
pub(crate) fn ask(lab: &Lab, host: Host, words: &[&str]) -> Result<String> {
    let control = lab.folder_of(Service::Firewall(host))?.join("control.sock");
    succeed(std::process::Command::new(foobar()?).args(words).arg("--control").arg(control))
}

/// The rules of servers, changed as somebody might in a hurry: SQL for everybody.
pub(crate) fn changed_by_hand(lab: &Lab, host: Host) -> Result<std::path::PathBuf> {
    let folder = lab.folder_of(Service::Firewall(host))?;
    let text = fs::read_to_string(folder.join("rules.toml")).context("read the rules of a server")?;
    let path = folder.join("by-hand.toml");
    let rule =
        "[[rule]]\nid = \"sql-for-now\"\naction = \"accept\"\nprotocol = \"tcp\"\ndestination_port = 3306\n";
    fs::write(&path, format!("{text}\n{rule}"))?;
    Ok(path)
}

/// Clients come in by their own addresses, without a header that names them.
fn transparent_server() -> String {
    let own = SERVER.replace("proxy_protocol = true\n", "").replace("per = \"client\"", "per = \"source\"");
    // Only the balancer's rules for HTTPS name it so.
    own.replace("source = \"192.0.2.10\"\n", "")
}

/// The balancer asks in the name of its clients, and gets the answers to them.
fn transparent_balancer() -> String {
    BALANCER.to_owned()
}
