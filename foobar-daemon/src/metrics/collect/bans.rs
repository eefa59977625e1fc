//! What is banned.

use prometheus::proto::MetricFamily;

use super::catalogue;
use crate::control::bans::BanCounts;

pub(super) fn families(counts: &BanCounts, families: &mut Vec<MetricFamily>) {
    let BanCounts { addresses, prefixes, room: _, made, by_rules, no_room, expired, lifted, refused } =
        counts;
    let mut bans = catalogue::BANS.family();
    for (kind, counts) in [("address", addresses), ("prefix", prefixes)] {
        for (ip, count) in ["4", "6"].into_iter().zip(counts) {
            bans.add_integer([ip, kind], *count);
        }
    }
    families.push(bans.into_proto());
    for (metric, value) in [
        (catalogue::BANS_MADE, made),
        (catalogue::BANS_MADE_BY_RULES, by_rules),
        (catalogue::BANS_NO_ROOM, no_room),
        (catalogue::BANS_EXPIRED, expired),
        (catalogue::BANS_LIFTED, lifted),
        (catalogue::BANS_REFUSED, refused),
    ] {
        let mut family = metric.family();
        family.add_integer([], *value);
        families.push(family.into_proto());
    }
}
