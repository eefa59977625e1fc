//! One frame after the other through the loaded program, and by plain reading what the kernel does not take.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use foobar_common::{
    counters::Counter,
    flow::{Direction, Flow},
    frame::Frame,
    parse::parse,
    verdict::{Reason, Verdict},
};

use super::local::{Local, destination_service, source_service};
use crate::{
    dataplane::{
        counters::{Port, ProtocolCounters},
        load::LoadedRuleset,
        test_runs::{Judgement, TestRuns},
    },
    rules::{
        compile::compile,
        evaluate::{Known, evaluate},
        model::{Ruleset, ServicePort},
        rule_id::RuleId,
    },
    slots::Slots,
};

/// A ruleset that judges the frames of a capture.
pub struct Judge<'r> {
    ruleset: &'r Ruleset,
    interface: &'r str,
    local: Local,
    runs: TestRuns,
    /// What the kernel said, to be compared with what it counted.
    kernel: BTreeMap<(Verdict, Reason), u64>,
    aside: Aside,
    /// Where a frame is completed.
    scratch: Vec<u8>,
}

/// What the kernel did not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aside {
    /// Packets and bytes of rules.
    rules: BTreeMap<RuleId, Counter>,
    /// Packets and bytes of services, both directions.
    services: BTreeMap<ServicePort, Counter>,
    /// Frames that are too short for a test run.
    pub short: u64,
    /// Frames that are too long for a test run.
    pub long: u64,
    /// Frames that were not recorded wholly, and were judged with zeros for what is missing.
    pub completed: u64,
    /// Frames that were not even recorded to the end of their headers.
    pub headerless: u64,
}

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Which way it went.
    pub direction: Direction,
    /// What becomes of it, why, and by which rule.
    pub judgement: Judgement,
}

/// Packets and bytes by rule and by service port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By rule id; every rule is there.
    pub rules: BTreeMap<RuleId, Counter>,
    /// By service port; those without a packet are left out.
    pub services: BTreeMap<ServicePort, Counter>,
    /// By port of a service of which more is counted.
    pub protocols: BTreeMap<ServicePort, ProtocolCounters>,
    /// Names of servers that clients of TLS asked for, by port.
    pub names: BTreeMap<ServicePort, Vec<(String, u64)>>,
}

fn without_limits(ruleset: &Ruleset) -> Ruleset {
    let mut ruleset = ruleset.clone();
    for rule in &mut ruleset.rules {
        rule.limit = None;
    }
    ruleset
}

impl<'r> Judge<'r> {
    /// Loads a ruleset for frames that come through the interface of this name.
    ///
    /// # Errors
    /// Says what the ruleset exceeds, or why the kernel refuses the program.
    pub fn new(ruleset: &'r Ruleset, interface: &'r str, local: Local) -> Result<Self> {
        let slots = Slots::for_once(ruleset, &[interface.to_owned()])?;
        // Frames are judged as fast as that goes, which says nothing of the rate at which they came.
        let compiled = compile(&without_limits(ruleset), &slots)?;
        let runs = LoadedRuleset::for_test_runs(&compiled, interface)?;
        let (kernel, aside, scratch) = (BTreeMap::new(), Aside::default(), Vec::new());
        Ok(Self { ruleset, interface, local, runs, kernel, aside, scratch })
    }

    /// Judges an Ethernet frame that was `length` bytes long on the wire.
    ///
    /// # Errors
    /// Says what went wrong in the kernel.
    pub fn judge(&mut self, frame: &[u8], length: usize) -> Result<Judged> {
        let length_u32 = u32::try_from(length).unwrap_or(u32::MAX);
        let packet = parse(&Frame::from_first_buffer(frame, length_u32));
        let is_headerless = matches!(packet, Err(Reason::NonLinear));
        // With its true length such a frame would be "in several buffers". What is known of it is that it ends.
        let (packet, length) =
            if is_headerless { (parse(&Frame::from_slice(frame)), frame.len()) } else { (packet, length) };
        self.aside.headerless += u64::from(is_headerless);
        self.aside.completed += u64::from(frame.len() < length);

        let direction = packet.as_ref().map_or(Direction::In, |flow| self.local.direction(flow));
        if let (Ok(flow), Direction::Out) = (&packet, direction) {
            self.count_to_itself(flow, length);
        }
        let judgement = if length < TestRuns::frame_min(direction) {
            self.aside.short += 1;
            self.by_reading(&packet, direction, length)
        } else if length > TestRuns::frame_max(direction) {
            self.aside.long += 1;
            self.by_reading(&packet, direction, length)
        } else if length > frame.len() {
            self.scratch.clear();
            self.scratch.extend(frame);
            self.scratch.resize(length, 0);
            self.runs.judge(&self.scratch, direction)?
        } else {
            self.runs.judge(frame, direction)?
        };
        if TestRuns::takes(length, direction) {
            *self.kernel.entry((judgement.verdict, judgement.reason)).or_default() += 1;
        }
        Ok(Judged { direction, judgement })
    }

    /// On a loopback device both ends are local: what goes out to a service is what comes in there.
    fn count_to_itself(&mut self, flow: &Flow, length: usize) {
        let is_from_service = source_service(flow).is_some_and(|port| self.is_service(port));
        if !is_from_service && self.local.has(&flow.destination.ip(flow.family)) {
            self.count_service(destination_service(flow), length);
        }
    }

    fn by_reading(
        &mut self,
        packet: &Result<Flow, Reason>,
        direction: Direction,
        length: usize,
    ) -> Judgement {
        let known = Known::likely(self.ruleset, packet);
        let evaluation = evaluate(self.ruleset, packet, direction, self.interface, known);
        if let Some(rule) = evaluation.rule {
            add(self.aside.rules.entry(rule.into()).or_default(), length);
        }
        let local_service = match direction {
            Direction::In => destination_service,
            Direction::Out => source_service,
        };
        self.count_service(packet.as_ref().ok().and_then(local_service), length);
        Judgement {
            verdict: evaluation.verdict,
            reason: evaluation.reason,
            rule: evaluation.rule.map(str::to_owned),
        }
    }

    fn count_service(&mut self, port: Option<ServicePort>, length: usize) {
        if let Some(port) = port.filter(|port| self.is_service(*port)) {
            add(self.aside.services.entry(port).or_default(), length);
        }
    }

    fn is_service(&self, port: ServicePort) -> bool {
        self.ruleset.services.iter().any(|service| service.ports.contains(&port))
    }

    /// What the kernel counted of all frames, and what it did not.
    ///
    /// # Errors
    /// Also if what the kernel counted is not what it said, frame by frame.
    pub fn finish(self) -> Result<(Totals, Aside)> {
        let counters = self.runs.counters()?;
        let mut counted: BTreeMap<(Verdict, Reason), u64> = BTreeMap::new();
        for ((_, _, verdict, reason), counter) in &counters.verdicts {
            *counted.entry((*verdict, *reason)).or_default() += counter.packets;
        }
        ensure!(
            counted == self.kernel,
            "the program counted {counted:?} and said {:?}: a defect of foobar, please report it",
            self.kernel
        );
        let protocols =
            counters.services.iter().map(|(port, service)| (*port, service.of_protocol.clone())).collect();
        let names = self.runs.names()?;
        let mut totals = Totals { rules: counters.rules, services: BTreeMap::new(), protocols, names };
        for ((_, _, port), counter) in counters.ports {
            if let Port::Service(port) = port {
                sum(totals.services.entry(port).or_default(), counter);
            }
        }
        for (rule, counter) in &self.aside.rules {
            sum(totals.rules.entry(rule.clone()).or_default(), *counter);
        }
        for (port, counter) in &self.aside.services {
            sum(totals.services.entry(*port).or_default(), *counter);
        }
        Ok((totals, self.aside))
    }
}

fn add(counter: &mut Counter, bytes: usize) {
    sum(counter, Counter { packets: 1, bytes: bytes as u64 });
}

/// Adds to a counter; counters wrap after 2^64 packets, which is after centuries.
pub(super) fn sum(counter: &mut Counter, more: Counter) {
    counter.packets = counter.packets.wrapping_add(more.packets);
    counter.bytes = counter.bytes.wrapping_add(more.bytes);
}
