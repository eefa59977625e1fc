//! `cargo xtask lab up`.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::{
    hosts::Host,
    lab::{Clients, Lab},
    say::say,
    services::{Service, seed},
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
    let (firewalls, others): (Vec<Service>, Vec<Service>) =
        Service::all().into_iter().partition(|service| matches!(service, Service::Firewall(_)));
    for group in [firewalls, others] {
        for service in &group {
            lab.start(*service)?;
        }
        for service in group {
            lab.wait_for(service, READY_WITHIN)?;
        }
    }
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
