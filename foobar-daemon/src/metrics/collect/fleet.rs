//! The fleet that has its rules from etcd, and the guard over them.

use std::time::Duration;

use prometheus::proto::MetricFamily;

use super::{catalogue, flag, single};
use crate::{daemon::guarding::GuardFacts, fleet::FleetFacts, guard::Fallen};

pub(super) fn guard_families(guard: &GuardFacts, is_pending: bool, families: &mut Vec<MetricFamily>) {
    let GuardFacts { watched: _, taken_back, fallen } = guard;
    let mut rollbacks = catalogue::GUARD_ROLLBACKS.family();
    rollbacks.add_integer([], *taken_back);
    let mut before = catalogue::GUARD_BEFORE.family();
    let mut after = catalogue::GUARD_AFTER.family();
    for Fallen { service, port, what: _, before: was, after: is } in fallen {
        before.add([service, port], was.per_second());
        after.add([service, port], is.per_second());
    }
    families.extend([
        flag(catalogue::GUARD_PENDING, is_pending),
        rollbacks.into_proto(),
        before.into_proto(),
        after.into_proto(),
    ]);
}

pub(super) fn families(fleet: &FleetFacts, hash: &str, families: &mut Vec<MetricFamily>) {
    let FleetFacts {
        place: _,
        member: _,
        connected,
        problem: _,
        last_contact_unix_ms,
        revision,
        hash: _,
        invalid,
        untold: _,
        endpoints,
        decision,
    } = fleet;
    let refused = decision.as_ref().is_some_and(|decision| decision.refused.is_some());
    families.extend([
        flag(catalogue::FLEET_CONNECTED, *connected),
        flag(catalogue::FLEET_REFUSED, refused || invalid.is_some()),
    ]);
    if let Some(unix_ms) = last_contact_unix_ms {
        families.push(single(catalogue::FLEET_CONTACT, Duration::from_millis(*unix_ms).as_secs_f64()));
    }
    families.extend(revision.map(|revision| single(catalogue::FLEET_REVISION, number(revision))));
    let in_force = decision.as_ref().filter(|decision| decision.hash == hash);
    families.extend(
        in_force.map(|decision| single(catalogue::FLEET_RULESET_REVISION, number(decision.revision))),
    );
    let mut up = catalogue::FLEET_ENDPOINT_UP.family();
    for (endpoint, is_up) in endpoints {
        if let Some(is_up) = is_up {
            up.add_flag([endpoint], *is_up);
        }
    }
    families.push(up.into_proto());
}

#[expect(clippy::cast_precision_loss, reason = "a metric is a float; it is exact up to 2^53")]
fn number(revision: i64) -> f64 {
    revision as f64
}
