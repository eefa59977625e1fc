//! Metrics that are sent to services: `foobar run --push`.

mod delivery;
mod example;
mod formats;
mod hostile;
mod logs;
mod memory;
mod outages;
mod real_prometheus;
mod reload;
mod secrets;
mod stand_in;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use foobar_tests::{
    daemon::Foobar,
    network::{Network, SERVER},
    wait,
};
use serde_json::Value;

use self::stand_in::{Request, StandIn};

const RULES: &str = r#"
schema = 1
[[service]]
name = "dns"
port = "udp/53"
protocol = "dns"

[[rule]]
id = "web"
action = "accept"
protocol = "tcp"
destination_port = 80
"#;

/// A foobar that pushes by a file.
struct Pushing {
    foobar: Foobar,
    network: Network,
}

impl Pushing {
    /// One that reads this file; nothing runs yet.
    fn prepare(file: &str) -> Result<Self> {
        let network = Network::new()?;
        let foobar = Foobar::new(&network.server, &[SERVER], RULES)?;
        let path = foobar.folder().join("push.toml");
        let foobar = foobar.with_options(&["--push", &path.display().to_string()]);
        let pushing = Self { foobar, network };
        pushing.write(file)?;
        Ok(pushing)
    }

    fn write(&self, file: &str) -> Result<PathBuf> {
        self.foobar.write("push.toml", file)
    }

    /// What `status` tells of a target.
    fn target(&self, name: &str) -> Result<Value> {
        let status = self.foobar.status()?;
        let targets = status["push"]["targets"].as_array().context("no targets")?;
        targets
            .iter()
            .find(|target| target["name"] == name)
            .cloned()
            .with_context(|| format!("no target {name}"))
    }

    /// Waits until what `status` tells of a target is as it should be.
    fn wait_for(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let waited = wait::until(what, Duration::from_secs(40), || {
            last = self.target(name)?;
            Ok(is(&last))
        });
        waited.with_context(|| format!("{last:#}\n{}", self.foobar.log().unwrap_or_default()))?;
        Ok(last)
    }

    /// Has a target get nothing for a long time, and waits until it has got what was gathered; gives what `status` tells of it.
    fn stop_and_settle(&self, name: &str) -> Result<Value> {
        let path = self.foobar.folder().join("push.toml");
        let file = fs::read_to_string(&path)?;
        self.write(&file.replace("interval = \"1s\"", "interval = \"1h\""))?;
        self.wait_for(name, "it gets no more", |target| target["interval_seconds"] == 3600.0)?;
        // One more may be due before.
        sleep(Duration::from_millis(1_200));
        self.wait_until_empty(name)
    }

    /// Waits until nothing waits for a target any more.
    fn wait_until_empty(&self, name: &str) -> Result<Value> {
        self.wait_for(name, "nothing waits", |target| target["spool_points"] == 0)
    }
}

/// A target of the text format at a stand-in, every second, with these further lines.
fn sumo(stand_in: &StandIn, lines: &str) -> String {
    sumo_at(&stand_in.url("/receiver/v1/http/abc"), lines)
}

fn sumo_at(url: &str, lines: &str) -> String {
    format!("[[target]]\nname = \"sumo\"\nkind = \"sumo\"\nurl = \"{url}\"\ninterval = \"1s\"\n{lines}\n")
}

/// The times of the gatherings in requests of the text format, in their order.
fn times(requests: &[Request]) -> Result<Vec<u64>> {
    let mut times: Vec<u64> = Vec::new();
    for request in requests {
        let text = String::from_utf8(request.unzipped()?)?;
        let of_request: BTreeSet<u64> = text
            .lines()
            .map(|line| line.rsplit(' ').next().context("an empty line")?.parse().context("no time"))
            .collect::<Result<_>>()?;
        ensure!(of_request.len() == 1, "{} times in one request", of_request.len());
        times.extend(of_request);
    }
    times.dedup();
    Ok(times)
}

/// Gatherings came in order, and as many as there were: a second is between them, and on a busy machine some more,
/// but each was counted.
fn check_complete(times: &[u64], gatherings: Option<u64>) -> Result<()> {
    for pair in times.windows(2) {
        let &[before, after] = pair else { continue };
        let gap = after.checked_sub(before).with_context(|| format!("out of order: {times:?}"))?;
        ensure!((1..=5_000).contains(&gap), "{gap} ms between two gatherings: {times:?}");
    }
    ensure!(gatherings == Some(times.len() as u64), "{gatherings:?} gatherings were taken: {times:?}");
    Ok(())
}

/// Series with their values.
type Values = BTreeMap<String, f64>;

/// Metrics that are others at each look.
fn changes_by_itself(name: &str) -> bool {
    name.starts_with("foobar_push_")
        || name.starts_with("foobar_host_")
        || name.starts_with("foobar_scrape_duration")
        || name.starts_with("foobar_program_run")
}
