//! Per-packet cost of one rule with a set of many addresses.

use std::time::{Duration, Instant};

use anyhow::Result;
use foobar_common::verdict::Verdict;
use foobar_tests::{classbench, frames::Family, headers, random::Random};

use crate::{
    cost::{Effort, measure},
    driver::Driver,
    plan::Plan,
    report::{Report, Row},
    rules::{SEED, label, load, stateless},
};

/// Where getting a set into the kernel took longer than this, ten times as many are not tried.
const PATIENCE: Duration = Duration::from_secs(20);
/// Packets: as many as there are places in the driver.
const PACKETS: usize = 65_536;

/// Measures all of them.
pub(crate) fn run(driver: &mut Driver, report: &mut Report, plan: &Plan) -> Result<()> {
    let mut loads = Vec::new();
    // The plain reading looks at each entry.
    let effort = Effort { checked: 200, ..plan.effort };
    for family in Family::BOTH {
        for entries in plan.sets {
            let name = format!("{} set of {entries}", label(family));
            let ruleset = stateless(classbench::block_list(family, *entries, Verdict::Accept, SEED));
            report.say(&format!("sets {name}: compile and load"));
            let start = Instant::now();
            let (runs, row) = match load(&ruleset, "load", &name) {
                Ok(loaded) => loaded,
                Err(why) => {
                    report.add(Row::refused("sets", name, &why));
                    continue;
                }
            };
            loads.push(row);
            let slow = start.elapsed() > PATIENCE;
            let mut random = Random::new(SEED + 2);
            let members = &ruleset.sets.values().next().map(|set| set.entries.clone()).unwrap_or_default();
            let everything: ipnet::IpNet = match family {
                Family::V4 => ipnet::Ipv4Net::default().into(),
                Family::V6 => "2000::/3".parse()?,
            };
            for (kind, from) in [("hit", members.as_slice()), ("miss", &[everything])] {
                let packets = headers::from_members(from, PACKETS, &mut random);
                let row = Row::new("sets", format!("{name}, {kind}"));
                report.add(measure(driver, &runs, &ruleset, &packets, effort, row)?);
            }
            if slow {
                report.say(&format!("sets {name} took long to load: larger ones are left out"));
                break;
            }
        }
    }
    for row in loads {
        report.add(row);
    }
    Ok(())
}
