//! A member of etcd on each server, which have the rules for all of them.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use foobar_tests::command::succeed_with_input;
use serde_json::Value;

use super::{Service, firewall, words};
use crate::{hosts::Host, lab::Lab};

/// The port for clients.
const CLIENTS: u16 = 2379;
/// The port for other members.
const MEMBERS: u16 = 2380;

pub(super) fn prepare(lab: &Lab, service: Service) -> Result<Vec<String>> {
    let (name, address) = (service.host().name(), service.host().address());
    let file = |kind: &str| lab.certificates().join(format!("{name}.{kind}")).display().to_string();
    let authority = lab.certificates().join("authority.pem").display().to_string();
    let data = lab.folder_of(service)?.join("data").display().to_string();
    let all =
        Host::SERVERS.map(|host| format!("{}=https://{}:{MEMBERS}", host.name(), host.address())).join(",");
    let (clients, members) = (format!("https://{address}:{CLIENTS}"), format!("https://{address}:{MEMBERS}"));
    Ok(words([
        "/usr/bin/etcd",
        "--name",
        &name,
        "--data-dir",
        &data,
        "--initial-cluster",
        &all,
        "--initial-cluster-state",
        "new",
        "--listen-peer-urls",
        &members,
        "--initial-advertise-peer-urls",
        &members,
        "--listen-client-urls",
        &clients,
        "--advertise-client-urls",
        &clients,
        "--client-cert-auth",
        "--trusted-ca-file",
        &authority,
        "--cert-file",
        &file("pem"),
        "--key-file",
        &file("key"),
        "--peer-client-cert-auth",
        "--peer-trusted-ca-file",
        &authority,
        "--peer-cert-file",
        &file("pem"),
        "--peer-key-file",
        &file("key"),
        "--log-level",
        "warn",
    ]))
}

/// Whether a member is one of a cluster that can be written to.
pub(super) fn check(lab: &Lab, service: Service) -> Result<()> {
    ask(lab, &[service.host()], &["endpoint", "health"], "").map(drop)
}

/// Where a role's rules are, as `--rules` takes it.
pub(super) fn place(host: Host) -> String {
    let endpoints = Host::SERVERS.map(|host| format!("{}:{CLIENTS}", host.address())).join(",");
    format!("etcds://{endpoints}{}", prefix(host))
}

fn prefix(host: Host) -> &'static str {
    if host == Host::Balancer { "/foobar/balancer" } else { "/foobar/server" }
}

/// Puts the rules of both roles there, as they are in `rules/fleet`.
pub(crate) fn put_rules(lab: &Lab) -> Result<()> {
    for host in [Host::Balancer, Host::Web(1)] {
        put(lab, host, &firewall::rules(lab, host))?;
    }
    Ok(())
}

/// Puts other rules there for all hosts with the role of this one.
pub(crate) fn put(lab: &Lab, host: Host, rules: &str) -> Result<()> {
    let key = format!("{}/rules.toml", prefix(host));
    ask(lab, &Host::SERVERS, &["put", &key], rules).map(drop)
}

/// The number of the server whose member leads the others.
pub(crate) fn leader(lab: &Lab) -> Result<u8> {
    let text = ask(lab, &Host::SERVERS, &["endpoint", "status", "--write-out", "json"], "")?;
    let list: Value = serde_json::from_str(&text).with_context(|| format!("etcdctl said {text}"))?;
    let members = list.as_array().context("no list of members")?;
    let leads = members.iter().position(|member| {
        let status = &member["Status"];
        status["header"]["member_id"] == status["leader"]
    });
    let place = leads.context("no member leads the others")?;
    ensure!(place < Host::SERVERS.len(), "{text}");
    Ok(u8::try_from(place)? + 1)
}

/// Runs `etcdctl` with these members, from the first one's host.
fn ask(lab: &Lab, members: &[Host], command: &[&str], input: &str) -> Result<String> {
    let first = *members.first().context("no member to ask")?;
    let endpoints: Vec<String> =
        members.iter().map(|host| format!("https://{}:{CLIENTS}", host.address())).collect();
    let file = |name: &str| lab.certificates().join(name).display().to_string();
    let mut run: Command = lab.hosts.namespace(first)?.command("etcdctl");
    run.env("ETCDCTL_API", "3")
        .args(["--endpoints", &endpoints.join(","), "--command-timeout", "3s", "--dial-timeout", "2s"])
        .args(["--cacert", &file("authority.pem")])
        .args(["--cert", &file(&format!("{}.pem", first.name()))])
        .args(["--key", &file(&format!("{}.key", first.name()))])
        .args(command);
    succeed_with_input(&mut run, input.as_bytes())
}
