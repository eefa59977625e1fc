//! The dashboard for Grafana asks for nothing that there is not, in words that Prometheus understands; nor do the alerts ask for
//! maps that there are not, whose tests have series of their own.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod console;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use foobar_common::maps;
use foobar_daemon::metrics::catalogue::{ALL, Entry};
use foobar_tests::command::succeed;
use serde_json::Value;

/// Labels that Prometheus puts there, and that of buckets.
const OTHERS: [&str; 3] = ["instance", "job", "le"];

fn dashboard() -> Result<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/grafana/foobar.json");
    serde_json::from_str(&fs::read_to_string(path)?).context("the dashboard is JSON")
}

/// All panels: rows, what lies below them, and what lies in those that are folded.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let mut all = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        all.push(panel);
        all.extend(panel["panels"].as_array().into_iter().flatten());
    }
    all
}

/// Everything that is asked of Prometheus, as it would be asked with all servers and ports chosen.
fn questions(dashboard: &Value) -> Vec<String> {
    let targets = panels(dashboard).into_iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let notes = dashboard["annotations"]["list"].as_array().unwrap().iter();
    targets
        .chain(notes)
        .map(|one| one["expr"].as_str().unwrap())
        .map(|text| {
            let mut text = text.to_owned();
            for (variable, value) in [("$__rate_interval", "1m"), ("$instance", ".*"), ("$port", ".*")] {
                text = text.replace(variable, value);
            }
            text
        })
        .collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
}

#[test]
fn every_metric_and_label_is_one_of_foobar() -> Result<()> {
    let dashboard = dashboard()?;
    let questions = questions(&dashboard);
    ensure!(questions.len() > 40, "{} questions", questions.len());
    for question in &questions {
        ensure!(!question.contains('$'), "a variable that nobody has: {question}");
        let known = |word: &str| {
            ALL.iter().find(|entry| [word, word.trim_end_matches("_bucket")].contains(&entry.name()))
        };
        let asked: Vec<&Entry> = words(question).filter_map(known).collect();
        let names = words(question).filter(|word| word.starts_with("foobar_")).count();
        ensure!(names > 0 && asked.len() == names, "not all of these are metrics: {question}");
        // What stands in `by (…)`, and before `=` in braces.
        let labels: BTreeSet<&str> =
            asked.iter().flat_map(|entry| entry.labels().iter().copied()).chain(OTHERS).collect();
        let grouped =
            question.split("by (").skip(1).filter_map(|rest| rest.split(')').next()).flat_map(words);
        let matched = question.split(['{', ',']).skip(1).filter_map(|rest| Some(rest.split_once('=')?.0));
        for label in grouped.chain(matched.filter(|word| words(word).eq([*word]))) {
            ensure!(labels.contains(label), "{label} is no label of what is asked for: {question}");
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let name = words(query).nth(1).context("label_values(metric, label)")?;
        ensure!(ALL.iter().any(|entry| entry.name() == name), "{query}");
    }
    Ok(())
}

#[test]
fn every_map_that_is_asked_for_exists() -> Result<()> {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules");
    let mut asked = BTreeSet::new();
    for file in [
        "prometheus/alerts.yml",
        "prometheus/alerts.test.yml",
        "prometheus/recording.yml",
        "grafana/foobar.json",
    ] {
        let text = fs::read_to_string(rules.join(file))?.replace("\\\"", "\"");
        for sign in ["map=\"", "map=~\""] {
            let values = text.split(sign).skip(1).filter_map(|rest| rest.split('"').next());
            asked.extend(values.flat_map(words).map(str::to_owned));
        }
    }
    ensure!(asked.contains(maps::FLOWS_V4) && asked.contains(maps::BANS), "{asked:?}");
    for map in &asked {
        let exists = maps::OF_RULESET.iter().chain(&maps::SURVIVING).any(|name| name == map);
        ensure!(exists, "there is no map {map}");
    }
    Ok(())
}

#[test]
fn prometheus_understands_every_question() -> Result<()> {
    let mut rules = "groups:\n  - name: questions\n    rules:\n".to_owned();
    for (number, question) in questions(&dashboard()?).iter().enumerate() {
        writeln!(
            rules,
            "      - record: question_{number}\n        expr: {}",
            Value::from(question.as_str())
        )?;
    }
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("questions-{}.yml", std::process::id()));
    fs::write(&file, rules)?;
    let checked = succeed(Command::new("promtool").args(["check", "rules"]).arg(&file));
    fs::remove_file(&file)?;
    checked.map(drop)
}

#[test]
fn panels_lie_side_by_side() -> Result<()> {
    let dashboard = dashboard()?;
    let all = panels(&dashboard);
    let ids: BTreeSet<_> = all.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), all.len(), "an id is taken twice");
    let top = dashboard["panels"].as_array().unwrap();
    check_places(top)?;
    for row in top.iter().filter(|panel| panel["collapsed"] == true) {
        // They lie where they would be if the row was open.
        let inside = row["panels"].as_array().unwrap();
        ensure!(
            !inside.is_empty()
                && inside.iter().all(|panel| panel["gridPos"]["y"].as_u64() > row["gridPos"]["y"].as_u64())
        );
        check_places(inside)?;
    }
    let open = top.iter().filter(|panel| panel["type"] == "row" && panel["collapsed"] == false).count();
    ensure!(open <= 7, "{open} rows are open: fold what is not looked at daily");
    Ok(())
}

fn check_places(panels: &[Value]) -> Result<()> {
    let mut taken = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().context("a title")?;
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        ensure!(x + w <= 24, "{title} is beyond the right edge");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            ensure!(taken.insert(place), "{title} lies over another one at {place:?}");
        }
    }
    Ok(())
}
