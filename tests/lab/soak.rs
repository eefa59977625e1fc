//! `cargo xtask lab soak`: breaks and heals under load, and everything that must not happen meanwhile.

use std::{
    collections::BTreeMap,
    mem, thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use foobar_tests::{metrics::Metrics, random::Random};

use crate::{
    breaks::Break,
    hosts::Host,
    lab::Lab,
    load,
    monitoring::scrape,
    say::{print, say},
    services::Service,
};

/// Flags of `soak`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Begin with other breaks
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What is watched of one foobar.
struct Watched {
    host: Host,
    first_memory: u64,
    last_memory: u64,
    counters: BTreeMap<String, f64>,
}

/// How much more memory a daemon may have than at its beginning, in KiB: what its allocator keeps.
const MORE_MEMORY: u64 = 4 * 1024;
/// For how long it may have more than that: putting rules in force takes tens of megabytes, which are given back at the end.
const SWAP_TIME: Duration = Duration::from_secs(3);

/// Breaks and heals, with a load in between, until the time is over.
///
/// # Errors
/// A foobar that was started again by nobody, that has more memory than before, or whose counters went back; an alert that
/// nothing explains; and all that `load`, `break` and `heal` find.
pub(crate) fn run(lab: &Lab, args: &Args) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(args.minutes * 60);
    let mut random = Random::new(args.seed);
    let mut watched = Vec::new();
    // What a daemon needs once, it has after the first load.
    load::run(lab, &load::Args { requests: 5_000 })?;
    for host in Host::FILTERED {
        watched.push(Watched::begin(lab, host)?);
    }
    let (mut rounds, mut order) = (0_u32, Vec::new());
    while Instant::now() < end {
        if order.is_empty() {
            order = Break::ALL.to_vec();
        }
        let choice = usize::try_from(random.number() % order.len() as u64)?;
        let what = order.swap_remove(choice);
        rounds += 1;
        let left = end.saturating_duration_since(Instant::now());
        say(&format!("round {rounds}, {} min left: {}", left.as_secs() / 60, what.name()));
        what.inflict(lab)?;
        look(lab, &mut watched, Some(what))?;
        what.heal(lab)?;
        look(lab, &mut watched, None)?;
        load::run(lab, &load::Args { requests: 5_000 })?;
        look(lab, &mut watched, None)?;
    }
    for one in &watched {
        print(&format!(
            "{:12} {:>6} KiB resident at first, {:>6} KiB at last",
            one.host.name(),
            one.first_memory,
            one.last_memory
        ));
    }
    print(&format!(
        "{rounds} breaks and heals: each raised its alert and no other, and no counter went back"
    ));
    Ok(())
}

/// Looks at every foobar, but at the one that is broken.
fn look(lab: &Lab, watched: &mut [Watched], broken: Option<Break>) -> Result<()> {
    for one in watched {
        if one.host == Host::Web(2) && broken == Some(Break::Firewall) {
            continue;
        }
        one.look(lab)?;
    }
    Ok(())
}

impl Watched {
    fn begin(lab: &Lab, host: Host) -> Result<Self> {
        let Some(process) = lab.running(Service::Firewall(host)) else {
            bail!("foobar on {} does not run", host.name());
        };
        let memory = process.memory().unwrap_or_default();
        let counters = counters(&scrape(lab, host)?);
        Ok(Self { host, first_memory: memory, last_memory: memory, counters })
    }

    fn look(&mut self, lab: &Lab) -> Result<()> {
        let name = self.host.name();
        let Some(process) = lab.running(Service::Firewall(self.host)) else {
            bail!("foobar on {name} has ended");
        };
        let has_little = || process.memory().unwrap_or_default() <= self.first_memory + MORE_MEMORY;
        let begun = Instant::now();
        while !has_little() && begun.elapsed() < SWAP_TIME {
            thread::sleep(Duration::from_millis(100));
        }
        let memory = process.memory().unwrap_or_default();
        // One that this program has killed and started again needs no more than the one before, which had been through a load.
        ensure!(
            memory <= self.first_memory + MORE_MEMORY,
            "foobar on {name} had {} KiB, and has {memory} KiB",
            self.first_memory
        );
        self.last_memory = memory;
        let mut counters = counters(&scrape(lab, self.host)?);
        for (series, before) in mem::take(&mut self.counters) {
            match counters.get(&series) {
                Some(now) => ensure!(*now >= before, "{name}: {series} went from {before} back to {now}"),
                // A rule that is not in force is not told of; when it is again, it goes on from here.
                None if series.contains("\"rule\"") => {
                    counters.insert(series, before);
                }
                None => bail!("{name} does not tell {series} any more, which was {before}"),
            }
        }
        self.counters = counters;
        Ok(())
    }
}

/// The values that must not go back, by series: those of what is kept over restarts.
fn counters(metrics: &Metrics) -> BTreeMap<String, f64> {
    let is_counter = |name: &str| {
        let family =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        metrics.types().get(name).or_else(|| metrics.types().get(family)).is_some_and(|kind| kind != "gauge")
    };
    metrics
        .samples()
        .iter()
        .filter(|sample| is_counter(&sample.name))
        .map(|sample| (sample.series(), sample.value))
        .collect()
}
