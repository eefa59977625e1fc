//! nginx in its three roles, and the application behind it.

use anyhow::{Result, ensure};
use foobar_tests::command::succeed;

use super::{Service, words};
use crate::lab::{Clients, Lab};

pub(super) fn prepare_site(lab: &Lab, service: Service) -> Result<Vec<String>> {
    let (listen, address) =
        if speaks_first(lab) { ("proxy_protocol", "real_ip_header proxy_protocol;") } else { ("", "") };
    let further = [("@PROXY_PROTOCOL@", listen), ("@REAL_ADDRESS@", address)];
    prepare(lab, service, include_str!("../files/nginx.conf"), &further)
}

pub(super) fn prepare_admin(lab: &Lab, service: Service) -> Result<Vec<String>> {
    prepare(lab, service, include_str!("../files/admin.conf"), &[])
}

pub(super) fn prepare_former(lab: &Lab, service: Service) -> Result<Vec<String>> {
    prepare(lab, service, include_str!("../files/former.conf"), &[])
}

fn prepare(lab: &Lab, service: Service, template: &str, further: &[(&str, &str)]) -> Result<Vec<String>> {
    let path = lab.write(service, "nginx.conf", template, further)?;
    let folder = lab.folder_of(service)?.display().to_string();
    let log = format!("{folder}/nginx.log");
    Ok(words(["nginx", "-p", &folder, "-c", &path.display().to_string(), "-e", &log]))
}

/// Whether a connection to the site begins with a PROXY header.
pub(super) fn speaks_first(lab: &Lab) -> bool {
    lab.clients == Clients::Proxy
}

/// Whether it listens, seen from its own host.
pub(super) fn check_listener(lab: &Lab, service: Service) -> Result<()> {
    let host = service.host();
    let url = if service == Service::Former { "http://127.0.0.1:8444/" } else { "https://127.0.0.1:8443/" };
    let namespace = lab.hosts.namespace(host)?;
    succeed(namespace.command("curl").args([
        "--silent",
        "--show-error",
        "--insecure",
        "--max-time",
        "2",
        url,
    ]))
    .map(drop)
}

pub(super) fn check_application(lab: &Lab, service: Service) -> Result<()> {
    let namespace = lab.hosts.namespace(service.host())?;
    let text = succeed(namespace.command("curl").args([
        "--silent",
        "--show-error",
        "--max-time",
        "2",
        "http://127.0.0.1:8080/hello",
    ]))?;
    ensure!(text.contains("hello"), "the application says {text:?}");
    Ok(())
}
