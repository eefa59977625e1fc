//! foobar, nftables and xdp-filter, judging the same frames from the same cable.
//!
//! Each has a cable of its own, so that samples can be interleaved. The sender's processor does all the work, and
//! every frame is dropped at the end, so the time per frame is that of sending and judging it. What a filter costs
//! is the difference to the least that its hook can do: a bare `XDP_DROP`, or a chain of one `drop`.

mod lane;
mod nft;
mod xdp_filter;

use anyhow::{Context as _, Result};
use foobar_common::verdict::Verdict;
use foobar_daemon::rules::model::Ruleset;
use foobar_tests::{
    classbench::{self, Shape},
    frames::Family,
    headers::{self, Headers},
    random::Random,
};
use ipnet::IpNet;

use self::lane::{Judge, Lane, Timing};
use crate::{
    driver::Driver,
    figures::Figure,
    plan::RivalPlan,
    report::{Report, Row},
    rules::{SEED, stateless},
};

/// Frames that take turns.
const PACKETS: usize = 4_096;

/// Measures all of them.
pub(crate) fn run(driver: &mut Driver, report: &mut Report, plan: &RivalPlan) -> Result<()> {
    let mut random = Random::new(SEED + 3);
    let mut comparisons = Vec::new();
    for rules in plan.rules {
        let ruleset =
            stateless(classbench::ruleset(Shape::Acl, Family::V4, *rules, Some(Verdict::Drop), SEED));
        let packets = headers::matching(&ruleset, Family::V4, PACKETS, &mut random);
        let name = format!("{rules} rules acl");
        let ratio = compare(driver, report, plan, &name, &ruleset, &packets)?;
        if let Some(ratio) = ratio.filter(|_| *rules > 0) {
            comparisons.push(
                Row::new("comparison", format!("nftables / foobar at {rules} rules"))
                    .with("over the bare hook", Figure::Ratio(ratio.over))
                    .with("in all", Figure::Ratio(ratio.total)),
            );
        }
    }
    for entries in plan.sets {
        let ruleset = stateless(classbench::block_list(Family::V4, *entries, Verdict::Drop, SEED));
        let packets = headers::from_members(members(&ruleset)?, PACKETS, &mut random);
        compare(driver, report, plan, &format!("set of {entries}"), &ruleset, &packets)?;
    }
    for addresses in plan.addresses {
        let name = format!("{addresses} addresses");
        let ruleset = single_addresses(*addresses, &mut random);
        let packets = headers::from_members(members(&ruleset)?, PACKETS, &mut random);
        let lanes = [
            ("bare XDP_DROP", Lane::bare(driver)),
            ("foobar", Lane::foobar(&ruleset)),
            ("xdp-filter", Lane::xdp_filter(members(&ruleset)?)),
        ];
        let timings = measure(driver, report, plan, &name, lanes, &packets)?;
        let bare = timings.first().cloned().flatten();
        for (lane, timing) in [("foobar", 1), ("xdp-filter", 2)] {
            tell(report, &format!("{name}: {lane}"), timings.get(timing).cloned().flatten(), bare.clone());
        }
    }
    for row in comparisons {
        report.add(row);
    }
    Ok(())
}

/// How many times as much nftables takes.
struct Ratio {
    over: f64,
    total: f64,
}

/// The same rules for foobar and nftables.
fn compare(
    driver: &mut Driver,
    report: &mut Report,
    plan: &RivalPlan,
    name: &str,
    ruleset: &Ruleset,
    packets: &[Headers],
) -> Result<Option<Ratio>> {
    let nothing = Ruleset::default();
    let lanes = [
        ("bare XDP_DROP", Lane::bare(driver)),
        ("foobar", Lane::foobar(ruleset)),
        ("nftables, only drop", Lane::nftables(&nothing)),
        ("nftables", Lane::nftables(ruleset)),
    ];
    let timings = measure(driver, report, plan, name, lanes, packets)?;
    let [bare, foobar, empty, nftables] = timings.as_slice() else { return Ok(None) };
    tell(report, &format!("{name}: foobar"), foobar.clone(), bare.clone());
    tell(report, &format!("{name}: nftables"), nftables.clone(), empty.clone());
    let (Some(bare), Some(foobar), Some(empty), Some(nftables)) = (bare, foobar, empty, nftables) else {
        return Ok(None);
    };
    let over = |subject: &Timing, baseline: &Timing| subject.over(baseline).median;
    Ok(Some(Ratio {
        over: over(nftables, empty) / over(foobar, bare).max(1.0),
        total: nftables.spread().median / foobar.spread().median,
    }))
}

/// Interleaved timings of each lane; `None` for one that could not be set up, which the report tells.
fn measure<const LANES: usize>(
    driver: &mut Driver,
    report: &mut Report,
    plan: &RivalPlan,
    name: &str,
    lanes: [(&'static str, Result<Lane>); LANES],
    packets: &[Headers],
) -> Result<Vec<Option<Timing>>> {
    let frames: Vec<Vec<u8>> = packets.iter().map(Headers::frame).collect();
    driver.feed(&frames)?;
    let mut ready: Vec<Option<(Lane, Timing)>> = Vec::new();
    for (lane, made) in lanes {
        let probed = made.and_then(|lane| {
            let frames = lane.frames_in(driver, plan.seconds)?;
            Ok((lane, Timing::new(frames)))
        });
        ready.push(match probed {
            Ok(probed) => Some(probed),
            Err(why) => {
                report.add(Row::refused("rivals", format!("{name}: {lane}"), &why));
                None
            }
        });
    }
    for _ in 0..plan.samples {
        for (lane, timing) in ready.iter_mut().flatten() {
            timing.add(lane.sample(driver, timing.frames())?);
        }
    }
    Ok(ready.into_iter().map(|lane| lane.map(|(_, timing)| timing)).collect())
}

fn tell(report: &mut Report, name: &str, timing: Option<Timing>, baseline: Option<Timing>) {
    let (Some(timing), Some(baseline)) = (timing, baseline) else { return };
    report.add(
        Row::new("rivals", name)
            .with("in all", Figure::Nanoseconds(timing.spread()))
            .with("bare hook", Figure::Nanoseconds(baseline.spread()))
            .with("over it", Figure::Nanoseconds(timing.over(&baseline)))
            .with("judged", Figure::Count(timing.judged()))
            .with("lost on the way", Figure::Count(timing.lost())),
    );
}

fn members(ruleset: &Ruleset) -> Result<&[IpNet]> {
    Ok(&ruleset.sets.values().next().context("a block list without a list")?.entries)
}

/// As xdp-filter takes them.
fn single_addresses(count: usize, random: &mut Random) -> Ruleset {
    let address = |_| {
        let [a, b, c, d, ..] = random.number().to_be_bytes();
        IpNet::from(std::net::IpAddr::from([a % 200 + 11, b, c, d]))
    };
    stateless(classbench::block_list_of((0..count).map(address).collect(), Verdict::Drop))
}

impl Judge {
    /// Frames that it counted so far.
    fn counted(&self, lane: &Lane) -> Result<u64> {
        match self {
            Self::Nftables => nft::counted(&lane.network),
            Self::Xdp(_) => lane.dropped_by_xdp(),
        }
    }
}
