//! How long it takes until other rules are in force on an interface.

use std::time::Instant;

use anyhow::Result;
use foobar_daemon::dataplane::{
    attach::Mode,
    filter::{Filter, FilterOptions, Pins},
    load::MapSizes,
};
use foobar_tests::{
    bpffs::PinFolder,
    classbench::{self, Shape},
    frames::Family,
    network::{Network, SERVER},
};

use crate::{
    figures::{Figure, Spread},
    plan::Plan,
    report::{Report, Row},
    rules::{SEED, compiled},
};

/// Measures all sizes.
pub(crate) fn run(report: &mut Report, plan: &Plan) {
    for rules in plan.rules {
        let name = format!("{rules} rules");
        match times(*rules, plan.swaps) {
            Ok(times) => {
                let row = Row::new("swap", name)
                    .with("swaps", Figure::Count(times.len() as u64))
                    .with("compiled to in force, ms", Figure::Milliseconds(Spread::of(times)));
                report.add(row);
            }
            Err(why) => report.add(Row::refused("swap", name, &why)),
        }
    }
}

/// Milliseconds of each swap between two rulesets of this size.
fn times(rules: usize, swaps: u32) -> Result<Vec<f64>> {
    let of = |seed| compiled(&classbench::ruleset(Shape::Acl, Family::V4, rules, None, seed), SERVER);
    let both = [of(SEED)?, of(SEED + 1)?];
    let network = Network::new()?;
    let pins = PinFolder::new()?;
    let options = FilterOptions {
        interfaces: vec![SERVER.to_owned()],
        mode: Mode::Native,
        pins: Pins::Ephemeral(pins.path().to_owned()),
        sizes: MapSizes::default(),
    };
    network.server.enter(|| {
        let [first, second] = &both;
        let mut filter = Filter::start(options, first)?;
        let mut times = Vec::new();
        for next in [second, first].into_iter().cycle().take(usize::try_from(swaps)?) {
            let start = Instant::now();
            filter.swap(next)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        filter.detach()?;
        Ok(times)
    })
}
