//! What has been counted up to now, for `top`, which looks every second and makes rates of it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use foobar_common::{counters::Counter, flow::Direction, verdict::Verdict};

use super::{facts, writer::Writer};
use crate::control::protocol::{Counted, InterfaceCounted, ReasonCounted, Traffic};

/// Reads the counters.
///
/// # Errors
/// When the kernel does not give them.
pub(super) fn gather(writer: &Writer) -> Result<Traffic> {
    let counters = writer.filter.counters().context("read the counters")?;
    let mut interfaces: BTreeMap<(String, Direction), Counted> = BTreeMap::new();
    for name in &writer.settings.interfaces {
        interfaces.extend(Direction::ALL.map(|direction| ((name.clone(), direction), Counted::default())));
    }
    let mut drops = BTreeMap::new();
    for ((interface, direction, verdict, reason), counter) in &counters.verdicts {
        add(interfaces.entry((interface.clone(), *direction)).or_default(), *counter);
        match verdict {
            Verdict::Accept => {}
            Verdict::Drop => add(drops.entry((*direction, *reason)).or_default(), *counter),
        }
    }
    Ok(Traffic {
        started_unix_ms: writer.started_unix_ms,
        since_start_ms: u64::try_from(writer.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        hash: writer.rules.hash.clone(),
        generation: writer.state.generation,
        not_ready: writer.filter.attachments().iter().filter_map(facts::not_filtered).collect(),
        interfaces: interfaces
            .into_iter()
            .map(|((interface, direction), counted)| InterfaceCounted {
                interface,
                direction: direction.label().to_owned(),
                counted,
            })
            .collect(),
        drops: drops
            .into_iter()
            .map(|((direction, reason), counted)| ReasonCounted {
                direction: direction.label().to_owned(),
                reason: reason.label().to_owned(),
                action: Verdict::Drop.label().to_owned(),
                counted,
            })
            .collect(),
        rules: counters
            .rules
            .into_iter()
            .filter(|(_, counter)| counter.packets > 0)
            .map(|(id, counter)| (id, counter.into()))
            .collect(),
        services: facts::services(writer).context("read the counters of services")?,
    })
}

fn add(counted: &mut Counted, Counter { packets, bytes }: Counter) {
    counted.packets = counted.packets.wrapping_add(packets);
    counted.bytes = counted.bytes.wrapping_add(bytes);
}
