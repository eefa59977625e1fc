//! Packets that are drawn as samples, with all that programs can do besides.

use anyhow::{Context as _, Result, ensure};
use foobar_common::{
    event::{EVENT_BYTES, Event, EventCounters},
    flow::Direction,
    verdict::Reason,
};
use foobar_daemon::{
    dataplane::{load::LoadedRuleset, test_runs::TestRuns},
    slots::Slots,
};
use foobar_tests::segments::Connection;

use crate::{
    frames,
    machine::FILTERED,
    report::Report,
    rulesets::{self, Ruleset},
};

const SECTION: &str = "events";

/// Has each packet drawn, then each second one.
pub(crate) fn run(report: &mut Report) {
    for (name, ruleset, check) in [
        (
            "load with every condition",
            &rulesets::EVERYTHING,
            each_frame as fn(&mut TestRuns) -> Result<String>,
        ),
        ("load with services", &rulesets::SERVICES, refused_by_a_service),
    ] {
        let loaded = load(ruleset, 1);
        let mut runs = match loaded {
            Ok(runs) => runs,
            Err(error) => {
                report.check(SECTION, name, &Err(error));
                continue;
            }
        };
        report.check(SECTION, name, &Ok(String::new()));
        let facts = runs.facts().ok();
        let most =
            facts.and_then(|facts| facts.iter().filter_map(|program| program.verified_instructions).max());
        if ruleset.name == rulesets::EVERYTHING.name {
            Report::instructions(SECTION, most);
            report.check(SECTION, "each frame is told of", &check(&mut runs));
            report.check(SECTION, "a frame in several buffers", &in_several_buffers(&mut runs));
            report.check(
                SECTION,
                "nothing while nobody watches, and no more than there is room for",
                &full(&mut runs),
            );
        } else {
            report.check(SECTION, "what a service refuses", &check(&mut runs));
        }
    }
    report.check(SECTION, "one in two", &one_in_two());
}

fn load(ruleset: &Ruleset, one_in: u32) -> Result<TestRuns> {
    let compiled = ruleset.compile_logged(&mut Slots::default(), one_in)?;
    let mut runs = LoadedRuleset::for_test_runs(&compiled, FILTERED)?;
    runs.watch(true)?;
    Ok(runs)
}

/// The events of a frame: one, if a rule decided it or it goes no further.
fn judge(runs: &mut TestRuns, frame: &[u8], direction: Direction) -> Result<Vec<Event>> {
    let judged = runs.judge(frame, direction)?;
    let events = runs.take_events();
    let expected = usize::from(judged.rule.is_some() || judged.verdict.is_refusal());
    ensure!(events.len() == expected, "{judged:?} is told of {} times", events.len());
    for event in &events {
        ensure!(
            (event.verdict, event.reason) == (judged.verdict.number(), judged.reason.number()),
            "{judged:?}, and told is {event:?}"
        );
        ensure!(event.direction == direction as u32 && event.length as usize == frame.len(), "{event:?}");
        ensure!(event.frame() == &frame[..frame.len().min(EVENT_BYTES)], "other bytes: {event:?}");
    }
    Ok(events)
}

fn each_frame(runs: &mut TestRuns) -> Result<String> {
    let mut told = 0;
    for (direction, judged) in
        [(Direction::In, rulesets::EVERYTHING.judged), (Direction::Out, rulesets::EVERYTHING.judged_out)]
    {
        for (name, _) in judged {
            let frame = frames::by_name(name).with_context(|| format!("there is no frame '{name}'"))?;
            told += judge(runs, &frame, direction).with_context(|| (*name).to_owned())?.len();
        }
    }
    ensure!(told > 10, "{told} were told of");
    Ok(format!("{told} frames"))
}

fn in_several_buffers(runs: &mut TestRuns) -> Result<String> {
    let mut frame = frames::by_name("unknown ethertype").context("a frame")?;
    frame.resize(20_000, 0x5a);
    // Whether it is dropped, the policy says.
    let events = judge(runs, &frame, Direction::In)?;
    ensure!(events.len() == 1, "told of {} times", events.len());
    Ok(String::new())
}

fn full(runs: &mut TestRuns) -> Result<String> {
    const FRAMES: u64 = 4_000;
    let frame = frames::by_name("unknown ethertype").context("a frame")?;
    let before = runs.event_counters()?;
    runs.watch(false)?;
    runs.judge(&frame, Direction::In)?;
    ensure!(runs.take_events().is_empty(), "told of while nobody watches");
    runs.watch(true)?;
    for _ in 0..FRAMES {
        runs.pass(&frame, Direction::In)?;
    }
    let told = runs.take_events().len() as u64;
    let EventCounters { drawn, lost, unwatched } = runs.event_counters()?;
    let (drawn, lost, unwatched) = (drawn - before.drawn, lost - before.lost, unwatched - before.unwatched);
    ensure!(
        drawn == FRAMES + 1 && unwatched == 1 && told + lost == FRAMES && lost > 0,
        "of {drawn}, {unwatched} were not watched, {told} told and {lost} lost"
    );
    Ok(format!("{told} told"))
}

fn refused_by_a_service(runs: &mut TestRuns) -> Result<String> {
    let connection = Connection { client_port: 40_021, ..Connection::to(443) };
    let judged = runs.judge(&connection.syn_ack(), Direction::Out)?;
    ensure!(!judged.verdict.is_refusal(), "{judged:?}");
    runs.take_events();
    let events = judge(runs, &connection.asked(0, b"GET / HTTP/1.1\r\n\r\n"), Direction::In)?;
    ensure!(events.iter().map(|event| event.reason).eq([Reason::NotTls.number()]), "{events:?}");
    Ok(String::new())
}

/// So many of 2,000 are as good as certain: 1,000 with a standard deviation of 22.
fn one_in_two() -> Result<String> {
    let mut runs = load(&rulesets::EVERYTHING, 2)?;
    let frame = frames::by_name("unknown ethertype").context("a frame")?;
    for _ in 0..2_000 {
        runs.pass(&frame, Direction::In)?;
    }
    let told = runs.take_events().len();
    ensure!((800..1_200).contains(&told), "{told} of 2000 were drawn");
    Ok(format!("{told} of 2000"))
}
