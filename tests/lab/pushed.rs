//! Whether servers push what a scrape of them says, in each way.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::metrics::Sample;

use crate::{
    collector::{Way, newest},
    hosts::Host,
    lab::Lab,
    monitoring::{ask_center, scrape},
    say::print,
    services::Service,
};

/// How long what is gathered takes to be there, and some more.
const PUSHED_WITHIN: Duration = Duration::from_secs(4);

/// Series with their values, without the labels that tell where they come from.
type Series = BTreeMap<String, f64>;

/// Compares what each server says in a scrape with what it has pushed, and tells it.
///
/// # Errors
/// A series that was not pushed, or has another value.
pub(crate) fn compare(lab: &Lab) -> Result<()> {
    for host in Host::SERVERS {
        let before = series(scrape(lab, host)?.samples());
        let began = SystemTime::now();
        thread::sleep(PUSHED_WITHIN);
        let folder = lab.folder_of(Service::Collector)?;
        let (otlp, otlp_at) = newest(&folder, Way::Otlp, host.address())?;
        let (sumo, sumo_at) = newest(&folder, Way::Sumo, host.address())?;
        let (written, written_at) = from_center(lab, host)?;
        let after = series(scrape(lab, host)?.samples());
        // What counts and is the same before and after was the same in between, too.
        let still: Series = before
            .iter()
            .filter(|(name, value)| after.get(*name).is_some_and(|later| later.to_bits() == value.to_bits()))
            .map(|(name, value)| (name.clone(), *value))
            .collect();
        ensure!(still.len() > 200, "{} counts only {} series that stand still", host.name(), still.len());
        for (way, pushed, at) in [
            ("remote write", series(&written), written_at),
            ("OTLP", series(&otlp), otlp_at),
            ("Sumo Logic", series(&sumo), sumo_at),
        ] {
            ensure!(at > began, "{} has pushed nothing by {way} since {began:?}", host.name());
            for (name, value) in &still {
                let found = pushed.get(name).with_context(|| format!("{name} was not pushed by {way}"))?;
                ensure!((found - value).abs() < 1e-9, "{name} is {value}, pushed by {way} was {found}");
            }
            let more = pushed.keys().filter(|name| !before.contains_key(*name) && !after.contains_key(*name));
            let more: Vec<&String> = more.collect();
            ensure!(more.is_empty(), "pushed by {way} and not scraped: {more:?}");
        }
        print(&format!(
            "{:16} {} counters scraped, {} of them at rest: the same by remote write, OTLP and Sumo Logic",
            host.name(),
            before.len(),
            still.len()
        ));
    }
    Ok(())
}

/// What counts, which never goes back.
fn series(samples: &[Sample]) -> Series {
    let counts = |name: &str| ["_total", "_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end));
    let of_themselves = ["foobar_push_", "foobar_host_", "foobar_scrape_", "foobar_program_"];
    samples
        .iter()
        .filter(|sample| {
            counts(&sample.name) && !of_themselves.iter().any(|begin| sample.name.starts_with(begin))
        })
        .map(|sample| {
            let mut sample = sample.clone();
            sample.labels.remove("job");
            sample.labels.remove("instance");
            // The same bound is written in one way or another.
            if let Some(bound) = sample.labels.get_mut("le")
                && let Ok(number) = bound.parse::<f64>()
            {
                *bound = number.to_string();
            }
            (sample.series(), sample.value)
        })
        .collect()
}

/// What a server has written to the Prometheus that is written to, and when it did last.
fn from_center(lab: &Lab, host: Host) -> Result<(Vec<Sample>, SystemTime)> {
    let of_host = format!("{{instance=\"{}\",__name__=~\"foobar_.*\"}}", host.name());
    let answer = ask_center(lab, &of_host)?;
    let list = answer.pointer("/data/result").and_then(serde_json::Value::as_array).context("no series")?;
    let mut samples = Vec::new();
    for one in list {
        let mut labels: BTreeMap<String, String> = serde_json::from_value(one["metric"].clone())?;
        let name = labels.remove("__name__").context("a series without a name")?;
        let value = one.pointer("/value/1").and_then(serde_json::Value::as_str).context("no value")?;
        samples.push(Sample { name, labels, value: value.parse()? });
    }
    let last = ask_center(lab, &format!("timestamp(foobar_up{{instance=\"{}\"}})", host.name()))?;
    let last =
        last.pointer("/data/result/0/value/1").and_then(serde_json::Value::as_str).context("no time")?;
    Ok((samples, UNIX_EPOCH + Duration::from_secs_f64(last.parse()?)))
}
