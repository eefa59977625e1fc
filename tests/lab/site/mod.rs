//! The site: the program behind it, and those who ask for its pages.

pub(crate) mod application;
pub(crate) mod flood;
pub(crate) mod visitors;
pub(crate) mod writers;

use std::{net::Ipv4Addr, path::PathBuf};

use anyhow::Result;
use foobar_tests::command::succeed;

use crate::{hosts::Host, lab::Lab, services::Service};

/// The name of the site.
pub(crate) const NAME: &str = "www.foobar.com";

/// Fetches a page through the balancer, as a client that trusts the lab's authority alone, by TLS 1.3.
pub(crate) fn visit(lab: &Lab, path: &str) -> Result<String> {
    curl(lab, Host::Client, Host::Client.address(), Host::Balancer.address(), path, &[])
}

/// The same from this address of the client.
pub(crate) fn visit_from(lab: &Lab, source: Ipv4Addr, path: &str) -> Result<String> {
    curl(lab, Host::Client, source, Host::Balancer.address(), path, &[])
}

/// Fetches a page of a server from another host, with a PROXY header if it is to begin with one.
pub(crate) fn curl_from(lab: &Lab, from: Host, to: Host, path: &str, proxy: bool) -> Result<String> {
    let header: &[&str] = if proxy { &["--haproxy-protocol"] } else { &[] };
    curl(lab, from, from.address(), to.address(), path, header)
}

fn curl(
    lab: &Lab,
    from: Host,
    source: Ipv4Addr,
    to: Ipv4Addr,
    path: &str,
    further: &[&str],
) -> Result<String> {
    let namespace = lab.hosts.namespace(from)?;
    succeed(
        namespace
            .command("curl")
            .args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "3", "--tlsv1.3"])
            .args(["--interface", &source.to_string(), "--resolve", &format!("{NAME}:443:{to}")])
            .arg("--cacert")
            .arg(lab.certificates().join("authority.pem"))
            .args(further)
            .arg(format!("https://{NAME}{path}")),
    )
}

/// Whether a node of the database with this `wsrep_` status is in the cluster and takes writes.
pub(crate) fn takes_writes(status: &[(String, String)]) -> bool {
    let is = |name: &str, value: &str| status.iter().any(|(one, of)| one == name && of == value);
    // 4 is "Synced".
    is("wsrep_ready", "ON") && is("wsrep_local_state", "4")
}

/// Where the writers note what was acknowledged.
pub(crate) fn acknowledged(lab: &Lab) -> Result<PathBuf> {
    Ok(lab.folder_of(Service::Writers)?.join("acknowledged"))
}
