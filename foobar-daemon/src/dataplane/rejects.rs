//! The programs that answer rejected packets, and how many answers there may be.

use std::{collections::BTreeMap, fs::File, io::Read as _};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, PerCpuArray},
};
use foobar_common::{
    flow::Direction,
    maps,
    reject::{AnswerBucket, Outcome, outcome_slot},
};
use serde::{Deserialize, Serialize};

use super::load::LoadedRuleset;
use crate::rules::{compile::CompiledRuleset, limit::Rate};

/// What came of packets that were rejected, since the filter was first attached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectFacts {
    /// By what came of those that came in: the label of an [`Outcome`].
    pub inbound: BTreeMap<String, u64>,
    /// The same of those that were to go out.
    pub outbound: BTreeMap<String, u64>,
}

impl RejectFacts {
    /// Those of a direction.
    pub const fn of(&self, direction: Direction) -> &BTreeMap<String, u64> {
        match direction {
            Direction::In => &self.inbound,
            Direction::Out => &self.outbound,
        }
    }
}

/// A link-layer address that nobody knows: not one of a group, and not one that a maker of cards gives (IEEE 802 section
/// 8.2.2).
///
/// # Errors
/// None on a machine that has random numbers.
pub(super) fn secret_card() -> Result<[u16; 3]> {
    let mut card = [0; 6];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut card))
        .context("read /dev/urandom")?;
    card[0] = card[0] & 0xfc | 2;
    Ok(card_words(card))
}

/// A link-layer address as words of memory.
pub(super) fn card_words(card: [u8; 6]) -> [u16; 3] {
    let [first, second, third, fourth, fifth, sixth] = card;
    [[first, second], [third, fourth], [fifth, sixth]].map(u16::from_ne_bytes)
}

/// Entries of the map of outcomes.
pub(super) const OUTCOMES: u32 = 2 * Outcome::COUNT;

/// The programs that answer, for a ruleset that rejects something.
pub(super) fn programs(compiled: &CompiledRuleset) -> &'static [&'static str] {
    match compiled.reject_rate {
        Some(_) => &[maps::REJECT_INBOUND, maps::REJECT_OUTBOUND],
        None => &[],
    }
}

/// The map of outcomes: how many entries it has where it is used, and whether this ruleset uses it.
pub(super) fn map(compiled: &CompiledRuleset) -> (&'static str, (u32, bool)) {
    (maps::REJECT_COUNTERS, (OUTCOMES, compiled.reject_rate.is_some()))
}

/// Enters the rate: as many answers at once as there are in its span, then one after the other.
pub(super) fn fill(object: &mut Ebpf, compiled: &CompiledRuleset) -> Result<()> {
    let Some(rate) = compiled.reject_rate else { return Ok(()) };
    let map = object.map_mut(maps::ANSWER_BUCKETS).context("the object has no buckets of answers")?;
    let mut map: Array<_, AnswerBucket> = map.try_into()?;
    let Rate { packets, span: _ } = rate;
    let tolerance = rate.interval().saturating_mul(u64::from(packets.saturating_sub(1)));
    for direction in Direction::ALL {
        let bucket = AnswerBucket { interval: rate.interval(), tolerance, full_at: 0 };
        map.set(direction as u32, bucket, 0).context("enter how many packets are answered")?;
    }
    Ok(())
}

/// Sums what came of rejected packets.
pub(super) fn facts(loaded: &LoadedRuleset) -> Result<RejectFacts> {
    let map: PerCpuArray<_, u64> = loaded.map(maps::REJECT_COUNTERS)?.try_into()?;
    let read = |direction| {
        Outcome::ALL
            .iter()
            .map(|outcome| {
                let counted = map.get(&outcome_slot(direction, *outcome), 0)?;
                Ok((outcome.label().to_owned(), counted.iter().sum()))
            })
            .collect::<Result<_>>()
    };
    Ok(RejectFacts { inbound: read(Direction::In)?, outbound: read(Direction::Out)? })
}
