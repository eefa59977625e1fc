//! What arrives is what a scrape says: types of content, encodings, values.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    frames::{Family, tcp_syn},
    metrics::Metrics,
    network::CLIENT,
    sender::PacketSocket,
    tap::settle,
};

use crate::{
    Pushing, Values, changes_by_itself,
    protobuf::{Field, Message},
    stand_in::{Request, StandIn},
};

const LABELS: &str = "[labels]\ninstance = \"www1\"\nsite = \"a b\"\n";

/// The series of a scrape, with the labels of the file.
fn scraped(metrics: &Metrics, change: fn(&str) -> String) -> Values {
    let all = [("instance", "www1"), ("job", "foobar"), ("site", "a b")];
    let series = metrics.samples().iter().filter(|sample| !changes_by_itself(&sample.name));
    series
        .map(|sample| {
            let mut sample = sample.clone();
            sample.labels.extend(all.map(|(name, value)| (name.to_owned(), value.to_owned())));
            for value in sample.labels.values_mut() {
                *value = change(value);
            }
            (sample.series(), sample.value)
        })
        .collect()
}

/// That both have the same series with the same values.
fn check_same(pushed: &Values, scraped: &Values) -> Result<()> {
    ensure!(!scraped.is_empty());
    for (series, value) in scraped {
        let found = pushed.get(series).with_context(|| format!("{series} was not pushed"))?;
        ensure!((found - value).abs() < 1e-9, "{series} is {value}, pushed was {found}");
    }
    let more: Vec<_> = pushed.keys().filter(|series| !scraped.contains_key(*series)).collect();
    ensure!(more.is_empty(), "pushed and not scraped: {more:?}");
    Ok(())
}

#[test]
fn the_same_series_arrive_in_each_format() -> Result<()> {
    let mut pushing = Pushing::prepare("")?;
    let ports = [4318, 8001, 8002];
    let [otlp, text, carbon] = ports.map(|port| StandIn::start(&pushing.network.server, port));
    let (otlp, text, carbon) = (otlp?, text?, carbon?);
    let target = |name: &str, stand_in: &StandIn, lines: &str| {
        let url = stand_in.url("/take/it?all");
        format!("[[target]]\nname = \"{name}\"\nurl = \"{url}\"\ninterval = \"1s\"\n{lines}\n")
    };
    pushing.write(&format!(
        "{LABELS}{}{}{}",
        target("otlp", &otlp, "kind = \"otlp\""),
        target(
            "text",
            &text,
            "kind = \"sumo\"\nsource_category = \"prod\"\nsource_host = \"www1\"\nsource_name = \"foobar\"\n\
             source_fields = { team = \"web\" }",
        ),
        target("carbon", &carbon, "kind = \"sumo\"\nformat = \"carbon2\"\ngzip = false"),
    ))?;
    pushing.foobar.start()?;
    pushing.network.introduce()?;
    let socket = PacketSocket::new(&pushing.network.client, CLIENT)?;
    socket.send_times(&tcp_syn(Family::V4, 80)?, 11)?;
    socket.send_times(&tcp_syn(Family::V4, 81)?, 13)?;
    settle();
    for stand_in in [&otlp, &text, &carbon] {
        let before = stand_in.requests().len();
        stand_in.wait_for(before + 2)?;
    }
    let scrape = pushing.foobar.scrape()?;
    assert_eq!(scrape.rule("web"), 11);
    let as_it_is = scraped(&scrape, str::to_owned);

    let last = text.requests().pop().context("no request")?;
    for (name, value) in [
        ("content-type", "application/vnd.sumologic.prometheus"),
        ("content-encoding", "gzip"),
        ("x-sumo-category", "prod"),
        ("x-sumo-host", "www1"),
        ("x-sumo-name", "foobar"),
        ("x-sumo-fields", "team=web"),
        ("user-agent", concat!("foobar/", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(last.header(name), value, "{name}");
    }
    assert_eq!(last.line, "POST /take/it?all HTTP/1.1");
    check_same(&of_text(&last)?, &as_it_is).context("text")?;

    let last = carbon.requests().pop().context("no request")?;
    assert_eq!(last.header("content-type"), "application/vnd.sumologic.carbon2");
    assert_eq!(last.header("content-encoding"), "");
    let without_spaces = scraped(&scrape, |value| value.replace(' ', "_"));
    check_same(&of_carbon(&last)?, &without_spaces).context("carbon")?;

    let last = otlp.requests().pop().context("no request")?;
    assert_eq!(last.header("content-type"), "application/x-protobuf");
    assert_eq!(last.header("content-encoding"), "gzip");
    check_same(&of_otlp(&last)?, &as_it_is).context("otlp")?;
    Ok(())
}

/// The series of a request in the text format, which has no comments and a time at each line.
fn of_text(request: &Request) -> Result<Values> {
    let text = String::from_utf8(request.unzipped()?)?;
    let mut plain = String::new();
    for line in text.lines() {
        ensure!(!line.starts_with('#'), "{line}");
        let (line, time) = line.rsplit_once(' ').context("no time")?;
        ensure!(time.len() == 13, "{time} are no milliseconds");
        plain.push_str(line);
        plain.push('\n');
    }
    Ok(values(&Metrics::parse(&plain)?))
}

fn values(metrics: &Metrics) -> Values {
    let series = metrics.samples().iter().filter(|sample| !changes_by_itself(&sample.name));
    series.map(|sample| (sample.series(), sample.value)).collect()
}

/// The series of a request in Carbon 2.0, put into the text format.
fn of_carbon(request: &Request) -> Result<Values> {
    let text = String::from_utf8(request.unzipped()?)?;
    let mut plain = String::new();
    for line in text.lines() {
        let (tags, rest) = line.split_once("  ").context("no two spaces")?;
        let (value, time) = rest.split_once(' ').context("no time")?;
        ensure!(time.len() == 10, "{time} are no seconds");
        let mut tags = tags.split(' ').map(|tag| tag.split_once('=').context("no tag"));
        let (key, name) = tags.next().context("no tags")??;
        assert_eq!(key, "metric");
        let labels =
            tags.map(|tag| tag.map(|(key, value)| format!("{key}={value:?}"))).collect::<Result<Vec<_>>>()?;
        writeln!(plain, "{name}{{{}}} {value}", labels.join(","))?;
    }
    Ok(values(&Metrics::parse(&plain)?))
}

/// The series of a request of OTLP, by the numbers of the fields in opentelemetry-proto, put into the text format.
fn of_otlp(request: &Request) -> Result<Values> {
    let body = request.unzipped()?;
    let resources = Message::read(&body)?.messages(1)?;
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
                add_otlp_metric(&metric, &all, &mut plain)?;
            }
        }
    }
    Ok(values(&Metrics::parse(&plain)?))
}

fn add_otlp_metric(metric: &Message<'_>, all: &[(String, String)], plain: &mut String) -> Result<()> {
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
                check_times(name, &point, kind == "gauge")?;
                add("", &attributes_of(&point.messages(7)?)?, number_of(&point)?)?;
            }
        }
    }
    for data in metric.messages(9)? {
        assert_eq!(data.one(2).context("no temporality")?.number()?, 2, "cumulative");
        for point in data.messages(1)? {
            check_times(name, &point, false)?;
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

/// Start and time of a point: what counts has begun before, as the machine started or, of a filter that this test has attached, in the last
/// ten minutes.
fn check_times(name: &str, point: &Message<'_>, is_gauge: bool) -> Result<()> {
    let start = point.one(2).map_or(Ok(0), Field::number)?;
    let time = point.one(3).context("no time")?.number()?;
    ensure!(time > 1_600_000_000_000_000_000, "{time} are no nanoseconds");
    if is_gauge {
        assert_eq!(start, 0);
    } else {
        let is_of_machine = name.starts_with("foobar_host_");
        let is_young = start <= time && time - start < 600_000_000_000;
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
