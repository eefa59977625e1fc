//! `cargo xtask lab up`.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::{
    hosts::Host,
    lab::{Clients, Lab},
    say::say,
    services::{Service, put_rules, seed},
};

/// How long each service has.
const READY_WITHIN: Duration = Duration::from_secs(40);

/// Flags of `up`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The balancer asks in the name of its clients, with their addresses, instead of by PROXY headers
    #[arg(long)]
    transparent: bool,
}

/// Starts everything, and waits until it works. What was started stays as it is when something does not: to be looked at, and
/// taken away by `down`.
pub(crate) fn run(name: &str, args: &Args) -> Result<()> {
    let mut lab = Lab::open(name)?;
    ensure!(!lab.hosts.any(), "this lab is up already: `cargo xtask lab down` ends it");
    lab.set_clients(if args.transparent { Clients::Transparent } else { Clients::Proxy })?;
    seed()?;
    let began = Instant::now();
    lab.make_certificates()?;
    lab.hosts.make()?;
    if args.transparent {
        lab.hosts.carry_clients_addresses()?;
    }
    say(&format!("{:12} laid in {:.1} s", "cables", began.elapsed().as_secs_f64()));
    // The rules first, then the firewalls, then whatever they are for.
    let all = Service::all();
    let is_etcd = |service: &Service| matches!(service, Service::Etcd(_));
    let (etcd, others): (Vec<Service>, Vec<Service>) = all.into_iter().partition(is_etcd);
    let is_firewall = |service: &Service| matches!(service, Service::Firewall(_));
    let (firewalls, others): (Vec<Service>, Vec<Service>) = others.into_iter().partition(is_firewall);
    start(&lab, &etcd)?;
    put_rules(&lab)?;
    start(&lab, &firewalls)?;
    start(&lab, &others)?;
    // There was none to see when it was started.
    lab.look_at_certificate()?;
    say(&format!("up in {:.1} s", began.elapsed().as_secs_f64()));
    say(&format!(
        "logs, rules and settings: {}\nnamespaces: `ip netns exec foobar-{name}-{} …`; Prometheus is http://{}:9090 in there\n\
         next: cargo xtask lab load",
        lab.folder().display(),
        Host::Monitoring.name(),
        Host::Monitoring.address()
    ));
    Ok(())
}

/// Starts services beside each other, and waits until all of them work.
fn start(lab: &Lab, services: &[Service]) -> Result<()> {
    services.iter().try_for_each(|service| lab.start(*service))?;
    services.iter().try_for_each(|service| lab.wait_for(*service, READY_WITHIN))
}
