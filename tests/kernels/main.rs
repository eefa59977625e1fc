//! All of user space in a machine of the kernel matrix: loads the programs with every set of constants that foobar
//! uses, runs and attaches them, and reports over the serial line.
//!
//! Lines are `K|release`, `R|section|name|PASS or FAIL|detail`, `I|section|instructions that the verifier walked`
//! and, if it comes to its end, `END|number of checks`. `cargo xtask test --kernels` builds, boots and reads it.

mod attached;
mod bans;
mod clients;
mod events;
mod frames;
mod machine;
mod many;
mod rejects;
mod report;
mod rulesets;
mod services;
mod syn_cookies;
mod test_runs;

use anyhow::Result;
use foobar_daemon::dataplane::attach::Mode;
use tracing_subscriber::filter::LevelFilter;

use crate::report::{LogTail, Report};

fn main() {
    let mut report = Report::default();
    if let Err(error) = run(&mut report) {
        report.check("machine", "comes to its end", &Err(error));
    }
    report.end();
    machine::power_off();
}

fn run(report: &mut Report) -> Result<()> {
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(LevelFilter::DEBUG)
        .with_writer(|| LogTail)
        .init();
    machine::mount_all()?;
    Report::kernel(&machine::release()?);
    machine::load_modules()?;
    machine::make_veth_pair()?;
    for ruleset in rulesets::ALL {
        test_runs::run(report, ruleset);
    }
    bans::run(report);
    events::run(report);
    rejects::run(report);
    services::run(report);
    clients::run(report);
    syn_cookies::run(report);
    attached::run(report, "native", Mode::Native);
    attached::run(report, "generic", Mode::Generic);
    Ok(())
}
