//! What foobar counts beside what real servers count themselves, and beside what hostile ones say.

mod hostile;
mod mysql;
mod nginx;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use foobar_daemon::reconcile::ReconcileFacts;
use foobar_tests::{daemon::Foobar, wait};

/// As often as it can be.
const EVERY: Duration = Duration::from_secs(3);

/// All comparisons.
fn all(foobar: &Foobar) -> Result<Vec<ReconcileFacts>> {
    serde_json::from_value(foobar.status()?["reconcile"].clone()).context("read the comparisons")
}

/// The only comparison.
fn compared(foobar: &Foobar) -> Result<ReconcileFacts> {
    let mut all = all(foobar)?;
    ensure!(all.len() == 1, "{all:?}");
    all.pop().context("one comparison")
}

/// Waits for a comparison after what `last` tells of.
fn after(foobar: &Foobar, last: &ReconcileFacts) -> Result<ReconcileFacts> {
    let mut now = last.clone();
    wait::until("counts are compared", Duration::from_secs(40), || {
        now = compared(foobar)?;
        Ok(now.compared_unix_ms != last.compared_unix_ms && now.problem.is_none())
    })
    .with_context(|| foobar.log().unwrap_or_default())?;
    Ok(now)
}

/// Waits for a comparison that has begun since this was called. The one that is under way may have read before.
fn next(foobar: &Foobar) -> Result<ReconcileFacts> {
    after(foobar, &after(foobar, &compared(foobar)?)?)
}

/// What is published as the difference.
fn published(foobar: &Foobar, source: &str) -> Result<Option<f64>> {
    let metrics = foobar.scrape()?;
    let mut samples = metrics.select("foobar_reconcile_difference", &[]);
    let value = samples.next().map(|sample| {
        assert_eq!(sample.labels["source"], source);
        sample.value
    });
    ensure!(samples.next().is_none(), "several differences");
    Ok(value)
}
