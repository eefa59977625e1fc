//! What has been counted up to now, for `top`, which looks every second and makes rates of it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use foobar_common::{
    counters::Counter,
    flow::Direction,
    verdict::{Reason, Verdict},
};

use super::{facts, writer::Writer};
use crate::{
    control::protocol::{Counted, InterfaceCounted, ReasonCounted, Traffic},
    dataplane::counters::Counters,
};

/// What the writer knows, without the counters: those of many rules take a while, in which it has other things to do.
///
/// # Errors
/// When the kernel does not give the counters of services.
pub(super) fn gather(writer: &Writer) -> Result<Traffic> {
    let interfaces = writer.settings.interfaces.iter().flat_map(|name| {
        Direction::ALL.map(|direction| InterfaceCounted {
            interface: name.clone(),
            direction: direction.label().to_owned(),
            counted: Counted::default(),
        })
    });
    Ok(Traffic {
        started_unix_ms: writer.started_unix_ms,
        since_start_ms: u64::try_from(writer.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        hash: writer.rules.hash.clone(),
        generation: writer.state.generation,
        not_ready: writer.filter.attachments().iter().filter_map(facts::not_filtered).collect(),
        interfaces: interfaces.collect(),
        accepts: Vec::new(),
        drops: Vec::new(),
        rules: BTreeMap::new(),
        services: facts::services(writer).context("read the counters of services")?,
        bans: Vec::new(),
    })
}

/// The same with the counters.
pub(super) fn with_counters(traffic: Traffic, counters: Counters) -> Traffic {
    let mut interfaces: BTreeMap<(String, String), Counted> = traffic
        .interfaces
        .into_iter()
        .map(|InterfaceCounted { interface, direction, counted }| ((interface, direction), counted))
        .collect();
    let (mut accepts, mut drops) = (BTreeMap::new(), BTreeMap::new());
    for ((interface, direction, verdict, reason), counter) in &counters.verdicts {
        let of_interface = (interface.clone(), direction.label().to_owned());
        add(interfaces.entry(of_interface).or_default(), *counter);
        let of_verdict = match verdict {
            Verdict::Accept | Verdict::Answer => &mut accepts,
            Verdict::Drop | Verdict::Reject => &mut drops,
        };
        add(of_verdict.entry((*direction, *reason, *verdict)).or_default(), *counter);
    }
    let interfaces = interfaces.into_iter().map(|((interface, direction), counted)| InterfaceCounted {
        interface,
        direction,
        counted,
    });
    let rules = counters.rules.into_iter().filter(|(_, counter)| counter.packets > 0);
    Traffic {
        interfaces: interfaces.collect(),
        accepts: by_reason(accepts),
        drops: by_reason(drops),
        rules: rules.map(|(id, counter)| (id, counter.into())).collect(),
        ..traffic
    }
}

fn by_reason(counted: BTreeMap<(Direction, Reason, Verdict), Counted>) -> Vec<ReasonCounted> {
    let told = counted.into_iter().map(|((direction, reason, verdict), counted)| ReasonCounted {
        direction: direction.label().to_owned(),
        reason: reason.label().to_owned(),
        action: verdict.label().to_owned(),
        counted,
    });
    told.collect()
}

fn add(counted: &mut Counted, Counter { packets, bytes }: Counter) {
    counted.packets = counted.packets.wrapping_add(packets);
    counted.bytes = counted.bytes.wrapping_add(bytes);
}
