//! What the live page shows beyond the counters.

use std::collections::BTreeMap;

use anyhow::Result;
use foobar_common::verdict::Verdict;

use super::{traffic, writer::Writer};
use crate::{
    control::{bans::BanCounts, protocol::Traffic},
    dataplane::{attach::Attachment, counters::DECRYPTED, flows::FlowFacts},
    rates::RequestHistory,
    rules::rule_id::RuleId,
};

/// What the writer knows; [`super::handle::Handle::live`] adds what has been counted.
#[derive(Clone, Debug)]
pub struct LiveFacts {
    /// As `top` gets it, without bans.
    pub traffic: Traffic,
    /// How each interface is filtered.
    pub interfaces: Vec<Attachment>,
    /// Requests in each of the last seconds, the oldest first, by port of the service and by whether it is inside of TLS.
    pub each_second: BTreeMap<(String, bool), Vec<f64>>,
    /// How many bans there are.
    pub bans: BanCounts,
    /// The flows that are tracked, if they are and were asked for.
    pub flows: Option<FlowFacts>,
    /// Seconds until rules that are not confirmed are taken back.
    pub taken_back_in: Option<f64>,
}

/// What each rule of a generation does.
#[derive(Clone, Debug, Default)]
pub struct RuleActions {
    /// How many times rules were put in force.
    pub generation: u64,
    /// Ids and actions in the order of the rules.
    pub actions: Vec<(RuleId, Verdict)>,
}

/// Gathers it, with flows or without.
///
/// # Errors
/// When the kernel does not give counters.
pub(super) fn gather(writer: &Writer, flows: bool) -> Result<LiveFacts> {
    let traffic = traffic::gather(writer)?;
    let mut each_second = BTreeMap::new();
    for port in writer.rules.services.iter().flat_map(|service| &service.ports) {
        let mut add = |is_inside, history: &RequestHistory| {
            each_second.insert((port.to_string(), is_inside), history.each_second(*port))
        };
        add(false, &writer.requests);
        add(true, &writer.decrypted_requests);
    }
    Ok(LiveFacts {
        traffic,
        interfaces: writer.filter.attachments(),
        each_second,
        bans: writer.bans.counts(),
        flows: if flows { writer.filter.flows()? } else { None },
        taken_back_in: writer
            .deadline
            .map(|deadline| deadline.saturating_duration_since(std::time::Instant::now()).as_secs_f64()),
    })
}

/// Gathers what rules do.
pub(super) fn rule_actions(writer: &Writer) -> RuleActions {
    RuleActions { generation: writer.state.generation, actions: writer.rules.actions.clone() }
}

impl LiveFacts {
    /// Requests in each of the last seconds to the service of a port where this is spoken.
    pub fn each_second(&self, port: &str, protocol: &str) -> &[f64] {
        self.each_second.get(&(port.to_owned(), protocol == DECRYPTED)).map_or(&[], Vec::as_slice)
    }
}
