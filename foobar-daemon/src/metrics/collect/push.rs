//! What became of sending the metrics to services.

use std::time::Duration;

use prometheus::proto::MetricFamily;

use super::{catalogue, flag};
use crate::push::stats::{Failure, Loss, PushFacts, TargetFacts};

/// The families of all targets; what never happened has its zero, too.
pub(super) fn families(facts: Option<&PushFacts>, families: &mut Vec<MetricFamily>) {
    let Some(facts) = facts else { return };
    let PushFacts { path: _, read_unix_ms: _, error, targets } = facts;
    families.push(flag(catalogue::PUSH_SUCCESS, error.is_none()));
    let mut sent = catalogue::PUSH_POINTS.family();
    let mut lost_points = catalogue::PUSH_LOST.family();
    let mut failed = catalogue::PUSH_FAILURES.family();
    let mut spools = catalogue::PUSH_SPOOL_BYTES.family();
    let mut spools_max = catalogue::PUSH_SPOOL_BYTES_MAX.family();
    let mut lags = catalogue::PUSH_LAG.family();
    let mut successes = catalogue::PUSH_LAST_SUCCESS.family();
    for TargetFacts {
        name,
        points,
        lost,
        failures,
        spool_bytes,
        spool_bytes_max,
        lag_seconds,
        last_success_unix_ms,
        kind: _,
        endpoint: _,
        interval_seconds: _,
        spool_points: _,
        problem: _,
    } in targets
    {
        sent.add_integer([name], *points);
        for loss in Loss::ALL {
            lost_points.add_integer([name, loss.label()], lost.get(loss).copied().unwrap_or(0));
        }
        for failure in Failure::ALL {
            failed.add_integer([name, failure.label()], failures.get(failure).copied().unwrap_or(0));
        }
        spools.add_integer([name], *spool_bytes);
        spools_max.add_integer([name], *spool_bytes_max);
        lags.add([name], *lag_seconds);
        if let Some(unix_ms) = last_success_unix_ms {
            successes.add([name], Duration::from_millis(*unix_ms).as_secs_f64());
        }
    }
    families.extend([
        sent.into_proto(),
        lost_points.into_proto(),
        failed.into_proto(),
        spools.into_proto(),
        spools_max.into_proto(),
        lags.into_proto(),
        successes.into_proto(),
    ]);
}
