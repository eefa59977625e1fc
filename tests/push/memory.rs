//! What pushing takes of memory.

use anyhow::{Context as _, Result, ensure};
use foobar_tests::daemon::Foobar;

use crate::{Pushing, stand_in::StandIn};

/// Resident memory that is the daemon's own, in KiB: not files of others, not maps of the kernel.
fn resident(foobar: &Foobar) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", foobar.pid()?))?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).context("no RssAnon")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
}

#[test]
fn three_targets_take_little_memory() -> Result<()> {
    let mut without = Pushing::prepare("")?;
    without.foobar = Foobar::new(&without.network.server, &[foobar_tests::network::SERVER], crate::RULES)?;
    without.foobar.start()?;
    for _ in 0..5 {
        without.foobar.scrape()?;
    }
    let least = resident(&without.foobar)?;

    let mut pushing = Pushing::prepare("")?;
    let stand_ins = [8001, 8002, 8003].map(|port| StandIn::start(&pushing.network.server, port));
    let mut file = String::new();
    for (number, (stand_in, kind)) in stand_ins.iter().zip(["otlp", "remote-write", "sumo"]).enumerate() {
        let url = stand_in.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?.url("/");
        let lines = format!("name = \"t{number}\"\nkind = \"{kind}\"\nurl = \"{url}\"\ninterval = \"1s\"\n");
        file.extend(["[[target]]\n", &lines]);
    }
    pushing.write(&file)?;
    pushing.foobar.start()?;
    for stand_in in stand_ins {
        stand_in?.wait_for(5)?;
    }
    for _ in 0..5 {
        pushing.foobar.scrape()?;
    }
    let with = resident(&pushing.foobar)?;
    println!("{least} KiB without, {with} KiB with three targets");
    ensure!(with < least + 8_192, "{least} KiB without, {with} with three targets");
    Ok(())
}
