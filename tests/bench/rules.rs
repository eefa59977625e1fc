//! Per-packet cost by number, shape and family of rules, and what it takes to get them into the kernel.

use std::time::Instant;

use anyhow::Result;
use foobar_daemon::{
    dataplane::{load::LoadedRuleset, timed_runs::TimedRuns},
    rules::{
        compile::{CompiledRuleset, compile},
        model::Ruleset,
    },
    slots::Slots,
};
use foobar_tests::{
    classbench::{self, Shape},
    frames::Family,
    headers::{self, Headers},
    random::Random,
    rulesets::INTERFACE,
};

use crate::{
    cost::{Effort, measure, slowest},
    driver::Driver,
    figures::{Figure, Spread},
    plan::Plan,
    report::{Report, Row},
};

/// The seed of all rules and packets.
pub(crate) const SEED: u64 = 20_261_125;
/// Packets that do not leave the caches.
const HOT: usize = 256;
/// Packets that do.
const COLD: usize = 65_536;

/// Measures all of them.
pub(crate) fn run(driver: &mut Driver, report: &mut Report, plan: &Plan) -> Result<()> {
    let mut loads: Vec<Row> = Vec::new();
    for family in Family::BOTH {
        for shape in plan.shapes {
            for rules in plan.rules {
                let name = format!("{} {} {rules}", label(family), shape.label());
                let ruleset = stateless(classbench::ruleset(*shape, family, *rules, None, SEED));
                report.say(&format!("rules {name}: compile and load"));
                let (runs, load) = match load(&ruleset, "load", &name) {
                    Ok(loaded) => loaded,
                    Err(why) => {
                        report.add(Row::refused("rules", name, &why));
                        continue;
                    }
                };
                loads.push(load);
                for (kind, packets) in packets(driver, &runs, &ruleset, family, plan)? {
                    let row = Row::new("rules", format!("{name} {kind}"));
                    if packets.is_empty() {
                        report.say(&format!("rules {name} {kind}: no such packet was found"));
                        continue;
                    }
                    let row = measure(driver, &runs, &ruleset, &packets, plan.effort, row)?;
                    report.add(row);
                }
            }
        }
    }
    for row in loads {
        report.add(row);
    }
    Ok(())
}

/// The word for a family.
pub(crate) const fn label(family: Family) -> &'static str {
    match family {
        Family::V4 => "v4",
        Family::V6 => "v6",
    }
}

/// The same rules without knowledge of flows, which rivals do not have here either. What that costs, `flows` tells.
pub(crate) fn stateless(mut ruleset: Ruleset) -> Ruleset {
    ruleset.policy.replies = false;
    ruleset
}

/// Compiles a ruleset whose counters nobody keeps, for [`INTERFACE`].
pub(crate) fn compiled(ruleset: &Ruleset, interface: &str) -> Result<CompiledRuleset> {
    compile(ruleset, &Slots::for_once(ruleset, &[interface.to_owned()])?)
}

/// Compiles and loads a ruleset, and says what that took.
pub(crate) fn load(ruleset: &Ruleset, part: &'static str, name: &str) -> Result<(TimedRuns, Row)> {
    let slots = Slots::for_once(ruleset, &[INTERFACE.to_owned()])?;
    let start = Instant::now();
    let compiled = compile(ruleset, &slots)?;
    let compile_time = start.elapsed();
    let start = Instant::now();
    let runs = LoadedRuleset::for_timed_runs(&compiled, INTERFACE)?;
    let load_time = start.elapsed();

    let memory = runs.map_memory()?;
    let once = |time: std::time::Duration| Figure::Milliseconds(Spread::of(vec![time.as_secs_f64() * 1e3]));
    let programs = runs.facts()?;
    let verified: u32 = programs.iter().filter_map(|program| program.verified_instructions).sum();
    let row = Row::new(part, name)
        .with("compile, ms", once(compile_time))
        .with("load, ms", once(load_time))
        .with("verified", Figure::Count(verified.into()))
        .with("memory", Figure::Bytes(memory.values().sum()))
        .with("largest maps", Figure::Maps(memory));
    Ok((runs, row))
}

/// The packets of one ruleset, by kind.
fn packets(
    driver: &mut Driver,
    runs: &TimedRuns,
    ruleset: &Ruleset,
    family: Family,
    plan: &Plan,
) -> Result<Vec<(&'static str, Vec<Headers>)>> {
    let mut random = Random::new(SEED + 1);
    // The plain reading, which tells what is unmatched, takes time for each rule.
    let unmatched = (plan.unmatched / (ruleset.rules.len() + 1)).clamp(HOT, COLD);
    let cold = headers::matching(ruleset, family, COLD, &mut random);
    let unmatched = headers::unmatched(ruleset, family, unmatched, &mut random);
    let late = headers::late(ruleset, family, HOT, &mut random);
    let tried = plan.tried / 2;
    let candidates: Vec<Headers> =
        cold.iter().take(tried).chain(unmatched.iter().take(tried)).copied().collect();
    let worst = slowest(driver, runs, &candidates, 64)?;
    let hot = cold.iter().take(HOT).copied().collect();
    let one = late.iter().take(1).copied().collect();
    Ok(vec![
        ("match, hot", hot),
        ("match, cold", cold),
        ("no match, cold", unmatched),
        ("last tenth, hot", late),
        // As benchmarks are that send the same packet again and again.
        ("last tenth, one packet", one),
        ("worst found, hot", worst),
    ])
}

/// What the smoke test measures: one row.
pub(crate) fn smoke(driver: &mut Driver, report: &mut Report) -> Result<()> {
    let ruleset = stateless(classbench::ruleset(Shape::Acl, Family::V4, 100, None, SEED));
    let (runs, _) = load(&ruleset, "load", "smoke")?;
    let packets = headers::matching(&ruleset, Family::V4, HOT, &mut Random::new(SEED));
    let effort = Effort { samples: 1, runs: 1_000, checked: HOT };
    let row = measure(driver, &runs, &ruleset, &packets, effort, Row::new("rules", "smoke"))?;
    report.add(row);
    Ok(())
}
