//! `cargo xtask lab status`.

use anyhow::Result;
use serde_json::json;

use crate::{
    lab::Lab,
    monitoring::{alerts, targets, value},
    say::print,
    services::Service,
};

/// Flags of `status`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Shows what runs, and what monitoring says of it.
pub(crate) fn run(lab: &Lab, args: &Args) -> Result<()> {
    let mut services = Vec::new();
    for service in Service::all() {
        let running = lab.running(service);
        let works = running.is_some() && service.check(lab).is_ok();
        services.push((service.name(), running, works));
    }
    let firing = alerts(lab).unwrap_or_default();
    let targets = targets(lab).unwrap_or_default();
    let rate = value(lab, "sum(rate(foobar_http_requests_total{proto=\"https\"}[5s]))").unwrap_or_default();
    if args.json {
        let services: Vec<_> = services
            .iter()
            .map(|(name, running, works)| {
                json!({
                    "service": name, "process": running.map(|running| running.id), "works": works,
                    "resident_kib": running.and_then(crate::processes::Running::memory),
                })
            })
            .collect();
        let alerts: Vec<_> =
            firing.iter().map(|alert| json!({ "alert": alert.name, "summary": alert.summary })).collect();
        let targets: Vec<_> = targets.iter().map(|(name, up)| json!({ "target": name, "up": up })).collect();
        let all = json!({
            "services": services, "alerts": alerts, "targets": targets, "requests_per_second": rate,
        });
        print(&serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    print(&format!("{:20} {:>8} {:>10}  ", "service", "process", "resident"));
    for (name, running, works) in services {
        let state = match (running, works) {
            (None, _) => "does not run",
            (_, true) => "works",
            (_, false) => "runs, and does not work",
        };
        let id = running.map(|running| running.id.to_string()).unwrap_or_default();
        let memory = running.and_then(crate::processes::Running::memory).unwrap_or_default() / 1024;
        print(&format!("{name:20} {id:>8} {memory:>6} MiB  {state}"));
    }
    for (name, _) in targets.iter().filter(|(_, up)| !up) {
        print(&format!("Prometheus does not reach {name}"));
    }
    print(&format!("{rate:.0} requests per second"));
    for alert in &firing {
        print(&format!("ALERT {}: {}", alert.name, alert.summary));
    }
    if firing.is_empty() {
        print("no alerts");
    }
    Ok(())
}
