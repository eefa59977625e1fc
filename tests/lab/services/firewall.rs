//! foobar on a host, which has its rules from etcd: those of `rules/fleet`.

use std::{fs, path::PathBuf};

use anyhow::{Result, ensure};
use foobar_tests::{
    bpffs,
    command::{stderr, stdout, succeed},
};

use super::{Service, etcd};
use crate::{
    hosts::{Host, INTERFACE},
    lab::{Clients, Lab, foobar},
};

const BALANCER: &str = include_str!("../../../rules/fleet/balancer.toml");
const SERVER: &str = include_str!("../../../rules/fleet/server.toml");

pub(super) fn prepare(lab: &Lab, service: Service, host: Host) -> Result<Vec<String>> {
    bpffs::mount_bpffs()?;
    let web = lab.write(service, "web.yml", include_str!("../files/web.yml"), &[])?;
    let push = lab.write(service, "push.toml", include_str!("../files/push.toml"), &[])?;
    let push = push.display().to_string();
    let folder = lab.folder_of(service)?;
    let path = |name: &str| folder.join(name).display().to_string();
    let certificate = |name: &str| lab.certificates().join(name).display().to_string();
    // The balancer looks at what clients see, by way of itself; the servers push what they count.
    let by_role: &[&str] = if host == Host::Balancer {
        &["--certificate", "www.foobar.com@192.0.2.10:443"]
    } else {
        &["--push", &push]
    };
    // On a virtual cable the other end takes what a card sends back by itself, as answers to SYNs, only in generic mode.
    let mode = if host == Host::Balancer { "generic" } else { "native" };
    let words = [
        &foobar()?.display().to_string(),
        "run",
        "--interface",
        INTERFACE,
        "--mode",
        mode,
        "--rules",
        &etcd::place(host),
        "--member",
        &host.name(),
        "--etcd-ca",
        &certificate("authority.pem"),
        "--etcd-certificate",
        &certificate(&format!("{}.pem", host.name())),
        "--etcd-key",
        &certificate(&format!("{}.key", host.name())),
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
    ];
    Ok(words.iter().chain(by_role).map(|&word| word.to_owned()).collect())
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

/// The rules of a host's role.
pub(super) fn rules(lab: &Lab, host: Host) -> String {
    match (host, lab.clients) {
        (Host::Balancer, _) => BALANCER.to_owned(),
        (_, Clients::Proxy) => SERVER.to_owned(),
        (_, Clients::Transparent) => transparent_server(),
    }
}

/// The rules of a server, changed as somebody might in a hurry: SQL for everybody.
pub(crate) fn changed_by_hand(lab: &Lab, host: Host) -> Result<PathBuf> {
    let path = lab.folder_of(Service::Firewall(host))?.join("by-hand.toml");
    let rule =
        "[[rule]]\nid = \"sql-for-now\"\naction = \"accept\"\nprotocol = \"tcp\"\ndestination_port = 3306\n";
    fs::write(&path, format!("{}\n{rule}", rules(lab, host)))?;
    Ok(path)
}

/// The rules of servers with a mistake: HTTPS is accepted at another port than the one that it comes to.
pub(crate) fn mistaken(lab: &Lab) -> String {
    rules(lab, Host::Web(1)).replace("destination_port = 443\n", "destination_port = 4443\n")
}

/// Clients come in by their own addresses, without a header that names them.
fn transparent_server() -> String {
    let own = SERVER.replace("proxy_protocol = true\n", "").replace("per = \"client\"", "per = \"source\"");
    // Only the balancer's rules for HTTPS name it so.
    own.replace("source = \"192.0.2.10\"\n", "")
}

/// What `foobar fleet status` says of all hosts with the role of this one, asked on it. That they differ is no error.
pub(crate) fn ask_fleet(lab: &Lab, host: Host) -> Result<String> {
    let certificate = |name: &str| lab.certificates().join(name).display().to_string();
    let mut command = lab.hosts.namespace(host)?.command(foobar()?);
    command
        .args(["fleet", "status", "--etcd", &etcd::place(host)])
        .args(["--etcd-ca", &certificate("authority.pem")])
        .args(["--etcd-certificate", &certificate(&format!("{}.pem", host.name()))])
        .args(["--etcd-key", &certificate(&format!("{}.key", host.name()))]);
    let output = command.output()?;
    ensure!(matches!(output.status.code(), Some(0 | 3)), "foobar fleet status: {}", stderr(&output));
    Ok(stdout(&output))
}
