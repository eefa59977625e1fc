//! Single frames through the loaded program, attached to nothing (`BPF_PROG_TEST_RUN`).

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use aya::{
    TestRun as _, TestRunOptions,
    maps::{Array, MapData},
};
use foobar_common::{
    event::{Event, EventCounters, EventReader},
    flow::Direction,
    maps,
    rule::{DecisionRecord, NO_RULE},
    verdict::{Reason, Verdict},
};

use super::{
    bans::BanMaps,
    counters::{CounterReader, Counters},
    events::{EventMaps, EventRing},
    flows::{self, FlowFacts},
    load::LoadedRuleset,
    programs::ProgramFacts,
    rejects::{self, RejectFacts},
};
use crate::rules::{compile::CompiledRuleset, model::ServicePort, rule_id::RuleId};

/// A loaded ruleset that judges single frames (`BPF_PROG_TEST_RUN`).
pub struct TestRuns {
    loaded: LoadedRuleset,
    decision: Array<MapData, DecisionRecord>,
    counters: CounterReader,
    bans: BanMaps,
    /// Where events are read, if the rules draw samples.
    ring: Option<EventRing>,
    events: EventMaps,
    rules: BTreeMap<u32, RuleId>,
}

/// `XDP_TX`.
const SENT_BACK: u32 = 3;
/// `TC_ACT_REDIRECT`.
const REDIRECTED: u32 = 7;

/// What the program said of one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Id of the rule, if the reason is a rule.
    pub rule: Option<String>,
}

impl TestRuns {
    /// The loopback device of every network namespace: where the kernel says that frames of test runs come from.
    pub(super) const INTERFACE_INDEX: u32 = 1;
    /// The smallest frame that the kernel takes in a test run, in bytes. One that comes in: an Ethernet header. One that
    /// goes out: also the header of IPv6, as newer kernels ask of what says that it is (`bpf_prog_test_run_skb` of
    /// `net/bpf/test_run.c`).
    pub const fn frame_min(direction: Direction) -> usize {
        match direction {
            Direction::In => 14,
            Direction::Out => 14 + 40,
        }
    }

    /// The largest one. One that comes in: the largest IP packet behind two VLAN tags; a test run holds it in several
    /// buffers. One that goes out: what fits one page beside the kernel's own records, as kernels of the time of 6.1 ask
    /// (`bpf_test_init`).
    pub const fn frame_max(direction: Direction) -> usize {
        match direction {
            Direction::In => 65_535 + 14 + 8,
            Direction::Out => 3_400,
        }
    }

    /// Whether a frame of this length can be judged.
    pub fn takes(length: usize, direction: Direction) -> bool {
        (Self::frame_min(direction)..=Self::frame_max(direction)).contains(&length)
    }

    pub(super) fn new(mut loaded: LoadedRuleset, compiled: &CompiledRuleset) -> Result<Self> {
        let counters = CounterReader::new(&loaded, compiled)?;
        let bans = BanMaps::of(&loaded)?;
        let ring = if compiled.draws() { Some(EventRing::of(&loaded)?) } else { None };
        let events = EventMaps::of(&loaded)?;
        let decision = loaded.take_map(maps::DECISION)?;
        let rules = compiled.slots.rules.iter().map(|(id, owned)| (owned.slot, id.clone())).collect();
        Ok(Self { loaded, decision: decision.try_into()?, counters, bans, ring, events, rules })
    }

    /// Sends one frame through the program for this direction.
    ///
    /// # Errors
    /// The kernel takes no frame of less than 14 bytes, nor more than it can hold in buffers.
    pub fn judge(&mut self, frame: &[u8], direction: Direction) -> Result<Judgement> {
        let returned = self.run(frame, direction, None)?.0;
        let DecisionRecord { verdict, reason, rule, port: _ } = self.decision.get(&0, 0)?;
        let judgement = Judgement {
            verdict: Verdict::from_number(verdict).context("a verdict without a name")?,
            reason: Reason::from_number(reason).context("a reason without a name")?,
            rule: (rule != NO_RULE).then(|| self.rules.get(&rule).map(ToString::to_string)).flatten(),
        };
        // enum xdp_action (include/uapi/linux/bpf.h) and TC_ACT_ (include/uapi/linux/pkt_cls.h).
        let expected: &[u32] = match (direction, judgement.verdict) {
            (Direction::In, Verdict::Drop) => &[1],
            (Direction::In, Verdict::Accept) | (Direction::Out, Verdict::Drop | Verdict::Answer) => &[2],
            (Direction::In, Verdict::Answer) => &[SENT_BACK],
            (Direction::Out, Verdict::Accept) => &[u32::MAX],
            // Dropped, or an answer: sent back, or given to this machine (TC_ACT_REDIRECT).
            (Direction::In, Verdict::Reject) => &[1, SENT_BACK],
            (Direction::Out, Verdict::Reject) => &[2, REDIRECTED],
        };
        ensure!(expected.contains(&returned), "the program returned {returned} for {judgement:?}");
        Ok(judgement)
    }

    /// Sends one frame through the program for this direction. What it is answered with, if it is rejected and answered.
    ///
    /// # Errors
    /// As [`TestRuns::judge`].
    pub fn answer(&mut self, frame: &[u8], direction: Direction) -> Result<Option<Vec<u8>>> {
        // An answer is longer than a short packet by the headers of the message that quotes it.
        let mut answer = vec![0; frame.len() + 128];
        let (returned, length) = self.run(frame, direction, Some(&mut answer))?;
        answer.truncate(length as usize);
        let is_answer = match direction {
            Direction::In => returned == SENT_BACK,
            Direction::Out => returned == REDIRECTED,
        };
        Ok(is_answer.then_some(answer))
    }

    /// What the program returns, and how long the frame is then.
    fn run(&self, frame: &[u8], direction: Direction, out: Option<&mut [u8]>) -> Result<(u32, u32)> {
        let options = TestRunOptions { data_in: Some(frame), data_out: out, ..TestRunOptions::default() };
        let result = match direction {
            Direction::In => self.loaded.ingress()?.test_run(options),
            Direction::Out => self.loaded.egress()?.test_run(options),
        };
        let result =
            result.with_context(|| format!("run the program on a frame of {} bytes", frame.len()))?;
        Ok((result.return_value, result.data_size_out))
    }

    /// What came of the frames that were rejected.
    pub fn rejects(&self) -> Result<RejectFacts> {
        rejects::facts(&self.loaded)
    }

    /// The bans that hold for them.
    pub fn bans(&mut self) -> &mut BanMaps {
        &mut self.bans
    }

    /// Begins or ends to watch: events are made while somebody does.
    pub fn watch(&mut self, watches: bool) -> Result<()> {
        self.events.set_reader(EventReader { watchers: u64::from(watches), ..EventReader::default() })
    }

    /// Takes the events of the frames up to now.
    pub fn take_events(&mut self) -> Vec<Event> {
        let ring = self.ring.iter_mut();
        ring.flat_map(|ring| std::iter::from_fn(|| ring.take_next())).collect()
    }

    /// How many frames were drawn, and of those that did not become events, why.
    pub fn event_counters(&self) -> Result<EventCounters> {
        self.events.counters()
    }

    /// Sends one frame through the program for this direction, without a look at what becomes of it.
    ///
    /// # Errors
    /// As [`TestRuns::judge`].
    pub fn pass(&self, frame: &[u8], direction: Direction) -> Result<()> {
        self.run(frame, direction, None)?;
        Ok(())
    }

    /// Sends one frame through the program so many times, and tells how long it took for each (Linux 4.12).
    pub fn time(&self, frame: &[u8], direction: Direction, times: u32) -> Result<Duration> {
        let options = TestRunOptions { data_in: Some(frame), repeat: times, ..TestRunOptions::default() };
        let result = match direction {
            Direction::In => self.loaded.ingress()?.test_run(options),
            Direction::Out => self.loaded.egress()?.test_run(options),
        };
        Ok(result.context("run the program on a frame many times")?.duration)
    }

    /// The flows that those frames made.
    pub fn flows(&self) -> Result<FlowFacts> {
        flows::facts(&self.loaded)
    }

    /// The counters that those frames moved.
    pub fn counters(&self) -> Result<Counters> {
        self.counters.read()
    }

    /// Names of servers that clients of TLS asked for in those frames.
    pub fn names(&self) -> Result<BTreeMap<ServicePort, Vec<(String, u64)>>> {
        self.counters.names()
    }

    /// What the kernel says of the programs.
    pub fn facts(&self) -> Result<Vec<ProgramFacts>> {
        self.loaded.facts()
    }

    /// Bytes of kernel memory that the maps take, by name.
    pub fn map_memory(&self) -> Result<BTreeMap<String, u64>> {
        self.loaded.map_memory()
    }
}
