//! Frames by description through the program in the kernel: what becomes of each, why, by which rule, and every
//! counter, those that must stay still as well.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod conditions;
mod order;
mod policies;

use foobar_common::{
    counters::{Counter, Transport},
    flow::Direction,
    verdict::{Reason, Verdict},
};
use foobar_daemon::{
    dataplane::{
        counters::{Counters, Port},
        load::LoadedRuleset,
        test_runs::Judgement,
    },
    rules::{
        bundle::Bundle,
        compile::compile,
        model::{PortProtocol, ServicePort},
    },
    slots::Slots,
};

use Expected::{Because, ByRule};

/// The interface that all frames come through.
const INTERFACE: &str = "eth0";
const TCP: Port = Port::Other(Transport::Tcp);
const UDP: Port = Port::Other(Transport::Udp);
const SCTP: Port = Port::Other(Transport::Sctp);
const ICMP: Port = Port::Other(Transport::Icmp);
const ICMPV6: Port = Port::Other(Transport::Icmpv6);
const OTHER: Port = Port::Other(Transport::Other);

/// What must become of a frame.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// This rule decided.
    ByRule(&'static str, Verdict),
    /// Something else did.
    Because(Reason, Verdict),
}

/// The policy of `HEAD` applied.
const NO_RULE: Expected = Because(Reason::Policy, Verdict::Drop);

/// A frame, what it is about, what must become of it, and under which port it is counted.
type Row = (&'static str, Vec<u8>, Expected, Port);

/// Beginning of a rule file that drops what no rule accepts.
const HEAD: &str = "schema = 1\n[policy]\nin = \"drop\"\n";

/// Loads rules and judges the frames one after the other. After each of them every counter is looked at.
fn check(rules: &str, rows: Vec<Row>) {
    let ruleset = match Bundle::of_text("rules.toml", rules).parse() {
        Ok(ruleset) => ruleset,
        Err(errors) => panic!("{errors}\nin:\n{rules}"),
    };
    let slots = Slots::for_once(&ruleset, &[INTERFACE.to_owned()]).unwrap();
    let mut runs = LoadedRuleset::for_test_runs(&compile(&ruleset, &slots).unwrap(), INTERFACE).unwrap();
    let mut counters = Counters {
        rules: ruleset.rules.iter().map(|rule| (rule.id.clone(), Counter::default())).collect(),
        // No row opens or resets a connection.
        services: runs.counters().unwrap().services,
        ..Counters::default()
    };
    for (about, frame, expected, port) in rows {
        let judgement = match expected {
            ByRule(rule, verdict) => Judgement { verdict, reason: Reason::Rule, rule: Some(rule.to_owned()) },
            Because(reason, verdict) => Judgement { verdict, reason, rule: None },
        };
        assert_eq!(runs.judge(&frame, Direction::In).unwrap(), judgement, "{about}\n{rules}");

        let one = |counter: &mut Counter| {
            counter.packets += 1;
            counter.bytes += frame.len() as u64;
        };
        let Judgement { verdict, reason, rule } = judgement;
        if let Some(rule) = rule {
            one(counters.rules.get_mut(rule.as_str()).unwrap());
        }
        one(counters.verdicts.entry((INTERFACE.to_owned(), Direction::In, verdict, reason)).or_default());
        one(counters.ports.entry((INTERFACE.to_owned(), Direction::In, port)).or_default());
        assert_eq!(runs.counters().unwrap(), counters, "counters after: {about}\n{rules}");
    }
}

/// Checks one rule `r` with these conditions, which accepts, where everything else is dropped.
fn check_rule(conditions: &str, rows: Vec<(&'static str, Vec<u8>, bool, Port)>) {
    let rules =
        format!("{HEAD}infrastructure = false\n[[rule]]\nid = \"r\"\naction = \"accept\"\n{conditions}\n");
    let rows = rows.into_iter().map(|(about, frame, is_met, port)| {
        (about, frame, if is_met { ByRule("r", Verdict::Accept) } else { NO_RULE }, port)
    });
    check(&rules, rows.collect());
}

/// A service port, as counters name it.
fn service(protocol: PortProtocol, port: u16) -> Port {
    Port::Service(ServicePort { protocol, port })
}
