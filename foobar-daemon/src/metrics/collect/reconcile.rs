//! What became of comparing our counts with those of servers.

use std::time::Duration;

use prometheus::proto::MetricFamily;

use super::catalogue;
use crate::reconcile::{Reason, ReconcileFacts};

/// The families of all comparisons; failures have their zeros, too.
pub(super) fn families(comparisons: &[ReconcileFacts], families: &mut Vec<MetricFamily>) {
    let mut differences = catalogue::RECONCILE_DIFFERENCE.family();
    let mut uncertainties = catalogue::RECONCILE_UNCERTAINTY.family();
    let mut compared = catalogue::RECONCILE_COMPARED.family();
    let mut baselines = catalogue::RECONCILE_BASELINES.family();
    let mut failures = catalogue::RECONCILE_FAILURES.family();
    for facts in comparisons {
        let ReconcileFacts {
            source,
            services,
            difference,
            uncertainty,
            compared_unix_ms,
            baselines: began,
            failures: failed,
            problem: _,
        } = facts;
        let service = services.join(",");
        let labels = [source.as_str(), service.as_str()];
        if let Some(difference) = difference {
            differences.add_signed(labels, *difference);
        }
        if let Some(uncertainty) = uncertainty {
            uncertainties.add_integer(labels, *uncertainty);
        }
        if let Some(unix_ms) = compared_unix_ms {
            compared.add(labels, Duration::from_millis(*unix_ms).as_secs_f64());
        }
        baselines.add_integer(labels, *began);
        for reason in Reason::ALL {
            let count = failed.get(&reason).copied().unwrap_or_default();
            failures.add_integer([source, &service, reason.label()], count);
        }
    }
    families.extend([
        differences.into_proto(),
        uncertainties.into_proto(),
        compared.into_proto(),
        baselines.into_proto(),
        failures.into_proto(),
    ]);
}
