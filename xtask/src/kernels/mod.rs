//! The matrix of kernels: foobar's programs are loaded, attached and run on Debian's newest 6.1, 6.12 and newest
//! of all, each in a machine of its own that qemu emulates.
//!
//! What loads on one kernel need not load on another, since every verifier learns other things about the same
//! code. Everything is fetched below `target/` and unpacked, never installed, and needs no privileges. Plain
//! emulation (TCG) is used always: nested KVM, where it can be opened, hangs or runs at a crawl.

mod boot;
mod debian;
mod expected;
mod image;

use std::{
    thread::{self, ScopedJoinHandle},
    time::Instant,
};

use anyhow::{Result, anyhow, bail};

use crate::{
    apt::Apt,
    command::{find, print, say},
    kernels::{boot::Report, debian::Kernel, expected::Expected},
    setup,
};

/// Boots all kernels, prints what they said, and compares it with what is expected.
pub(crate) fn matrix() -> Result<()> {
    let start = Instant::now();
    let expected = Expected::read()?;
    if ["ip", "xz"].iter().any(|name| find(name).is_none()) {
        setup::for_testing()?;
    }
    let apt = Apt::ready()?;
    let qemu = debian::qemu(&apt)?;
    let kernels = debian::kernels(&apt)?;
    let fetched = start.elapsed().as_secs();
    let images = image::Images::build()?;
    let built = start.elapsed().as_secs();

    say(&format!(
        "kernels: booting {} (emulated, one processor each)",
        kernels.iter().map(|kernel| kernel.package.as_str()).collect::<Vec<_>>().join(", ")
    ));
    // All at once: of three that two processors take in turns, the last would leave one of them idle for its whole length.
    let reports: Vec<(&Kernel, Result<Report>)> = thread::scope(|scope| {
        let machines: Vec<_> = kernels
            .iter()
            .map(|kernel| {
                let run = || images.of(kernel).and_then(|image| boot::boot(&qemu, kernel, &image));
                (kernel, scope.spawn(run))
            })
            .collect();
        let report = |machine: ScopedJoinHandle<'_, Result<Report>>| {
            machine.join().unwrap_or_else(|_payload| Err(anyhow!("the thread of its machine panicked")))
        };
        machines.into_iter().map(|(kernel, machine)| (kernel, report(machine))).collect()
    });
    show(&reports);
    say(&format!(
        "kernels: {} s in all ({fetched} s fetching, {} s building, the rest booting)",
        start.elapsed().as_secs(),
        built.saturating_sub(fetched)
    ));
    judge(&expected, &reports)
}

/// Prints a line per section of checks, a column per kernel.
fn show(reports: &[(&Kernel, Result<Report>)]) {
    let mut sections: Vec<&str> = Vec::new();
    for check in
        reports.iter().filter_map(|(_, report)| report.as_ref().ok()).flat_map(|report| &report.checks)
    {
        if !sections.contains(&check.section.as_str()) {
            sections.push(&check.section);
        }
    }
    let column = |text: &str| format!("{text:>22}");
    let release = |(kernel, report): &(&Kernel, Result<Report>)| match report {
        Ok(report) => column(&report.release),
        Err(_) => column(kernel.series),
    };
    print(&format!("{:<26}{}", "", reports.iter().map(release).collect::<String>()));
    for section in sections {
        let cells = reports.iter().map(|(_, report)| match report {
            Ok(report) => column(&report.cell(section)),
            Err(_) => column("-"),
        });
        print(&format!("{section:<26}{}", cells.collect::<String>()));
    }
    let seconds = reports.iter().map(|(_, report)| match report {
        Ok(report) => column(&format!("{} s", report.seconds)),
        Err(_) => column("-"),
    });
    print(&format!("{:<26}{}", "boot to end", seconds.collect::<String>()));
}

fn judge(expected: &Expected, reports: &[(&Kernel, Result<Report>)]) -> Result<()> {
    let mut problems = Vec::new();
    for (kernel, report) in reports {
        match report {
            Ok(report) => problems.extend(expected.differences(kernel.series, report)),
            Err(error) => problems.push(format!("{}: {error:#}", kernel.series)),
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    for problem in &problems {
        say(&format!("kernels: {problem}"));
    }
    bail!(
        "{} things are not as tests/kernels/expected.txt has them; target/kernels/logs has all that the kernels said",
        problems.len()
    )
}
