//! haproxy, which passes HTTPS and SQL on.

use anyhow::{Result, ensure};

use super::{Service, words};
use crate::{
    lab::{Clients, Lab},
    monitoring::ask,
    site,
};

pub(super) fn prepare(lab: &Lab, service: Service) -> Result<Vec<String>> {
    let (source, proxy) = match lab.clients {
        Clients::Proxy => ("", "send-proxy-v2 check-send-proxy"),
        Clients::Transparent => ("  source 0.0.0.0 usesrc clientip", ""),
    };
    let further = [("@WWW_SOURCE@", source), ("@WWW_PROXY@", proxy)];
    let path = lab.write(service, "haproxy.cfg", include_str!("../files/haproxy.cfg"), &further)?;
    Ok(words(["haproxy", "-db", "-f", &path.display().to_string()]))
}

/// Whether all servers are there in its eyes, and a page comes through.
pub(super) fn check(lab: &Lab) -> Result<()> {
    let table = ask(lab, crate::hosts::Host::Balancer, 8404, "/;csv")?;
    for (proxy, server) in
        ["www", "sql"].into_iter().flat_map(|proxy| ["web1", "web2", "web3"].map(|server| (proxy, server)))
    {
        let up = table.lines().any(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            fields.starts_with(&[proxy, server]) && fields.get(17) == Some(&"UP")
        });
        ensure!(up, "{server} is not there for {proxy} yet");
    }
    let page = site::visit(lab, "/")?;
    ensure!(page.contains("greets"), "the site says {page:?}");
    let written = site::visit(lab, "/write?tag=up")?;
    ensure!(written.contains("written"), "who writes is told {written:?}");
    Ok(())
}
