//! A service behind the programs, through which connections go segment by segment.

use std::collections::BTreeMap;

use foobar_common::{counters::Counter, flow::Direction, service::ServiceBytes};
use foobar_daemon::{
    dataplane::{
        counters::{Counters, Port, ProtocolCounters, ServiceCounters},
        load::LoadedRuleset,
        test_runs::{Judgement, TestRuns},
    },
    rules::{bundle::Bundle, compile::compile},
    slots::Slots,
};

use crate::{random::Random, segments::Connection};

/// The programs for one service, and what went through them.
pub struct Service {
    /// The programs.
    pub runs: TestRuns,
    port: u16,
    connections: u16,
}

impl Service {
    /// Loads the programs for these rules, which have one service, on this TCP port.
    pub fn new(rules: &str, port: u16) -> Self {
        let ruleset = Bundle::of_text("rules", rules).parse().expect("rules");
        let slots = Slots::for_once(&ruleset, &["eth0".to_owned()]).expect("slots");
        let compiled = compile(&ruleset, &slots).expect("compiled rules");
        let runs = LoadedRuleset::for_test_runs(&compiled, "eth0").expect("loaded programs");
        Self { runs, port, connections: 0 }
    }

    /// A connection whose handshake has been seen.
    pub fn connect(&mut self) -> Connection {
        self.connections += 1;
        let connection = Connection { client_port: 1024 + self.connections, ..Connection::to(self.port) };
        self.goes_out(&connection.syn_ack());
        connection
    }

    /// What becomes of a frame that comes in.
    pub fn goes_in(&mut self, frame: &[u8]) -> Judgement {
        self.runs.judge(frame, Direction::In).expect("a test run")
    }

    /// What becomes of a frame that goes out.
    pub fn goes_out(&mut self, frame: &[u8]) -> Judgement {
        self.runs.judge(frame, Direction::Out).expect("a test run")
    }

    /// All counters.
    pub fn counters(&self) -> Counters {
        self.runs.counters().expect("counters")
    }

    /// What was counted of the protocol.
    pub fn spoken(&self) -> ProtocolCounters {
        self.service().of_protocol
    }

    /// How much could be followed.
    pub fn bytes(&self) -> ServiceBytes {
        self.service().bytes
    }

    fn service(&self) -> ServiceCounters {
        self.counters().services.into_values().next().expect("a service")
    }

    /// Framed and lost bytes are all that went over the port.
    pub fn assert_bytes_add_up(&self) {
        let counters = self.counters();
        let mut ports: BTreeMap<Port, u64> = BTreeMap::new();
        for ((_, _, port), Counter { packets: _, bytes }) in &counters.ports {
            *ports.entry(*port).or_default() += bytes;
        }
        let (port, service) = counters.services.first_key_value().expect("a service");
        let ServiceBytes { framed, lost } = service.bytes;
        assert_eq!(framed + lost, ports[&Port::Service(*port)]);
    }
}

/// What of a stream of `length` bytes each segment carries, by its beginning and end: all of it in order, some of it
/// again, and sometimes with some of what came before. No segment is longer than one of `longest`, and those bytes.
pub fn deliveries(length: usize, longest: &[usize], random: &mut Random) -> Vec<(usize, usize)> {
    let longest = random.pick(longest);
    let mut deliveries = Vec::new();
    let mut at = 0;
    while at < length {
        let end = (at + 1 + random.index(longest)).min(length);
        let start = if random.percent(20) { at - random.index(at + 1).min(200) } else { at };
        deliveries.push((start, end));
        if random.percent(10) {
            let again = random.pick(&deliveries);
            deliveries.push(again);
        }
        at = end;
    }
    deliveries
}
