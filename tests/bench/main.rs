//! What foobar costs a packet, and what others cost, in the same run.
//!
//! The classifier is measured with test runs on many different packets ([`driver`]); nftables and xdp-filter, which
//! cannot be measured so, and foobar beside them, with frames that travel over a cable ([`rivals`]). Every part
//! first makes sure that its packets get the verdicts that they should.

mod bans;
mod cost;
mod driver;
mod events;
mod figures;
mod flows;
mod limits;
mod object;
mod plan;
mod report;
mod rivals;
mod rules;
mod samples;
mod server;
mod services;
mod sets;
mod swap;
mod syn;

use std::fs;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use crate::{driver::Driver, report::Report};

/// Measures foobar, beside bare XDP, nftables and xdp-filter.
#[derive(Parser)]
#[command(name = "bench")]
struct Args {
    /// Fewer sizes and samples: at most two minutes
    #[arg(long)]
    quick: bool,
    /// A single row, to see whether everything works; writes no files
    #[arg(long)]
    smoke: bool,
    /// Only these parts
    parts: Vec<Part>,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Cost by number, shape and family of rules
    Rules,
    /// Cost of sets
    Sets,
    /// Cost of bans, and time until they are in force
    Bans,
    /// Cost of packets of known connections
    Flows,
    /// Cost of limits
    Limits,
    /// Cost of samples that are drawn for who watches
    Events,
    /// Cost of requests
    Services,
    /// What is left of a web server's throughput
    Server,
    /// SYNs answered in a second, beside the kernel's own cookies
    Syn,
    /// Time until other rules are in force
    Swap,
    /// foobar, nftables and xdp-filter on a cable
    Rivals,
}

fn main() -> Result<()> {
    let args = Args::parse();
    object::check_root()?;
    driver::pin_to_last_processor()?;
    let mut report = Report::new();
    report.say("building the benchmark's programs");
    let mut driver = Driver::load()?;
    if args.smoke {
        return rules::smoke(&mut driver, &mut report);
    }
    let plan = if args.quick { &plan::QUICK } else { &plan::FULL };
    let chosen = |part| args.parts.is_empty() || args.parts.contains(&part);
    if chosen(Part::Rules) {
        rules::run(&mut driver, &mut report, plan)?;
    }
    if chosen(Part::Sets) {
        sets::run(&mut driver, &mut report, plan)?;
    }
    if chosen(Part::Bans) {
        bans::run(&mut driver, &mut report, plan)?;
    }
    if chosen(Part::Flows) {
        flows::run(&mut driver, &mut report, plan)?;
    }
    if chosen(Part::Limits) {
        limits::run(&mut driver, &mut report, plan)?;
    }
    if chosen(Part::Events) {
        events::run(&mut report, plan)?;
    }
    if chosen(Part::Services) {
        services::run(&mut driver, &mut report, plan)?;
    }
    if chosen(Part::Server) {
        server::run(&mut report, plan)?;
    }
    if chosen(Part::Syn) {
        syn::run(&mut driver, &mut report, &plan.rivals)?;
    }
    if chosen(Part::Swap) {
        swap::run(&mut report, plan);
    }
    if chosen(Part::Rivals) {
        rivals::run(&mut driver, &mut report, &plan.rivals)?;
    }
    report.write(&machine(), &object::workspace().join("target/bench"))
}

/// Processor and kernel.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unnamed processor", |(_, name)| name.trim());
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("unknown");
    format!("{model}, Linux {}, load {load}", read("/proc/sys/kernel/osrelease").trim())
}
