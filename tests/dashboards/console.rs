//! The console page of Prometheus has what the dashboard of Grafana has: it is made from it.

use std::{env, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{dashboard, panels};

/// What begins the page: who is looked at, and over how long rates are, as parameters of its address.
const HEAD: &str = r#"{{/* foobar's servers on one page of Prometheus itself: what grafana/foobar.json has. Copy it to where
     --web.console.templates says, as /etc/prometheus/consoles, and look at /consoles/foobar.html. For some servers or ports:
     /consoles/foobar.html?instance=web1&port=443. The libraries that Prometheus brings along are needed (--web.console.libraries). */}}
{{ $instance := or .Params.instance ".*" }}{{ $port := or .Params.port ".*" }}{{ $range := or .Params.range "1m" }}
<!doctype html>
<html lang="en">
<head>
<title>foobar</title>
<meta name="viewport" content="width=device-width">
{{ template "prom_console_head" }}
<style>
  body { padding: 1rem; }
  .prom_console_content { margin: 0; }
  .figures { display: flex; flex-wrap: wrap; gap: 1rem 3rem; margin: 1rem 0; }
  .figures b { display: block; font-size: 1.6rem; }
  .panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(560px, 1fr)); gap: 1rem 2rem; }
  .panels h5 { margin: 0; }
  h3 { margin-top: 1.5rem; border-bottom: 1px solid #ddd; }
  summary h3 { display: inline-block; }
</style>
<script>
  function panel(id, expr, name, unit) {
    const node = document.getElementById(id), row = node.closest("details");
    const draw = () => new PromConsole.Graph({
      node: node, expr: expr, name: name, yUnits: unit, min: 0, height: 160,
      yAxisFormatter: PromConsole.NumberFormatter.humanizeNoSmallPrefix,
      yHoverFormatter: PromConsole.NumberFormatter.humanizeNoSmallPrefix,
    });
    // What is folded has no width, and nobody asks for it before it is opened.
    if (row) row.addEventListener("toggle", draw, { once: true }); else draw();
  }
</script>
</head>
<body>
{{ template "prom_content_head" . }}
<p>
  <a href="foobar.html">All servers</a>{{ range query "sum by (instance) (foobar_up)" | sortByLabel "instance" }} ·
  <a href="foobar.html?instance={{ .Labels.instance }}">{{ .Labels.instance }}</a>{{ end }}
</p>
"#;

const TAIL: &str = r#"{{ template "prom_content_tail" . }}
{{ template "tail" }}
"#;

/// The page, made from the dashboard.
fn page(dashboard: &Value) -> Result<String> {
    let mut page = HEAD.to_owned();
    let mut end = "";
    let all = panels(dashboard);
    for (number, panel) in all.iter().enumerate() {
        let title = panel["title"].as_str().context("a title")?;
        match panel["type"].as_str() {
            Some("row") => {
                page += end;
                let next = all.get(number + 1).context("a panel behind a row")?;
                let class = if next["type"] == "stat" { "figures" } else { "panels" };
                let begin = if panel["collapsed"] == true {
                    end = "</div></details>\n";
                    format!("<details><summary><h3>{title}</h3></summary>\n<div class=\"{class}\">\n")
                } else {
                    end = "</div>\n";
                    format!("<h3>{title}</h3>\n<div class=\"{class}\">\n")
                };
                page += &begin;
            }
            Some("stat") => page += &figure(panel, title)?,
            Some("timeseries") => page += &graph(panel, title, number)?,
            kind => anyhow::bail!("{title} is a panel of the kind {kind:?}, which the page has no words for"),
        }
    }
    Ok(page + end + TAIL)
}

/// A number, which leads to the graph of it.
fn figure(panel: &Value, title: &str) -> Result<String> {
    let [target] = targets(panel)?.as_slice() else { anyhow::bail!("{title} is of one number") };
    let question = target["expr"].as_str().context("a question")?;
    // What printf takes for its own.
    ensure!(!question.contains('%'), "{question}");
    let mut format = question.replace('"', "'").replace("$__rate_interval", "%[3]s");
    format = format.replace("$instance", "%[1]s").replace("$port", "%[2]s");
    // A number that is not asked for would be told as extra.
    let used = ["%[1]s", "%[2]s", "%[3]s"].iter().rposition(|place| format.contains(place));
    let values = ["$instance", "$port", "$range"];
    let values = used.and_then(|last| values.get(..=last)).unwrap_or_default().join(" ");
    Ok(format!(
        "<div><b>{{{{ template \"prom_query_drilldown\" (args (printf \"{format}\" {values}) \"\" \"humanizeNoSmallPrefix\") }}}}</b>{title}</div>\n"
    ))
}

/// A graph of one or several questions.
fn graph(panel: &Value, title: &str, number: usize) -> Result<String> {
    let (unit, share) = match panel["fieldConfig"]["defaults"]["unit"].as_str().context("a unit")? {
        "percentunit" => ("%", true),
        "reqps" | "ops" | "pps" => ("/s", false),
        "bps" => ("bit/s", false),
        "Bps" => ("B/s", false),
        "s" => ("s", false),
        "d" => ("d", false),
        "short" => ("", false),
        other => anyhow::bail!("{title} is in {other}, which the page has no words for"),
    };
    let (mut questions, mut names) = (Vec::new(), Vec::new());
    for target in targets(panel)? {
        let question = target["expr"].as_str().context("a question")?;
        let question = if share { format!("100 * ({question})") } else { question.to_owned() };
        let question = question
            .replace('"', "'")
            .replace("$__rate_interval", "{{ $range }}")
            .replace("$instance", "{{ $instance }}")
            .replace("$port", "{{ $port }}");
        questions.push(format!("\"{question}\""));
        let name = target["legendFormat"].as_str().context("a legend")?;
        names.push(format!("\"{}\"", name.replace("{{", "[[").replace("}}", "]]")));
    }
    Ok(format!(
        "<div><h5>{title}</h5><div id=\"panel{number}\"></div></div>\n<script>panel(\"panel{number}\",\n  [{}],\n  [{}], \"{unit}\")</script>\n",
        questions.join(",\n   "),
        names.join(", ")
    ))
}

fn targets(panel: &Value) -> Result<&Vec<Value>> {
    panel["targets"].as_array().context("what a panel asks")
}

/// `FOOBAR_CONSOLE=renew` writes it anew.
#[test]
fn the_console_page_has_what_the_dashboard_has() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/prometheus/consoles/foobar.html");
    let made = page(&dashboard()?)?;
    if env::var_os("FOOBAR_CONSOLE").is_some_and(|value| value == "renew") {
        fs::write(&path, &made)?;
    }
    let kept = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    ensure!(
        kept == made,
        "the page is not that of the dashboard: FOOBAR_CONSOLE=renew cargo test --test dashboards"
    );
    Ok(())
}
