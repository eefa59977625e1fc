//! Log records: the daemon's log with bans and changes of rules, and packets that were drawn.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    frames::{Family, udp},
    network::CLIENT,
    protobuf::Message,
    rulesets::DRAWN,
    sender::PacketSocket,
    wait,
};
use serde_json::Value;

use crate::{
    Pushing,
    stand_in::{Answer, Request, StandIn},
};

/// What was told of one thing: text, severity and all attributes, labels among them.
#[derive(Debug)]
struct Told {
    text: String,
    level: String,
    attributes: BTreeMap<String, String>,
}

fn of_json(request: &Request) -> Result<Vec<Told>> {
    let text = String::from_utf8(request.unzipped()?)?;
    text.lines()
        .map(|line| {
            let mut record: BTreeMap<String, Value> = serde_json::from_str(line)?;
            let time = record.remove("timestamp").and_then(|time| time.as_u64()).context("no time")?;
            ensure!(time > 1_600_000_000_000, "{time}");
            let attributes = record
                .into_iter()
                .map(|(key, value)| Ok((key, value.as_str().context("no text")?.to_owned())));
            let mut attributes: BTreeMap<String, String> = attributes.collect::<Result<_>>()?;
            let text = attributes.remove("message").context("no message")?;
            let level = attributes.remove("level").context("no level")?;
            Ok(Told { text, level, attributes })
        })
        .collect()
}

/// By the numbers of the fields in opentelemetry-proto.
fn of_otlp(request: &Request) -> Result<Vec<Told>> {
    let pairs = |pairs: Vec<Message<'_>>| -> Result<BTreeMap<String, String>> {
        let pair = |pair: &Message<'_>| {
            let value = Message::read(pair.one(2).context("no value")?.bytes()?)?;
            Ok((
                pair.one(1).context("no key")?.text()?.to_owned(),
                value.one(1).context("no text")?.text()?.to_owned(),
            ))
        };
        pairs.iter().map(pair).collect()
    };
    let body = request.unzipped()?;
    let mut told = Vec::new();
    for resource in Message::read(&body)?.messages(1)? {
        let mut all = pairs(resource.messages(1)?.first().context("no resource")?.messages(1)?)?;
        for (from, to) in [("service.instance.id", "instance"), ("service.name", "job")] {
            let value = all.remove(from).context("no such attribute")?;
            all.insert(to.to_owned(), value);
        }
        for scope in resource.messages(2)? {
            for record in scope.messages(2)? {
                ensure!(record.one(1).context("no time")?.number()? > 1_600_000_000_000_000_000);
                let level = record.one(3).context("no severity")?.text()?.to_owned();
                let number = record.one(2).context("no severity")?.number()?;
                assert_eq!(
                    number,
                    if level == "WARN" {
                        13
                    } else if level == "ERROR" {
                        17
                    } else {
                        9
                    },
                    "{level}"
                );
                let text = Message::read(record.one(5).context("no body")?.bytes()?)?;
                let text = text.one(1).context("no text")?.text()?.to_owned();
                let mut attributes = pairs(record.messages(6)?)?;
                attributes.extend(all.clone());
                told.push(Told { text, level, attributes });
            }
        }
    }
    Ok(told)
}

#[test]
fn bans_rules_and_drawn_packets_arrive_as_otlp_and_as_json() -> Result<()> {
    let mut pushing = Pushing::prepare("")?;
    let otlp = StandIn::start(&pushing.network.server, 4318)?;
    let json = StandIn::start(&pushing.network.server, 8001)?;
    let target = |name: &str, kind: &str, stand_in: &StandIn| {
        let url = stand_in.url("/logs");
        format!("[[target]]\nname = \"{name}\"\nkind = \"{kind}\"\nurl = \"{url}\"\ninterval = \"1s\"\n")
    };
    pushing.write(&format!(
        "[labels]\ninstance = \"www1\"\n{}{}",
        target("otlp", "otlp-logs", &otlp),
        target("json", "sumo-logs", &json)
    ))?;
    pushing.foobar.write_rules(DRAWN)?;
    pushing.foobar.start()?;
    pushing.network.introduce()?;
    wait::until("somebody watches", Duration::from_secs(20), || {
        Ok(pushing.foobar.status()?["events"]["watchers"] == 2)
    })?;
    PacketSocket::new(&pushing.network.client, CLIENT)?.send_times(&udp(Family::V4, 1000, b"noise")?, 3)?;
    pushing.foobar.succeed(&["ban", "198.51.100.7", "--for", "1h"])?;
    let packets = |told: &[Told]| {
        let is_packet = |told: &&Told| {
            let attribute = |name: &str| told.attributes.get(name).map_or("", String::as_str);
            attribute("source") == "packets"
                && attribute("rule") == "noise"
                && attribute("verdict") == "drop"
                && attribute("interface") == "srv0"
                && told.text.contains("192.0.2.2")
        };
        told.iter().filter(is_packet).count()
    };
    let is_said = |told: &[Told], words: &str| {
        told.iter().any(|told| told.attributes["source"] == "daemon" && told.text.contains(words))
    };
    for (stand_in, content_type) in [(&otlp, "application/x-protobuf"), (&json, "application/json")] {
        let mut told = Vec::new();
        wait::until("all has arrived", Duration::from_secs(20), || {
            let requests = stand_in.requests();
            let read = if content_type == "application/json" { of_json } else { of_otlp };
            told = requests.iter().map(read).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
            Ok(packets(&told) == 3
                && is_said(&told, "ban of 198.51.100.7 by root")
                && is_said(&told, "is in force"))
        })
        .with_context(|| format!("{told:#?}"))?;
        assert_eq!(stand_in.requests()[0].header("content-type"), content_type);
        assert_eq!(stand_in.requests()[0].header("content-encoding"), "gzip");
        for one in &told {
            assert_eq!(
                (one.attributes["instance"].as_str(), one.attributes["job"].as_str()),
                ("www1", "foobar")
            );
            ensure!(["INFO", "WARN", "ERROR"].contains(&one.level.as_str()), "{one:?}");
        }
    }
    Ok(())
}

#[test]
fn the_log_waits_for_a_target_that_is_away_and_pushing_says_nothing_of_itself() -> Result<()> {
    let mut pushing = Pushing::prepare("")?;
    let url = "http://127.0.0.1:8001/";
    pushing.write(&format!(
        "[[target]]\nname = \"json\"\nkind = \"sumo-logs\"\nurl = \"{url}\"\ninterval = \"1s\"\nlogs = [\"daemon\"]\n"
    ))?;
    pushing.foobar = pushing.foobar.with_options(&["--log", "trace"]);
    pushing.foobar.start()?;
    pushing.wait_for("json", "it is away", |target| target["problem"].is_string())?;
    pushing.foobar.kill()?;
    let stand_in = StandIn::with(&pushing.network.server, 8001, |_, _| Answer::ok())?;
    pushing.foobar.start()?;
    wait::until("the log of the first daemon arrives", Duration::from_secs(20), || {
        let told = stand_in.requests().iter().map(of_json).collect::<Result<Vec<_>>>()?;
        let said = told.iter().flatten().filter(|told| told.text.contains("is in force")).count();
        ensure!(told.iter().flatten().all(|told| !told.text.contains("the target json")));
        Ok(said >= 2)
    })
}
