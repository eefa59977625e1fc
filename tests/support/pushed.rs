//! What foobar pushes, read back into what a scrape says.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{
    metrics::Metrics,
    protobuf::{Field, Message},
};

/// The series of a body in the text format, which has no comments and a time at each line.
pub fn of_text(body: &[u8]) -> Result<Metrics> {
    let mut plain = String::new();
    for line in std::str::from_utf8(body)?.lines() {
        ensure!(!line.starts_with('#'), "{line}");
        let (line, time) = line.rsplit_once(' ').context("no time")?;
        ensure!(time.len() == 13, "{time} are no milliseconds");
        plain.push_str(line);
        plain.push('\n');
    }
    Metrics::parse(&plain)
}

/// The series of a body of OTLP, by the numbers of the fields in opentelemetry-proto, put into the text format. The filter that counts
/// was attached no longer ago than `attached`.
pub fn of_otlp(body: &[u8], attached: Duration) -> Result<Metrics> {
    let resources = Message::read(body)?.messages(1)?;
    let mut plain = String::new();
    for resource in &resources {
        let attributes = resource.messages(1)?.first().context("no resource")?.messages(1)?;
        let mut all = Vec::new();
        for (key, value) in attributes_of(&attributes)? {
            let key = match key.as_str() {
                "service.name" => "job".to_owned(),
                "service.instance.id" => "instance".to_owned(),
                _ => key,
            };
            all.push((key, value));
        }
        for scope in resource.messages(2)? {
            assert_eq!(
                scope.messages(1)?.first().and_then(|scope| scope.one(1)).context("scope")?.text()?,
                "foobar"
            );
            for metric in scope.messages(2)? {
                add_otlp_metric(&metric, &all, attached, &mut plain)?;
            }
        }
    }
    Metrics::parse(&plain)
}

fn add_otlp_metric(
    metric: &Message<'_>,
    all: &[(String, String)],
    attached: Duration,
    plain: &mut String,
) -> Result<()> {
    let name = metric.one(1).context("no name")?.text()?;
    ensure!(!metric.one(2).context("no description")?.text()?.is_empty());
    let mut add = |suffix: &str, attributes: &[(String, String)], value: f64| {
        let labels: Vec<String> =
            attributes.iter().chain(all).map(|(key, value)| format!("{key}={value:?}")).collect();
        writeln!(plain, "{name}{suffix}{{{}}} {value}", labels.join(","))
    };
    for (kind, number) in [("gauge", 5), ("sum", 7)] {
        for data in metric.messages(number)? {
            if kind == "sum" {
                assert_eq!(data.one(2).context("no temporality")?.number()?, 2, "cumulative");
                assert_eq!(data.one(3).context("not monotonic")?.number()?, 1);
            }
            for point in data.messages(1)? {
                check_times(name, &point, kind == "gauge", attached)?;
                add("", &attributes_of(&point.messages(7)?)?, number_of(&point)?)?;
            }
        }
    }
    for data in metric.messages(9)? {
        assert_eq!(data.one(2).context("no temporality")?.number()?, 2, "cumulative");
        for point in data.messages(1)? {
            check_times(name, &point, false, attached)?;
            let attributes = attributes_of(&point.messages(9)?)?;
            let counts = packed(&point, 6)?;
            let bounds: Vec<f64> = packed(&point, 7)?.into_iter().map(f64::from_bits).collect();
            assert_eq!(counts.len(), bounds.len() + 1);
            let mut sum = 0;
            let ends = bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
            for (count, end) in counts.iter().zip(ends) {
                sum += count;
                let bucket = [attributes.clone(), vec![("le".to_owned(), end)]].concat();
                add("_bucket", &bucket, as_float(sum))?;
            }
            let count = point.one(4).map_or(Ok(0), Field::number)?;
            assert_eq!(count, sum);
            add("_count", &attributes, as_float(count))?;
            add("_sum", &attributes, f64::from_bits(point.one(5).context("no sum")?.number()?))?;
        }
    }
    Ok(())
}

/// Start and time of a point: what counts has begun before, as the machine started or, of a filter, since it was attached at most this
/// long ago.
fn check_times(name: &str, point: &Message<'_>, is_gauge: bool, attached: Duration) -> Result<()> {
    let start = point.one(2).map_or(Ok(0), Field::number)?;
    let time = point.one(3).context("no time")?.number()?;
    ensure!(time > 1_600_000_000_000_000_000, "{time} are no nanoseconds");
    if is_gauge {
        assert_eq!(start, 0);
    } else {
        let is_of_machine = name.starts_with("foobar_host_");
        let is_young = start <= time && u128::from(time - start) < attached.as_nanos();
        ensure!(start > 0 && start <= time && (is_young || is_of_machine), "{name}: from {start} to {time}");
    }
    Ok(())
}

fn number_of(point: &Message<'_>) -> Result<f64> {
    if let Some(double) = point.one(4) {
        return Ok(f64::from_bits(double.number()?));
    }
    let whole = point.one(6).context("no value")?.number()?;
    Ok(as_float(whole))
}

#[expect(clippy::cast_precision_loss, reason = "counts of tests are far below 2^53")]
fn as_float(number: u64) -> f64 {
    number as f64
}

fn packed(point: &Message<'_>, number: u64) -> Result<Vec<u64>> {
    let bytes = point.one(number).map_or(Ok(&[][..]), Field::bytes)?;
    Ok(bytes.chunks_exact(8).map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap_or_default())).collect())
}

fn attributes_of(pairs: &[Message<'_>]) -> Result<Vec<(String, String)>> {
    pairs
        .iter()
        .map(|pair| {
            let key = pair.one(1).context("no key")?.text()?.to_owned();
            let value = Message::read(pair.one(2).context("no value")?.bytes()?)?;
            Ok((key, value.one(1).map_or(Ok(""), Field::text)?.to_owned()))
        })
        .collect()
}
