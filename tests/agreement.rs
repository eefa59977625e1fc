//! The kernel and the plain reading say the same of the same frame, whatever the rules and the frame.
//!
//! A thousand frames in an ordinary run; a million with `FOOBAR_LONG=1`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use foobar_common::{
    counters::{Counter, Transport},
    event::{EVENT_BYTES, Event},
    flow::{Direction, Flow},
    frame::Frame,
    parse::parse,
    rule::NO_RULE,
    verdict::{Reason, Verdict},
};
use foobar_daemon::{
    dataplane::{
        bans::{Lengths, now_ns},
        counters::{Counters, Port},
        load::LoadedRuleset,
        test_runs::{Judgement, TestRuns},
    },
    replay::local::{destination_service, source_service},
    rules::{
        compile::compile,
        evaluate::{self, Evaluation, Known, PlainBan, evaluate, evaluate_with_bans},
        log::OneIn,
        model::Ruleset,
    },
    slots::{Assigned, Slots},
};
use foobar_tests::{
    datagram_model::DatagramModel,
    flow_model::FlowModel,
    generate,
    rulesets::{self, INTERFACE},
};
use proptest::{
    collection::vec,
    prelude::{ProptestConfig, Strategy, prop_assert, prop_assert_eq, proptest},
    test_runner::TestCaseError,
};

/// How many frames each ruleset judges: loading costs as much as judging thousands.
fn frames_per_ruleset() -> usize {
    if is_long() { 2_000 } else { 125 }
}

fn is_long() -> bool {
    std::env::var_os("FOOBAR_LONG").is_some()
}

fn rulesets(long: u32, short: u32) -> ProptestConfig {
    let cases = if is_long() { long } else { short };
    ProptestConfig { cases, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() }
}

fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let kernel_takes = |frame: &Vec<u8>| frame.len() >= TestRuns::frame_min(Direction::In);
    vec(
        generate::frame(&rulesets::pool()).prop_filter("too short for a test run", kernel_takes),
        frames_per_ruleset(),
    )
}

proptest! {
    #![proptest_config(rulesets(500, 8))]

    #[test]
    fn kernel_and_plain_reading_agree(ruleset in rulesets::ruleset(), frames in frames()) {
        agree(&ruleset, &frames)?;
    }
}

proptest! {
    #![proptest_config(rulesets(50, 2))]

    /// Nothing of one frame is left when the next is judged, but the flow that it belongs to.
    #[test]
    fn a_frame_before_changes_nothing(ruleset in rulesets::ruleset(), frames in frames()) {
        let ruleset = without_flows(ruleset);
        let mut together = load(&ruleset);
        let mut alone = Vec::new();
        for frame in &frames {
            // The same frame before itself: whatever it leaves behind is its own.
            together.judge(frame, Direction::In).unwrap();
            alone.push(together.judge(frame, Direction::In).unwrap());
        }
        for (before, (frame, expected)) in frames.iter().rev().zip(frames.iter().zip(&alone)) {
            if TestRuns::takes(before.len(), Direction::Out) {
                together.judge(before, Direction::Out).unwrap();
            }
            together.judge(before, Direction::In).unwrap();
            let found = together.judge(frame, Direction::In).unwrap();
            prop_assert_eq!(&found, expected, "after {:02x?}: {:02x?}", before, frame);
        }
    }
}

proptest! {
    #![proptest_config(rulesets(500, 8))]

    /// Bans inside each other, some of which are over.
    #[test]
    fn kernel_and_plain_reading_agree_on_bans(
        ruleset in rulesets::ruleset(),
        bans in rulesets::bans(now_ns().unwrap()),
        frames in frames(),
    ) {
        let ruleset = without_flows(ruleset);
        let mut runs = load(&ruleset);
        for PlainBan { prefix, until_ns } in &bans {
            runs.bans().set(prefix, *until_ns).unwrap();
        }
        runs.bans().set_lengths(Lengths::of(bans.iter().map(|ban| ban.prefix))).unwrap();
        agree_on_bans(&mut runs, &ruleset, &bans, &frames)?;
        // Half of them are lifted, and what is said of lengths stays.
        let (lifted, stay) = bans.split_at(bans.len() / 2);
        for PlainBan { prefix, .. } in lifted {
            runs.bans().lift(prefix).unwrap();
        }
        agree_on_bans(&mut runs, &ruleset, stay, &frames)?;
    }
}

fn agree_on_bans(
    runs: &mut TestRuns,
    ruleset: &Ruleset,
    bans: &[PlainBan],
    frames: &[Vec<u8>],
) -> Result<(), TestCaseError> {
    let now_ns = now_ns().unwrap();
    let ways = frames.iter().flat_map(|frame| Direction::ALL.map(|direction| (frame, direction)));
    for (frame, direction) in ways.filter(|(frame, direction)| TestRuns::takes(frame.len(), *direction)) {
        let kernel = runs.judge(frame, direction).unwrap();
        let packet = packet(frame, &kernel)?;
        let reading =
            reading(evaluate_with_bans(ruleset, (bans, now_ns), &packet, direction, INTERFACE, Known::NEW));
        prop_assert_eq!(&kernel, &reading, "{:?}: {:02x?}\n{:?}\n{:?}", direction, frame, packet, bans);
    }
    Ok(())
}

fn reading(evaluation: Evaluation<'_>) -> Judgement {
    let Evaluation { verdict, reason, rule } = evaluation;
    Judgement { verdict, reason, rule: rule.map(str::to_owned) }
}

fn without_flows(mut ruleset: Ruleset) -> Ruleset {
    ruleset.policy.replies = false;
    ruleset.rules.iter_mut().for_each(|rule| rule.state = None);
    ruleset
}

fn agree(ruleset: &Ruleset, frames: &[Vec<u8>]) -> Result<(), TestCaseError> {
    let mut runs = load(ruleset);
    let slots = slots(ruleset);
    runs.watch(true).unwrap();
    let mut flows = FlowModel::default();
    let mut datagrams = DatagramModel::default();
    let mut expected = Counters {
        rules: ruleset.rules.iter().map(|rule| (rule.id.clone(), Counter::default())).collect(),
        ..Counters::default()
    };
    let ways = frames.iter().flat_map(|frame| Direction::ALL.map(|direction| (frame, direction)));
    for (frame, direction) in ways.filter(|(frame, direction)| TestRuns::takes(frame.len(), *direction)) {
        let kernel = runs.judge(frame, direction).unwrap();
        let packet = packet(frame, &kernel)?;
        let known = flows.known(frame, direction, 0);
        let known = if ruleset.tracks() { known } else { Known::NEW };
        let evaluation = evaluate(ruleset, &packet, direction, INTERFACE, known);
        let mut log = evaluate::log(ruleset, &evaluation);
        let mut reading = reading(evaluation);
        let mut port = port(ruleset, &packet, direction);
        if ruleset.tracks()
            && reading.reason != Reason::Failsafe
            && let Some(first) = datagrams.first(frame)
        {
            (reading, port, log) = first;
        }
        prop_assert_eq!(&kernel, &reading, "{:?}: {:02x?}\n{:?}", direction, frame, packet);
        let told = log.map(|log| event(frame, direction, &kernel, &slots, log));
        prop_assert_eq!(runs.take_events().iter().map(Told::of).collect::<Vec<_>>(), Vec::from_iter(told));
        if kernel.verdict == Verdict::Accept {
            flows.accepted(frame, direction, 0);
            datagrams.accepted(frame, (reading, port, log));
        }
        count(&mut expected, port, (direction, &kernel), frame.len());
    }
    // Which connections there are is nothing that is evaluated.
    let found = Counters { services: expected.services.clone(), ..runs.counters().unwrap() };
    prop_assert_eq!(found, expected);
    Ok(())
}

/// What an event tells of a frame, but for its time.
#[derive(Debug, PartialEq)]
struct Told {
    direction: u32,
    verdict: u32,
    reason: u32,
    rule: u32,
    one_in: u32,
    length: usize,
    packets: u32,
    tag: u32,
    bytes: Vec<u8>,
}

impl Told {
    fn of(event: &Event) -> Self {
        let Event {
            boot_ns: _,
            interface: _,
            direction,
            verdict,
            reason,
            rule,
            one_in,
            length,
            packets,
            tag,
            ..
        } = *event;
        let (length, bytes) = (length as usize, event.frame().to_vec());
        Self { direction, verdict, reason, rule, one_in, length, packets, tag, bytes }
    }
}

/// What must be told of a frame.
fn event(frame: &[u8], direction: Direction, judgement: &Judgement, slots: &Assigned, log: OneIn) -> Told {
    Told {
        direction: direction as u32,
        verdict: judgement.verdict.number(),
        reason: judgement.reason.number(),
        rule: judgement.rule.as_ref().map_or(NO_RULE, |rule| slots.rules[rule.as_str()].slot),
        one_in: log.packets(),
        length: frame.len(),
        packets: 1,
        tag: 0,
        bytes: frame[..frame.len().min(EVENT_BYTES)].to_vec(),
    }
}

/// What the frame says. Test runs give long frames in several buffers, the first of which is all that the
/// program reads; only then may it find that headers are beyond it.
fn packet(frame: &[u8], kernel: &Judgement) -> Result<Result<Flow, Reason>, TestCaseError> {
    /// At least this much is in the first buffer: a page less the room before and behind.
    const FIRST_BUFFER_MIN: usize = 3_400;
    if kernel.reason == Reason::NonLinear {
        prop_assert!(frame.len() > FIRST_BUFFER_MIN, "a frame of {} bytes is nonlinear", frame.len());
        let length = u32::try_from(frame.len()).unwrap();
        return Ok(parse(&Frame::from_first_buffer(&frame[..FIRST_BUFFER_MIN], length)));
    }
    Ok(parse(&Frame::from_slice(frame)))
}

/// Where the frame is counted.
fn port(ruleset: &Ruleset, packet: &Result<Flow, Reason>, direction: Direction) -> Port {
    packet.as_ref().map_or(Port::Other(Transport::Other), |flow| {
        let local_service = match direction {
            Direction::In => destination_service,
            Direction::Out => source_service,
        };
        let service = local_service(flow)
            .filter(|port| ruleset.services.iter().any(|service| service.ports.contains(port)));
        service.map_or(Port::Other(Transport::of(flow)), Port::Service)
    })
}

/// Moves the counters that the frame must move, and no other.
fn count(
    expected: &mut Counters,
    port: Port,
    (direction, judgement): (Direction, &Judgement),
    length: usize,
) {
    if let Some(rule) = &judgement.rule {
        add(expected.rules.entry(rule.as_str().into()).or_default(), length);
    }
    let name = INTERFACE.to_owned();
    add(
        entry(&mut expected.verdicts, (name.clone(), direction, judgement.verdict, judgement.reason)),
        length,
    );
    add(entry(&mut expected.ports, (name, direction, port)), length);
}

fn entry<K: Ord>(map: &mut BTreeMap<K, Counter>, key: K) -> &mut Counter {
    map.entry(key).or_default()
}

fn add(counter: &mut Counter, length: usize) {
    counter.packets += 1;
    counter.bytes += length as u64;
}

fn slots(ruleset: &Ruleset) -> Assigned {
    Slots::for_once(ruleset, &[INTERFACE.to_owned()]).unwrap()
}

fn load(ruleset: &Ruleset) -> TestRuns {
    LoadedRuleset::for_test_runs(&compile(ruleset, &slots(ruleset)).unwrap(), INTERFACE).unwrap()
}
