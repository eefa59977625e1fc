//! Limits of rules, as the kernel has them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context as _, Result, ensure};
use foobar_common::{
    address::Address,
    limit::{LIMITS_MAX, Limit},
};

use crate::{
    rules::{
        limit::{Per, RateLimit},
        model::Rule,
        rule_id::RuleId,
    },
    slots::{Assigned, RuleSlot},
};

/// The limits of rules, each with the counter slot of its rule.
///
/// # Errors
/// There are too many, or a rule has no slot.
pub(super) fn compile(rules: &[Rule], slots: &Assigned) -> Result<Vec<(u32, Limit)>> {
    let limited = rules.iter().filter_map(|rule| Some((rule.id.as_str(), rule.limit.as_ref()?)));
    let limits = limited
        .map(|(id, limit)| Ok((slot(&slots.rules, id)?, record(limit, slot(&slots.over, id)?))))
        .collect::<Result<Vec<_>>>()?;
    ensure!(
        limits.len() <= LIMITS_MAX as usize,
        "{} rules with a limit are too many: there is room for {LIMITS_MAX}",
        limits.len()
    );
    Ok(limits)
}

fn slot(slots: &BTreeMap<RuleId, RuleSlot>, id: &str) -> Result<u32> {
    slots.get(id).map(|owned| owned.slot).with_context(|| format!("rule '{id}' has no counter slot"))
}

fn record(limit: &RateLimit, over_slot: u32) -> Limit {
    let interval = limit.interval();
    let prefix = limit.per.prefix();
    let [v4, v6] = prefix.unwrap_or([0, 0]).map(u32::from);
    let lengths = [v4, v6];
    let v4 = Ipv4Addr::from_bits(u32::MAX.checked_shl(u32::BITS - v4).unwrap_or(0));
    let v6 = Ipv6Addr::from_bits(u128::MAX.checked_shl(u128::BITS - v6).unwrap_or(0));
    Limit {
        masks: [IpAddr::V4(v4), IpAddr::V6(v6)].map(Address::from),
        interval,
        tolerance: interval * u64::from(limit.burst - 1),
        over: limit.over.number(),
        over_slot,
        by_source: u32::from(prefix.is_some()),
        by_client: u32::from(limit.per == Per::Client),
        ban_ns: limit.ban.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX - 1)),
        lengths,
    }
}
