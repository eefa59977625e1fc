//! Connections to a service by the group of peers that opens them.

use std::collections::BTreeMap;

use foobar_common::{
    peers::PeerConnections,
    service::{FirstBytes, HttpCounters},
};

use super::ProtocolCounters;
use crate::rules::model::OTHER_PEERS;

/// Connections to a service by who opens them.
///
/// Each connection is in one counter of the kernel, so that none of these ever goes back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// Those of clients in no group, or from before there were groups.
    others: PeerConnections,
    /// By name of the group; these are there even if zero.
    groups: BTreeMap<String, PeerConnections>,
    /// Those of groups that the rules no longer have.
    former: PeerConnections,
}

impl Peers {
    /// From what the kernel has counted of a protocol, which is that of others, and by slots of groups; `names` have some
    /// of those.
    pub fn new(
        of_protocol: &ProtocolCounters,
        names: &BTreeMap<String, u32>,
        slots: &[PeerConnections],
    ) -> Self {
        let mut peers = Self { others: of_others(of_protocol), ..Self::default() };
        for (name, slot) in names {
            let counted = slots.get(*slot as usize).copied().unwrap_or_default();
            peers.groups.insert(name.clone(), counted);
        }
        for (slot, counted) in (0..).zip(slots) {
            if !names.values().any(|named| *named == slot) {
                peers.former.add(counted);
            }
        }
        peers
    }

    /// Adds those of groups to what was counted of a protocol.
    pub(super) fn complete(&self, of_protocol: &mut ProtocolCounters) {
        let Self { others: _, groups, former } = self;
        for PeerConnections { first_bytes, sessions, opened } in groups.values().chain([former]) {
            match of_protocol {
                ProtocolCounters::Raw(counters) => counters.opened += opened,
                ProtocolCounters::Http1(counters)
                | ProtocolCounters::Http1Requests(counters)
                | ProtocolCounters::H2c(counters) => {
                    counters.connections += first_bytes[FirstBytes::Http1 as usize];
                    counters.http2_connections += first_bytes[FirstBytes::H2c as usize];
                }
                ProtocolCounters::Tls(counters) => add_all(&mut counters.connections, first_bytes),
                ProtocolCounters::Mysql(counters, _) => add_all(&mut counters.sessions, sessions),
                ProtocolCounters::Dns(_) => {}
            }
        }
    }

    /// Each name with its connections: that of all others, and those of the groups that the rules have.
    pub fn by_name(&self) -> impl Iterator<Item = (&str, &PeerConnections)> {
        let groups = self.groups.iter().map(|(name, counted)| (name.as_str(), counted));
        [(OTHER_PEERS, &self.others)].into_iter().chain(groups)
    }
}

/// The connections among what was counted of a protocol.
fn of_others(of_protocol: &ProtocolCounters) -> PeerConnections {
    let mut others = PeerConnections::default();
    match of_protocol {
        ProtocolCounters::Raw(counters) => others.opened = counters.opened,
        ProtocolCounters::Http1(counters)
        | ProtocolCounters::Http1Requests(counters)
        | ProtocolCounters::H2c(counters) => {
            let HttpCounters { connections, http2_connections, .. } = counters;
            others.first_bytes[FirstBytes::Http1 as usize] = *connections;
            others.first_bytes[FirstBytes::H2c as usize] = *http2_connections;
        }
        ProtocolCounters::Tls(counters) => others.first_bytes = counters.connections,
        ProtocolCounters::Mysql(counters, _) => others.sessions = counters.sessions,
        ProtocolCounters::Dns(_) => {}
    }
    others
}

fn add_all(sums: &mut [u64], more: &[u64]) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += more;
    }
}

#[cfg(test)]
mod tests {
    use foobar_common::raw::RawCounters;

    use super::*;

    #[test]
    fn a_name_has_what_its_slot_has_and_all_together_are_all_that_ever_was() {
        let opened = |opened| PeerConnections { opened, ..PeerConnections::default() };
        let slots = [opened(1), opened(2), opened(4), opened(8)];
        let names = BTreeMap::from([("lb".to_owned(), 2), ("office".to_owned(), 0)]);
        let mut counted = ProtocolCounters::Raw(RawCounters { opened: 16, ..RawCounters::default() });
        let peers = Peers::new(&counted, &names, &slots);
        let told: Vec<(&str, u64)> = peers.by_name().map(|(name, counted)| (name, counted.opened)).collect();
        assert_eq!(told, [("other", 16), ("lb", 4), ("office", 1)]);
        peers.complete(&mut counted);
        assert_eq!(counted, ProtocolCounters::Raw(RawCounters { opened: 31, ..RawCounters::default() }));
    }
}
