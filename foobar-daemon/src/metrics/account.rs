//! Counters of the daemon's own memory go on where an earlier daemon has stopped.
//!
//! Most counters are in maps that outlive the daemon. For the others, what is told is written down before it is told: so no counter goes
//! back, not even after a crash.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use prometheus::proto::{Metric, MetricFamily};
use serde::{Deserialize, Serialize};

use super::catalogue::{self, Begin};
use crate::state::store::{read_json, write_json};

/// The file, in the state folder.
const FILE: &str = "counters.json";

/// How what a daemon counts continues what was told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Continued {
    /// It begins with zero.
    Added,
    /// It begins somewhere below.
    Raised,
}

/// What was told, by series.
type Told = BTreeMap<String, f64>;

/// What is in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Written {
    /// Milliseconds since 1970 at which all of them were zero.
    begun_unix_ms: u64,
    told: Told,
}

/// What earlier daemons have told.
#[derive(Debug)]
pub struct Account {
    path: PathBuf,
    /// What was told before this daemon began.
    before: Told,
    /// What is written down.
    written: Written,
    /// Why the last attempt to write failed, so that it is said once.
    problem: Option<String>,
}

impl Account {
    /// The account of a state folder, for a daemon that began at this time, in milliseconds since 1970. One that cannot be read is begun
    /// anew, and the log says so.
    pub fn open(folder: &Path, now_unix_ms: u64) -> Self {
        let path = folder.join(FILE);
        let anew = || Written { begun_unix_ms: now_unix_ms, told: Told::new() };
        let written = match read_json(&path) {
            Ok(written) => written.unwrap_or_else(anew),
            Err(error) => {
                tracing::warn!(
                    "{}: {error:#}; counters of the daemon itself begin with zero",
                    path.display()
                );
                anew()
            }
        };
        Self { path, before: written.told.clone(), written, problem: None }
    }

    /// Since when these counters count, as time since 1970.
    pub const fn begun(&self) -> Duration {
        Duration::from_millis(self.written.begun_unix_ms)
    }

    /// Has the counters that the daemon keeps itself go on, and writes down what they are.
    pub fn settle(&mut self, families: &mut [MetricFamily]) {
        let mut told = self.written.told.clone();
        for family in families {
            let name = family.name().to_owned();
            let Some(continued) = continued(&name) else { continue };
            for metric in family.mut_metric().iter_mut().filter(|metric| is_of_the_daemon(&name, metric)) {
                let series = series(&name, metric);
                let before = self.before.get(&series).copied().unwrap_or_default();
                let mut counter = metric.get_counter().clone();
                let value = match continued {
                    Continued::Added => before + counter.get_value(),
                    Continued::Raised => before.max(counter.get_value()),
                };
                counter.set_value(value);
                metric.set_counter(counter);
                if value > 0.0 {
                    told.insert(series, value);
                }
            }
        }
        if told != self.written.told {
            let result = self.write(told);
            let problem = result.err().map(|error| format!("{error:#}"));
            if let Some(problem) = problem.as_ref().filter(|problem| self.problem.as_ref() != Some(problem)) {
                tracing::warn!("{problem}; after a restart, counters of the daemon itself will be lower");
            }
            self.problem = problem;
        }
    }

    fn write(&mut self, told: Told) -> Result<()> {
        let written = Written { told, ..self.written };
        write_json(&self.path, &written).with_context(|| format!("write {}", self.path.display()))?;
        self.written = written;
        Ok(())
    }
}

/// How the series of a family go on that the daemon keeps itself, if there are any.
fn continued(name: &str) -> Option<Continued> {
    let is_kept = catalogue::ALL.iter().any(|entry| entry.name() == name && entry.begin() == Begin::Account);
    if is_kept || name == catalogue::EVENTS_LOST.name() {
        return Some(Continued::Added);
    }
    // Known from maps that stay, but for the flows that come while they are counted.
    (name == catalogue::MAP_EVICTIONS.name()).then_some(Continued::Raised)
}

/// Whether a series of such a family is one of those; the ring's losses are counted in the kernel.
fn is_of_the_daemon(name: &str, metric: &Metric) -> bool {
    name != catalogue::EVENTS_LOST.name() || metric.get_label().iter().any(|label| label.value() == "watcher")
}

/// Name and labels, as Prometheus writes them.
fn series(name: &str, metric: &Metric) -> String {
    let labels: Vec<String> =
        metric.get_label().iter().map(|label| format!("{}={:?}", label.name(), label.value())).collect();
    format!("{name}{{{}}}", labels.join(","))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What a daemon tells that counts so many itself, by an account.
    fn tell(account: &mut Account, [missed, evicted, ring, watcher, packets]: [u64; 5]) -> String {
        let mut families = Vec::new();
        let mut family = catalogue::DECRYPT_MISSED.family();
        family.add_integer(["443"], missed);
        families.push(family.into_proto());
        let mut family = catalogue::MAP_EVICTIONS.family();
        family.add_integer(["FLOWS_V4"], evicted);
        families.push(family.into_proto());
        let mut family = catalogue::EVENTS_LOST.family();
        family.add_integer(["ring"], ring);
        family.add_integer(["watcher"], watcher);
        families.push(family.into_proto());
        let mut family = catalogue::RULE_HITS.family();
        family.add_integer(["web"], packets);
        families.push(family.into_proto());
        account.settle(&mut families);
        let values = families.iter().flat_map(MetricFamily::get_metric);
        values.map(|metric| metric.get_counter().get_value().to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_was_told_is_never_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut account = Account::open(folder.path(), 7);
        assert_eq!(tell(&mut account, [2, 7, 5, 1, 9]), "2 7 5 1 9");
        assert_eq!(tell(&mut account, [3, 7, 5, 1, 9]), "3 7 5 1 9");
        // Killed: nothing is said at the end. What is in the kernel stays as it is.
        let mut account = Account::open(folder.path(), 7);
        assert_eq!(tell(&mut account, [0, 6, 5, 0, 9]), "3 7 5 1 9");
        assert_eq!(tell(&mut account, [4, 8, 6, 2, 9]), "7 8 6 3 9");
        let mut account = Account::open(folder.path(), 9);
        assert_eq!(account.begun(), Duration::from_millis(7));
        assert_eq!(tell(&mut account, [1, 0, 6, 0, 9]), "8 8 6 3 9");
    }

    #[test]
    fn it_writes_only_what_is_new() {
        let folder = tempfile::tempdir().unwrap();
        let mut account = Account::open(folder.path(), 7);
        tell(&mut account, [0, 0, 5, 0, 9]);
        let file = folder.path().join(FILE);
        assert!(!file.exists());
        tell(&mut account, [1, 0, 5, 0, 9]);
        fs::remove_file(&file).unwrap();
        tell(&mut account, [1, 0, 6, 0, 10]);
        assert!(!file.exists());
    }

    #[test]
    fn a_damaged_file_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        for damage in ["", "{", "[1]", "{\"a\":\"b\"}", "{\"a\":1e999}"] {
            fs::write(folder.path().join(FILE), damage).unwrap();
            let mut account = Account::open(folder.path(), 7);
            assert_eq!(tell(&mut account, [2, 0, 0, 0, 0]), "2 0 0 0 0", "{damage}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_costs_nothing_else() {
        let mut account = Account::open(Path::new("/proc/nowhere"), 7);
        assert_eq!(tell(&mut account, [2, 0, 0, 0, 0]), "2 0 0 0 0");
        assert_eq!(tell(&mut account, [3, 0, 0, 0, 0]), "3 0 0 0 0");
    }
}
