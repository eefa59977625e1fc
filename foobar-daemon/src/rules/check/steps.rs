//! The steps that a packet goes through, as boxes.

use std::{borrow::Cow, ops::Range};

use foobar_common::{flow::Direction, verdict::Verdict};

use super::{
    boxes::Boxes,
    sides::{Numbers, Space},
};
use crate::rules::model::{AddressCondition, AddressMatch, FragmentPolicy, Rule, Ruleset, ServicePort};

/// A step before or among the rules that decides packets.
#[derive(Debug)]
struct Step<'r> {
    name: String,
    verdict: Verdict,
    rule: Cow<'r, Rule>,
}

/// All steps, and questions about the packets that get through them.
#[derive(Debug)]
pub(super) struct Steps<'r> {
    /// In their order. Behind the rules there is a step for each question, which decides nothing.
    list: Vec<Step<'r>>,
    /// Which of them are rules.
    pub(super) rules: Range<usize>,
    /// The boxes of the steps, of each space.
    pub(super) spaces: [Boxes; Space::ALL.len()],
    /// What happens to packets that no step decides.
    pub(super) policy: Verdict,
}

impl<'r> Steps<'r> {
    /// Those that packets of one direction go through, and rules that ask which packets there are.
    pub(super) fn of(
        ruleset: &'r Ruleset,
        direction: Direction,
        questions: impl IntoIterator<Item = Rule>,
    ) -> Self {
        let mut list = before_the_rules(ruleset, direction);
        let first = list.len();
        let rules = ruleset.rules.iter().filter(|rule| rule.direction == direction);
        list.extend(rules.map(|rule| Step {
            name: format!("rule {}", rule.id),
            verdict: rule.action,
            rule: Cow::Borrowed(rule),
        }));
        let rules = first..list.len();
        list.extend(questions.into_iter().map(|rule| own_step(String::new(), rule)));
        let numbers = Numbers::of(ruleset);
        let spaces = Space::ALL.map(|space| {
            let sides = |step: &Step<'_>| numbers.sides(&step.rule, space);
            Boxes::of(list.iter().enumerate().filter_map(|(number, step)| Some((number, sides(step)?))))
        });
        Self { list, rules, spaces, policy: ruleset.policy.of(direction) }
    }

    /// What a step is called.
    pub(super) fn name(&self, step: usize) -> &str {
        &self.list[step].name
    }

    /// What becomes of packets that a step decides.
    pub(super) fn verdict(&self, step: usize) -> Verdict {
        self.list[step].verdict
    }

    /// Whether a packet can fare otherwise by one of two steps than by the other, or is told of otherwise. What has a limit
    /// depends on the rate.
    pub(super) fn differ(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.list[one], &self.list[other]);
        one.verdict != other.verdict
            || one.rule.limit.is_some()
            || other.rule.limit.is_some()
            || one.rule.log != other.rule.log
    }

    /// The same of a step and the policy.
    pub(super) fn differs_from_policy(&self, step: usize) -> bool {
        let step = &self.list[step];
        step.verdict != self.policy || step.rule.limit.is_some() || step.rule.log.is_some()
    }

    /// The boxes of a step, each with its space.
    pub(super) fn boxes(&self, step: usize) -> impl Iterator<Item = (&Boxes, usize)> {
        self.spaces.iter().filter_map(move |boxes| Some((boxes, boxes.of_step(step)?)))
    }
}

fn before_the_rules(ruleset: &Ruleset, direction: Direction) -> Vec<Step<'_>> {
    let failsafe = &ruleset.failsafe;
    let mut steps = Vec::new();
    for port in &failsafe.ports {
        let rule = match direction {
            Direction::In => to_port(*port),
            Direction::Out => from_port(*port),
        };
        steps.push(own_step(format!("failsafe port {port}"), rule));
    }
    if !failsafe.peers.is_empty() {
        let mut rule = Rule::new("", Verdict::Accept);
        let include = failsafe.peers.iter().copied().map(AddressMatch::Prefix).collect();
        let peer = Some(AddressCondition { include, exclude: Vec::new() });
        match direction {
            Direction::In => rule.source = peer,
            Direction::Out => rule.destination = peer,
        }
        steps.push(own_step("failsafe.peers".to_owned(), rule));
    }
    if let FragmentPolicy::Always(verdict) = ruleset.policy.fragments {
        let mut rule = Rule::new("", verdict);
        rule.fragment = Some(true);
        steps.push(own_step("policy.fragments".to_owned(), rule));
    }
    steps
}

fn own_step<'r>(name: String, rule: Rule) -> Step<'r> {
    Step { name, verdict: rule.action, rule: Cow::Owned(rule) }
}

/// A rule that accepts what goes to a port.
pub(super) fn to_port(port: ServicePort) -> Rule {
    let mut rule = Rule::new("", Verdict::Accept);
    rule.protocol = Some([port.protocol.number()].into());
    rule.destination_port = Some(vec![port.port..=port.port]);
    rule
}

/// A rule that accepts what comes from a port.
pub(super) fn from_port(port: ServicePort) -> Rule {
    let mut rule = to_port(port);
    rule.source_port = rule.destination_port.take();
    rule
}
