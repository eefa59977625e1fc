//! What arrives is what a scrape says: types of content, encodings, values.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    frames::{Family, tcp_syn},
    metrics::Metrics,
    network::CLIENT,
    pushed::{of_otlp, of_text},
    sender::PacketSocket,
    tap::settle,
};

use crate::{
    Pushing, Values, changes_by_itself,
    stand_in::{Request, StandIn},
};

/// A test has attached its filter no longer ago.
const ATTACHED: Duration = Duration::from_mins(10);
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
    check_same(&values(&of_text(&last.unzipped()?)?), &as_it_is).context("text")?;

    let last = carbon.requests().pop().context("no request")?;
    assert_eq!(last.header("content-type"), "application/vnd.sumologic.carbon2");
    assert_eq!(last.header("content-encoding"), "");
    let without_spaces = scraped(&scrape, |value| value.replace(' ', "_"));
    check_same(&of_carbon(&last)?, &without_spaces).context("carbon")?;

    let last = otlp.requests().pop().context("no request")?;
    assert_eq!(last.header("content-type"), "application/x-protobuf");
    assert_eq!(last.header("content-encoding"), "gzip");
    check_same(&values(&of_otlp(&last.unzipped()?, ATTACHED)?), &as_it_is).context("otlp")?;
    Ok(())
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
