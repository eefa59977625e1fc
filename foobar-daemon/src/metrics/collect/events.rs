//! What became of packets that were drawn as samples.

use prometheus::proto::MetricFamily;

use super::catalogue;
use crate::control::events::EventFacts;

pub(super) fn families(facts: &EventFacts, families: &mut Vec<MetricFamily>) {
    let EventFacts { draws: _, drawn, lost_in_ring, unwatched, lost_by_watchers, watchers: _ } = facts;
    let mut events = catalogue::EVENTS.family();
    events.add_integer([], *drawn);
    let mut lost = catalogue::EVENTS_LOST.family();
    for (place, count) in [("ring", lost_in_ring), ("watcher", lost_by_watchers), ("unwatched", unwatched)] {
        lost.add_integer([place], *count);
    }
    families.extend([events.into_proto(), lost.into_proto()]);
}
